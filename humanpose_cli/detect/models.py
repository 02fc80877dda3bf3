"""BlazePose: detector and landmark networks, the decoding of their outputs, and a pool of threads that runs them.

`mediapipe.solutions.pose` runs the same networks and decodes them in the same way, but returns one person and no
scores. Refinement with heat maps follows its RefineLandmarksFromHeatmapCalculator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

import numpy as np

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.core.device import usable_cores
from humanpose_cli.detect.runtime import run_network, runtime_device

DETECTOR_SIZE = 224  # pixels: side of the detector's input
LANDMARK_SIZE = 256  # pixels: side of the landmark networks' input
HAND_SIZE, FACE_SIZE = 224, 192  # pixels: sides of the inputs of the hand and face networks
LandmarkNetwork = Literal["blazepose-full", "blazepose-heavy"]
Item = TypeVar("Item")
Result = TypeVar("Result")
First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True)
class CropLandmarks:
    """The landmark model's prediction for a square crop.

    Attributes:
        points: (35, 2) float, pixels of the 256-pixel crop. The rows of `blazepose33`, the middle of the hips, and the
            point on the circle around the body; the last two define the next region.
        visibility: (33,) float, 0…1. Not hidden.
        inside: (33,) float, 0…1. Within the crop.
        presence: The confidence that the crop shows a person, 0…1.
        world: (33, 3) float, metres in axes of the crop (x right, y down, z away from the camera), origin between the
            hips.
        mask: (256, 256) float32, 0…1; None if it was not requested.
    """

    points: np.ndarray
    visibility: np.ndarray
    inside: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray | None


# Grid side and anchors per cell of each feature map; maps of one stride are joined (8, 16, and three of 32).
_GRIDS = ((28, 2), (14, 2), (7, 6))
_BOX_VALUES = 4  # of a detection: centre and size
_POINTS = 4  # of a detection


@dataclass(frozen=True)
class Detections:
    """The people detected in a square window, best first; lengths in sides of the window, origin top left.

    Attributes:
        scores: (N,) float32, 0…1.
        boxes: (N, 4) float32, x0 y0 x1 y1. The region of face and shoulders.
        points: (N, 4, 2) float32. The middle of the hips, a point on the circle around the body, the middle of the
            shoulders, and a point on the circle around the upper body.
    """

    scores: np.ndarray
    boxes: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@cache
def _anchor_centres() -> np.ndarray:
    """Return the anchors' centres (2254, 2), x, y in sides of the window."""
    centres = []
    for side, per_cell in _GRIDS:
        middle = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode_detections(logits: np.ndarray, values: np.ndarray, threshold: float, same_box: float) -> Detections:
    """Decode the detector's outputs, with weighted suppression of overlapping boxes.

    Args:
        logits: (2254,) float.
        values: (2254, 12) float. Centre, size and four points, in pixels of the 224-pixel input relative to the anchor.
        threshold: The minimum score, 0…1.
        same_box: The overlap (intersection over union) from which two boxes show one person.
    """
    # Nearly all of an image's thousands of anchors are far below: their exponentials are not needed.
    near = np.flatnonzero(logits >= (math.log(threshold / (1 - threshold)) - 0.01 if threshold > 0 else -math.inf))
    scores = _sigmoid(logits[near])
    rows = np.flatnonzero(scores >= threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    scores = scores[rows]
    rows = near[rows]
    values = values[rows] / DETECTOR_SIZE
    centres = _anchor_centres()[rows]
    middle = values[:, :2] + centres
    half = values[:, 2:_BOX_VALUES] / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    points = values[:, _BOX_VALUES:].reshape(-1, _POINTS, 2) + centres[:, None]
    return _suppress(scores, boxes, points, same_box)


def _suppress(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, same_box: float) -> Detections:
    """Replace each detection by the score-weighted mean of its overlaps (mediapipe's WEIGHTED mode)."""
    remaining = np.arange(len(scores))
    out_scores = []
    out_boxes = []
    out_points = []
    while len(remaining):
        same = box_overlap(boxes[remaining[0]], boxes[remaining]) > same_box
        same[0] = True
        members = remaining[same]
        weights = (scores[members] / scores[members].sum())[:, None]
        out_scores.append(scores[members[0]])
        out_boxes.append((weights * boxes[members]).sum(0))
        out_points.append((weights[..., None] * points[members]).sum(0))
        remaining = remaining[~same]
    return Detections(
        np.array(out_scores, dtype=np.float32),
        np.array(out_boxes, dtype=np.float32).reshape(-1, 4),
        np.array(out_points, dtype=np.float32).reshape(-1, _POINTS, 2),
    )


_BODY_ROWS = 33  # landmarks of the body
_NEXT_REGION_ROWS = 2  # points that define the next region
_MODEL_ROWS = 39  # points of the model's output
_REACH = 3  # cells of the heat map to each side of a landmark that refine it
_SHARP = 0.5  # minimum peak of the heat map around a landmark that is refined


def refine_landmarks(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Move landmarks to the mean of the heat map around them.

    The cell of a landmark is found by truncation. The mean is taken over the indices of the seven by seven cells around
    it. Landmarks outside the crop or without a peak stay.

    Args:
        points: (N, L, 2) float, pixels of the crop.
        heatmaps: (N, L, S, S) float, 0…1.

    Returns:
        (N, L, 2) float32, pixels of the crop.
    """
    side = heatmaps.shape[-1]
    cell = np.float32(LANDMARK_SIZE / side)
    centre = np.trunc(points / cell).astype(int)
    inside = ((centre >= 0) & (centre < side)).all(-1)
    near = np.where(inside[..., None], centre, 0)[..., None] + np.arange(-_REACH, _REACH + 1)  # (N, L, 2, 7)
    columns = near[..., 0, :]
    rows = near[..., 1, :]
    number, landmark = np.indices(inside.shape)[..., None, None]
    inside_map = ((rows >= 0) & (rows < side))[..., :, None] & ((columns >= 0) & (columns < side))[..., None, :]
    cell_indices = np.clip(rows, 0, side - 1)[..., :, None], np.clip(columns, 0, side - 1)[..., None, :]
    cells_around = np.where(
        inside_map, heatmaps[number, landmark, cell_indices[0], cell_indices[1]], np.float32(0)
    )  # (N, L, 7, 7)
    total = np.maximum(cells_around.sum((-2, -1)), np.float32(1e-9))
    x = (cells_around.sum(-2) * columns).sum(-1) / total
    y = (cells_around.sum(-1) * rows).sum(-1) / total
    movable = inside & (cells_around.max((-2, -1)) >= _SHARP)
    return np.where(movable[..., None], np.stack([x, y], axis=-1) * cell, points).astype(np.float32)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))


_HAND_ROWS = 21


class PoseModels:
    """The networks on a device. Several threads may use them at once.

    Args:
        device: "cpu", "cuda:N", or "auto" for the GPU if ONNX Runtime can use one.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = runtime_device(device)

    @property
    def batch(self) -> int:
        """The maximum number of crops in a call: one on the CPU, where more gain nothing."""
        return 1 if self.device == "cpu" else 32

    def find(self, windows: Sequence[np.ndarray], threshold: float, same_box: float) -> list[Detections]:
        """Find people in windows.

        Args:
            windows: (224, 224, 3) uint8 RGB each.
            threshold: The minimum score, 0…1.
            same_box: The overlap (intersection over union) from which two boxes show one person.
        """
        logits, values = run_network("blazepose-detector", ("logits", "values"), np.stack(windows), self.device)
        outputs = zip(logits[..., 0], values, strict=True)
        return [decode_detections(scores, boxes, threshold, same_box) for scores, boxes in outputs]

    def landmarks(
        self,
        crops: Sequence[np.ndarray],
        network: LandmarkNetwork = "blazepose-full",
        *,
        masks: bool = True,
    ) -> list[CropLandmarks]:
        """Find the person in each crop.

        Args:
            crops: (256, 256, 3) uint8 RGB each.
            network: The landmark network.
            masks: Whether to compute masks, which doubles the time of the full network.
        """
        outputs = ("landmarks", "heatmap", "presence", "world", *(("mask",) if masks else ()))
        landmarks, heatmaps, presence, world, *mask_output = run_network(network, outputs, np.stack(crops), self.device)
        rows = landmarks.reshape(-1, _MODEL_ROWS, 5)  # x, y, z, visibility, presence
        count = _BODY_ROWS + _NEXT_REGION_ROWS
        points = refine_landmarks(rows[:, :count, :2], heatmaps[:, :count])
        likelihood = _sigmoid(rows[:, :_BODY_ROWS, 3:])
        world = world.reshape(-1, _MODEL_ROWS, 3)[:, :_BODY_ROWS]
        return [
            CropLandmarks(
                points=points[i],
                visibility=likelihood[i, :, 0],
                inside=likelihood[i, :, 1],
                presence=float(presence[i, 0]),
                world=world[i],
                mask=mask_output[0][i, 0] if masks else None,
            )
            for i in range(len(points))
        ]

    def hands(self, crops: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Find the hand in each crop.

        Args:
            crops: (224, 224, 3) uint8 RGB each, with the fingers up.

        Returns:
            For each crop the landmarks (21, 2) in pixels of the crop, (21, 3) in metres and in the crop's axes, and the
            presence of a hand, 0…1.
        """
        outputs = ("landmarks", "world", "presence")
        landmarks, world, presence = run_network("hand-landmark", outputs, np.stack(crops), self.device)
        rows = zip(landmarks.reshape(-1, _HAND_ROWS, 3), world.reshape(-1, _HAND_ROWS, 3), presence[:, 0], strict=True)
        return [(points[:, :2], metres, float(present)) for points, metres, present in rows]

    def faces(self, crops: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """Find the face in each crop.

        Args:
            crops: (192, 192, 3) uint8 RGB each, upright.

        Returns:
            For each crop the landmarks (468, 3) in pixels of the crop, z forward, and the presence of a face, 0…1.
        """
        landmarks, score = run_network("face-landmark", ("landmarks", "score"), np.stack(crops), self.device)
        return list(zip(landmarks.reshape(len(crops), -1, 3), _sigmoid(score.reshape(-1)).tolist(), strict=True))


def default_threads() -> int:
    """Return the number of this process's cores, at most four."""
    return min(4, usable_cores())


_MAX_CALLERS = 256  # threads that wait for a pool's


class ModelPool:
    """Threads that share the models. Results do not depend on the number of threads.

    Args:
        threads: The number of threads.
        start: Makes the models when they are first needed.
    """

    def __init__(self, threads: int, start: Callable[[], PoseModels] = PoseModels) -> None:
        self._models = cache(start)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="detection") if threads > 1 else None
        # A thread for each call that runs beside others and may wait for the pool: with fewer, calls within calls would
        # wait for each other.
        self._callers = ThreadPoolExecutor(_MAX_CALLERS) if threads > 1 else None

    def map(
        self, work: Callable[[PoseModels, Sequence[Item]], Sequence[Result]], items: Sequence[Item]
    ) -> list[Result]:
        """Compute `work(models, part)` for parts of the items, spread over the threads.

        Args:
            work: Returns a result for each item of the part.
            items: The items.

        Returns:
            The results in the order of the items.
        """
        if not items:
            return []
        models = self._models()
        parts = [items[i : i + models.batch] for i in range(0, len(items), models.batch)]
        if self._executor is None or len(parts) < 2 or models.device != "cpu":  # a GPU has its own threads
            results = [work(models, part) for part in parts]
        else:
            results = list(self._executor.map(lambda part: work(models, part), parts))
        return [result for part in results for result in part]

    def begin(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Start a call that uses the pool, in a thread of its own if there are threads.

        Args:
            work: The call.

        Returns:
            A function that waits for the result; without threads, it makes the call.
        """
        return work if self._callers is None else self._callers.submit(work).result

    def run_both(self, first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
        """Run two calls that use the pool, at the same time if there are threads."""
        waiting = self.begin(first)
        result = second()
        return waiting(), result

    def close(self) -> None:
        """Stop the threads. A closed pool cannot be used again."""
        for executor in (self._callers, self._executor):
            if executor is not None:
                executor.shutdown(wait=True)

    def __enter__(self) -> ModelPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
