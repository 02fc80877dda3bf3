"""Random colour: brightness, contrast, saturation and hue of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ColourChange", "change_colour"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ColourChange:
    """What happens to colours, in this order.

    hue         degrees round the colour circle
    saturation  factor on the distance from grey
    contrast    factor on the distance from the picture's mean brightness
    brightness  added, in parts of the whole range
    """

    hue: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0


def change_colour(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB → the same, recoloured.

    All four are one affine map of RGB, so a picture is touched once: hue turns colours about the grey axis.
    """
    if change == ColourChange():
        return image
    grey = np.outer(np.ones(3, np.float32), _LUMA)
    angle = np.deg2rad(change.hue)
    axis = np.ones(3) / np.sqrt(3)
    turn, _ = cv2.Rodrigues(axis * angle)
    colour = (1 - change.saturation) * grey + change.saturation * np.eye(3, dtype=np.float32)
    matrix = change.contrast * colour @ turn.astype(np.float32)
    mean = float(image.reshape(-1, 3).mean(0) @ _LUMA) if change.contrast != 1 else 0.0
    offset = (1 - change.contrast) * mean + 255 * change.brightness
    recoloured = cv2.transform(image, np.concatenate((matrix, np.full((3, 1), offset, np.float32)), 1))
    return np.asarray(recoloured, np.uint8)
