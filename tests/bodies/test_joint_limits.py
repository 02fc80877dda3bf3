"""Joint limits: what people can do lies inside, what they cannot lies outside, symmetric and smooth."""

import math

import pytest
import torch

from humanpose_cli.bodies.joint_angles import (
    angles_from_named,
    angles_to_rotations,
    joint_limit_residual,
    joint_limits,
    mirror_rotations,
)
from humanpose_cli.bodies.pose_library import pose_library
from humanpose_cli.conventions import SMPL24

KNEE = SMPL24.index("left_knee")


def residual(**degrees: float) -> torch.Tensor:
    named = {key.replace("__", "."): value for key, value in degrees.items()}
    return joint_limit_residual(angles_to_rotations(angles_from_named(named))[None])[0]


def test_zero_pose_and_ordinary_bends_are_free():
    assert not residual().any()
    assert not residual(knee__flexion=120, hip__flexion=100, elbow__flexion=140, shoulder__elevation=-90).any()


@pytest.mark.parametrize(
    "wrong", [{"knee__flexion": -30}, {"elbow__flexion": -30}, {"knee__valgus": 40}, {"spine1__flexion": 80}]
)
def test_impossible_bends_cost(wrong):
    values = residual(**wrong)
    angle = math.radians(abs(next(iter(wrong.values()))))
    assert values.abs().amax() > 0.5 * (angle - math.radians(45))
    assert values.abs().amax() > math.radians(15)


def test_backward_knee_pulls_the_right_way():
    angles = angles_from_named({"left_knee.flexion": -40}).requires_grad_()
    joint_limit_residual(angles_to_rotations(angles)[None]).square().sum().backward()
    assert angles.grad[KNEE, 0] < 0  # more flexion, less cost
    assert angles.grad.abs().sum() == pytest.approx(float(angles.grad[KNEE, 0].abs()), rel=1e-3)


def test_left_and_right_have_the_same_ranges():
    limits = joint_limits()
    for name, bounds in limits.items():
        if name.startswith("left_"):
            assert limits[name.replace("left_", "right_")] == bounds
    generator = torch.Generator().manual_seed(0)
    rotations = angles_to_rotations(torch.randn(30, 24, 3, generator=generator))
    ours, mirrored = joint_limit_residual(rotations), joint_limit_residual(mirror_rotations(rotations))
    torch.testing.assert_close(ours.square().sum(-1), mirrored.square().sum(-1), atol=1e-4, rtol=1e-4)


def test_the_pelvis_is_free():
    generator = torch.Generator().manual_seed(0)
    rotations = torch.eye(3).repeat(10, 24, 1, 1)
    rotations[:, 0] = torch.linalg.qr(torch.randn(10, 3, 3, generator=generator)).Q
    assert joint_limit_residual(rotations).shape == (10, 69)
    assert not joint_limit_residual(rotations).any()


def test_slope_starts_at_zero_and_tends_to_one():
    bound = joint_limits()["left_knee.flexion"][0]
    excess = torch.tensor([0.0, 1e-3, 0.5], requires_grad=True)
    angles = torch.zeros(3, 24, 3)
    angles = torch.index_put(angles, (torch.arange(3), torch.tensor(KNEE), torch.tensor(0)), bound - excess)
    values = joint_limit_residual(angles_to_rotations(angles))[:, 3 * (KNEE - 1)]
    slope = torch.autograd.grad(values.sum(), excess)[0].neg()
    assert slope[0] == 0
    assert slope[1] < 0.1
    assert 0.95 < slope[2] <= 1


def test_real_motion_lies_inside():
    rotations = pose_library().rotations()
    worst = joint_limit_residual(rotations).abs().amax(-1)
    assert (worst < math.radians(1)).float().mean() > 0.99
