"""Filling the background behind a removed person with patches of the rest of the picture.

Coarse-to-fine patch matching after Wexler, Shechtman and Irani (2007) and Barnes et al. (2009), written for arrays:
all patches search at once. The search runs on a reduced copy; the full picture then follows the found offsets, so
the cost hardly depends on its size and its grain stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.texture import fill_smoothly
from humanpose_cli.reposing.patch_search import PATCH, PatchField, search_level

__all__ = ["InpaintOptions", "inpaint"]

Array = NDArray[Any]
Pixels = NDArray[np.uint8]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BLOCK = 1 << 18  # pixels handled at once: bounds memory


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
    window = np.ascontiguousarray(image[rows, columns])
    result[rows, columns] = _inpaint_window(window, hole[rows, columns], usable[rows, columns], options)
    return result


def _surroundings(hole: Mask, reach: float) -> tuple[slice, slice]:
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    margin_y = int(reach * (ys[-1] - ys[0] + 1)) + 16
    margin_x = int(reach * max(xs[-1] - xs[0] + 1, (ys[-1] - ys[0] + 1) / 2)) + 16
    return (
        slice(max(0, ys[0] - margin_y), min(hole.shape[0], ys[-1] + 1 + margin_y)),
        slice(max(0, xs[0] - margin_x), min(hole.shape[1], xs[-1] + 1 + margin_x)),
    )


def _inpaint_window(image: Pixels, hole: Mask, usable: Mask, options: InpaintOptions) -> Pixels:
    if not usable.any():
        filled = fill_smoothly(image.astype(np.float32), (~hole).astype(np.float32))
        return np.where(hole[..., None], np.clip(filled + 0.5, 0, 255), image).astype(np.uint8)
    scale = min(1.0, (options.search_pixels / float(hole.sum())) ** 0.5)
    random = np.random.default_rng(options.seed)
    field: PatchField | None = None
    estimate: Array | None = None
    for small, small_hole, small_usable in reversed(_pyramid(image, hole, usable, scale)):
        field, estimate = search_level(small, small_hole, small_usable, field, estimate, random)
        if field is None:
            # No whole patch of background at this size: smooth colours are the best there is.
            estimate = fill_smoothly(small, small_usable.astype(np.float32))
    assert estimate is not None
    weight = _soft(hole, options.feather) * (usable | hole)
    ys, xs = np.nonzero(weight)
    grid = _Grid(ys, xs, hole.shape, (estimate.shape[0], estimate.shape[1]))
    copied = image.copy()
    if field is not None:
        grid.write(copied, lambda part: grid.follow(part, field, image, usable))
    # Brightness over wide areas follows the voted estimate, which knows the hole's whole border.
    reduced = cv2.resize(copied, estimate.shape[1::-1], interpolation=cv2.INTER_AREA)
    drift = estimate - reduced.astype(np.float32)
    grid.write(
        copied,
        lambda part: grid.mix(part, image, copied[ys[part], xs[part]] + grid.interpolate(part, drift), weight),
    )
    return copied


def _pyramid(image: Pixels, hole: Mask, usable: Mask, scale: float) -> list[tuple[Array, Mask, Mask]]:
    """Reduced copies, finest first; a reduced pixel is usable only if all of it is."""
    levels: list[tuple[Array, Mask, Mask]] = []
    height, width = hole.shape
    # Missing pixels must not tint their reduced neighbours.
    colour: Array = np.where(usable[..., None], image, np.uint8(0))
    known, lost = usable.astype(np.float32), hole.astype(np.float32)
    while True:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        layers: list[Array] = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (colour, known, lost)]
        colour = layers[0].reshape(*size[::-1], 3)
        known, lost = (part.reshape(size[::-1]) for part in layers[1:])
        colour = np.asarray(colour, np.float32)
        missing = lost > 0
        good = (known > 0.999) & ~missing
        if levels and not _worth_searching(missing, good):
            return levels
        levels.append((colour / np.maximum(known, np.float32(1e-6))[..., None], missing, good))
        scale /= 2


def _worth_searching(missing: Mask, good: Mask) -> bool:
    """Whether the hole is still a few pixels deep and enough whole patches of background are left."""
    depth = cv2.distanceTransform(np.pad(missing, 1).astype(np.uint8), cv2.DIST_L2, 3).max()
    sources = cv2.erode(good.astype(np.uint8), PATCH, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return depth >= 2.5 and int(sources.sum()) >= 250


class _Grid:
    """Some pixels (ys, xs) of a full picture and their four neighbours in its reduced copy, a block at a time."""

    def __init__(self, ys: Index, xs: Index, full: tuple[int, ...], small: tuple[int, int]) -> None:
        self.ys, self.xs, self.small = ys, xs, small
        self.ratio_y, self.ratio_x = full[0] / small[0], full[1] / small[1]

    def write(self, target: Pixels, colours: Callable[[slice], Array]) -> None:
        """Set the pixels of `target` to colours(block) (n, 3) in 0…255."""
        for start in range(0, len(self.ys), _BLOCK):
            part = slice(start, start + _BLOCK)
            target[self.ys[part], self.xs[part]] = np.clip(colours(part) + np.float32(0.5), 0, 255).astype(np.uint8)

    def _neighbours(self, part: slice) -> Iterator[tuple[Index, Index, Array]]:
        """Rows, columns and bilinear weights (n,) of the four reduced pixels around each pixel."""
        v = (self.ys[part] + 0.5) / self.ratio_y - 0.5
        u = (self.xs[part] + 0.5) / self.ratio_x - 0.5
        v0, u0 = np.floor(v), np.floor(u)
        for dy in (0, 1):
            for dx in (0, 1):
                row = np.clip(v0 + dy, 0, self.small[0] - 1).astype(np.int64)
                column = np.clip(u0 + dx, 0, self.small[1] - 1).astype(np.int64)
                yield row, column, (np.abs(1 - dy - (v - v0)) * np.abs(1 - dx - (u - u0))).astype(np.float32)

    def interpolate(self, part: slice, values: Array) -> Array:
        """A reduced picture's values (n, C)."""
        total = np.zeros((len(self.ys[part]), values.shape[2]), np.float32)
        for row, column, weight in self._neighbours(part):
            total += weight[:, None] * values[row, column]
        return total

    def follow(self, part: slice, field: PatchField, image: Pixels, usable: Mask) -> Array:
        """Colours (n, 3) found by following the offsets of the four nearest reduced pixels."""
        ys, xs = self.ys[part], self.xs[part]
        height, width = usable.shape
        total, weights = np.zeros((len(ys), 3), np.float32), np.zeros((len(ys), 1), np.float32)
        for row, column, share in self._neighbours(part):
            y = np.clip(ys + np.rint(field.offset_y[row, column] * self.ratio_y).astype(np.int64), 0, height - 1)
            x = np.clip(xs + np.rint(field.offset_x[row, column] * self.ratio_x).astype(np.int64), 0, width - 1)
            weight = np.where(usable[y, x], share + np.float32(1e-4), np.float32(1e-9))[:, None]
            total += weight * image[y, x]
            weights += weight
        return total / weights

    def mix(self, part: slice, image: Pixels, colours: Array, weight: Array) -> Array:
        """Colours (n, 3) over the picture's own, by weight (H, W)."""
        ys, xs = self.ys[part], self.xs[part]
        share = weight[ys, xs][:, None]
        return image[ys, xs] * (1 - share) + np.clip(colours, 0, 255) * share


def _soft(hole: Mask, feather: float) -> Array:
    """1 in the hole, falling to 0 within a few pixels outside."""
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    width = max(1.5, feather * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - distance / np.float32(width), 0, 1)
