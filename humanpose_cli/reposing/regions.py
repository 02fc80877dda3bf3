"""Regions of a body that reposing treats apart: hair, skin, and the groups of parts that hide each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.conventions import SMPL24

__all__ = ["ARMS", "HANDS", "TRUNK", "parts_mask", "scalp"]

Mask = NDArray[np.bool_]

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
ARMS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hand"))
HANDS = {side: (f"{side}_wrist", f"{side}_hand") for side in ("left", "right")}


def parts_mask(part_labels: NDArray[np.integer], names: tuple[str, ...]) -> Mask:
    """Vertices (V,) that belong to the named parts."""
    return np.isin(part_labels, SMPL24.indices(names))


def scalp(body: RiggedBody) -> Mask:
    """Vertices (V,) where hair grows: the head behind the ears and above a line from the ears to the hairline.

    The face's proportions are those of an adult: the hairline lies 0.4 ear-to-ear distances above the eyes, the
    nape as far below the ears.
    """
    template = body.template.cpu().numpy()
    landmarks = body.landmarks("coco17")
    points = landmarks.template.cpu().numpy()

    def middle(name: str) -> NDArray[np.float32]:
        return points[landmarks.skeleton.indices((f"left_{name}", f"right_{name}"))].mean(0)

    ear, eye = middle("ear"), middle("eye")
    width = abs(float(np.ptp(points[landmarks.skeleton.indices(("left_ear", "right_ear")), 0])))
    y, z = template[:, 1], template[:, 2]
    along = np.clip((z - ear[2]) / max(float(eye[2] - ear[2]), 1e-3), 0, 1.2)
    line = ear[1] + 0.12 * width + along * (eye[1] + 0.42 * width - ear[1] - 0.12 * width)
    behind = (z < ear[2] - 0.05 * width) & (y > ear[1] - 0.42 * width)
    head = parts_mask(body.part_labels.cpu().numpy(), ("head",))
    return head & (behind | (y > line))
