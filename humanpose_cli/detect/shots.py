"""The shots of a video: hard cuts between its frames."""

from __future__ import annotations

import cv2
import numpy as np


class ShotDetector:
    """A detector of hard cuts: frames whose layout has suddenly little in common with that of the frame before.

    Layouts are compared by correlation, so flashes and exposure do not count; the change must be several times
    the usual change in the shot, so neither do fast pans. Frames without a layout, such as black ones, are skipped:
    the frame after them is compared with the one before.
    """

    _SIZE, _MIN_SIDE = 32, 256  # pixels of a layout, and of the subsampled image that it is shrunk from
    _CHANGE, _SUDDENNESS = 0.35, 3.0  # 1 − correlation of a cut, and its multiple of the usual change
    _FLAT = 2.0  # grey levels of standard deviation below which a frame has no layout

    def __init__(self) -> None:
        self.shot_id = 0
        self._before: np.ndarray | None = None
        self._usual = 0.0

    def next_frame(self, image: np.ndarray) -> int:
        """Return the shot that the next frame (H, W, 3) uint8 belongs to, counted from 0."""
        # Every few pixels: the mean of all of them takes as long as following a person.
        step = max(min(image.shape[:2]) // self._MIN_SIDE, 1)
        small = cv2.resize(image[::step, ::step], (self._SIZE, self._SIZE), interpolation=cv2.INTER_AREA).astype(float)
        layout = small - small.mean((0, 1))
        if layout.std() < self._FLAT:
            return self.shot_id
        layout /= np.linalg.norm(layout)
        if self._before is not None:
            change = 1 - float((layout * self._before).sum())
            if change > max(self._CHANGE, self._SUDDENNESS * self._usual):
                self.shot_id += 1
                self._usual = 0.0
            else:
                self._usual = max(change, 0.8 * self._usual)
        self._before = layout
        return self.shot_id
