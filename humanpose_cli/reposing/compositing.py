"""Putting a drawn person into a picture: soft edges, grain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.rendering.shading import Scene
from humanpose_cli.rendering.surfaces import Surface
from humanpose_cli.rendering.view import View

__all__ = ["draw_person", "film_grain"]

Array = NDArray[np.float32]


def film_grain(pixels: NDArray[np.uint8], trust: Array) -> float:
    """Standard deviation of the noise in the trusted part of a photo, 0…1 of full scale.

    The median absolute response of Immerkær's (1996) mask, which is blind to edges of first and second order.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    response = np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel))[trust > 0.5]
    if not len(response):
        return 0.0
    return float(np.median(response) / 0.6745 / 6 / 255)


def draw_person(
    surface: Surface, view: View, background: NDArray[np.uint8] | None, supersampling: int
) -> NDArray[np.uint8]:
    """The person over the background (H, W, 3), or on nothing: (H, W, 3) or (H, W, 4) uint8."""
    height, width = view.size
    scene = Scene([surface], view, supersampling=supersampling)
    picture = np.zeros((height, width, 4), np.uint8) if background is None else background.copy()
    for tile in scene.tiles():
        layer = scene.draw(tile)
        target = picture[tile.slices]
        colour, alpha = layer.colour, layer.alpha[..., None]
        if background is None:
            straight = colour / np.maximum(alpha, np.float32(1e-6))
            target[..., :3] = np.clip(straight * 255 + 0.5, 0, 255).astype(np.uint8)
            target[..., 3:] = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
        else:
            mixed = target.astype(np.float32) * (1 - alpha) + colour * np.float32(255)
            target[...] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return picture
