"""Filling the background behind a removed person with patches of the rest of the picture.

Coarse-to-fine patch matching after Wexler, Shechtman and Irani (2007) and Barnes et al. (2009), written for arrays:
all patches search at once. The search runs on a reduced copy; the full picture then follows the found offsets, so
the cost hardly depends on its size and its grain stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.filling import fill_smoothly
from humanpose_cli.reposing.patch_search import PATCH, PatchField, search_level

__all__ = ["InpaintOptions", "inpaint"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class InpaintOptions:
    """How the background is made up.

    search_pixels  the reduced copy on which patches are sought has about this many missing pixels
    reach          surroundings that are searched, in sizes of the hole
    feather        width of the soft edge, as a share of the hole's size
    """

    search_pixels: int = 9000
    reach: float = 0.8
    feather: float = 0.004
    seed: int = 0


def inpaint(
    image: NDArray[np.uint8], hole: Mask, avoid: Mask | None = None, options: InpaintOptions | None = None
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) uint8 with the pixels of `hole` (H, W) made up from the others, as a new array.

    avoid  (H, W): pixels that stay as they are but must not be copied into the hole (other people)

    A picture without any usable pixel comes back filled with mid-grey.
    """
    options = options or InpaintOptions()
    result = image.copy()
    if not hole.any():
        return result
    usable = ~hole if avoid is None else ~(hole | avoid)
    if not usable.any():
        result[hole] = 128
        return result
    rows, columns = _surroundings(hole, options.reach)
    window = image[rows, columns].astype(np.float32)
    filled = _inpaint_window(window, hole[rows, columns], usable[rows, columns], options)
    result[rows, columns] = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    return result


def _surroundings(hole: Mask, reach: float) -> tuple[slice, slice]:
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    margin_y = int(reach * (ys[-1] - ys[0] + 1)) + 16
    margin_x = int(reach * max(xs[-1] - xs[0] + 1, (ys[-1] - ys[0] + 1) / 2)) + 16
    return (
        slice(max(0, ys[0] - margin_y), min(hole.shape[0], ys[-1] + 1 + margin_y)),
        slice(max(0, xs[0] - margin_x), min(hole.shape[1], xs[-1] + 1 + margin_x)),
    )


def _inpaint_window(image: Array, hole: Mask, usable: Mask, options: InpaintOptions) -> Array:
    if not usable.any():
        return fill_smoothly(image, (~hole).astype(np.float32))
    scale = min(1.0, (options.search_pixels / float(hole.sum())) ** 0.5)
    levels = _pyramid(image, hole, usable, scale)
    random = np.random.default_rng(options.seed)
    field: PatchField | None = None
    estimate: Array | None = None
    for small, small_hole, small_usable in reversed(levels):
        field, estimate = search_level(small, small_hole, small_usable, field, estimate, random)
        if field is None:
            # No whole patch of background at this size: smooth colours are the best there is.
            estimate = fill_smoothly(small, small_usable.astype(np.float32))
    assert estimate is not None
    if field is None:
        height, width = hole.shape
        copied = cv2.resize(estimate, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        copied = _follow_offsets(image, hole, usable, field, estimate)
    weight = (_soft(hole, options.feather) * (usable | hole))[..., None]
    return image * (1 - weight) + copied * weight


def _pyramid(image: Array, hole: Mask, usable: Mask, scale: float) -> list[tuple[Array, Mask, Mask]]:
    """Reduced copies, finest first; a reduced pixel is usable only if all of it is."""
    levels: list[tuple[Array, Mask, Mask]] = []
    height, width = hole.shape
    # Missing pixels must not tint their reduced neighbours.
    clean = np.where(usable[..., None], image, np.float32(0))
    known = usable.astype(np.float32)
    while True:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        share = cv2.resize(known, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        colour = cv2.resize(clean, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)[..., None]
        missing = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA).reshape(size[::-1]) > 0
        good = (share > 0.999) & ~missing
        if levels and not _worth_searching(missing, good):
            return levels
        levels.append((colour.astype(np.float32), missing, good))
        scale /= 2


def _worth_searching(missing: Mask, good: Mask) -> bool:
    """Whether the hole is still a few pixels deep and enough whole patches of background are left."""
    depth = cv2.distanceTransform(np.pad(missing, 1).astype(np.uint8), cv2.DIST_L2, 3).max()
    sources = cv2.erode(good.astype(np.uint8), PATCH, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return depth >= 2.5 and int(sources.sum()) >= 250


def _follow_offsets(image: Array, hole: Mask, usable: Mask, field: PatchField, estimate: Array) -> Array:
    """Full-size colours of the hole: each pixel follows the offsets of the four nearest reduced pixels."""
    height, width = hole.shape
    small_height, small_width = estimate.shape[:2]
    ratio_y, ratio_x = height / small_height, width / small_width
    grown = cv2.dilate(hole.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    ys, xs = np.nonzero(grown)
    v = (ys + 0.5) / ratio_y - 0.5
    u = (xs + 0.5) / ratio_x - 0.5
    v0, u0 = np.floor(v).astype(int), np.floor(u).astype(int)
    total = np.zeros((len(ys), 3), np.float32)
    weights = np.zeros((len(ys), 1), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            row = np.clip(v0 + dy, 0, small_height - 1)
            column = np.clip(u0 + dx, 0, small_width - 1)
            offset_y, offset_x = field.offset_y[row, column], field.offset_x[row, column]
            source_y = np.clip(ys + np.rint(offset_y * ratio_y).astype(int), 0, height - 1)
            source_x = np.clip(xs + np.rint(offset_x * ratio_x).astype(int), 0, width - 1)
            weight = np.abs(1 - dy - (v - v0)) * np.abs(1 - dx - (u - u0)) + 1e-4
            weight = np.where(usable[source_y, source_x], weight, 1e-9)[:, None].astype(np.float32)
            total += weight * image[source_y, source_x]
            weights += weight
    copied = image.copy()
    copied[ys, xs] = total / weights
    # Brightness over wide areas follows the voted estimate, which knows the hole's whole border.
    reduced = cv2.resize(copied, (small_width, small_height), interpolation=cv2.INTER_AREA)
    drift = cv2.resize(estimate - reduced, (width, height), interpolation=cv2.INTER_LINEAR)
    copied[grown] += drift[grown]
    return np.clip(copied, 0, 255)


def _soft(hole: Mask, feather: float) -> Array:
    """1 in the hole, falling to 0 within a few pixels outside."""
    ys, xs = np.nonzero(hole)
    width = max(1.5, feather * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - distance / width, 0, 1).astype(np.float32)
