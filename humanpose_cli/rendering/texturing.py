"""Texture look-ups: bilinear, from a copy of the texture that is about as fine as the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["mip_chain", "sample_texture", "texels_per_pixel"]

Array = NDArray[np.float32]


def mip_chain(image: NDArray[np.float32] | NDArray[np.uint8], levels: int) -> list[Array]:
    """The texture and its halvings, (h, w, C) float32 in 0…1 each; at most `levels` halvings."""
    first = np.asarray(image, np.float32)
    if image.dtype == np.uint8:
        first = first / np.float32(255)
    first = np.ascontiguousarray(first.reshape(*image.shape[:2], -1))
    chain = [first]
    for _ in range(levels):
        height, width = chain[-1].shape[:2]
        if min(height, width) < 2:
            break
        halved = cv2.resize(chain[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        chain.append(np.asarray(halved, np.float32).reshape(height // 2, width // 2, -1))
    return chain


def texels_per_pixel(uv: Array, covered: NDArray[np.bool_], size: tuple[int, int]) -> float:
    """Median distance in texels between neighbouring pixels, from uv (..., H, W, 2) where `covered`; 1 if unknown."""
    inside = covered[..., 1:] & covered[..., :-1]
    if not inside.any():
        return 1.0
    step = (uv[..., 1:, :] - uv[..., :-1, :])[inside] * np.asarray([size[1], size[0]], np.float32)
    return float(np.median(np.hypot(step[:, 0], step[:, 1])))


def sample_texture(
    image: NDArray[np.float32] | NDArray[np.uint8], uv: Array, covered: NDArray[np.bool_], samples: int = 1
) -> Array:
    """Bilinear look-ups of a texture (h, w, C) at uv (N, H, W, 2), v down → (N, H, W, C) float32.

    Where the picture is coarser than the texture, a halved copy is used, so that nothing flickers; with several
    `samples` a pixel, each of them stands for a smaller part of the picture.
    """
    ratio = texels_per_pixel(uv, covered, (image.shape[0], image.shape[1])) / samples**0.5
    level = max(0, round(float(np.log2(max(ratio, 1e-6)))))
    texture = mip_chain(image, level)[-1]
    height, width, channels = texture.shape
    sampled = np.empty((*uv.shape[:-1], channels), np.float32)
    for one, out in zip(uv, sampled, strict=True):
        x = one[..., 0] * np.float32(width) - np.float32(0.5)
        y = one[..., 1] * np.float32(height) - np.float32(0.5)
        found = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out[...] = found.reshape(out.shape)
    return sampled
