"""Pose errors: known answers, invariances, and where each metric must not be blind."""

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, pckh, pve, scale_to_bones


@pytest.fixture
def poses() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 17, 3))


def similarity(points: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation = axis_angle_to_matrix(torch.from_numpy(rng.normal(size=(len(points), 3)))).numpy()
    scale = rng.uniform(0.5, 2, size=(len(points), 1, 1))
    return scale * points @ rotation.transpose(0, 2, 1) + rng.normal(size=(len(points), 1, 3))


def test_mpjpe_of_one_moved_joint_is_its_share(poses):
    moved = poses.copy()
    moved[:, 3] += [0.0, 0.3, 0.4]
    assert mpjpe(moved, poses) == pytest.approx(np.full(5, 0.5 / 17))
    assert mpjpe(moved, poses, joints=[3, 4]) == pytest.approx(np.full(5, 0.25))


def test_mpjpe_aligns_the_root_and_nothing_else(poses):
    assert mpjpe(poses + 7, poses) == pytest.approx(np.zeros(5), abs=1e-12)
    assert mpjpe(poses + np.array([3.0, 0, 4.0]), poses, root=None) == pytest.approx(np.full(5, 5.0))
    assert (mpjpe(2 * poses, poses) > 0.1).all()


def test_mid_hip_root_is_the_mean_of_two_rows(poses):
    moved = poses.copy()
    moved[:, 1] += [0.2, 0, 0]
    moved[:, 2] -= [0.2, 0, 0]
    assert mpjpe(moved, poses, joints=[0], root=(1, 2)) == pytest.approx(np.zeros(5), abs=1e-12)
    assert mpjpe(moved, poses, joints=[1], root=(1, 2)) == pytest.approx(np.full(5, 0.2))


def test_pa_mpjpe_ignores_similarities_but_not_reflections(poses):
    assert pa_mpjpe(similarity(poses, 1), poses) == pytest.approx(np.zeros(5), abs=1e-9)
    assert (pa_mpjpe(poses * [-1, 1, 1], poses) > 0.1).all()


def test_pa_mpjpe_agrees_with_scipy(poses):
    from scipy.spatial import procrustes

    noisy = poses + np.random.default_rng(3).normal(size=poses.shape) * 0.1
    for a, b, error in zip(noisy, poses, pa_mpjpe(noisy, poses), strict=True):
        norm = np.linalg.norm(b - b.mean(0))
        standard, aligned, _ = procrustes(b, a)
        assert error == pytest.approx(np.linalg.norm(standard - aligned, axis=1).mean() * norm)


def test_pve_uses_the_roots_of_the_caller(poses):
    root = poses[:, 0]
    assert pve(poses + 2, poses, root + 2, root) == pytest.approx(np.zeros(5), abs=1e-12)
    assert pve(poses, poses, root + np.array([0, 0, 0.1]), root) == pytest.approx(np.full(5, 0.1))


def test_pckh_counts_keypoints_up_to_half_a_head():
    true = np.zeros((2, 4, 2))
    predicted = true.copy()
    predicted[:, :, 0] = [0, 5, 10, 11]
    assert pckh(predicted, true, [20, 40]) == pytest.approx([0.75, 1.0])
    assert pckh(predicted, true, [8, 20]) == pytest.approx([0.25, 0.75])


def test_skeletons_of_unknown_size_are_scaled_to_the_canonical_ones_bones():
    joints = np.random.default_rng(0).normal(size=(4, 5, 3))
    bones = [(0, 1), (1, 2), (0, 3), (3, 4)]
    length = float(np.linalg.norm(np.diff(joints[0][[0, 1, 2]], axis=0), axis=1).sum())
    length += float(np.linalg.norm(joints[0][3] - joints[0][0]) + np.linalg.norm(joints[0][4] - joints[0][3]))
    scaled = scale_to_bones(joints * np.array([1, 2, 0.1, 7])[:, None, None], bones, length)
    np.testing.assert_allclose(scaled[0], joints[0])
    np.testing.assert_allclose(scale_to_bones(3 * joints, bones, length), scale_to_bones(joints, bones, length))
    with raises(UsageError, problem="one point"):
        scale_to_bones(np.zeros((1, 5, 3)), bones, 1.0)
