"""Filling the background behind a removed person with shifted copies of the rest of the image.

On a reduced copy every missing pixel gets an offset to a known one, whole regions the same (`shift_map.py`). A finer
copy and the full image move each region's offset until its rim agrees with what lies around it; seams are mended pixel
by pixel; and the regions' brightness is evened by gradients (Pérez, Gangnet and Blake, "Poisson image editing", 2003).
What is shown are the image's own pixels: as sharp, and with its grain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.ndimage import label as components
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from humanpose_cli.avatar.shift_map import choose_offsets, likely_offsets, squared_distance
from humanpose_cli.body.texture import fill_smoothly

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
Pixels = NDArray[np.uint8]

_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))
# A region's rim that is looked at, pixels, and of how many pixels of rim and region; the squared difference, over three
# channels, that says no more than that they differ; what a region costs of which all leads to no known pixel.
_RIM, _SAMPLES, _DIFFERENT, _UNKNOWN = 2, 200, 4000.0, 2000.0
_TURNS = 3  # of mending seams
_NEVER = 1e7  # cost of a pixel whose offset leads to no known one
# Grey levels by which copies differ at a seam that is a mere change of light; the pull towards a copy's own colours.
_LIGHT, _PULL = 40.0, 0.01
_BLOCK = 1 << 18  # pixels handled at once: bounds memory


@dataclass(frozen=True)
class InpaintOptions:
    """How the background is made up.

    offsets        offsets at which the image resembles itself that are tried, at most
    choice_pixels  the reduced copy on which offsets are chosen has about this many missing pixels
    blend_pixels   the one on which seams are mended and brightness is evened
    reach          surroundings that are copied, in sizes of the hole
    feather        width of the soft edge, as a share of the hole's size
    """

    offsets: int = 60
    choice_pixels: int = 2500
    blend_pixels: int = 9000
    reach: float = 0.8
    feather: float = 0.004


def inpaint(
    image: NDArray[np.uint8], hole: Mask, avoid: Mask | None = None, options: InpaintOptions | None = None
) -> NDArray[np.uint8]:
    """The image (H, W, 3) uint8 with the pixels of `hole` (H, W) made up from the others, as a new array.

    avoid  (H, W): pixels that stay as they are but must not be copied into the hole (other people)

    An image without any usable pixel comes back filled with mid-grey.
    """
    options = options or InpaintOptions()
    result = image.copy()
    if not hole.any():
        return result
    usable = ~hole if avoid is None else ~(hole | avoid)
    if not usable.any():
        result[hole] = 128
        return result
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    height, width = ys[-1] - ys[0] + 1, xs[-1] - xs[0] + 1
    margin_y, margin_x = int(options.reach * height) + 16, int(options.reach * max(width, height / 2)) + 16
    rows = slice(max(0, ys[0] - margin_y), min(hole.shape[0], ys[-1] + 1 + margin_y))
    columns = slice(max(0, xs[0] - margin_x), min(hole.shape[1], xs[-1] + 1 + margin_x))
    window = np.ascontiguousarray(image[rows, columns])
    result[rows, columns] = _inpaint_window(window, hole[rows, columns], usable[rows, columns], options)
    return result


def _inpaint_window(image: Pixels, hole: Mask, usable: Mask, options: InpaintOptions) -> Pixels:
    coarse = _reduced(image, hole, usable, options.choice_pixels)
    if not coarse.usable.any():
        known = usable if usable.any() else ~hole
        filled = fill_smoothly(image.astype(np.float32), known.astype(np.float32))
        return np.where(hole[..., None], np.clip(filled + 0.5, 0, 255), image).astype(np.uint8)
    offsets = likely_offsets(coarse.image, coarse.usable, coarse.hole, options.offsets)
    numbers = choose_offsets(coarse.image, coarse.usable, coarse.hole, offsets)
    regions, offsets = _regions(numbers, offsets)
    fine = _reduced(image, hole, usable, options.blend_pixels)
    regions, offsets = _enlarged(regions, offsets, fine.hole)
    offsets = fine.align(regions, offsets, _half_pixel(coarse, fine))
    regions = fine.mend_seams(regions, offsets)
    change = fine.blend(regions, offsets)
    full = _Copies(image, hole, usable, fine.smooth)
    regions, change = _beyond(fine.hole, regions), _beyond(fine.hole, change)
    whole, offsets = _enlarged(regions, offsets, hole)
    if fine.hole.shape != hole.shape:
        offsets = full.align(whole, offsets, _half_pixel(fine, full))
    return full.compose(regions, offsets, change, _soft(hole, options.feather) * (usable | hole))


def _reduced(image: Pixels, hole: Mask, usable: Mask, pixels: int) -> _Copies:
    """The image with about so many missing pixels; a reduced pixel is usable only if all of it is."""
    scale = min(1.0, (pixels / float(hole.sum())) ** 0.5)
    size = (max(1, round(hole.shape[1] * scale)), max(1, round(hole.shape[0] * scale)))
    # Missing pixels must not tint their reduced neighbours.
    layers = np.where(usable[..., None], image, np.uint8(0)), usable.astype(np.float32), hole.astype(np.float32)
    colour, known, lost = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in layers)
    known, missing = known.reshape(size[::-1]), lost.reshape(size[::-1]) > 0
    colour = colour.reshape(*size[::-1], 3).astype(np.float32) / np.maximum(known, np.float32(1e-6))[..., None]
    return _Copies(colour, missing, (known > 0.999) & ~missing)


def _half_pixel(coarse: _Copies, fine: _Copies) -> int:
    """How far an offset found on the coarse copy may be off on the fine one, pixels."""
    return int(np.ceil(max(fine.hole.shape) / max(coarse.hole.shape) / 2 + 0.5))


def _regions(numbers: Index, offsets: Index) -> tuple[Index, Index]:
    """Connected pixels of one offset: their number (h, w), -1 where there is none, and each one's offset (R, 2)."""
    regions, of_regions, count = np.full(numbers.shape, -1, np.int64), [], 0
    for number in np.unique(numbers[numbers >= 0]):
        parts, found = components(numbers == number)
        regions[parts > 0] = count + parts[parts > 0] - 1
        of_regions += [offsets[number]] * found
        count += found
    return regions, np.array(of_regions)


