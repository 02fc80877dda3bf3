"""The two BlazePose models behind one interface, and the pool that runs several of them in threads.

Decodes the pose detector's raw output: SSD anchors, scores and non-maximum suppression.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np

__all__ = [
    "DETECTOR_SIZE",
    "LANDMARK_SIZE",
    "CropLandmarks",
    "Detections",
    "ModelPool",
    "PoseModels",
    "decode_detections",
    "default_threads",
    "start_models",
]


LANDMARK_SIZE = 256
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CropLandmarks:
    """What the landmark model says about one square crop.

    points (35, 2) pixels of the 256-pixel crop: the rows of `blazepose33`, then hip centre and the point on the
    circle around the body that together define the next region; visibility (33,) and inside (33,) 0..1: not hidden,
    and within the crop; presence 0..1: somebody is there; world (33, 3) metres, hip centre origin, axes of the
    crop (x right, y down, z away from the camera); mask (256, 256) float32 0..1.
    """

    points: np.ndarray
    visibility: np.ndarray
    inside: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray


class PoseModels(Protocol):
    """One running instance of both models; not to be used by two threads at once."""

    name: str

    def find(self, window: np.ndarray, threshold: float) -> Detections:
        """People in a (224, 224, 3) uint8 window."""

    def landmarks(self, crop: np.ndarray) -> CropLandmarks:
        """The person around whom the (256, 256, 3) uint8 crop was cut, upright."""

    def close(self) -> None:
        """Give the models' memory back."""


def start_models() -> PoseModels:
    """The models inside mediapipe's wheel; UnavailableError if they cannot be started."""
    from humanpose_cli.detect.graphs import GraphModels

    return GraphModels()


def default_threads() -> int:
    """As many model instances as this process has cores, four at most (more bring little for one image)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(4, len(os.sched_getaffinity(0))))
    return max(1, min(4, os.cpu_count() or 1))


class ModelPool:
    """`threads` instances of the models, started when first needed; results never depend on their number."""

    def __init__(self, threads: int, start: Callable[[], PoseModels] = start_models) -> None:
        self.threads = threads
        self._start = start
        self._idle: queue.LifoQueue[PoseModels | None] = queue.LifoQueue()
        for _ in range(threads):
            self._idle.put(None)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="detection") if threads > 1 else None

    def map(self, work: Callable[[PoseModels, Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """`work(models, item)` for each item, spread over the threads, in the order of the items."""
        items = list(items)
        if self._executor is None or len(items) < 2:
            return [self._run(work, item) for item in items]
        return list(self._executor.map(lambda item: self._run(work, item), items))

    def _run(self, work: Callable[[PoseModels, Item], Answer], item: Item) -> Answer:
        models = self._idle.get()
        try:
            models = models or self._start()
            return work(models, item)
        finally:
            self._idle.put(models)

    def close(self) -> None:
        """Stop the threads and free the models; a closed pool cannot be used again."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        for _ in range(self.threads):
            models = self._idle.get()
            if models is not None:
                models.close()

    def __enter__(self) -> ModelPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
