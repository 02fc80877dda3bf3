"""Rotations of a body's joints from the directions of its limbs, in closed form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.body.joint_angles import angles_from_named, angles_to_rotations
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between

# Body axes (y up, z forward) to camera axes (y down, z forward) for an upright person facing the camera.
BODY_FACING_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
_NEUTRAL_DEGREES = {"shoulder.elevation": -68.0, "elbow.flexion": 18.0, "knee.flexion": 6.0, "hip.flexion": 4.0}
_MIN_CONFIDENCE = 0.15  # of a landmark that may orient a limb


class _Limb(NamedTuple):
    upper: str
    lower: str
    end: str
    hinge: tuple[float, float, float]  # axis of flexion of the lower part, body axes in the T pose


_LIMBS = (
    _Limb("left_shoulder", "left_elbow", "left_wrist", (0.0, -1.0, 0.0)),
    _Limb("right_shoulder", "right_elbow", "right_wrist", (0.0, 1.0, 0.0)),
    _Limb("left_hip", "left_knee", "left_ankle", (1.0, 0.0, 0.0)),
    _Limb("right_hip", "right_knee", "right_ankle", (1.0, 0.0, 0.0)),
)


def neutral_rotations() -> Tensor:
    """Return rotations (24, 3, 3), double, of standing with hanging arms; the pelvis' is the identity."""
    return angles_to_rotations(angles_from_named(_NEUTRAL_DEGREES).double())


def upright_heading(yaw: float) -> Tensor:
    """Return the pelvis rotation (3, 3) of a person who stands upright.

    Args:
        yaw: Radians. The turn to the person's left from facing the camera.
    """
    turn = torch.tensor([0.0, yaw, 0.0], dtype=torch.float64)
    return BODY_FACING_CAMERA @ axis_angle_to_matrix(turn)


def limb_rotations(
    zero: Tensor, skeleton: Skeleton, points: Tensor, confidence: Tensor, heading: Tensor | None = None
) -> Tensor:
    """Compute relative rotations whose limbs point like landmarks.

    Twists of upper limbs follow the plane of the bent limb. Parts without confident landmarks keep the neutral pose. A
    body without shoulders or hips stands upright and faces the camera.

    Args:
        zero: (24, 3) float, any size. The joints of the T pose in body axes.
        skeleton: The skeleton of the landmarks.
        points: (N, L, 3) float, camera axes. The landmarks.
        confidence: (N, L) float. Their confidence.
        heading: (N, 3, 3) float. Rotation of the complete trunk from body to camera axes, instead of the landmarks'.

    Returns:
        (N, 24, 3, 3) float. The rotations.
    """
    names, zero = SMPL24, zero.to(points)
    rotations = neutral_rotations().to(points).repeat(len(points), 1, 1, 1)
    pelvis, chest = _torso_frames(skeleton, points, confidence) if heading is None else (heading, heading)
    rotations[:, names.index("pelvis")] = pelvis
    third = axis_angle_to_matrix(matrix_to_axis_angle(pelvis.mT @ chest) / 3)
    rotations[:, names.indices(("spine1", "spine2", "spine3"))] = third[:, None]
    # All limbs at once, because each call of torch takes longer than its numbers.
    parents = torch.stack([chest if limb.upper.endswith("shoulder") else pelvis for limb in _LIMBS], 1)
    rows = [skeleton.indices((limb.upper, limb.lower, limb.end)) for limb in _LIMBS]
    joints = [names.indices((limb.upper, limb.lower, limb.end)) for limb in _LIMBS]
    hinges = zero.new_tensor([limb.hinge for limb in _LIMBS])
    limbs = points[:, rows]  # (N, 4, 3, 3)
    usable = (confidence[:, rows].amin(-1) > _MIN_CONFIDENCE) & (limbs.diff(dim=2).norm(dim=-1).amin(-1) > 1e-6)
    columns = torch.tensor(joints)[:, :2]
    oriented = _orient_limbs(zero[torch.tensor(joints)], hinges, parents, limbs)
    rotations[:, columns] = torch.where(usable[..., None, None, None], oriented, rotations[:, columns])
    return rotations


