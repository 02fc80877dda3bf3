"""Inputs of the network of deform-and-learn: a person in a square crop around their box, in training and in use.

Positions are in halves of the crop's side, −1 to 1, x right, y down: the image units of `ScaledPose`, in which a person
upright is about as large as in metres.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import Crop

FILL = 0.86
"""Share of the crop that the longer side of a person's box takes."""

_MASK_THRESHOLD = 127  # of a mask 0…255: pixels above it show the person


def landmarks_in_crop(landmarks: NDArray[Any], crop: Crop) -> NDArray[np.float32]:
    """Convert landmarks (L, 3), x and y in pixels of the image and confidence, to image units of the crop."""
    result = np.array(landmarks, np.float32)
    result[:, :2] = crop.points(result[:, :2]) / (crop.size[0] / 2) - 1
    return result


def cut_out(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, box: NDArray[Any]) -> NDArray[np.uint8]:
    """Cut out the person in an image (H, W, 3), before black.

    Args:
        mask: (H, W) 0…255, the detector's; None if it has none: everything in the box (4,) x0 y0 x1 y1 is kept.
    """
    if mask is None:
        x0, y0, x1, y1 = np.round(box).astype(int).clip(0)
        inside = np.zeros(image.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
    else:
        inside = mask > _MASK_THRESHOLD
    return np.where(inside[..., None], image, np.uint8(0))
