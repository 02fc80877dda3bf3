"""How far joints turn: ranges of anatomical angles, and a residual that grows outside them.

Ranges are the normal active ranges of motion of clinical goniometry (American Academy of Orthopaedic Surgeons, 1965;
Norkin & White, Measurement of Joint Motion, 2016; spine by segment: Kapandji, 2008; White & Panjabi, 1990), widened
where one joint of SMPL24 stands for several real ones or where people go passively further than the clinic's active
test: deep squats and cross-legged sitting for hips and knees, and the shoulder blade's share for collar and shoulder.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from humanpose_cli.bodies.joint_angles import ANGLE_NAMES, joint_class, rotations_to_angles
from humanpose_cli.conventions import SMPL24

__all__ = ["joint_limit_residual", "joint_limits"]

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
# Degrees of soft onset: the residual rises quadratically at first, then like the angle itself.
_ONSET = 3.0


def _range_of(joint: str) -> tuple[tuple[float, float], ...]:
    if joint == "pelvis":
        return ((-torch.inf, torch.inf),) * 3
    kind = joint_class(joint)
    if kind == "trunk":
        kind = "spine" if joint.startswith("spine") else joint
    return _RANGES[kind]


@lru_cache(maxsize=8)
def _limits(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    bounds = torch.deg2rad(torch.tensor([_range_of(joint) for joint in SMPL24.joint_names], dtype=dtype))
    return bounds[..., 0].to(device), bounds[..., 1].to(device)


def joint_limits() -> dict[str, tuple[float, float]]:
    """The ranges as {"left_knee.flexion": (low, high), …} in radians; the pelvis has none."""
    low, high = _limits(torch.float64, torch.device("cpu"))
    return {
        f"{joint}.{angle}": (float(low[j, a]), float(high[j, a]))
        for j, joint in enumerate(SMPL24.joint_names)
        for a, angle in enumerate(ANGLE_NAMES[joint])
        if joint != "pelvis"
    }


def joint_limit_residual(rotations: Tensor) -> Tensor:
    """How far each joint angle lies outside its range: (B, 24, 3, 3) parent-relative → (B, 69) radians.

    Zero inside; outside it is d² / (d + 3°) for an excess of d, with the sign of the side (above positive): its
    slope starts at zero and tends to one, so that its square is smooth. The pelvis has no limits and no entries.
    """
    low, high = _limits(rotations.dtype, rotations.device)
    angles = rotations_to_angles(rotations)[..., 1:, :]
    above = (angles - high[1:]).clamp_min(0)
    below = (low[1:] - angles).clamp_min(0)
    onset = torch.deg2rad(rotations.new_tensor(_ONSET))
    residual = above.square() / (above + onset) - below.square() / (below + onset)
    return residual.flatten(-2)
