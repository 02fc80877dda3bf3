"""Anatomical joint angles of SMPL24: named, signed like a goniometer, with the same numbers for left and right.

A joint's rotation relative to its parent is split as R = swing · twist. The twist turns the limb about its own axis
(the bone's direction in the T pose). Then the swing, a rotation vector perpendicular to that axis, moves the axis. The
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
of the other side, with side_bend and turn negated. The split is smooth unless a limb points exactly against
its T-pose direction (swing of π).

Joint limits are ranges of these angles: the normal active ones of clinical goniometry (American Academy of Orthopaedic
Surgeons, 1965; Norkin & White, Measurement of Joint Motion, 2016; spine by segment: Kapandji, 2008; White & Panjabi,
1990). They are wider if one joint of SMPL24 represents several real ones, as collar and shoulder do for the shoulder
blade, and if people go passively further than in the active test: hips and knees in deep squats.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion

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
    """Return the kind of a joint, such as "trunk" or "hip"; left and right joints share one."""
    name = joint.removeprefix("left_").removeprefix("right_")
    return name if name in _CLASSES else "trunk"


ANGLE_NAMES: dict[str, tuple[str, ...]] = {
    joint: tuple(name for name, _ in _CLASSES[joint_class(joint)]) for joint in SMPL24.joint_names
}


@lru_cache(maxsize=8)
def anatomical_axes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the axes of all joints, and whether they are right-handed.

    Returns:
        (24, 3, 3), whose rows are the turning axes of the three angles, and (24,), 1 where the first axis × the second
        one is the third one, else −1.
    """
    rows = []
    for joint in SMPL24.joint_names:
        axes = torch.tensor([axis for _, axis in _CLASSES[joint_class(joint)]], dtype=dtype)
        if joint.startswith("right_"):
            axes = axes * axes.new_tensor([1.0, -1.0, -1.0])
        rows.append(axes)
    all_axes = torch.stack(rows)
    return all_axes.to(device), torch.linalg.det(all_axes).to(device)


def rotations_to_angles(rotations: Tensor) -> Tensor:
    """Convert rotations to joint angles; differentiable.

    Args:
        rotations: (..., 24, 3, 3) float. Rotations relative to the parent.

    Returns:
        (..., 24, 3) float, radians. Angles in the order of `ANGLE_NAMES`; the swing is at most π, the twist within ±π.
    """
    axes, handedness = anatomical_axes(rotations.dtype, rotations.device)
    quaternion = matrix_to_quaternion(rotations)
    w = quaternion[..., 0]
    first, second, third = torch.einsum("jab,...jb->...ja", axes, quaternion[..., 1:]).unbind(-1)
    floor = torch.finfo(rotations.dtype).eps
    # The swing's axis times the sine of half the swing, along the first and the second axis.
    cosine = (w * w + third * third).clamp_min(floor).sqrt()
    along_first = (w * first - handedness * third * second) / cosine
    along_second = (w * second + handedness * third * first) / cosine
    sine_squared = along_first.square() + along_second.square()
    tiny = sine_squared < floor
    sine = torch.where(tiny, torch.ones_like(sine_squared), sine_squared).sqrt()
    factor = torch.where(tiny, 2 / cosine, 2 * torch.atan2(sine, cosine) / sine)
    # atan2 has no gradient where both arguments vanish (swing of π): any twist is as good there, take none.
    ambiguous = w * w + third * third < floor
    twist = 2 * torch.atan2(torch.where(ambiguous, torch.zeros_like(third), third), torch.where(ambiguous, 1.0, w))
    return torch.stack((factor * along_first, factor * along_second, twist), -1)


def angles_to_rotations(angles: Tensor) -> Tensor:
    """Convert angles (..., 24, 3) in radians, in the order of `ANGLE_NAMES`, to relative rotations (..., 24, 3, 3)."""
    axes, _ = anatomical_axes(angles.dtype, angles.device)
    swing = angles[..., :1] * axes[:, 0] + angles[..., 1:2] * axes[:, 1]
    twist = angles[..., 2:] * axes[:, 2]
    return axis_angle_to_matrix(swing) @ axis_angle_to_matrix(twist)


