"""Errors of movements: known offsets, known accelerations, and what each alignment takes away."""

import numpy as np
import pytest
from helpers.errors import raises
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.trajectories import (
    jitter,
    jitter_emdb,
    root_translation_error,
    root_velocity_error,
    segments,
    w_mpjpe,
    wa_mpjpe,
)


@pytest.fixture
def walk():
    """(250, 5, 3): five joints that go along a curve."""
    random, t = np.random.default_rng(0), np.arange(250)[:, None, None] / 30
    path = np.concatenate([1.2 * t, 0.1 * np.sin(5 * t), np.cos(0.7 * t)], -1)
    return path + random.normal(0, 0.4, (1, 5, 3)) + 0.02 * np.sin(t * random.normal(5, 1, (1, 5, 3)))


def moved(joints, scale=1.0):
    turn = Rotation.from_rotvec([0.3, -1.2, 0.4]).as_matrix()
    return scale * joints @ turn.T + [4.0, -2.0, 1.0]


def test_drift_shows_in_the_world_and_less_after_aligning_all(walk):
    drifting = walk + [0.002, 0, 0.001] * np.arange(250)[:, None, None]
    first, aligned = w_mpjpe(drifting, walk), wa_mpjpe(drifting, walk)
    assert first.mean() > 1.5 * aligned.mean() > 0
    assert first[0] < 0.01 < first[99]
    assert first[100] < 0.01  # every segment begins anew


def test_segments_are_cut_as_the_public_evaluators_cut_them():
    """Of 100 frames: WHAM's loop has range(0, n, 100) and min(n, start + 100); TRAM's range(0, n − 100, 100), the last
    to n − 1 where two more would not fit.
    """
    for frames, wham, tram in (
        (100, [(0, 100)], []),
        (150, [(0, 100), (100, 150)], [(0, 149)]),
        (200, [(0, 100), (100, 200)], [(0, 100)]),
        (250, [(0, 100), (100, 200), (200, 250)], [(0, 100), (100, 249)]),
        (300, [(0, 100), (100, 200), (200, 300)], [(0, 100), (100, 200)]),
    ):
        assert [(s.start, s.stop) for s in segments(frames)] == wham
        assert [(s.start, s.stop) for s in segments(frames, "joined last")] == tram


def test_the_path_of_the_root(walk):
    root = walk[:, 0]
    np.testing.assert_allclose(root_translation_error(moved(root), root), 0, atol=1e-9)
    assert root_translation_error(1.2 * root, root).mean() > 0.02  # a rigid alignment has no scale
    line = np.linspace([0, 0, 0], [10, 0, 0], 50)
    off = line + np.where(np.arange(50) % 2, 0.1, -0.1)[:, None] * [0, 1, 0]
    assert root_translation_error(off, line).mean() == pytest.approx(0.01, rel=0.05)
    with raises(UsageError, problem="stand still"):
        root_translation_error(root, np.zeros_like(root))


def test_jitter_is_the_third_derivative():
    t = np.arange(40)[:, None, None] / 30
    cubic = np.concatenate([2.5 * t**3, t**2, 0 * t], -1).repeat(24, 1)
    np.testing.assert_allclose(jitter(cubic, 30), 15)  # third derivative of 2.5 t³
    np.testing.assert_allclose(jitter_emdb(cubic, 30), 15 * 15 / 24)  # nine joints count as still
    np.testing.assert_allclose(jitter(cubic[:, :, [1, 2, 2]], 30), 0, atol=1e-8)


def test_root_velocities_are_compared_in_the_root(walk):
    root = walk[:, 0]
    facing = Rotation.from_rotvec(np.outer(np.linspace(0, 2, len(root)), [0, 1, 0])).as_matrix()
    turn = Rotation.from_rotvec([0.3, -1.2, 0.4]).as_matrix()
    elsewhere, same = moved(root), turn @ facing
    np.testing.assert_allclose(root_velocity_error(elsewhere, root, same, facing), 0, atol=1e-12)
    backwards = facing @ np.diag([-1.0, 1, -1])  # half a turn about the vertical
    straight = np.arange(len(root))[:, None] * [0.0, 0, 0.02]
    standing = np.broadcast_to(np.eye(3), facing.shape)
    apart = root_velocity_error(straight, straight, standing @ backwards[:1], standing)
    np.testing.assert_allclose(apart, 0.04)
