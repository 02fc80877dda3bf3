"""Anatomical joint angles of SMPL24: named, signed like a goniometer, the same numbers for left and right.

A joint's parent-relative rotation is split as R = swing · twist: the twist turns the limb about its own axis (the
bone's direction in the T pose), then the swing, a rotation vector perpendicular to that axis, moves the axis. The
swing's two components and the twist are the three angles of the joint, in the order of `ANGLE_NAMES`:

    pelvis, spine1-3, neck, head   flexion (forward), side_bend (to the left), turn (to the left)
    hip                            flexion, abduction, rotation (inward)
    knee                           flexion, valgus, rotation (inward)
    ankle                          flexion (toes up), inversion (sole inward), rotation (toes inward)
    foot (toes)                    flexion (toes up), rotation (toes inward), inversion
    collar                         elevation, protraction, rotation (inward)
    shoulder                       elevation (0 = arm level), forward (0 = to the side), rotation (inward)
    elbow                          flexion, adduction (forearm towards the body), pronation
    wrist, hand (fingers)          flexion (towards the palm), thumb_bend (towards the thumb), pronation

Zero is the T pose: arms level to the sides, palms down, crease of the elbow forward. A mirrored pose has the angles
of the other side, with side_bend and turn negated. The split is smooth except where a limb points exactly against
its T-pose direction (swing of π).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion

__all__ = [
    "ANGLE_NAMES",
    "angles_from_named",
    "angles_to_rotations",
    "joint_class",
    "mirror_rotations",
    "rotations_to_angles",
]

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def _minus(axis: tuple[float, float, float]) -> tuple[float, float, float]:
    return (-axis[0], -axis[1], -axis[2])


# Per class of joint: (name, turning axis on the left side) of the two swing angles and of the twist, whose axis is
# the bone's. Body axes: x to the left, y up, z forward. A mirrored rotation axis keeps x and negates y and z.
_CLASSES: dict[str, tuple[tuple[str, tuple[float, float, float]], ...]] = {
    "trunk": (("flexion", X), ("side_bend", _minus(Z)), ("turn", Y)),
    "hip": (("flexion", _minus(X)), ("abduction", Z), ("rotation", _minus(Y))),
    "knee": (("flexion", X), ("valgus", Z), ("rotation", _minus(Y))),
    "ankle": (("flexion", _minus(X)), ("inversion", _minus(Z)), ("rotation", _minus(Y))),
    "foot": (("flexion", _minus(X)), ("rotation", _minus(Y)), ("inversion", _minus(Z))),
    "collar": (("elevation", Z), ("protraction", _minus(Y)), ("rotation", X)),
    "shoulder": (("elevation", Z), ("forward", _minus(Y)), ("rotation", X)),
    "elbow": (("flexion", _minus(Y)), ("adduction", _minus(Z)), ("pronation", X)),
    "wrist": (("flexion", _minus(Z)), ("thumb_bend", _minus(Y)), ("pronation", X)),
    "hand": (("flexion", _minus(Z)), ("thumb_bend", _minus(Y)), ("pronation", X)),
}


def joint_class(joint: str) -> str:
    """The kind of a joint: 'trunk', 'hip', … ; left and right joints share one."""
    name = joint.removeprefix("left_").removeprefix("right_")
    return name if name in _CLASSES else "trunk"


ANGLE_NAMES: dict[str, tuple[str, ...]] = {
    joint: tuple(name for name, _ in _CLASSES[joint_class(joint)]) for joint in SMPL24.joint_names
}


class _Basis(NamedTuple):
    axes: Tensor  # (24, 3, 3): rows are the turning axes of the three angles
    handedness: Tensor  # (24,): +1 where first × second = third


@lru_cache(maxsize=8)
def _basis(dtype: torch.dtype, device: torch.device) -> _Basis:
    rows = []
    for joint in SMPL24.joint_names:
        axes = torch.tensor([axis for _, axis in _CLASSES[joint_class(joint)]], dtype=dtype)
        if joint.startswith("right_"):
            axes = axes * axes.new_tensor([1.0, -1.0, -1.0])
        rows.append(axes)
    stacked = torch.stack(rows)
    return _Basis(stacked.to(device), torch.linalg.det(stacked).to(device))


def rotations_to_angles(rotations: Tensor) -> Tensor:
    """Parent-relative rotations (..., 24, 3, 3) → angles (..., 24, 3) radians, order of `ANGLE_NAMES`.

    Differentiable; the swing lies within π, the twist within ±π.
    """
    axes, handedness = _basis(rotations.dtype, rotations.device)
    quaternion = matrix_to_quaternion(rotations)
    w = quaternion[..., 0]
    first, second, third = torch.einsum("jab,...jb->...ja", axes, quaternion[..., 1:]).unbind(-1)
    squared = w * w + third * third
    floor = torch.finfo(rotations.dtype).eps
    cosine = squared.clamp_min(floor).sqrt()  # of half the swing
    along_first = (w * first - handedness * third * second) / cosine
    along_second = (w * second + handedness * third * first) / cosine
    sine_squared = along_first.square() + along_second.square()
    tiny = sine_squared < floor
    sine = torch.where(tiny, torch.ones_like(sine_squared), sine_squared).sqrt()
    factor = torch.where(tiny, 2 / cosine, 2 * torch.atan2(sine, cosine) / sine)
    # atan2 has no gradient where both arguments vanish (swing of π): any twist is as good there, take none.
    lost = squared < floor
    twist = 2 * torch.atan2(torch.where(lost, torch.zeros_like(third), third), torch.where(lost, 1.0, w))
    return torch.stack((factor * along_first, factor * along_second, twist), -1)


def angles_to_rotations(angles: Tensor) -> Tensor:
    """Angles (..., 24, 3) radians, order of `ANGLE_NAMES` → parent-relative rotations (..., 24, 3, 3)."""
    axes, _ = _basis(angles.dtype, angles.device)
    swing = angles[..., :1] * axes[:, 0] + angles[..., 1:2] * axes[:, 1]
    twist = angles[..., 2:] * axes[:, 2]
    return axis_angle_to_matrix(swing) @ axis_angle_to_matrix(twist)


def angles_from_named(degrees: Mapping[str, float]) -> Tensor:
    """Named angles in degrees → (24, 3) radians; angles not named are zero.

    Keys are "joint.angle" ("left_knee.flexion"); without a side ("knee.flexion") both sides get the angle,
    unless a key for that side says otherwise.
    UsageError names an unknown key.
    """
    angles = torch.zeros(len(SMPL24), 3)
    for key in sorted(degrees, key=lambda name: name.startswith(("left_", "right_"))):
        joint, _, angle = key.partition(".")
        joints = [name for name in (joint, f"left_{joint}", f"right_{joint}") if name in SMPL24]
        if not joints or angle not in ANGLE_NAMES[joints[0]]:
            known = ", ".join(ANGLE_NAMES[joints[0]]) if joints else "joints of smpl24"
            raise UsageError(key, "is not a joint angle", expected=known)
        for name in joints:
            angles[SMPL24.index(name), ANGLE_NAMES[name].index(angle)] = degrees[key]
    return torch.deg2rad(angles)


def mirror_rotations(rotations: Tensor) -> Tensor:
    """The mirrored pose: left and right swapped, reflected at the body's y-z plane. (..., 24, 3, 3), pelvis included.

    For the pelvis this mirrors a body-to-world rotation whose world has x as the mirrored axis too.
    """
    sign = rotations.new_tensor([-1.0, 1.0, 1.0])
    swapped = rotations[..., list(SMPL24.mirror), :, :]
    return sign[:, None] * swapped * sign
