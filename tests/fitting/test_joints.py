"""Bodies are found again from their own joints."""

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive

from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.conventions import H36M17, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.joints import fit_joints
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def people(body):
    """Twelve held-out poses of one person before a camera: (posed body, betas)."""
    generator = torch.Generator().manual_seed(3)
    rotations = sample_poses(12, generator, split="held_out")
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    betas = torch.randn(1, body.shape_count, generator=generator).expand(12, -1)
    trans = torch.tensor([0.3, -0.1, 4.0]).expand(12, -1)
    return body.pose(rotations, betas, trans, vertices=False), betas


def confident(points):
    return np.concatenate((points.numpy(), np.ones((*points.shape[:2], 1))), -1)


def joints_of(body, fit):
    rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses).view(-1, len(SMPL24), 3))
    return body.pose(rotations, torch.from_numpy(fit.betas), torch.from_numpy(fit.trans), vertices=False).joints


@pytest.mark.slow
@pytest.mark.parametrize("skeleton", [SMPL24, *extensive(H36M17)], ids=lambda s: s.name)
def test_bodies_are_found_again(body, people, skeleton):
    posed, betas = people
    points = posed.joints if skeleton is SMPL24 else body.pose_landmarks(skeleton.name, posed, betas)
    fit = fit_joints(body, confident(points), skeleton)
    assert fit.error.max() < 0.005
    error = (joints_of(body, fit) - posed.joints).norm(dim=-1).mean(1)
    assert error.max() < (0.005 if skeleton is SMPL24 else 0.02)
    np.testing.assert_allclose(fit.betas[:, 0], betas[:, 0], atol=0.15)  # height
    assert (fit.betas == fit.betas[0]).all()


@pytest.mark.extensive
def test_unknown_joints_are_left_out_and_rows_without_a_trunk_not_fitted(body, people):
    joints = confident(people[0].joints)
    joints[0, SMPL24.index("left_wrist")] = np.nan
    joints[1, SMPL24.index("left_hand"), :3] = 9.0
    joints[1, SMPL24.index("left_hand"), 3] = 0.0
    joints[2, SMPL24.index("left_hip"), 3] = 0.0
    fit = fit_joints(body, joints, SMPL24)
    assert np.isnan(fit.error[2])
    assert (fit.poses[2] == 0).all()
    assert fit.error[[0, 1]].max() < 0.005
    found = joints_of(body, fit)
    present = [i for i in range(len(SMPL24)) if i not in SMPL24.indices(("left_wrist", "left_hand"))]
    assert (found[0, present] - people[0].joints[0, present]).norm(dim=-1).max() < 0.02


def test_nothing_and_wrong_shapes(body):
    assert fit_joints(body, np.zeros((0, 24, 4)), SMPL24).poses.shape == (0, 72)
    with raises(InputError, subject="joints"):
        fit_joints(body, np.zeros((2, 24, 3)), SMPL24)
