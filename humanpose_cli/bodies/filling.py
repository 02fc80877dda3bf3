"""Smooth filling of the gaps of a picture or texture from what surrounds them: a pull-push pyramid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_smoothly"]

Array = NDArray[np.float32]


def fill_smoothly(values: Array, weights: Array) -> Array:
    """Values (H, W, C) float32 kept where weights (H, W) are 1, and spread from there to where they are 0.

    Between, the two are mixed. Gaps take the average of their surroundings, the nearer the more (pull-push:
    Gortler et al. 1996). Without any weight the result is zero.
    """
    levels = [(np.ascontiguousarray(values * weights[..., None]), np.ascontiguousarray(weights))]
    while max(levels[-1][1].shape) > 1:
        product, weight = levels[-1]
        height, width = weight.shape
        size = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
        small = cv2.resize(weight, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        colour = cv2.resize(product, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1)
        # A pixel with any evidence counts almost fully one level up: near evidence wins over far evidence.
        saturated = np.minimum(small * 4, 1)
        colour *= (saturated / np.maximum(small, np.float32(1e-8)))[..., None]
        levels.append((colour, saturated.astype(np.float32)))
    product, weight = levels.pop()
    filled = product / np.maximum(weight, np.float32(1e-8))[..., None]
    while levels:
        product, weight = levels.pop()
        size = weight.shape[::-1]
        spread = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR).reshape(product.shape)
        filled = product + (1 - weight)[..., None] * spread
    return filled
