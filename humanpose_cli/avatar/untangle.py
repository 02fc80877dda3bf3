"""Arms in front of the body taken off it: which pixels show the arm and which what lies behind, by their colours.

A fit is off by some pixels, so beside an arm that lies before a shirt the shirt's texture would get the arm's colours,
and the arm the shirt's. Histograms of both are taken where the fit leaves no doubt; near the border between them,
pixels that are much likelier the other's are not trusted.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from humanpose_cli.avatar.options import UntanglingOptions

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_DEFAULTS = UntanglingOptions()


def mixed_up(
    pixels: NDArray[np.uint8], front: Mask, behind: Mask, metres: float, options: UntanglingOptions = _DEFAULTS
) -> Mask:
    """Pixels (h, w) near the border of arm and body with the colours of the other; none where both are coloured alike.

    pixels  (h, w, 3); front, behind (h, w): where the fitted arms lie, and the rest of the body
    metres  that a pixel measures
    """
    scale = min(1.0, options.side / max(front.shape))
    size = (max(1, round(front.shape[1] * scale)), max(1, round(front.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    arm, body = (cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in (front, behind))
    nothing = np.zeros(front.shape, bool)
    if not (arm.any() and body.any()):
        return nothing
    # Colours are learned where a fit that is off by centimetres is still right.
    step = metres / scale
    to_arm, to_body = (cv2.distanceTransform((~m).astype(np.uint8), cv2.DIST_L2, 5) * step for m in (arm, body))
    in_arm = cv2.distanceTransform(arm.astype(np.uint8), cv2.DIST_L2, 5) * step
    certain = (arm & (in_arm > options.inside), body & (to_arm > options.away))
    if min(one.sum() for one in certain) < options.min_pixels:
        return nothing
    arms, bodies = (_likelihood(small, one, options) for one in certain)
    wrong_body = body & (to_arm < options.reach) & (arms > options.min_ratio * bodies)
    wrong_arm = arm & (to_body < options.reach) & (bodies > options.min_ratio * arms)
    # Single pixels are noise; the fringe of what is left has mixed colours.
    wrong = cv2.morphologyEx((wrong_body | wrong_arm).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    wrong = cv2.dilate(wrong, np.ones((5, 5), np.uint8))
    return cv2.resize(wrong, front.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _likelihood(pixels: NDArray[Any], where: Mask, options: UntanglingOptions) -> Array:
    """How likely each pixel's colour (h, w) is among those `where`, by a smoothed histogram."""
    bins = options.bins
    index = np.minimum(pixels.astype(np.int64) * bins // 256, bins - 1)
    flat = (index[..., 0] * bins + index[..., 1]) * bins + index[..., 2]
    counts = np.bincount(flat[where], minlength=bins**3).reshape((bins,) * 3).astype(np.float64)
    smooth = gaussian_filter(counts, options.blur, mode="nearest").ravel()
    return np.asarray(smooth[flat] / counts.sum() + 1e-4)
