"""Anatomical angles: named, invertible, smooth, the same for left and right; how far joints turn."""

import math

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.joint_angles import (
    ANGLE_NAMES,
    angles_from_named,
    angles_to_rotations,
    joint_limits,
    limit_excess,
    mirror_rotations,
    rotations_to_angles,
)
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

LEFT, UP, FORWARD = torch.eye(3)


def random_rotations(count: int, angle: float = 2.5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    axis_angle = torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)
    length = torch.rand(count, 24, 1, generator=generator, dtype=torch.float64) * angle
    return axis_angle_to_matrix(torch.nn.functional.normalize(axis_angle, dim=-1) * length)


# What each movement does to a direction of the T pose: (angle at 90°, direction before, direction after).
MOVEMENTS = [
    ("spine1.flexion", UP, FORWARD),
    ("spine1.side_bend", UP, LEFT),
    ("head.turn", FORWARD, LEFT),
    ("left_hip.flexion", -UP, FORWARD),
    ("left_hip.abduction", -UP, LEFT),
    ("right_hip.abduction", -UP, -LEFT),
    ("left_hip.rotation", FORWARD, -LEFT),
    ("right_hip.rotation", FORWARD, LEFT),
    ("left_knee.flexion", -UP, -FORWARD),
    ("left_ankle.flexion", FORWARD, UP),
    ("left_ankle.inversion", -UP, -LEFT),
    ("left_foot.flexion", FORWARD, UP),
    ("left_collar.elevation", LEFT, UP),
    ("right_collar.protraction", -LEFT, FORWARD),
    ("left_shoulder.elevation", LEFT, UP),
    ("left_shoulder.forward", LEFT, FORWARD),
    ("left_shoulder.rotation", FORWARD, -UP),
    ("left_elbow.flexion", LEFT, FORWARD),
    ("left_elbow.pronation", FORWARD, -UP),
    ("left_wrist.flexion", LEFT, -UP),
    ("right_wrist.thumb_bend", -LEFT, FORWARD),
]


@pytest.mark.parametrize(("name", "before", "after"), MOVEMENTS, ids=[m[0] for m in MOVEMENTS])
def test_named_movement(name, before, after):
    rotations = angles_to_rotations(angles_from_named({name: 90}))
    joint = SMPL24.index(name.split(".")[0])
    torch.testing.assert_close(rotations[joint] @ before, after, atol=1e-6, rtol=0)


def test_round_trip_from_rotations():
    rotations = random_rotations(50)
    torch.testing.assert_close(angles_to_rotations(rotations_to_angles(rotations)), rotations, atol=1e-7, rtol=0)


def test_round_trip_from_angles():
    generator = torch.Generator().manual_seed(1)
    angles = (torch.rand(50, 24, 3, generator=generator, dtype=torch.float64) - 0.5) * 3
    torch.testing.assert_close(rotations_to_angles(angles_to_rotations(angles)), angles, atol=1e-7, rtol=0)


def test_mirror_swaps_sides_and_keeps_anatomical_angles():
    rotations = random_rotations(20)
    angles, mirrored = rotations_to_angles(rotations), rotations_to_angles(mirror_rotations(rotations))
    sign = torch.ones(24, 3, dtype=torch.float64)
    for joint, names in ANGLE_NAMES.items():
        for column, name in enumerate(names):
            if name in ("side_bend", "turn"):
                sign[SMPL24.index(joint), column] = -1
    torch.testing.assert_close(mirrored, sign * angles[:, list(SMPL24.mirror)], atol=1e-7, rtol=0)


def test_gradients_are_finite_at_zero_and_at_the_half_turn():
    half_turn = torch.zeros(24, 3)
    half_turn[:, 0] = math.pi
    for start in (torch.zeros(24, 3), half_turn):
        matrix = angles_to_rotations(start).clone().requires_grad_()
        rotations_to_angles(matrix).square().sum().backward()
        assert torch.isfinite(matrix.grad).all()


@pytest.mark.slow
def test_gradcheck():
    rotations = random_rotations(1)[:, 15:18].repeat(1, 8, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(rotations_to_angles, rotations, atol=1e-5)


def test_both_sides_without_a_side_and_unknown_names():
    angles = angles_from_named({"knee.flexion": 90, "left_knee.flexion": 45})
    assert angles[SMPL24.index("right_knee"), 0] == pytest.approx(math.pi / 2)
    assert angles[SMPL24.index("left_knee"), 0] == pytest.approx(math.pi / 4)
    for wrong in ("knee.bend", "knie.flexion", "knee"):
        with raises(UsageError, subject=wrong):
            angles_from_named({wrong: 1})


def excess(**degrees: float) -> torch.Tensor:
    """(24, 3) degrees beyond the limits."""
    return torch.rad2deg(limit_excess(angles_from_named({key.replace("__", "."): v for key, v in degrees.items()})))


def test_zero_pose_and_ordinary_bends_are_free():
    assert not excess().any()
    assert not excess(knee__flexion=120, hip__flexion=100, elbow__flexion=140, shoulder__elevation=-90).any()
    assert not excess(pelvis__turn=1000).any()


@pytest.mark.parametrize(
    ("joint", "degrees", "beyond"),
    [
        ("left_knee.flexion", -30, -25),
        ("right_elbow.flexion", -30, -22),
        ("left_knee.valgus", 40, 28),
        ("spine1.flexion", 80, 40),
    ],
)
def test_impossible_bends_are_measured_with_their_sign(joint, degrees, beyond):
    values = excess(**{joint: degrees})
    name, _, angle = joint.partition(".")
    assert values[SMPL24.index(name), ANGLE_NAMES[name].index(angle)] == pytest.approx(beyond, abs=1e-4)
    assert torch.count_nonzero(values) == 1


def test_left_and_right_have_the_same_ranges():
    for limit in joint_limits():
        assert torch.equal(limit, limit[list(SMPL24.mirror)])


@pytest.mark.slow
def test_real_motion_lies_inside():
    worst = limit_excess(rotations_to_angles(pose_library().rotations())).abs().flatten(1).amax(-1)
    assert (worst < math.radians(2.3)).float().mean() > 0.99
