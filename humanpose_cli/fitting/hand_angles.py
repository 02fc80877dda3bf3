"""Angles of forearms, wrists and fingers from the landmarks of hands, by damped least squares.

The landmarks in the image count most. Those in space, which networks see too flat, decide what the image leaves open,
also as their mirror image along the line of sight: from an outline, a palm may be taken for a back. Weak priors hold
the angles near those of a relaxed hand, and all angles stay within their ranges.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import joint_limits
from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

_NAMES = [name[:-1] for name in FINGERS[::3]]
_CHAINS = [HAND21.indices([f"{finger}{n}" for n in (1, 2, 3, 4)]) for finger in _NAMES]
_THUMB = _NAMES.index("thumb")
_FOUR = [row for row in range(len(_NAMES)) if row != _THUMB]

# Columns: turn of the forearm, flexion and bend of the wrist; flexion of the joints 1 to 3 of four fingers; their
# spread at the knuckle; two angles of each joint of the thumb; logarithm of the size in the image, and the shift.
_ARM, _FLEXION, _SPREAD, _SWINGS, _SIZE = slice(0, 3), slice(3, 15), slice(15, 19), slice(19, 25), 25
_SHIFT = slice(26, 28)
# Radians: ranges of the arm, equal on both sides, and of fingers (passive ranges of Norkin and White, Measurement of
# Joint Motion, 2016), and standard deviations. In lengths of the palm: those of landmarks in the image and in space.
_ELBOW, _WRIST = SMPL24.indices(["left_elbow", "left_wrist"])
_OF_FINGERS = [(-25, 95), (-5, 115), (-10, 85)] * 4 + [(-22, 22)] * 4 + [(-50, 50), (-60, 60), (-80, 80)] * 2
_LOW, _HIGH = (
    torch.cat((limits[_ELBOW, 2:], limits[_WRIST, :2], of_fingers.deg2rad(), torch.full((3,), limit)))
    for limits, of_fingers, limit in zip(
        joint_limits(), torch.tensor(_OF_FINGERS, dtype=torch.float64).T, (-10.0, 10.0), strict=True
    )
)
_RELAXED = torch.tensor([0, 0, 0] + [18, 25, 15] * 4 + [0] * 13, dtype=torch.float64).deg2rad()
# A hand that is not seen mostly hangs: half curled, more so towards the little finger, with the thumb beside the palm.
_CURLED = [20, 25, 15, 28, 32, 18, 35, 32, 18, 32, 34, 18]
_RESTING = torch.tensor([0] * 3 + _CURLED + [0] * 4 + [-15] + [0] * 8, dtype=torch.float64).deg2rad()
_DEVIATIONS = torch.tensor([60.0, 20.0, 10.0] + [40.0] * 12 + [10.0] * 4 + [25.0] * 6 + [0.1] * 3, dtype=torch.float64)
_DEVIATIONS[:_SIZE].deg2rad_()
_IMAGE, _SPACE = 0.08, 1.0
_STEPS, _DIFFERENCE, _CHUNK = 12, 1e-4, 512


class HandEvidence(NamedTuple):
    """M hands, in double precision.

    Attributes:
        rest: (M, 21, 3) metres. The landmarks of resting hands, relative to the wrist, in axes of the T pose.
        forearms: (M, 3, 3). Absolute rotations of the forearms, in axes of a camera that looks at the hand.
        pronation: (M,) radians. The turns of the forearms in these rotations.
        sign: (M,). 1 for left hands, -1 for right ones.
        image: (M, 21, 2) metres. The landmarks in the image, relative to the wrist, at its distance, in these axes.
        world: (M, 21, 3). The landmarks in space, in the same axes and any unit.
    """

    rest: Tensor
    forearms: Tensor
    pronation: Tensor
    sign: Tensor
    image: Tensor
    world: Tensor


def rotations_of_fingers(rest: Tensor, sign: Tensor, angles: Tensor = _RESTING) -> Tensor:
    """Return the rotations (M, 5, 3, 3, 3) of the joints 1 to 3 of each finger, relative to the parent.

    Args:
        rest: (M, 21, 3), see `HandEvidence`.
        sign: (M,).
        angles: (M, 28) radians. Those of `solve_hands`; by default of resting hands.
    """
    along = torch.nn.functional.normalize(rest[:, _CHAINS].diff(dim=2), dim=-1)
    # Palms look down, so left fingers flex about -z, right ones about z.
    side = -sign[:, None, None, None] * along.new_tensor([0.0, 0.0, 1.0])
    hinge = torch.nn.functional.normalize(side - (side * along).sum(-1, keepdim=True) * along, dim=-1)
    across = torch.linalg.cross(along, hinge)
    flexion, second, spread = along.new_zeros(3, len(rest), len(_NAMES), 3)
    flexion[:, _FOUR] = angles[..., _FLEXION].unflatten(-1, (4, 3))
    flexion[:, _THUMB], second[:, _THUMB] = angles[..., _SWINGS].unflatten(-1, (2, 3)).unbind(-2)
    spread[:, _FOUR, 0] = angles[..., _SPREAD]
    bent = axis_angle_to_matrix(hinge * flexion[..., None] + across * second[..., None])
    return bent @ axis_angle_to_matrix(across * spread[..., None])


def rotations_to_forearms(hands: HandEvidence, angles: Tensor) -> Tensor:
    """Return the rotations (M, 3, 3) of hands relative to the forearms, for the angles of `solve_hands`."""
    turn, flexion, bend = angles[:, _ARM].unbind(1)
    twist = torch.nn.functional.pad((turn - hands.pronation)[:, None], (0, 2))
    swing = torch.stack((torch.zeros_like(turn), -hands.sign * bend, -hands.sign * flexion), -1)
    return axis_angle_to_matrix(twist) @ axis_angle_to_matrix(swing)


def solve_hands(hands: HandEvidence) -> tuple[Tensor, Tensor]:
    """Find the angles (M, 28) of hands, and the sums of squares (M,) that remain, in squared standard deviations."""
    angles, cost = hands.rest.new_zeros(len(hands.rest), len(_RELAXED)), torch.zeros_like(hands.sign)
    for rows in torch.arange(len(cost)).split(_CHUNK) if len(cost) else ():  # a long video would fill the memory
        part = HandEvidence(*(values[rows] for values in hands))
        palm = part.rest[:, HAND21.index("middle1")].norm(dim=-1)[:, None, None]
        bones, detected_length = (p[:, _CHAINS].diff(dim=2).norm(dim=-1).sum((1, 2)) for p in (part.rest, part.world))
        world = (part.world - part.world[:, :1]) * (bones / detected_length)[:, None, None] / palm
        part = part._replace(rest=part.rest / palm, image=part.image / palm, world=world)
        first, second = (_solved(part._replace(world=world * world.new_tensor([1, 1, depth]))) for depth in (1, -1))
        angles[rows] = torch.where((first[1] <= second[1])[:, None], first[0], second[0])
        cost[rows] = torch.minimum(first[1], second[1])
    return angles, cost


def _solved(hands: HandEvidence) -> tuple[Tensor, Tensor]:
    """Take damped Gauss-Newton steps from relaxed hands; all lengths in lengths of the palm."""
    columns = torch.eye(len(_RELAXED)).to(_RELAXED)
    angles = _RELAXED.repeat(len(hands.rest), 1)
    angles[:, 0] = hands.pronation
    angles = angles.clamp(_LOW, _HIGH)
    residuals = _residuals(angles, hands)
    repeated = HandEvidence(*(values.repeat_interleave(len(columns), 0) for values in hands))
    damping = torch.full_like(hands.sign, 1e-2)
    for _ in range(_STEPS):
        moved = _residuals((angles[:, None] + _DIFFERENCE * columns).flatten(0, 1), repeated)
        jacobian = (moved.unflatten(0, (len(angles), -1)) - residuals[:, None]) / _DIFFERENCE  # (M, 28, R)
        normal = jacobian @ jacobian.mT
        damped = normal + (damping * normal.diagonal(dim1=1, dim2=2).mean(1))[:, None, None] * columns
        step = torch.linalg.solve(damped, jacobian @ residuals[..., None])[..., 0]
        trial = (angles - step).clamp(_LOW, _HIGH)
        of_trial = _residuals(trial, hands)
        better = of_trial.square().sum(1) < residuals.square().sum(1)
        angles = torch.where(better[:, None], trial, angles)
        residuals = torch.where(better[:, None], of_trial, residuals)
        damping = torch.where(better, damping / 4, damping * 6)
    return angles, residuals.square().sum(1)


def _residuals(angles: Tensor, hands: HandEvidence) -> Tensor:
    """Return the differences (M, R) from the landmarks and from relaxed hands, in standard deviations."""
    rotations = rotations_of_fingers(hands.rest, hands.sign, angles)
    chains, above = hands.rest[:, _CHAINS], torch.eye(3).to(hands.rest)
    joints = [chains[:, :, 0]]
    for joint in range(3):
        above = above @ rotations[:, :, joint]
        bone = chains[:, :, joint + 1] - chains[:, :, joint]
        joints.append(joints[-1] + (above @ bone[..., None])[..., 0])
    points = torch.zeros_like(hands.rest)
    points[:, _CHAINS] = torch.stack(joints, 2)
    points = points @ (hands.forearms @ rotations_to_forearms(hands, angles)).mT
    projected = points[..., :2] * angles[:, _SIZE, None, None].exp() + angles[:, None, _SHIFT]
    image, space = (projected - hands.image) / _IMAGE, (points - hands.world) / _SPACE
    return torch.cat((image.flatten(1), space.flatten(1), (angles - _RELAXED) / _DEVIATIONS), 1)
