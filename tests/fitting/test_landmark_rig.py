"""The rig's points against the body's own, and its Jacobian against finite differences."""

import pytest
import torch

from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

JOINTS = ("pelvis", "neck", "left_ankle")


@pytest.fixture(scope="module")
def rig(body) -> LandmarkRig:
    return LandmarkRig(body, body.landmarks("blazepose33"), JOINTS, free_columns=1)


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    turns = torch.randn(3, 24, 3, generator=generator, dtype=torch.float64)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    betas = torch.randn(3, 10, generator=generator, dtype=torch.float64)
    scales = 1 + 0.2 * torch.rand(3, 24, generator=generator, dtype=torch.float64)
    return axis_angle_to_matrix(turns), root, betas, scales


def test_points_are_the_bodys_landmarks_and_joints(body, rig, state):
    rotations, root, betas, scales = (value.float() for value in state)
    trans = root - body.rest(betas).joints[:, 0]
    posed = body.pose(rotations, betas, trans, scales, vertices=False)
    landmarks = body.pose_landmarks("blazepose33", posed, betas)
    mine = rig.pose(*state)
    assert torch.allclose(mine.points[:, :33].float(), landmarks, atol=1e-5)
    assert torch.allclose(mine.joints.float(), posed.joints, atol=1e-5)
    assert torch.allclose(mine.points[:, 33:], mine.joints[:, body.skeleton.indices(JOINTS)], atol=1e-12)
    assert torch.allclose(mine.rotations.float(), posed.rotations, atol=1e-5)
    unscaled, ones = rig.pose(*state[:3]), torch.ones_like(state[3])
    assert torch.equal(unscaled.points, rig.pose(*state[:3], ones).points)


@pytest.mark.slow
def test_jacobian_is_the_derivative(rig, state):
    rotations, root, betas, scales = state
    jacobian = rig.pose(*state, jacobian=True).jacobian
    assert jacobian.shape == (3, 3, 36, 72 + 3 + 10 + 1)

    def moved(column: int, step: float) -> torch.Tensor:
        tangent = torch.zeros(86, dtype=torch.float64)
        tangent[column] = step
        turned = rotations @ axis_angle_to_matrix(tangent[:72].view(24, 3))
        return rig.pose(turned, root + tangent[72:75], betas + tangent[75:85], scales).points

    for column in range(86):
        slope = (moved(column, 1e-5) - moved(column, -1e-5)) / 2e-5
        assert torch.allclose(jacobian[..., column], slope.transpose(1, 2), atol=1e-8), column


def test_a_selection_has_the_same_points_and_slopes(rig, state):
    rows = torch.tensor([0, 5, 11, 30])
    part, complete = rig.select(rows).pose(*state, jacobian=True), rig.pose(*state, jacobian=True)
    all_rows = torch.cat((rows, torch.arange(33, 36)))
    assert torch.allclose(part.points, complete.points[:, all_rows], rtol=0, atol=1e-14)
    assert torch.allclose(part.jacobian, complete.jacobian[:, :, all_rows], rtol=0, atol=1e-14)
    assert rig.select(rows).landmark_skeleton.joint_names == tuple(
        rig.landmark_skeleton.joint_names[row] for row in rows.tolist()
    )
