"""The fallback: mediapipe's public pose interface behind the same methods as our own graphs.

`mediapipe.solutions.pose` shows one person a picture and hides the presence score and the points that define the next
region, so both are estimated here. Fewer people are found this way; it is there for builds of mediapipe whose graphs
do not start.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.detection.anchors import Detections
from humanpose_cli.detection.models import LANDMARK_SIZE, CropLandmarks
from humanpose_cli.detection.quiet import native_chatter_kept_off_stderr
from humanpose_cli.errors import UnavailableError

__all__ = ["PublicModels"]

_HIPS = BLAZEPOSE33.indices(["left_hip", "right_hip"])
_SHOULDERS = BLAZEPOSE33.indices(["left_shoulder", "right_shoulder"])
_SEEN_FIRST = BLAZEPOSE33.indices(["nose", "left_shoulder", "right_shoulder"])


class PublicModels:
    """mediapipe's own pipeline on each window and crop (see `models.PoseModels`)."""

    name = "public interface"

    def __init__(self) -> None:
        # mediapipe 0.10.14 calls a function that its own version of protobuf warns about, once a picture.
        warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype", module="google.protobuf")
        try:
            with native_chatter_kept_off_stderr():
                from mediapipe.python.solutions.pose import Pose

                self._pose = Pose(
                    static_image_mode=True,
                    model_complexity=1,
                    enable_segmentation=True,
                    min_detection_confidence=0.3,
                )
                self._pose.process(np.zeros((LANDMARK_SIZE, LANDMARK_SIZE, 3), np.uint8))
        except Exception as error:  # whatever mediapipe raises, people cannot be found without it
            raise UnavailableError(
                "mediapipe",
                f"cannot be used ({type(error).__name__}: {error})",
                remedy="reinstall it with: pip install --force-reinstall mediapipe==0.10.14",
            ) from error

    def find(self, window: np.ndarray, threshold: float) -> Detections:
        """The one person that mediapipe shows in a square window, if sure enough."""
        seen = self._process(window)
        if seen is None or seen.presence < threshold:
            return Detections(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 4, 2)))
        unit = seen.points / LANDMARK_SIZE
        shoulders = unit[_SHOULDERS].mean(0)
        points = np.stack([unit[-2], unit[-1], shoulders, shoulders])
        head = unit[: _SHOULDERS[0]]
        box = np.concatenate([head.min(0), head.max(0)])
        return Detections(np.array([seen.presence]), box[None], points[None])

    def landmarks(self, crop: np.ndarray) -> CropLandmarks:
        """The person in a crop; presence 0 if mediapipe sees nobody."""
        seen = self._process(crop)
        if seen is not None:
            return seen
        rows = len(BLAZEPOSE33)
        size = LANDMARK_SIZE
        points = np.full((rows + 2, 2), size / 2, np.float32)
        points[-1, 1] = 0.1 * size
        nothing = np.zeros(rows, np.float32)
        return CropLandmarks(
            points, nothing, nothing, 0.0, np.zeros((rows, 3), np.float32), np.zeros((size, size), np.float32)
        )

    def _process(self, square: np.ndarray) -> CropLandmarks | None:
        answer: Any = self._pose.process(square)
        if answer.pose_landmarks is None or answer.pose_world_landmarks is None:
            return None
        landmarks = answer.pose_landmarks.landmark
        points = np.array([[p.x, p.y] for p in landmarks], dtype=np.float32) * LANDMARK_SIZE
        visibility = np.array([p.visibility for p in landmarks], dtype=np.float32)
        world = np.array([[p.x, p.y, p.z] for p in answer.pose_world_landmarks.landmark], dtype=np.float32)
        inside = np.all((points >= 0) & (points <= LANDMARK_SIZE), axis=1).astype(np.float32)
        mask = np.clip(np.array(answer.segmentation_mask, dtype=np.float32), 0, 1)
        presence = float(visibility[_SEEN_FIRST].mean())
        points = np.concatenate([points, _next_region_points(points)])
        return CropLandmarks(points, visibility, inside, presence, world, mask)

    def close(self) -> None:
        """Stop mediapipe's graph."""
        self._pose.close()


def _next_region_points(points: np.ndarray) -> np.ndarray:
    """(2, 2): hip centre, and a point above it on the circle that holds every landmark (33, 2)."""
    centre, shoulders = points[_HIPS].mean(0), points[_SHOULDERS].mean(0)
    radius = np.linalg.norm(points - centre, axis=1).max()
    up = shoulders - centre
    return np.stack([centre, centre + up / max(float(np.linalg.norm(up)), 1e-6) * radius]).astype(np.float32)
