"""Corners of the background, followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera

_SIDE = 960  # pixels, longer side of the images in which corners are followed
_MAX_CORNERS = 510  # that are followed at the same time
_MIN_DISTANCE = 10.0  # pixels between two corners
_QUALITY = 0.01  # of a corner, as a share of the best one in its cell (`goodFeaturesToTrack`)
_CELLS = 5, 3  # across and down, with the same number of corners each
_REPLENISH = 0.8  # share of `_MAX_CORNERS` below which new corners are searched
_RENEWAL = 6  # minimum number of frames between two searches
_WINDOW, _LEVELS = 21, 3  # of `calcOpticalFlowPyrLK`
_BACKTRACK = 0.5  # pixels, maximum distance of a corner that is followed forwards and back
_MARGIN = 0.08  # of a person's box that is not background
_KEY_SPACING = 6  # frames
_KEY_SURVIVAL = 0.6  # share of a key frame's corners below which the next frame becomes a key frame
_INTERMEDIATE = 150  # corners that are stored of a frame between key frames


class FrameCorners(NamedTuple):
    """The corners of one frame.

    Attributes:
        ids: (N,) int64. The numbers of the corners, rising.
        positions: (N, 2) float32. Positions about the principal point, in pixels of the reduced image.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.float32]


class CornerTracker:
    """Follows corners outside of people through the frames of one shot (Lucas–Kanade, forwards and back).

    Attributes:
        frames: The corners of each frame so far. Frames between key frames have a selection.
        keys: The key frames: evenly spaced ones, and those with few of the last key frame's corners.
        focal: The focal length of the first frame's camera, in the unit of the positions.
    """

    def __init__(self) -> None:
        self.frames: list[FrameCorners] = []
        self.keys: list[int] = []
        self.focal = 0.0
        self._previous: NDArray[np.uint8] | None = None
        self._points = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._count = 0
        self._age = 0

    def add(self, image: NDArray[np.uint8], boxes: Sequence[NDArray[np.float32]], camera: Camera) -> None:
        """Follow the corners to the next frame.

        Args:
            image: (H, W, 3) uint8. The frame.
            boxes: (4,) each. The boxes of people in the frame.
            camera: The camera of the frame.
        """
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        grey = _shrunken_grey(image, scale)
        background = _background(grey.shape, [np.asarray(box, float) * scale for box in boxes])
        if self._previous is not None and len(self._points):
            self._follow(self._previous, grey, background)
        self._age += 1
        if self._previous is None or (self._age >= _RENEWAL and len(self._points) < _REPLENISH * _MAX_CORNERS):
            self._replenish(grey, background)
        self._previous = grey
        centre = np.asarray(camera.principal_point, np.float32) * scale
        self.focal = self.focal or float(camera.focal) * scale
        self.append(FrameCorners(self._ids, self._points - centre))

    def append(self, corners: FrameCorners) -> None:
        """Add the corners of the next frame. Frames between key frames keep a selection."""
        if self._is_key(corners.ids):
            self.keys.append(len(self.frames))
        elif len(corners.ids) > _INTERMEDIATE:
            rows = np.linspace(0, len(corners.ids) - 1, _INTERMEDIATE).round().astype(int)
            corners = FrameCorners(corners.ids[rows], corners.positions[rows])
        self.frames.append(corners)

    def _is_key(self, ids: NDArray[np.int64]) -> bool:
        if not self.keys or len(self.frames) - self.keys[-1] >= _KEY_SPACING:
            return True
        key_ids = self.frames[self.keys[-1]].ids
        return bool(np.isin(key_ids, ids, assume_unique=True).sum() < _KEY_SURVIVAL * len(key_ids))

    def _follow(self, previous: NDArray[np.uint8], grey: NDArray[np.uint8], background: NDArray[np.bool_]) -> None:
        points, has_points = _flow(previous, grey, self._points)
        origins, has_origins = _flow(grey, previous, points)
        visible = has_points & has_origins & (np.linalg.norm(origins - self._points, axis=1) < _BACKTRACK)
        height, width = background.shape
        column, row = np.floor(points).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        visible &= inside & background[row.clip(0, height - 1), column.clip(0, width - 1)]
        self._points = points[visible]
        self._ids = self._ids[visible]

    def _replenish(self, grey: NDArray[np.uint8], background: NDArray[np.bool_]) -> None:
        """Search for new corners in each cell of the image, so that a hedge does not get all of them."""
        self._age = 0
        free = np.where(background, 255, 0).astype(np.uint8)
        for x, y in self._points:
            cv2.circle(free, (round(float(x)), round(float(y))), round(_MIN_DISTANCE), 0, -1)
        height, width = grey.shape
        for row in range(_CELLS[1]):
            for column in range(_CELLS[0]):
                x0, x1 = (width * (column + end) // _CELLS[0] for end in (0, 1))
                y0, y1 = (height * (row + end) // _CELLS[1] for end in (0, 1))
                inside = (self._points >= (x0, y0)).all(1) & (self._points < (x1, y1)).all(1)
                count = _MAX_CORNERS // (_CELLS[0] * _CELLS[1]) - int(inside.sum())
                if count > 0 and min(x1 - x0, y1 - y0) > _WINDOW:
                    self._search(grey[y0:y1, x0:x1], free[y0:y1, x0:x1], (x0, y0), count)

    def _search(self, grey: NDArray[np.uint8], free: NDArray[np.uint8], origin: tuple[int, int], count: int) -> None:
        corners = cv2.goodFeaturesToTrack(grey, count, _QUALITY, _MIN_DISTANCE, mask=free)
        if corners is not None:
            self._points = np.concatenate((self._points, np.asarray(corners[:, 0] + np.array(origin), np.float32)))
            self._ids = np.concatenate((self._ids, self._count + np.arange(len(corners))))
            self._count += len(corners)


def _flow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Find points (N, 2) of one image in the next one, and return which of them were found (N,)."""
    positions, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.zeros_like(points), winSize=(_WINDOW, _WINDOW), maxLevel=_LEVELS
    )
    return np.asarray(positions, np.float32), np.asarray(status)[:, 0] == 1


def _background(shape: tuple[int, ...], boxes: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Return the area (H, W) outside of people's boxes, which are grown on all sides."""
    outside = np.ones(shape, bool)
    for x0, y0, x1, y1 in boxes:
        margin = _MARGIN * np.array((x1 - x0, y1 - y0)).max()
        top = max(int(y0 - margin), 0)
        left = max(int(x0 - margin), 0)
        outside[top : max(int(y1 + margin) + 1, 0), left : max(int(x1 + margin) + 1, 0)] = False
    return outside


def _shrunken_grey(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale == 1.0:
        return np.asarray(grey, np.uint8)
    size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
