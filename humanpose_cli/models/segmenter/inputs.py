"""Inputs and outputs of segmenters: part labels and their colours, and the guide painted from detected landmarks.

A segmenter trained on rendered people alone mistakes furniture for limbs and left for right in photographs. The
detector was trained on a million photographs and makes the same errors on rendered people, so its landmarks transfer
what it has learned. This extends Neural Body Fitting, whose segmenter takes the image alone.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.parts import PartMap
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.models.crops import CropEvidence

_LEVELS = (-1.0, 0.0, 1.0)


@lru_cache(maxsize=16)
def code_colours(count: int) -> NDArray[np.float32]:
    """Return distinct colours for the background and each part or joint.

    First come the colour cube's corners, then other points of its 3×3×3 grid, each as far as possible from the previous
    ones.

    Args:
        count: The number of parts or joints, at most 26.

    Returns:
        (count + 1, 3) float32 RGB, −1 to 1. Row 0, black, is the background.
    """
    grid = np.array(list(product(_LEVELS, repeat=3)), np.float32)
    indices = [0]  # (−1, −1, −1)
    distance = np.linalg.norm(grid - grid[0], axis=1)
    corner = np.abs(grid).min(1) == 1
    for number in range(count):
        candidates = corner if number < corner.sum() - 1 else np.ones(len(grid), bool)
        following = int(np.where(candidates, distance, -1).argmax())
        indices.append(following)
        distance = np.minimum(distance, np.linalg.norm(grid - grid[following], axis=1))
    colours = grid[indices]
    colours.setflags(write=False)
    return colours


def as_bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert colours from −1…1 to 0…255, for display."""
    return np.rint(127.5 * (np.clip(colours, -1, 1) + 1)).astype(np.uint8)


def labels_of_parts(parts: NDArray[np.uint8], part_map: PartMap) -> NDArray[np.uint8]:
    """Convert a map of 0 and 1 + rows of SMPL24 to 0 and 1 + labels of the partition."""
    table = np.concatenate(([0], np.add(part_map.rows, 1))).astype(np.uint8)
    return table[parts]


GUIDE_CHANNELS = 4
"""Red, green and blue of the sticks, and the mask."""

_MIN_CONFIDENCE = 0.1
_THICK = 0.03  # of the crop's side
_WAIST = 0.4  # of the way from the hips to the shoulders: where the pelvis ends
_SHOULDERS, _HIPS, _EARS = (BLAZEPOSE33.indices((f"left_{x}", f"right_{x}")) for x in ("shoulder", "hip", "ear"))
_LIMBS = (
    *(("shoulder", "elbow", "shoulder"), ("elbow", "wrist", "elbow"), ("wrist", "index", "wrist")),
    *(("hip", "knee", "hip"), ("knee", "ankle", "knee"), ("ankle", "foot_index", "foot")),
)
"""(from, to, joint of SMPL24 whose part it is), for each side."""


def paint_guide(evidence: CropEvidence, part_map: PartMap) -> NDArray[np.float32]:
    """Paint the detected landmarks as sticks.

    Sticks of lower confidence are fainter. Nearer limbs hide farther ones if world landmarks are known.

    Args:
        evidence: The evidence about the person.
        part_map: The partition that gives the colours.

    Returns:
        (4, S, S) float32, 0 to 1. The sticks' colours and the person's mask; 0 if unknown.
    """
    size = evidence.size
    guide = np.zeros((GUIDE_CHANNELS, size, size), np.float32)
    if evidence.landmarks is not None:
        guide[:3] = _sticks(evidence, part_map).transpose(2, 0, 1) / np.float32(255)
    if evidence.mask is not None:
        guide[3] = evidence.mask
    return guide


def _sticks(evidence: CropEvidence, part_map: PartMap) -> NDArray[np.uint8]:
    assert evidence.landmarks is not None
    size = evidence.size
    confidence = np.clip(evidence.landmarks[:, 2], 0, 1)
    points = np.clip(evidence.landmarks[:, :2], -2 * size, 3 * size)
    depth = np.zeros(len(points)) if evidence.world is None else evidence.world[:, 2]
    colours = as_bytes(code_colours(len(part_map)))[1:].astype(np.float32)
    middles = [(points[rows].mean(0), depth[rows].mean(), confidence[rows].min()) for rows in (_SHOULDERS, _EARS)]
    (shoulders, shoulder_depth, trunk_confidence), (ears, _, face_confidence) = middles
    nose = BLAZEPOSE33.index("nose")
    waist = points[_HIPS] + _WAIST * (points[_SHOULDERS] - points[_HIPS])
    trunk_confidence = min(trunk_confidence, confidence[_HIPS].min())
    shapes = [
        (shoulder_depth, trunk_confidence, "spine3", np.concatenate((points[_SHOULDERS], waist[::-1]))),
        (depth[_HIPS].mean(), trunk_confidence, "pelvis", np.concatenate((points[_HIPS], waist[::-1]))),
        (shoulder_depth, face_confidence, "neck", np.stack((shoulders, ears))),
        (depth[nose], face_confidence, "head", np.stack((ears, points[nose]))),
    ]
    for start, end, joint in _LIMBS:
        for side in ("left", "right"):
            ends = BLAZEPOSE33.indices((f"{side}_{start}", f"{side}_{end}"))
            shapes.append((depth[ends].mean(), confidence[ends].min(), f"{side}_{joint}", points[ends]))
    image = np.zeros((size, size, 3), np.uint8)
    thick = max(1, round(_THICK * size))
    for _, certainty, joint, corners in sorted(shapes, key=lambda shape: -shape[0]):
        if certainty < _MIN_CONFIDENCE:
            continue
        colour = (certainty * colours[part_map.rows[SMPL24.index(joint)]]).tolist()
        polygon = np.rint(corners).astype(np.int32)
        if len(polygon) > 2:
            cv2.fillPoly(image, [polygon], colour)
        cv2.polylines(image, [polygon], len(polygon) > 2, colour, thick)
    return image
