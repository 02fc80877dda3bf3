"""Corners of the background, followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera

_SIDE = 960  # pixels of the longer side of the images that corners are followed in
_CORNERS, _APART = 510, 10.0  # alive at once, and pixels between two
_QUALITY = 0.01  # of a corner, as a share of the best one's in its cell (`goodFeaturesToTrack`)
_CELLS = 5, 3  # across and down, each with as many corners
_REPLENISH = 0.8  # share of `_CORNERS` below which new ones are searched for
_RENEWAL = 6  # frames between two searches for new corners, at most
_WINDOW, _LEVELS = 21, 3
_BACKTRACK = 0.5  # pixels by which a corner may miss its first position when it is followed back
_MARGIN = 0.08  # of a person's box that is no background
_KEY_SPACING = 6  # frames
_KEY_SURVIVAL = 0.6  # share of a key frame's corners below which the next frame becomes one
_BETWEEN = 150  # corners that are kept of a frame between key frames


class FrameCorners(NamedTuple):
    """Corners of one frame: numbers (N,) int64, rising, and positions (N, 2) float32 about the principal point, in
    units of `CornerTracker.scale` pixels.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.float32]


class CornerTracker:
    """Follows corners outside of people through the frames of one shot (Lucas–Kanade, forwards and back).

    frames  the corners of each frame so far; between key frames some of them
    keys    the key frames: evenly spaced ones, and those that keep few of the last one's corners
    focal   the focal length that the first frame's camera states, in the unit of the positions
    """

    def __init__(self) -> None:
        self.frames: list[FrameCorners] = []
        self.keys: list[int] = []
        self.focal = 0.0
        self._before: NDArray[np.uint8] | None = None
        self._points = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._count, self._age = 0, 0

    def add(self, image: NDArray[np.uint8], boxes: Sequence[NDArray[np.float32]], camera: Camera) -> None:
        """Follow the corners to the next frame (H, W, 3), with people's boxes (4,) in it."""
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        grey = _shrunken_grey(image, scale)
        background = _background(grey.shape, [np.asarray(box, float) * scale for box in boxes])
        if self._before is not None and self._before.shape != grey.shape:
            self._before, self._points, self._ids = None, self._points[:0], self._ids[:0]
        if self._before is not None and len(self._points):
            self._follow(grey, background)
        self._age += 1
        if self._before is None or (self._age >= _RENEWAL and len(self._points) < _REPLENISH * _CORNERS):
            self._replenish(grey, background)
        self._before = grey
        centre = np.asarray(camera.principal_point, np.float32) * scale
        self.focal = self.focal or float(camera.focal) * scale
        self.append(FrameCorners(self._ids, self._points - centre))

    def append(self, corners: FrameCorners) -> None:
        """Add the corners of the next frame; between key frames, some of them are kept."""
        if self._is_key(corners.ids):
            self.keys.append(len(self.frames))
        elif len(corners.ids) > _BETWEEN:
            rows = np.linspace(0, len(corners.ids) - 1, _BETWEEN).round().astype(int)
            corners = FrameCorners(corners.ids[rows], corners.positions[rows])
        self.frames.append(corners)

    def _is_key(self, ids: NDArray[np.int64]) -> bool:
        if not self.keys or len(self.frames) - self.keys[-1] >= _KEY_SPACING:
            return True
        before = self.frames[self.keys[-1]].ids
        return bool(np.isin(before, ids, assume_unique=True).sum() < _KEY_SURVIVAL * len(before))

    def _follow(self, grey: NDArray[np.uint8], background: NDArray[np.bool_]) -> None:
        assert self._before is not None
        here, is_found = _flow(self._before, grey, self._points)
        back, is_back = _flow(grey, self._before, here)
        visible = is_found & is_back & (np.linalg.norm(back - self._points, axis=1) < _BACKTRACK)
        height, width = background.shape
        column, row = np.floor(here).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        visible &= inside & background[row.clip(0, height - 1), column.clip(0, width - 1)]
        self._points, self._ids = here[visible], self._ids[visible]

    def _replenish(self, grey: NDArray[np.uint8], background: NDArray[np.bool_]) -> None:
        """Search for corners between those that are followed, in each cell of the image: else a hedge would have all of
        them and the ground before it none.
        """
        self._age = 0
        free = np.where(background, 255, 0).astype(np.uint8)
        for x, y in self._points:
            cv2.circle(free, (round(float(x)), round(float(y))), round(_APART), 0, -1)
        height, width = grey.shape
        for row in range(_CELLS[1]):
            for column in range(_CELLS[0]):
                x0, x1 = (width * (column + end) // _CELLS[0] for end in (0, 1))
                y0, y1 = (height * (row + end) // _CELLS[1] for end in (0, 1))
                inside = (self._points >= (x0, y0)).all(1) & (self._points < (x1, y1)).all(1)
                count = _CORNERS // (_CELLS[0] * _CELLS[1]) - int(inside.sum())
                if count > 0 and min(x1 - x0, y1 - y0) > _WINDOW:
                    self._search(grey[y0:y1, x0:x1], free[y0:y1, x0:x1], (x0, y0), count)

    def _search(self, grey: NDArray[np.uint8], free: NDArray[np.uint8], origin: tuple[int, int], count: int) -> None:
        corners = cv2.goodFeaturesToTrack(grey, count, _QUALITY, _APART, mask=free)
        if corners is not None:
            self._points = np.concatenate((self._points, np.asarray(corners[:, 0] + np.array(origin), np.float32)))
            self._ids = np.concatenate((self._ids, self._count + np.arange(len(corners))))
            self._count += len(corners)


def _flow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Find points (N, 2) of one image in the other one, and which of them were found (N,)."""
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.zeros_like(points), winSize=(_WINDOW, _WINDOW), maxLevel=_LEVELS
    )
    return np.asarray(there, np.float32), np.asarray(status)[:, 0] == 1


def _background(shape: tuple[int, ...], boxes: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Mask the area (H, W) outside of people's boxes, which are grown on all sides."""
    outside = np.ones(shape, bool)
    for x0, y0, x1, y1 in boxes:
        margin = _MARGIN * np.array((x1 - x0, y1 - y0)).max()
        top, left = max(int(y0 - margin), 0), max(int(x0 - margin), 0)
        outside[top : max(int(y1 + margin) + 1, 0), left : max(int(x1 + margin) + 1, 0)] = False
    return outside


def _shrunken_grey(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale == 1.0:
        return np.asarray(grey, np.uint8)
    size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
