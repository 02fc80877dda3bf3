"""Inpainting of the background behind a removed person with shifted copies of the rest of the image.

On a reduced copy, every missing pixel gets an offset to a known one, the same for whole regions (`shift_map.py`). A
finer copy and the full image adjust each region's offset until its rim agrees with its surroundings; seams are mended
pixel by pixel; gradients equalise the regions' brightness (Pérez, Gangnet and Blake, "Poisson image editing", 2003).
The result consists of the image's own pixels: as sharp, and with its grain.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_CHOICE_PIXELS = 2500  # missing pixels of the copy on which offsets are chosen
_BLEND_PIXELS = 9000  # missing pixels of the copy with mended seams and even brightness
_REACH = 0.8  # surroundings that are copied, in sizes of the hole
_FEATHER = 0.004  # width of the soft edge, in sizes of the hole
_RIM = 2  # pixels: width of a region's rim, by which its offset is refined
_RIM_SAMPLES = 200  # maximum number of pixels of a rim, and of its region, that are compared
_MAX_DIFFERENCE = 4000.0  # cost from which two pixels are merely different
_OUTSIDE_COST = 2000.0  # cost of a region whose offset leads to no known pixel
_SEAM_ROUNDS = 3  # rounds of mending seams
_LIGHT_DIFFERENCE = 28.0  # grey levels: difference of copies at a seam that is a mere change of light
_PULL = 0.0002  # weight of a copy's own colours against its gradients

_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))
_NEVER = 1e7  # cost of a pixel whose offset leads to no known one
_BLOCK = 1 << 18  # pixels handled at once: bounds memory


def inpaint(image: Pixels, hole: Mask, avoid: Mask | None = None, *, continue_avoided: bool = False) -> Pixels:
    """Fill a hole in an image from the other pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        hole: (H, W) bool. The pixels to fill.
        avoid: (H, W) bool. Pixels that stay unchanged but are not copied, such as other people; None for none.
        continue_avoided: Whether the brightness of these pixels goes on into the hole, such as a made-up background's.

    Returns:
        (H, W, 3) uint8 RGB, a new array. The hole is grey if there is no usable pixel.
    """
    result = image.copy()
    if not hole.any():
        return result
    usable = ~hole if avoid is None else ~(hole | avoid)
    if not usable.any():
        result[hole] = 128
        return result
    # Only the surroundings of the hole are copied.
    ys = np.flatnonzero(hole.any(1))
    xs = np.flatnonzero(hole.any(0))
    height = ys[-1] - ys[0] + 1
    width = xs[-1] - xs[0] + 1
    margin_y = int(_REACH * height) + 16
    margin_x = int(_REACH * max(width, height / 2)) + 16
    rows = slice(max(0, ys[0] - margin_y), min(hole.shape[0], ys[-1] + 1 + margin_y))
    columns = slice(max(0, xs[0] - margin_x), min(hole.shape[1], xs[-1] + 1 + margin_x))
    window = np.ascontiguousarray(image[rows, columns])
    known = ~hole if continue_avoided else usable
    result[rows, columns] = _inpaint_window(window, hole[rows, columns], usable[rows, columns], known[rows, columns])
    return result


def _inpaint_window(image: Pixels, hole: Mask, usable: Mask, known: Mask) -> Pixels:
    # 1. Each missing pixel of the smallest copy gets an offset; pixels that share one form regions.
    coarse = _reduced(image, hole, usable, known, _CHOICE_PIXELS)
    if not coarse.usable.any():
        sources = usable if usable.any() else ~hole
        copy = fill_smoothly(image.astype(np.float32), sources.astype(np.float32))
        return np.where(hole[..., None], np.clip(copy + 0.5, 0, 255), image).astype(np.uint8)
    offsets = likely_offsets(coarse.image, coarse.usable, coarse.hole)
    numbers = choose_offsets(coarse.image, coarse.usable, coarse.hole, offsets)
    regions, offsets = _regions(numbers, offsets)
    # 2. A larger copy shows by how much of a pixel the offsets are off, where seams run, and differences of light.
    fine = _reduced(image, hole, usable, known, _BLEND_PIXELS)
    regions, offsets = _enlarged(regions, offsets, fine.hole)
    offsets = fine.align(regions, offsets, _half_pixel(coarse, fine))
    regions = fine.mend_seams(regions, offsets)
    change = fine.blend(regions, offsets)
    # 3. The full image is copied from itself, so that it is as sharp as elsewhere.
    full = _Copies(image, hole, usable, known, fine.composite(regions, offsets) + change)
    copied, change = (_beyond(fine.hole, values) for values in (fine.copied(regions, offsets), change))
    full_regions, offsets = _enlarged(regions, offsets, hole)
    if fine.hole.shape != hole.shape:
        offsets = full.align(full_regions, offsets, _half_pixel(fine, full))
    return full.compose(copied, offsets, change, _soft(hole, _FEATHER) * (usable | hole))


def _reduced(image: Pixels, hole: Mask, usable: Mask, known: Mask, pixels: int) -> _Copies:
    """Shrink an image to about `pixels` missing pixels; a reduced pixel is usable only if all of it is."""
    scale = min(1.0, (pixels / float(hole.sum())) ** 0.5)
    size = (max(1, round(hole.shape[1] * scale)), max(1, round(hole.shape[0] * scale)))
    # Other pixels must not tint their reduced neighbours.
    layers = np.where(known[..., None], image, np.uint8(0)), *(m.astype(np.float32) for m in (usable, known, hole))
    colour, *shares = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in layers)
    may_copy, shown, hidden = (share.reshape(size[::-1]) for share in shares)
    colour = colour.reshape(*size[::-1], 3).astype(np.float32) / np.maximum(shown, np.float32(1e-6))[..., None]
    missing = hidden > 0
    return _Copies(colour, missing, (may_copy > 0.999) & ~missing, (shown > 0.999) & ~missing)


def _half_pixel(coarse: _Copies, fine: _Copies) -> int:
    """Return the maximum error, in pixels of the fine copy, of an offset from the coarse copy."""
    return int(np.ceil(max(fine.hole.shape) / max(coarse.hole.shape) / 2 + 0.5))


def _regions(numbers: Index, offsets: Index) -> tuple[Index, Index]:
    """Connect pixels of one offset: the number of each pixel's region (h, w) or -1, and the offsets (R, 2)."""
    regions = np.full(numbers.shape, -1, np.int64)
    region_offsets = []
    count = 0
    for number in np.unique(numbers[numbers >= 0]):
        parts, part_count = components(numbers == number)
        regions[parts > 0] = count + parts[parts > 0] - 1
        region_offsets += [offsets[number]] * part_count
        count += part_count
    return regions, np.array(region_offsets)


