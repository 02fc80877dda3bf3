"""Decodes the pose detector's raw output: SSD anchors, scores and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

__all__ = ["DETECTOR_SIZE", "Detections", "decode_detections"]

DETECTOR_SIZE = 224
# Grid side and anchors per cell of each feature map; maps of one stride are joined (8, 16, and three of 32).
_GRIDS = ((28, 2), (14, 2), (7, 6))
_BOX_VALUES, _POINTS = 4, 4


@dataclass(frozen=True)
class Detections:
    """People seen in one square window, best first; lengths in units of the window's side, origin top left.

    scores (N,) 0..1; boxes (N, 4) x0 y0 x1 y1 of the face and shoulders region; points (N, 4, 2): hip centre, a
    point on the circle around the whole body, shoulder centre, a point on the circle around the upper body.
    """

    scores: np.ndarray
    boxes: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@cache
def _anchor_centres() -> np.ndarray:
    """(2254, 2) x, y in units of the window's side."""
    centres = []
    for side, per_cell in _GRIDS:
        middle = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode_detections(logits: np.ndarray, values: np.ndarray, threshold: float, overlap: float = 0.3) -> Detections:
    """Detections above `threshold` (0..1) after weighted suppression of boxes with IoU above `overlap`.

    logits (2254,), values (2254, 12) as the model gives them: centre, size, four points, in pixels of its
    224-pixel input relative to the anchor.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    scores = scores[kept]
    values = values[kept] / DETECTOR_SIZE
    centres = _anchor_centres()[kept]
    middle, half = values[:, :2] + centres, values[:, 2:_BOX_VALUES] / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    points = values[:, _BOX_VALUES:].reshape(-1, _POINTS, 2) + centres[:, None]
    return _suppress(scores, boxes, points, overlap)


def _suppress(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, overlap: float) -> Detections:
    """Each kept detection is the score-weighted mean of those it overlaps (mediapipe's WEIGHTED mode)."""
    left = np.arange(len(scores))
    out_scores, out_boxes, out_points = [], [], []
    while len(left):
        same = box_overlap(boxes[left[0]], boxes[left]) > overlap
        same[0] = True
        members = left[same]
        weights = (scores[members] / scores[members].sum())[:, None]
        out_scores.append(scores[members[0]])
        out_boxes.append((weights * boxes[members]).sum(0))
        out_points.append((weights[..., None] * points[members]).sum(0))
        left = left[~same]
    return Detections(
        np.array(out_scores, dtype=np.float32),
        np.array(out_boxes, dtype=np.float32).reshape(-1, 4),
        np.array(out_points, dtype=np.float32).reshape(-1, _POINTS, 2),
    )


def box_overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` (4,) with each of `boxes` (N, 4), x0 y0 x1 y1; (N,)."""
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.clip(size, 0, None), axis=1)
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    own = np.prod(np.clip(box[2:] - box[:2], 0, None))
    return shared / np.maximum(own + areas - shared, 1e-12)
