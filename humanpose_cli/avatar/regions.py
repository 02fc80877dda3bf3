"""Regions of a body that reposing treats apart: hair, skin, and the groups of parts that hide each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24

__all__ = ["HANDS", "TRUNK", "VARIANTS", "flat_parts", "front_of_face", "limb_groups", "parts_mask", "scalp"]

Mask = NDArray[np.bool_]

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
VARIANTS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hand"))
HANDS = {side: (f"{side}_wrist", f"{side}_hand") for side in ("left", "right")}
# Parts whose back looks like their front where clothes go round; heads, hands and feet do not.
_FLAT = ("pelvis", "spine1", "spine2", "spine3", "collar", "shoulder", "elbow", "hip", "knee")


class _Head(NamedTuple):
    """Measures of the rest head, metres: heights and depths of ears and eyes, distance between the ears."""

    ear_y: float
    ear_z: float
    eye_y: float
    eye_z: float
    width: float


def parts_mask(part_labels: NDArray[np.integer], names: tuple[str, ...]) -> Mask:
    """Vertices (V,) that belong to the named parts."""
    return np.isin(part_labels, SMPL24.indices(names))


def flat_parts(part_labels: NDArray[np.integer]) -> Mask:
    """Vertices (V,) of trunk and limbs, without head, neck, hands and feet."""
    names = tuple(name for name in SMPL24.joint_names if name.removeprefix("left_").removeprefix("right_") in _FLAT)
    return parts_mask(part_labels, names)


def limb_groups() -> NDArray[np.int64]:
    """A number per row of SMPL24 (24,): trunk with head, each arm, each leg."""
    groups = np.zeros(len(SMPL24), np.int64)
    for row, name in enumerate(SMPL24.joint_names):
        side, _, part = name.rpartition("_")
        if side:
            arm = part in ("shoulder", "elbow", "wrist", "hand")
            leg = part in ("hip", "knee", "ankle", "foot")
            groups[row] = (1 if arm else 3 if leg else 0) + (side == "right" and (arm or leg))
    return groups


def _measure_head(body: Body) -> _Head:
    landmarks = body.landmarks("coco17")
    points = landmarks.template.cpu().numpy()
    ears = points[landmarks.skeleton.indices(("left_ear", "right_ear"))]
    eyes = points[landmarks.skeleton.indices(("left_eye", "right_eye"))].mean(0)
    ear = ears.mean(0)
    return _Head(float(ear[1]), float(ear[2]), float(eyes[1]), float(eyes[2]), float(np.ptp(ears[:, 0])))


def scalp(body: Body) -> Mask:
    """Vertices (V,) where hair grows: the head behind the ears and above a line from the ears to the hairline.

    The proportions are those of an adult: the hairline lies 0.42 ear-to-ear distances above the eyes, the nape as
    far below the ears.
    """
    head = _measure_head(body)
    template = body.template.cpu().numpy()
    y, z = template[:, 1], template[:, 2]
    along = np.clip((z - head.ear_z) / max(head.eye_z - head.ear_z, 1e-3), 0, 1.2)
    ear_line = head.ear_y + 0.12 * head.width
    line = ear_line + along * (head.eye_y + 0.42 * head.width - ear_line)
    behind = (z < head.ear_z - 0.05 * head.width) & (y > head.ear_y - 0.42 * head.width)
    return parts_mask(body.part_labels.cpu().numpy(), ("head",)) & (behind | (y > line))


def front_of_face(body: Body) -> Mask:
    """Vertices (V,) of the face that no hair covers: before the temples and below the hairline."""
    head = _measure_head(body)
    z = body.template.cpu().numpy()[:, 2]
    before = z > head.ear_z + 0.3 * (head.eye_z - head.ear_z)
    return parts_mask(body.part_labels.cpu().numpy(), ("head",)) & before & ~scalp(body)