def _beyond(hole: Mask, values: Array) -> Array:
    """Extend the values of the hole's nearest pixel everywhere."""
    nearest = distance_transform_edt(~hole, return_distances=False, return_indices=True)
    return np.asarray(values[nearest[0], nearest[1]])


def _enlarged(regions: Index, offsets: Index, hole: Mask) -> tuple[Index, Index]:
    """Scale regions and offsets to a larger copy with another hole."""
    (height, width) = hole.shape
    (small_height, small_width) = regions.shape
    rows = ((np.arange(height) + 0.5) * small_height / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * small_width / width).astype(np.int64)
    everywhere = _beyond(regions >= 0, regions)[np.ix_(rows, columns)]
    scale = height / small_height, width / small_width
    return np.where(hole, everywhere, -1), np.rint(offsets * scale).astype(np.int64)


class _Copies:
    """An image of one size, its hole, and the copies that offsets of regions place in the hole."""

    def __init__(
        self,
        image: Array,
        hole: Mask,
        usable: Mask,
        known: Mask,
        smooth: Array | None = None,
    ) -> None:
        self.image = image
        self.hole = hole
        self.usable = usable
        self.known = known  # whose brightness goes on into the hole
        self.height, self.width = hole.shape
        # (h, w, 3) of any size: colours where an offset leads to no usable pixel. None: the usable pixels', spread.
        self.smooth = fill_smoothly(image, usable.astype(np.float32)) if smooth is None else smooth

    def lookup(self, y: Index, x: Index) -> tuple[Array, Mask]:
        """Return the image's colours (..., 3) at pixels, and whether they may be copied."""
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        y = np.clip(y, 0, self.height - 1)
        x = np.clip(x, 0, self.width - 1)
        return self.image[y, x], inside & self.usable[y, x]

    def shown(self, y: Index, x: Index, offset: Index) -> Array:
        """Return the colours (..., 3) float32 that offsets (..., 2) place at pixels."""
        colours, valid = self.lookup(y + offset[..., 0], x + offset[..., 1])
        if valid.all():
            return colours.astype(np.float32)
        rows = np.clip(((y + 0.5) * self.smooth.shape[0] / self.height).astype(np.int64), 0, self.smooth.shape[0] - 1)
        columns = np.clip(((x + 0.5) * self.smooth.shape[1] / self.width).astype(np.int64), 0, self.smooth.shape[1] - 1)
        return np.where(valid[..., None], colours, self.smooth[rows, columns]).astype(np.float32)

    def composite(self, regions: Index, offsets: Index) -> Array:
        """Return the image (h, w, 3) with the copies of all regions."""
        result = self.image.copy()
        ys, xs = np.nonzero(self.hole)
        result[ys, xs] = self.shown(ys, xs, offsets[regions[ys, xs]])
        return result

    def copied(self, regions: Index, offsets: Index) -> Index:
        """Return the regions (h, w), -1 for pixels whose offset leads to no usable one."""
        y, x = np.indices(regions.shape) + np.moveaxis(offsets[regions], -1, 0)
        return np.where(self.lookup(y, x)[1], regions, -1)

    def align(self, regions: Index, offsets: Index, reach: int) -> Index:
        """Move offsets (R, 2) by up to `reach`, large regions first, so that rims agree with their surroundings."""
        offsets = offsets.copy()
        # The rim of one region may lie in another.
        composite = self.composite(regions, offsets)
        steps = np.arange(-reach, reach + 1)
        moves = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 1, 2)
        sizes = np.bincount(regions[self.hole], minlength=len(offsets))
        boxes = find_objects(regions + 1)
        for region in np.argsort(-sizes, kind="stable"):
            box = boxes[region] if region < len(boxes) else None
            if box is None:
                continue
            inner, outer = self._region_and_rim(regions, region, box)
            if not len(outer):
                continue
            cost = self._misfits(composite, inner, outer, offsets[region] + moves)
            cost += np.abs(moves).sum((1, 2)) * 1e-3  # of equal moves the shortest
            if np.isfinite(cost).any():
                offsets[region] += moves[int(cost.argmin()), 0]
                composite[inner[:, 0], inner[:, 1]] = self.shown(inner[:, 0], inner[:, 1], offsets[region])
        return offsets

    def _region_and_rim(self, regions: Index, region: int, box: tuple[slice, slice]) -> tuple[Index, Index]:
        """Return the pixels (n, 2) of a region with a bounding box, and the pixels (m, 2) around it."""
        width = _RIM
        top = max(0, box[0].start - width)
        left = max(0, box[1].start - width)
        near = np.s_[top : box[0].stop + width, left : box[1].stop + width]
        inside = regions[near] == region
        wider = cv2.dilate(inside.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > 0
        around = wider & ~inside & (self.usable | self.hole)[near]
        corner = np.array((top, left))
        return np.argwhere(inside) + corner, np.argwhere(around) + corner

    def _misfits(self, composite: Array, inner: Index, outer: Index, offsets: Index) -> Array:
        """Return the cost (K,) of offsets (K, 1, 2) for a region (n, 2) with a rim (m, 2), or inf."""
        # The rim's copies against the image; pixels that are copies themselves count half.
        sample = outer[:: -(-len(outer) // _RIM_SAMPLES)]
        copies, valid = self.lookup(*np.moveaxis(sample + offsets, -1, 0))
        expected = composite[sample[:, 0], sample[:, 1]].astype(np.float32)
        error = np.minimum(squared_distance(copies, expected), _MAX_DIFFERENCE) * valid
        weight = valid * np.where(self.usable[sample[:, 0], sample[:, 1]], 1.0, 0.5)
        cost = (error * weight).sum(1) / np.maximum(weight.sum(1), 1e-6)
        # The region's copies must exist.
        sample = inner[:: -(-len(inner) // _RIM_SAMPLES)]
        _, exists = self.lookup(*np.moveaxis(sample + offsets, -1, 0))
        return np.where(valid.mean(1) < 0.5, np.inf, cost + _OUTSIDE_COST * (1 - exists.mean(1)))

    def mend_seams(self, regions: Index, offsets: Index) -> Index:
        """Move pixels at the regions' seams to a neighbouring region if that makes the seam less visible."""
        framed_regions = np.pad(regions, 1, constant_values=-1)
        copyable = np.pad(self.usable, 1)
        ys, xs = np.nonzero(self.hole)
        for turn in range(2 * _SEAM_ROUNDS):
            region = framed_regions[ys + 1, xs + 1]
            neighbours = [framed_regions[ys + 1 + dy, xs + 1 + dx] for dy, dx in _NEIGHBOURS]
            # Every second pixel, as on a chessboard, so that no neighbour changes at the same time.
            moves = np.any([(neighbour != region) & (neighbour >= 0) for neighbour in neighbours], 0) & (
                (ys + xs + turn) % 2 == 0
            )
            y = ys[moves]
            x = xs[moves]
            region = region[moves]
            best = self._seam_costs(framed_regions, copyable, y, x, region, offsets)
            for neighbour in neighbours:
                neighbour = np.where(neighbour[moves] >= 0, neighbour[moves], region)
                cost = self._seam_costs(framed_regions, copyable, y, x, neighbour, offsets)
                region = np.where(cost < best, neighbour, region)
                best = np.minimum(cost, best)
            framed_regions[y + 1, x + 1] = region
        return framed_regions[1:-1, 1:-1]

    def _seam_costs(self, regions: Index, copyable: Mask, y: Index, x: Index, region: Index, offsets: Index) -> Array:
        """Return how visible the seams of pixels in a `region` (n,) are; regions and copyable have a border of 1."""
        colours, exists = self.lookup(y + offsets[region, 0], x + offsets[region, 1])
        total = np.where(exists, np.float32(0), np.float32(_NEVER))
        for dy, dx in _NEIGHBOURS:
            neighbour = regions[y + 1 + dy, x + 1 + dx]
            usable = copyable[y + 1 + dy, x + 1 + dx]
            # A seam is invisible where both copies show the same on both of its sides.
            neighbour_offsets = offsets[np.maximum(neighbour, 0)]
            error = squared_distance(colours, self.shown(y, x, neighbour_offsets))
            own_copy = self.shown(y + dy, x + dx, offsets[region])
            neighbour_error = squared_distance(own_copy, self.shown(y + dy, x + dx, neighbour_offsets))
            # At the hole's border the image itself is the other side.
            border = 2 * squared_distance(own_copy, self.lookup(y + dy, x + dx)[0])
            total += np.where(
                neighbour < 0, border * usable, np.where(neighbour == region, np.float32(0), error + neighbour_error)
            )
        return total

    def blend(self, regions: Index, offsets: Index) -> Array:
        """Return the change (h, w, 3), grey levels, of the copies by which their brightness has no steps."""
        # The change minimises the squared differences of neighbours to the copies' gradients, with a small pull towards
        # the copies' colours. Seams and borders at which things differ, not their light, do not count: they would glow.
        ys, xs = np.nonzero(self.hole)
        count = len(ys)
        number = np.full(self.hole.shape, -1, np.int64)
        number[ys, xs] = np.arange(count)
        offset = offsets[regions[ys, xs]]
        own_copy = self.shown(ys, xs, offset).astype(np.float64)
        diagonal = np.full(count, _PULL)
        right = _PULL * own_copy
        rows = [np.arange(count)]
        columns = [np.arange(count)]
        values = [diagonal]
        for dy, dx in _NEIGHBOURS:
            y = ys + dy
            x = xs + dx
            inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
            y = np.clip(y, 0, self.height - 1)
            x = np.clip(x, 0, self.width - 1)
            neighbour = np.where(inside, number[y, x], -1)
            missing = neighbour >= 0
            border = inside & self.known[y, x]
            # Both pixels, as this pixel's copy and as the neighbour's show them; at the border the image is itself.
            neighbour_offset = offset[np.maximum(neighbour, 0)]
            own_copy_beside = self._continued(y, x, offset, own_copy)
            neighbour_colour = np.where(missing[:, None], self.shown(y, x, neighbour_offset), self.image[y, x])
            neighbour_copy = self._continued(ys, xs, neighbour_offset, neighbour_colour)
            # The wanted gradient, of both copies on average.
            gradient = own_copy - own_copy_beside
            gradient[missing] = (gradient[missing] + (neighbour_copy - neighbour_colour)[missing]) / 2
            # The more the copies differ the less the pair counts.
            difference = np.abs(own_copy_beside - neighbour_colour).mean(1)
            difference[missing] = (difference[missing] + np.abs(own_copy - neighbour_copy).mean(1)[missing]) / 2
            weight = np.exp(-((difference / _LIGHT_DIFFERENCE) ** 4)) * (missing | border)
            # One row of the normal equations a pixel; known neighbours are on the right-hand side.
            diagonal += weight
            right += weight[:, None] * gradient + (weight * border)[:, None] * self.image[y, x]
            rows.append(np.flatnonzero(missing))
            columns.append(neighbour[missing])
            values.append(-weight[missing])
        indices = (np.concatenate(rows), np.concatenate(columns))
        system = coo_matrix((np.concatenate(values), indices), shape=(count, count)).tocsc()
        change = np.zeros((*self.hole.shape, 3), np.float32)
        change[ys, xs] = splu(system).solve(right) - own_copy
        return change

    def _continued(self, y: Index, x: Index, offset: Index, colours: Array) -> Array:
        """Return what offsets (n, 2) place at pixels, or the colours (n, 3) beside them where a copy ends."""
        copies, exists = self.lookup(y + offset[:, 0], x + offset[:, 1])
        return np.where(exists[:, None], copies, colours).astype(np.float64)

    def compose(self, regions: Index, offsets: Index, change: Array, weight: Array) -> Pixels:
        """Mix the image with the copies by weight (H, W); regions (h, w) and change (h, w, 3) may be smaller."""
        ys, xs = np.nonzero(weight)
        grid = _Grid(self.hole.shape, regions.shape)
        result: Pixels = self.image.copy()
        for start in range(0, len(ys), _BLOCK):
            y = ys[start : start + _BLOCK]
            x = xs[start : start + _BLOCK]
            region = grid.nearest(regions, y, x)
            copies, exists = self.lookup(y + offsets[region, 0], x + offsets[region, 1])
            copies = copies + grid.interpolate(change, regions, region, y, x)
            exists &= region >= 0
            colours = np.where(exists[:, None], copies, grid.nearest(self.smooth, y, x))
            share = weight[y, x][:, None]
            mixture = self.image[y, x] * (1 - share) + np.clip(colours, 0, 255) * share
            result[y, x] = np.clip(mixture + 0.5, 0, 255).astype(np.uint8)
        return result


class _Grid:
    """The pixels of a full image in its reduced copy."""

    def __init__(self, full: tuple[int, ...], small: tuple[int, ...]) -> None:
        self.small = small
        self.ratio_y = full[0] / small[0]
        self.ratio_x = full[1] / small[1]

    def nearest(self, values: Array, y: Index, x: Index) -> Array:
        """Return a reduced image's values (n, ...) at full pixels."""
        row = np.minimum(((y + 0.5) / self.ratio_y).astype(np.int64), self.small[0] - 1)
        column = np.minimum(((x + 0.5) / self.ratio_x).astype(np.int64), self.small[1] - 1)
        return np.asarray(values[row, column])

    def interpolate(self, values: Array, regions: Index, region: Index, y: Index, x: Index) -> Array:
        """Interpolate values (n, C) of the nearest reduced pixels that belong to the pixel's region: edges stay."""
        total = np.zeros((len(y), values.shape[2]), np.float32)
        weights = np.full((len(y), 1), 1e-9, np.float32)
        for row, column, weight in self._neighbours(y, x):
            share = (weight + np.float32(1e-4)) * (regions[row, column] == region)
            total += share[:, None] * values[row, column]
            weights += share[:, None]
        return total / weights

    def _neighbours(self, y: Index, x: Index) -> Iterator[tuple[Index, Index, Array]]:
        """Return rows, columns and bilinear weights (n,) of the four reduced pixels around each pixel."""
        v = (y + 0.5) / self.ratio_y - 0.5
        u = (x + 0.5) / self.ratio_x - 0.5
        v0 = np.floor(v)
        u0 = np.floor(u)
        for dy in (0, 1):
            for dx in (0, 1):
                row = np.clip(v0 + dy, 0, self.small[0] - 1).astype(np.int64)
                column = np.clip(u0 + dx, 0, self.small[1] - 1).astype(np.int64)
                yield row, column, (np.abs(1 - dy - (v - v0)) * np.abs(1 - dx - (u - u0))).astype(np.float32)


def _soft(hole: Mask, feather: float) -> Array:
    """Blur the hole's edge: 1 inside, falling to 0 within a few pixels outside."""
    ys = np.flatnonzero(hole.any(1))
    xs = np.flatnonzero(hole.any(0))
    width = max(1.5, feather * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - distance / np.float32(width), 0, 1)