def angles_from_named(degrees: Mapping[str, float]) -> Tensor:
    """Convert named angles in degrees to an array.

    Args:
        degrees: Angles by "joint.angle" ("left_knee.flexion"). Without a side ("knee.flexion"), both sides get the
            angle, unless there is a key for that side.

    Returns:
        (24, 3) float, radians. The angles; those without a name are 0.

    Raises:
        UsageError: If a key is unknown.
    """
    angles = torch.zeros(len(SMPL24), 3)
    for key in sorted(degrees, key=lambda name: name.startswith(("left_", "right_"))):
        joint, _, angle = key.partition(".")
        joints = [name for name in (joint, f"left_{joint}", f"right_{joint}") if name in SMPL24]
        if not joints or angle not in ANGLE_NAMES[joints[0]]:
            names = ", ".join(ANGLE_NAMES[joints[0]]) if joints else "joints of smpl24"
            raise UsageError(key, "is not a joint angle", expected=names)
        for name in joints:
            angles[SMPL24.index(name), ANGLE_NAMES[name].index(angle)] = degrees[key]
    return torch.deg2rad(angles)


def mirror_rotations(rotations: Tensor) -> Tensor:
    """Mirror poses: swap left and right and reflect at the body's y-z plane.

    The pelvis is mirrored, too: a rotation from body to world axes, with x as the mirrored axis of the world.

    Args:
        rotations: (..., 24, 3, 3) float. Rotations relative to the parent.

    Returns:
        (..., 24, 3, 3) float. The mirrored rotations.
    """
    sign = rotations.new_tensor([-1.0, 1.0, 1.0])
    other_side = rotations[..., list(SMPL24.mirror), :, :]
    return sign[:, None] * other_side * sign


# Degrees (low, high) in the order of joint_angles.ANGLE_NAMES.
_RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    # Lumbar and thoracic spine together: flexion 80-90, extension 30, side 35-40, turn 45; split over three joints.
    "spine": ((-22, 40), (-22, 22), (-25, 25)),
    # Cervical spine: flexion 50-60, extension 60-70, side 45, turn 80; split over two joints.
    "neck": ((-40, 40), (-30, 30), (-45, 45)),
    "head": ((-40, 40), (-30, 30), (-50, 50)),
    # Flexion 120-130 (knee bent, pelvis helping 145), extension 20-30, abduction 45 (splits more), adduction 30,
    # inward rotation 45, outward 45-60 (sitting cross-legged, with the pelvis helping, 90).
    "hip": ((-40, 145), (-40, 70), (-95, 65)),
    # Flexion 135-150 (kneeling 160); hyperextension up to 5; hardly any sideways bend; turning only when bent.
    "knee": ((-5, 162), (-12, 12), (-35, 35)),
    # Dorsiflexion 20 (squatting 35), plantar flexion 50 (pointe 65), inversion 35, eversion 20.
    "ankle": ((-65, 40), (-30, 40), (-35, 35)),
    "foot": ((-50, 75), (-15, 15), (-15, 15)),
    # Elevation 40, depression 10, protraction 30, retraction 25, turning with the raised arm 45.
    "collar": ((-20, 50), (-35, 40), (-40, 40)),
    # From the level arm: down 95 (adduction past the side 30 lies beyond it), up 90 with the collar's share taken off;
    # across the chest 135, back 50-60; rotation inward 80-100, outward 90-100.
    "shoulder": ((-125, 100), (-75, 140), (-110, 110)),
    # Flexion 145-155, hyperextension 10 in lax elbows; carrying angle 5-15; pronation 80-90, supination 90.
    "elbow": ((-8, 160), (-15, 15), (-100, 100)),
    # Flexion 80, extension 70, radial deviation 20, ulnar deviation 35; a share of pronation in skinned bodies.
    "wrist": ((-80, 90), (-45, 35), (-40, 40)),
    # Fingers as one: flexion 100, back 40.
    "hand": ((-45, 105), (-25, 25), (-20, 20)),
}


def _range_of(joint: str) -> tuple[tuple[float, float], ...]:
    if joint == "pelvis":
        return ((-torch.inf, torch.inf),) * 3
    kind = joint_class(joint)
    if kind == "trunk":
        kind = "spine" if joint.startswith("spine") else joint
    return _RANGES[kind]


@lru_cache(maxsize=1)
def joint_limits() -> tuple[Tensor, Tensor]:
    """Return the smallest and largest angles (24, 3), double, in radians and the order of `ANGLE_NAMES`."""
    bounds = torch.deg2rad(torch.tensor([_range_of(joint) for joint in SMPL24.joint_names], dtype=torch.float64))
    return bounds[..., 0].contiguous(), bounds[..., 1].contiguous()


def limit_excess(angles: Tensor) -> Tensor:
    """Return how far angles (..., 24, 3) in radians are above their range, or below it (negative); 0 inside."""
    low, high = joint_limits()
    return (angles - high).clamp_min(0) - (low - angles).clamp_min(0)
