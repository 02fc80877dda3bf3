"""Inputs of the deform-and-learn network: a person in a square crop around their box, for training and for use.

Positions are in halves of the crop's side, −1 to 1, x right, y down. These are the image units of `ScaledPose`, in
which an upright person is about as large as in metres.
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
    """Convert landmarks from pixels of the image to image units of the crop.

    Args:
        landmarks: (L, 3) float. x, y in pixels and confidence.
        crop: The crop.

    Returns:
        (L, 3) float32. x, y in image units and confidence.
    """
    result = np.array(landmarks, np.float32)
    result[:, :2] = crop.points(result[:, :2]) / (crop.size[0] / 2) - 1
    return result


def cut_out(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, box: NDArray[Any]) -> NDArray[np.uint8]:
    """Replace the background of an image by black.

    Args:
        image: (H, W, 3) uint8. The image.
        mask: (H, W) uint8. The detector's mask. None keeps everything in the box.
        box: (4,) pixels. x0, y0, x1, y1.

    Returns:
        (H, W, 3) uint8. The person.
    """
    if mask is None:
        x0, y0, x1, y1 = np.round(box).astype(int).clip(0)
        inside = np.zeros(image.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
    else:
        inside = mask > _MASK_THRESHOLD
    return np.where(inside[..., None], image, np.uint8(0))
