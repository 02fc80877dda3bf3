"""Arms in front of the body taken off it: which pixels show the arm and which what lies behind, by their colours.

A fit is off by some pixels, so beside an arm that lies before a shirt the shirt's texture would get the arm's colours,
and the arm the shirt's. Histograms of both are taken where the fit leaves no doubt; near the border between them,
pixels that are much likelier the other's are trusted for neither.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SIDE = 320  # pixels along the longer side of the copy that is looked at
# Metres: how far errors of a fit reach; from where a pixel of the arm is sure, and one behind it.
_REACH, _INSIDE, _AWAY = 0.1, 0.015, 0.1
_BINS, _SPREAD = 12, 1.0  # of a colour histogram along each channel
_RATIO = 4.0  # of likelihoods from which a pixel is the other's
_FEWEST = 60  # pixels that tell a colour


def mixed_up(pixels: NDArray[np.uint8], front: Mask, behind: Mask, metres: float) -> Mask:
    """Pixels (h, w) near the border of arm and body whose colour says the other; none where both are coloured alike.

    pixels  (h, w, 3); front, behind (h, w): where the fitted arms lie, and the rest of the body
    metres  that a pixel measures
    """
    scale = min(1.0, _SIDE / max(front.shape))
    size = (max(1, round(front.shape[1] * scale)), max(1, round(front.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    arm, body = (cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in (front, behind))
    nothing = np.zeros(front.shape, bool)
    if not (arm.any() and body.any()):
        return nothing
    step = metres / scale
    to_arm, to_body = (cv2.distanceTransform((~m).astype(np.uint8), cv2.DIST_L2, 5) * step for m in (arm, body))
    in_arm = cv2.distanceTransform(arm.astype(np.uint8), cv2.DIST_L2, 5) * step
    sure = (arm & (in_arm > _INSIDE), body & (to_arm > _AWAY))
    if min(one.sum() for one in sure) < _FEWEST:
        return nothing
    arms, bodies = (_likelihood(small, one) for one in sure)
    wrong = (body & (to_arm < _REACH) & (arms > _RATIO * bodies)) | (
        arm & (to_body < _REACH) & (bodies > _RATIO * arms)
    )
    wrong = cv2.morphologyEx(wrong.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    wrong = cv2.dilate(wrong, np.ones((5, 5), np.uint8))
    return cv2.resize(wrong, front.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _likelihood(pixels: NDArray[Any], where: Mask) -> Array:
    """How likely each pixel's colour (h, w) is among those `where`, by a smoothed histogram."""
    index = np.minimum(pixels.astype(np.int64) * _BINS // 256, _BINS - 1)
    flat = (index[..., 0] * _BINS + index[..., 1]) * _BINS + index[..., 2]
    counts = np.bincount(flat[where], minlength=_BINS**3).reshape((_BINS,) * 3).astype(np.float64)
    smooth = gaussian_filter(counts, _SPREAD, mode="nearest").ravel()
    return np.asarray(smooth[flat] / counts.sum() + 1e-4)
