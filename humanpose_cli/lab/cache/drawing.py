"""Skeletons of keypoints drawn over images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import Skeleton

_MIN_CONFIDENCE = 0.3  # of keypoints that are drawn
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions
_LINE_WIDTH = 0.0025  # longer sides of the image: width of the skeleton's lines


def draw_keypoints(
    image: NDArray[np.uint8],
    keypoints: NDArray[np.floating],
    skeleton: Skeleton,
    colour: NDArray[np.float32],
) -> None:
    """Draw a person's keypoints and the bones between them, in place.

    Args:
        image: (H, W, 3) uint8 RGB.
        keypoints: (K, 2) or (K, 3) float. x, y in pixels, and confidence.
        skeleton: The skeleton of the keypoints.
        colour: (3,) float, 0…1, RGB.
    """
    assert len(keypoints) == len(skeleton)
    visible = np.isfinite(keypoints).all(-1)
    # Some of OpenCV's shifted coordinates are 16-bit: leave out points far outside.
    limit = 4 * max(image.shape[:2])
    visible &= (np.abs(np.where(np.isfinite(keypoints), keypoints, 0))[:, :2] < limit).all(-1)
    if keypoints.shape[1] > 2:
        visible &= keypoints[:, 2] >= _MIN_CONFIDENCE
    # Pixel centres lie at +0.5 here and at whole numbers in OpenCV.
    points = np.where(visible[:, None], (keypoints[:, :2] - 0.5) * (1 << _SHIFT), 0).round().astype(int)
    width = max(1, round(_LINE_WIDTH * max(image.shape[:2])))
    bright = tuple(int(v) for v in 255 - (255 - 255 * colour) * 0.55)
    dark = tuple(int(v) for v in 255 * colour * 0.3)
    for line_colour, extra in ((dark, max(2, width // 2 * 2)), (bright, 0)):
        for a, b in skeleton.bones:
            if visible[a] and visible[b]:
                cv2.line(image, points[a].tolist(), points[b].tolist(), line_colour, width + extra, cv2.LINE_AA, _SHIFT)
        for row in np.flatnonzero(visible):
            radius = round((width * 1.2 + extra / 2) * (1 << _SHIFT))
            cv2.circle(image, points[row].tolist(), radius, line_colour, -1, cv2.LINE_AA, _SHIFT)
