"""Opacity of images, which are composited over white."""

from __future__ import annotations

import numpy as np


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite (H, W, 3) uint8 with straight alpha (H, W) uint8 over white."""
    opacity = alpha[..., None].astype(np.uint16)
    light = pixels * opacity
    light += 255 * (255 - opacity) + 127
    light //= 255
    return light.astype(np.uint8)


def split_channels(channels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split channels into pixels (H, W, 3) uint8 over white, and alpha (H, W) uint8, None if opaque.

    Args:
        channels: (H, W) or (H, W, C) uint8. C is 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha.
    """
    if channels.ndim == 2:
        channels = channels[..., None]
    count = channels.shape[-1]
    alpha = channels[..., -1] if count in (2, 4) else None
    pixels = np.repeat(channels[..., :1], 3, axis=-1) if count < 3 else channels[..., :3]
    if alpha is None or alpha.min(initial=255) == 255:
        return np.ascontiguousarray(pixels), None
    return over_white(pixels, alpha), np.ascontiguousarray(alpha)