def _torso_frames(skeleton: Skeleton, points: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return pelvis and chest rotations (N, 3, 3), body to camera."""
    corners = [skeleton.index(name) for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]
    left_hip, right_hip, left_shoulder, right_shoulder = points[:, corners].unbind(1)
    hips_detected = confidence[:, corners[:2]].amin(-1) > _MIN_CONFIDENCE
    shoulders_detected = confidence[:, corners[2:]].amin(-1) > _MIN_CONFIDENCE
    facing = BODY_FACING_CAMERA.to(points).expand(len(points), 3, 3)
    up = torch.where(
        (hips_detected & shoulders_detected)[:, None],
        left_shoulder + right_shoulder - left_hip - right_hip,
        facing[..., 1],
    )
    hips = _frame(left_hip - right_hip, up, facing)
    shoulders = _frame(left_shoulder - right_shoulder, up, facing)
    pelvis = torch.where(
        hips_detected[:, None, None], hips, torch.where(shoulders_detected[:, None, None], shoulders, facing)
    )
    chest = torch.where(shoulders_detected[:, None, None], shoulders, pelvis)
    return pelvis, chest


def _frame(left: Tensor, up: Tensor, fallback: Tensor) -> Tensor:
    """Return the rotation with columns left, up, forward nearest to the given directions; up is exact."""
    y = normalize(up, dim=-1)
    x = left - (left * y).sum(-1, keepdim=True) * y
    degenerate = (x.norm(dim=-1) < 1e-6) | (up.norm(dim=-1) < 1e-6)
    x = normalize(x, dim=-1)
    frame = torch.stack((x, y, torch.linalg.cross(x, y)), -1)
    return torch.where(degenerate[:, None, None], fallback, frame)


def _orient_limbs(rest: Tensor, hinges: Tensor, parents: Tensor, points: Tensor) -> Tensor:
    """Compute the relative rotations of limbs' upper and lower parts.

    Args:
        rest: (K, 3, 3). The three joints of each limb in the T pose.
        hinges: (K, 3). The axes of flexion there.
        parents: (N, K, 3, 3). The rotations of what the limbs hang on.
        points: (N, K, 3, 3). The landmarks of the joints.

    Returns:
        (N, K, 2, 3, 3).
    """
    upper_rest, lower_rest = normalize(rest.diff(dim=1), dim=-1).unbind(1)
    upper, lower = normalize(points.diff(dim=2), dim=-1).unbind(2)
    turn = rotation_between(_turned(parents, upper_rest), upper) @ parents
    # A bent limb shows its hinge; a straight one keeps the hinge that the smallest turn from the trunk gives it.
    axis = torch.linalg.cross(upper, lower) + 0.3 * _turned(turn, hinges)
    absolute = _two_directions(upper, axis) @ _two_directions(upper_rest, hinges).mT
    lower_absolute = rotation_between(_turned(absolute, lower_rest), lower) @ absolute
    return torch.stack((parents.mT @ absolute, absolute.mT @ lower_absolute), 2)


def _turned(rotations: Tensor, vectors: Tensor) -> Tensor:
    return (rotations @ vectors[..., None]).squeeze(-1)


def _two_directions(first: Tensor, second: Tensor) -> Tensor:
    """Return the rotation whose first column is `first` and whose second is nearest to `second`."""
    x = normalize(first, dim=-1)
    y = second - (second * x).sum(-1, keepdim=True) * x
    helper = torch.nn.functional.one_hot(x.abs().argmin(-1), 3).to(x.dtype)
    y = torch.where(y.norm(dim=-1, keepdim=True) < 1e-6, torch.linalg.cross(x, helper), y)
    y = normalize(y, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)
