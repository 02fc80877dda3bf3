"""Displacements as images: the colour wheel of optical flow, and arrows."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Steps from each hue of the wheel to the next, as the Middlebury benchmark has them (Baker et al. 2011, A Database and
# Evaluation Methodology for Optical Flow): more of them for hues that the eye distinguishes better.
_STEPS = (15, 6, 4, 11, 13, 6)
_HUES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_BEYOND = 0.75  # brightness of displacements that are longer than the wheel's radius
_EDGE = (20, 20, 20)  # colour of an arrow's edge
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions


def flow_colours(displacements: NDArray[np.floating], reach: float) -> NDArray[np.uint8]:
    """Display displacements as colours.

    The hue is the direction: right is red, down yellow, left blue-green, up blue-violet, as in the Middlebury
    benchmark. The saturation is the length.

    Args:
        displacements: (..., 2) float. x right, y down.
        reach: The length of full saturation; longer displacements are darker.

    Returns:
        (..., 3) uint8 RGB.
    """
    x = displacements[..., 0]
    y = displacements[..., 1]
    length = np.hypot(x, y) / reach
    turn = np.arctan2(y, x) / (2 * np.pi) % 1
    ends = np.cumsum((0, *_STEPS)) / sum(_STEPS)
    hue = np.stack([np.interp(turn, ends, channel) for channel in np.array(_HUES, float).T], -1) / 255
    inside = (length <= 1)[..., None]
    colour = np.where(inside, 1 - length[..., None] * (1 - hue), _BEYOND * hue)
    return np.rint(255 * colour).astype(np.uint8)


def colour_wheel(size: int) -> NDArray[np.uint8]:
    """Draw the legend of `flow_colours`, (size, size, 3): colours by the displacement from the centre."""
    offset = (np.arange(size) + 0.5) / size * 2 - 1
    displacements = np.stack(np.meshgrid(offset, offset), -1)
    wheel = flow_colours(displacements, 1.0)
    wheel[np.hypot(*np.moveaxis(displacements, -1, 0)) > 1] = 255
    return wheel


def draw_arrows(
    image: NDArray[np.uint8],
    positions: NDArray[np.floating],
    displacements: NDArray[np.floating],
    colours: NDArray[Any],
) -> None:
    """Draw arrows with a dark edge, in place.

    Args:
        image: (H, W, 3) uint8 RGB.
        positions: (M, 2) float, pixels.
        displacements: (M, 2) float, pixels.
        colours: (M, 3) uint8 RGB.
    """
    # Pixel centres lie at +0.5 here and at whole numbers in OpenCV.
    start, shift = (values * (1 << _SHIFT) for values in (positions - 0.5, displacements))
    for width, edge in ((3, True), (1, False)):
        for origin, along, colour in zip(start, shift, colours, strict=True):
            paint = _EDGE if edge else tuple(int(value) for value in colour)
            across = np.array((-along[1], along[0]))
            head = (origin + 0.7 * along + 0.18 * across, origin + along, origin + 0.7 * along - 0.18 * across)
            for line in ((origin, origin + along), head):
                points = np.rint(line).astype(np.int32).reshape(-1, 1, 2)
                cv2.polylines(image, [points], False, paint, width, cv2.LINE_AA, _SHIFT)