def _beyond(hole: Mask, values: Array) -> Array:
    """Values of the hole's nearest pixel everywhere."""
    nearest = distance_transform_edt(~hole, return_distances=False, return_indices=True)
    return np.asarray(values[nearest[0], nearest[1]])


def _enlarged(regions: Index, offsets: Index, hole: Mask) -> tuple[Index, Index]:
    """Regions and offsets for a larger copy with this hole."""
    (height, width), (h, w) = hole.shape, regions.shape
    rows, columns = ((np.arange(size) + 0.5) * small / size for size, small in ((height, h), (width, w)))
    everywhere = _beyond(regions >= 0, regions)[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
    return np.where(hole, everywhere, -1), np.rint(offsets * (height / h, width / w)).astype(np.int64)


class _Copies:
    """An image of one size, its hole, and what regions of the hole show by offsets into the rest."""

    def __init__(self, image: Array, hole: Mask, usable: Mask, smooth: Array | None = None) -> None:
        self.image, self.hole, self.usable = image, hole, usable
        self.height, self.width = hole.shape
        # What pixels show whose offset leads to no known one: the colours around, spread. (h, w, 3), at any size.
        self.smooth = fill_smoothly(image, usable.astype(np.float32)) if smooth is None else smooth

    def at(self, y: Index, x: Index) -> tuple[Array, Mask]:
        """The image's colours (..., 3) at pixels, and whether they may be copied."""
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        y, x = np.clip(y, 0, self.height - 1), np.clip(x, 0, self.width - 1)
        return self.image[y, x], inside & self.usable[y, x]

    def shown(self, y: Index, x: Index, offset: Index) -> Array:
        """Colours (..., 3) float32 that offsets (..., 2) show at pixels."""
        colours, known = self.at(y + offset[..., 0], x + offset[..., 1])
        if known.all():
            return colours.astype(np.float32)
        (height, width), at = self.smooth.shape[:2], []
        for position, size, small in ((y, self.height, height), (x, self.width, width)):
            at.append(np.clip(((position + 0.5) * small / size).astype(np.int64), 0, small - 1))
        return np.where(known[..., None], colours, self.smooth[at[0], at[1]]).astype(np.float32)

    def align(self, regions: Index, offsets: Index, reach: int) -> Index:
        """Offsets (R, 2) moved by up to `reach`, large regions first, so that rims agree with what lies around them."""
        offsets = offsets.copy()
        picture = self.image.copy()
        ys, xs = np.nonzero(self.hole)
        picture[ys, xs] = self.shown(ys, xs, offsets[regions[ys, xs]])
        settled = self.usable | self.hole
        moves = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 1, 2)
        farther = np.abs(moves).sum((1, 2)) * 1e-3
        boxes = find_objects(regions + 1)
        rim = np.ones((2 * _RIM + 1,) * 2, np.uint8)
        for region in np.argsort(-np.bincount(regions[ys, xs], minlength=len(offsets)), kind="stable"):
            box = boxes[region] if region < len(boxes) else None
            if box is None:
                continue
            top, left = (max(0, side.start - _RIM) for side in box)
            near = np.s_[top : box[0].stop + _RIM, left : box[1].stop + _RIM]
            own = regions[near] == region
            around = (cv2.dilate(own.astype(np.uint8), rim) > 0) & ~own & settled[near]
            inner, outer = (np.argwhere(part) + np.array((top, left)) for part in (own, around))
            if not len(outer):
                continue
            some = outer[:: -(-len(outer) // _SAMPLES)]
            copied, known = self.at(*np.moveaxis(some + offsets[region] + moves, -1, 0))
            expected = picture[some[:, 0], some[:, 1]].astype(np.float32)
            error = np.minimum(squared_distance(copied, expected), _DIFFERENT) * known
            weight = known * np.where(self.usable[some[:, 0], some[:, 1]], 1.0, 0.5)
            cost = (error * weight).sum(1) / np.maximum(weight.sum(1), 1e-6)
            _, inside = self.at(*np.moveaxis(inner[:: -(-len(inner) // _SAMPLES)] + offsets[region] + moves, -1, 0))
            cost = np.where(known.mean(1) < 0.5, np.inf, cost + _UNKNOWN * (1 - inside.mean(1)) + farther)
            if np.isfinite(cost).any():
                offsets[region] += moves[int(cost.argmin()), 0]
                picture[inner[:, 0], inner[:, 1]] = self.shown(inner[:, 0], inner[:, 1], offsets[region])
        return offsets

    def mend_seams(self, regions: Index, offsets: Index) -> Index:
        """Regions whose pixels at seams went over to a neighbour's where that makes the seam less visible."""
        padded = np.pad(regions, 1, constant_values=-1)
        known = np.pad(self.usable, 1)
        ys, xs = np.nonzero(self.hole)
        for turn in range(2 * _TURNS):
            own = padded[ys + 1, xs + 1]
            beside = [padded[ys + 1 + dy, xs + 1 + dx] for dy, dx in _NEIGHBOURS]
            # Every second pixel, as on a chessboard, so that no neighbour changes at the same time.
            chosen = np.any([(other != own) & (other >= 0) for other in beside], 0) & ((ys + xs + turn) % 2 == 0)
            y, x, own = ys[chosen], xs[chosen], own[chosen]
            best = self._seam_costs(padded, known, y, x, own, offsets)
            for other in beside:
                other = np.where(other[chosen] >= 0, other[chosen], own)
                cost = self._seam_costs(padded, known, y, x, other, offsets)
                own, best = np.where(cost < best, other, own), np.minimum(cost, best)
            padded[y + 1, x + 1] = own
        return padded[1:-1, 1:-1]

    def _seam_costs(self, regions: Index, known: Mask, y: Index, x: Index, own: Index, offsets: Index) -> Array:
        """How visible a pixel's seams are if its region is `own` (n,); regions and known are padded by a pixel."""
        colours, there = self.at(y + offsets[own, 0], x + offsets[own, 1])
        total = np.where(there, np.float32(0), np.float32(_NEVER))
        for dy, dx in _NEIGHBOURS:
            other, given = regions[y + 1 + dy, x + 1 + dx], known[y + 1 + dy, x + 1 + dx]
            theirs = offsets[np.maximum(other, 0)]
            here = squared_distance(colours, self.shown(y, x, theirs))
            mine = self.shown(y + dy, x + dx, offsets[own])
            beside = squared_distance(mine, self.shown(y + dy, x + dx, theirs))
            border = 2 * squared_distance(mine, self.at(y + dy, x + dx)[0])
            total += np.where(other < 0, border * given, np.where(other == own, np.float32(0), here + beside))
        return total

    def blend(self, regions: Index, offsets: Index) -> Array:
        """What is added to the copies (h, w, 3), in grey levels, so that their brightness has no steps.

        The sum over neighbours of squared differences to the copies' gradients is least, and their own colours pull
        a little. Seams and borders where things differ, not their light, do not count: they would glow.
        """
        ys, xs = np.nonzero(self.hole)
        count = len(ys)
        number = np.full(self.hole.shape, -1, np.int64)
        number[ys, xs] = np.arange(count)
        offset = offsets[regions[ys, xs]]
        own = self.shown(ys, xs, offset).astype(np.float64)
        diagonal, right = np.full(count, _PULL), _PULL * own
        rows, columns, values = [], [], []
        for dy, dx in _NEIGHBOURS:
            y, x = ys + dy, xs + dx
            inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
            y, x = np.clip(y, 0, self.height - 1), np.clip(x, 0, self.width - 1)
            beside = np.where(inside, number[y, x], -1)
            missing, border = beside >= 0, inside & self.usable[y, x]
            theirs = offset[np.maximum(beside, 0)]
            mine_there, other_here = self.shown(y, x, offset), self.shown(ys, xs, theirs)
            there = np.where(missing[:, None], self.shown(y, x, theirs), self.image[y, x])
            gradient = own - mine_there
            gradient[missing] = (gradient[missing] + (other_here - there)[missing]) / 2
            apart = np.abs(mine_there - there).mean(1)
            apart[missing] = (apart[missing] + np.abs(own - other_here).mean(1)[missing]) / 2
            weight = np.exp(-np.square(apart / _LIGHT)) * (missing | border)
            diagonal += weight
            right += weight[:, None] * gradient + (weight * border)[:, None] * self.image[y, x]
            rows.append(np.flatnonzero(missing))
            columns.append(beside[missing])
            values.append(-weight[missing])
        rows, columns, values = [*rows, np.arange(count)], [*columns, np.arange(count)], [*values, diagonal]
        indices = (np.concatenate(rows), np.concatenate(columns))
        system = coo_matrix((np.concatenate(values), indices), shape=(count, count)).tocsc()
        change = np.zeros((*self.hole.shape, 3), np.float32)
        change[ys, xs] = splu(system).solve(right) - own
        return change

    def compose(self, regions: Index, offsets: Index, change: Array, weight: Array) -> Pixels:
        """The image with the copies, by weight (H, W); regions (h, w) and change (h, w, 3) may be of a smaller size."""
        ys, xs = np.nonzero(weight)
        grid = _Grid(self.hole.shape, regions.shape)
        result: Pixels = self.image.copy()
        for start in range(0, len(ys), _BLOCK):
            y, x = ys[start : start + _BLOCK], xs[start : start + _BLOCK]
            own = grid.nearest(regions, y, x)
            colours = self.shown(y, x, offsets[own]) + grid.interpolate(change, regions, own, y, x)
            share = weight[y, x][:, None]
            mixed = self.image[y, x] * (1 - share) + np.clip(colours, 0, 255) * share
            result[y, x] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
        return result


class _Grid:
    """The pixels of a full image in its reduced copy."""

    def __init__(self, full: tuple[int, ...], small: tuple[int, ...]) -> None:
        self.small = small
        self.ratio_y, self.ratio_x = full[0] / small[0], full[1] / small[1]

    def nearest(self, values: Array, y: Index, x: Index) -> Array:
        """A reduced image's values (n, ...) at full pixels."""
        row = np.minimum(((y + 0.5) / self.ratio_y).astype(np.int64), self.small[0] - 1)
        column = np.minimum(((x + 0.5) / self.ratio_x).astype(np.int64), self.small[1] - 1)
        return np.asarray(values[row, column])

    def interpolate(self, values: Array, regions: Index, own: Index, y: Index, x: Index) -> Array:
        """Values (n, C) between the four nearest reduced pixels, of the pixel's own region only: its edge stays one."""
        total, weights = np.zeros((len(y), values.shape[2]), np.float32), np.full((len(y), 1), 1e-9, np.float32)
        for row, column, weight in self._neighbours(y, x):
            share = (weight + np.float32(1e-4)) * (regions[row, column] == own)
            total += share[:, None] * values[row, column]
            weights += share[:, None]
        return total / weights

    def _neighbours(self, y: Index, x: Index) -> Iterator[tuple[Index, Index, Array]]:
        """Rows, columns and bilinear weights (n,) of the four reduced pixels around each pixel."""
        v, u = (y + 0.5) / self.ratio_y - 0.5, (x + 0.5) / self.ratio_x - 0.5
        v0, u0 = np.floor(v), np.floor(u)
        for dy in (0, 1):
            for dx in (0, 1):
                row = np.clip(v0 + dy, 0, self.small[0] - 1).astype(np.int64)
                column = np.clip(u0 + dx, 0, self.small[1] - 1).astype(np.int64)
                yield row, column, (np.abs(1 - dy - (v - v0)) * np.abs(1 - dx - (u - u0))).astype(np.float32)


def _soft(hole: Mask, feather: float) -> Array:
    """1 in the hole, falling to 0 within a few pixels outside."""
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    width = max(1.5, feather * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - distance / np.float32(width), 0, 1)
