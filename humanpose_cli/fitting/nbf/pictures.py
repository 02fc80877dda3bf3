"""Pictures as networks that were trained on ImageNet expect them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMAGENET_MEAN", "IMAGENET_SPREAD", "normalised_picture"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
_SCALE = (1 / (255 * np.array(IMAGENET_SPREAD))).astype(np.float32)
_SHIFT = (-np.array(IMAGENET_MEAN) / IMAGENET_SPREAD).astype(np.float32)


def normalised_picture(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB → (3, H, W) of mean 0 and variance 1 over ImageNet."""
    return np.ascontiguousarray((picture * _SCALE + _SHIFT).transpose(2, 0, 1))
