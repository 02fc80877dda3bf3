"""The shots of a video: hard cuts between its frames."""

from __future__ import annotations

import cv2
import numpy as np

THUMBNAIL_SIDE = 32  # pixels
_MIN_SIDE = 256  # pixels of the subsampled image that a thumbnail is shrunk from
_CHANGE = 0.35  # of the layout, at a cut
_FLAT = 2.0  # grey levels of standard deviation below which a frame has no layout


def frame_thumbnail(image: np.ndarray) -> np.ndarray:
    """Reduce an image (H, W, 3) uint8 to (32, 32, 3)."""
    # Every few pixels: the mean of all of them takes as long as following a person.
    step = max(min(image.shape[:2]) // _MIN_SIDE, 1)
    return np.asarray(
        cv2.resize(image[::step, ::step], (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA), np.uint8
    )


def shows_another_layout(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two thumbnails differ as at a cut; False if one has no layout."""
    a = _layout(first)
    b = _layout(second)
    return a is not None and b is not None and _change(a, b) > _CHANGE


def _layout(small: np.ndarray) -> np.ndarray | None:
    """Return the deviation of a thumbnail from its mean, of length 1; None if it is flat."""
    layout = small.astype(float) - small.mean((0, 1))
    return None if layout.std() < _FLAT else layout / np.linalg.norm(layout)


def _change(first: np.ndarray, second: np.ndarray) -> float:
    return 1 - float((second * first).sum())


class ShotDetector:
    """A detector of hard cuts: frames whose layout suddenly has little in common with the previous one.

    Layouts are compared by correlation, so flashes and exposure do not count. The change must be several times the
    usual change in the shot, so fast pans do not count. Frames without a layout, such as black ones, are skipped.

    Attributes:
        shot_id: The number of the current shot.
    """

    _SUDDENNESS = 3.0  # multiple of the usual change in the shot

    def __init__(self) -> None:
        self.shot_id = 0
        self._last_layout: np.ndarray | None = None
        self._usual = 0.0

    def next_frame(self, image: np.ndarray) -> int:
        """Return the number of the shot of the next frame (H, W, 3) uint8, counted from 0."""
        layout = _layout(frame_thumbnail(image))
        if layout is None:
            return self.shot_id
        if self._last_layout is not None:
            change = _change(self._last_layout, layout)
            if change > max(_CHANGE, self._SUDDENNESS * self._usual):
                self.shot_id += 1
                self._usual = 0.0
            else:
                self._usual = max(change, 0.8 * self._usual)
        self._last_layout = layout
        return self.shot_id
