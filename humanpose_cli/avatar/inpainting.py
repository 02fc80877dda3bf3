"""Filling the background behind a removed person with patches of the rest of the image.

The coarsest copy is filled patch by patch, edges that run into the hole first, after Criminisi, Pérez and Toyama
(2004), so that they go on as edges. Then follows coarse-to-fine patch matching after Wexler, Shechtman and Irani (2007)
and Barnes et al. (2009), written for arrays: all patches search at once. The search runs on a reduced copy; the full
image then follows the found offsets, so the cost hardly depends on its size and its grain stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from humanpose_cli.body.texture import fill_smoothly

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

_RADIUS = 3
# Grounds, horizons, shelves and stands run across an image: the same height is the likelier source. In squared
# grey levels per squared share of the image's height.
_HEIGHT_PRIOR = np.float32(30000)
# How much farther colours spread sideways than up and down in the first guess.
_SIDEWAYS = 8
# Pixels over which a mismatch at the hole's border fades out inside.
_ERROR_REACH = 4
_PATCH = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
_STEPS = (1, 3)
# Missing pixels of the coarsest copy: with fewer, its patches are wider than what goes on. Grey levels a pixel, beside
# the contrast of edges, that a patch's priority has without any. Share of a patch's confidence that what it fills gets:
# hardly any, so that one edge does not run through the hole before others come in from its other side.
_COARSEST, _EDGELESS, _MADE_UP = 500, np.float32(5), np.float32(0.02)
_WINDOW = np.arange(-_RADIUS, _RADIUS + 1)


class _PatchField(NamedTuple):
    """The match of each pixel's patch: offsets (H, W) in pixels, zero where none was needed."""

    offset_y: Index
    offset_x: Index


def _search_level(
    image: Array,
    hole: Mask,
    usable: Mask,
    coarser: _PatchField | None,
    coarser_estimate: Array | None,
    random: np.random.Generator,
) -> tuple[_PatchField | None, Array]:
    """Match and vote at one size: image (h, w, 3), hole and usable (h, w).

    coarser, coarser_estimate  the result of the next coarser size; None at the coarsest
    Returns the offsets (None if no whole patch of background exists) and the image with the hole filled.
    """
    level = _Level(image, hole, usable)
    estimate = level.first_estimate(coarser_estimate)
    if not len(level.sources):
        return None, estimate
    grown = coarser is None
    if coarser is None:
        coarser, estimate = _grow(level, estimate)
    best = level.first_matches(coarser, random)
    for turn in range(2 if grown else 3):
        patches = level.patches(estimate)[level.targets]
        cost = level.cost(patches, np.arange(len(best)), best)
        best, cost = level.improve(patches, best, cost, random, wide=turn < 2 and not grown)
        estimate = level.vote(best, cost)
    offset_y, offset_x = np.zeros(hole.shape, np.int64), np.zeros(hole.shape, np.int64)
    width = hole.shape[1]
    offset_y.flat[level.targets] = best // width - level.targets // width
    offset_x.flat[level.targets] = best % width - level.targets % width
    return _PatchField(offset_y, offset_x), estimate


class _Level:
    """The arrays of one size. Pixels are numbered row by row."""

    def __init__(self, image: Array, hole: Mask, usable: Mask) -> None:
        self.image, self.hole = image, hole
        self.usable = usable
        height, width = hole.shape
        sources = cv2.erode(usable.astype(np.uint8), _PATCH, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        self.is_source = sources.ravel()
        self.sources: Index = np.flatnonzero(self.is_source)
        touched = cv2.dilate(hole.astype(np.uint8), _PATCH) > 0
        self.targets: Index = np.flatnonzero(touched)
        self.row: Index = np.full(hole.size, -1, np.int64)
        self.row[self.targets] = np.arange(len(self.targets))
        self.y, self.x = self.targets // width, self.targets % width
        self.height, self.width = height, width
        self.source_patches = self.patches(image)
        inside = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3).ravel()[self.targets]
        # Patches near the border know more (Wexler et al.): their vote weighs more.
        self.confidence = np.float32(1.25) ** -np.minimum(inside, 30).astype(np.float32)

    def patches(self, image: Array) -> Array:
        """Every pixel's neighbourhood: (h·w, 7·7·3)."""
        padded = np.pad(image, ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)), mode="edge")
        size = 2 * _RADIUS + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
        return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(self.hole.size, -1)

    def first_estimate(self, coarser: Array | None) -> Array:
        """The image with the hole filled smoothly, or from the coarser size."""
        if coarser is None:
            guess = self._spread_sideways()
        else:
            guess = cv2.resize(coarser, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.where(self.hole[..., None], guess, self.image).astype(np.float32)

    def _spread_sideways(self) -> Array:
        size = (max(1, self.width // _SIDEWAYS), self.height)
        known = self.usable.astype(np.float32)
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        colour = cv2.resize(self.image * known[..., None], size, interpolation=cv2.INTER_AREA)
        colour = colour.reshape(*size[::-1], 3) / np.maximum(weight, np.float32(1e-6))[..., None]
        filled = fill_smoothly(colour, np.minimum(weight * 2, 1))
        return cv2.resize(filled, (self.width, self.height), interpolation=cv2.INTER_LINEAR)

    def first_matches(self, coarser: _PatchField, random: np.random.Generator) -> Index:
        """Starting matches: the coarser size's, and random ones where those are none."""
        anywhere = self.sources[random.integers(0, len(self.sources), len(self.targets))]
        coarse_height, coarse_width = coarser.offset_y.shape
        ratio_y, ratio_x = self.height / coarse_height, self.width / coarse_width
        row = np.minimum((self.y / ratio_y).astype(np.int64), coarse_height - 1)
        column = np.minimum((self.x / ratio_x).astype(np.int64), coarse_width - 1)
        y = self.y + np.rint(coarser.offset_y[row, column] * ratio_y).astype(np.int64)
        x = self.x + np.rint(coarser.offset_x[row, column] * ratio_x).astype(np.int64)
        matches, good = self._number(y, x)
        return np.where(good, matches, anywhere)

    def _number(self, y: Index, x: Index) -> tuple[Index, Mask]:
        """Pixel numbers, and whether a whole patch of background lies there."""
        number = np.clip(y, 0, self.height - 1) * self.width + np.clip(x, 0, self.width - 1)
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        return number, inside & self.is_source[number]

    def cost(self, patches: Array, targets: Index, matches: Index) -> Array:
        """Mean squared difference of some targets' patches (rows of `patches`) to their matches, plus the prior."""
        difference = patches[targets] - self.source_patches[matches]
        climb = (matches // self.width - self.y[targets]).astype(np.float32) / np.float32(self.height)
        return np.einsum("ij,ij->i", difference, difference) / np.float32(patches.shape[1]) + (
            _HEIGHT_PRIOR * climb * climb
        )

    def improve(
        self, patches: Array, best: Index, cost: Array, random: np.random.Generator, *, wide: bool
    ) -> tuple[Index, Array]:
        """Try the neighbours' matches, shifted, and random positions around the present match."""
        for step in _STEPS if wide else _STEPS[:1]:
            for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
                y, x = self.y + dy, self.x + dx
                neighbour = self.row[np.clip(y, 0, self.height - 1) * self.width + np.clip(x, 0, self.width - 1)]
                match = best[np.maximum(neighbour, 0)]
                candidates, good = self._number(match // self.width - dy, match % self.width - dx)
                best, cost = self._keep(patches, best, cost, candidates, good & (neighbour >= 0))
        radius = max(self.height, self.width) if wide else 8
        while radius >= 1:
            y = best // self.width + random.integers(-radius, radius + 1, len(best))
            x = best % self.width + random.integers(-radius, radius + 1, len(best))
            candidates, good = self._number(y, x)
            best, cost = self._keep(patches, best, cost, candidates, good)
            radius //= 4
        return best, cost

    def _keep(self, patches: Array, best: Index, cost: Array, candidates: Index, good: Mask) -> tuple[Index, Array]:
        tried = np.flatnonzero(good & (candidates != best))
        if not len(tried):
            return best, cost
        new = self.cost(patches, tried, candidates[tried])
        better = new < cost[tried]
        winners = tried[better]
        best, cost = best.copy(), cost.copy()
        best[winners], cost[winners] = candidates[winners], new[better]
        return best, cost

    def vote(self, best: Index, cost: Array) -> Array:
        """Every missing pixel: the mean of the matched patches that cover it, good matches weighing more."""
        spread = max(float(np.percentile(cost, 75)), 1.0)
        weight = (self.confidence * np.exp(-cost / np.float32(2 * spread)) + np.float32(1e-12)).astype(np.float32)
        total = np.zeros((self.hole.size, 4), np.float32)
        flat = self.image.reshape(-1, 3)
        for dy in range(-_RADIUS, _RADIUS + 1):
            for dx in range(-_RADIUS, _RADIUS + 1):
                y, x = self.y + dy, self.x + dx
                inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
                pixel = y[inside] * self.width + x[inside]
                share = weight[inside, None]
                # One shift sends every patch to another pixel: plain assignment adds each exactly once.
                total[pixel, :3] += share * flat[best[inside] + dy * self.width + dx]
                total[pixel, 3:] += share
        voted = (total[:, :3] / np.maximum(total[:, 3:], np.float32(1e-30))).reshape(self.image.shape)
        ring = self.usable & (total[:, 3] > 0).reshape(self.hole.shape)
        # What the patches get wrong on the known pixels around the hole, they get wrong beside them too.
        error = fill_smoothly(np.where(ring[..., None], self.image - voted, np.float32(0)), ring.astype(np.float32))
        inside = cv2.distanceTransform(self.hole.astype(np.uint8), cv2.DIST_L2, 3)
        voted += error * np.exp(-inside / np.float32(_ERROR_REACH))[..., None]
        return np.where(self.hole[..., None], np.clip(voted, 0, 255), self.image).astype(np.float32)


def _grow(level: _Level, guess: Array) -> tuple[_PatchField, Array]:
    """The hole filled patch by patch from its border, the patch of the highest priority first (Criminisi et al. 2004).

    guess  (h, w, 3) the image with the hole filled smoothly; it stays where no known pixel is near
    Returns the offsets, on the rim those of the nearest missing pixel, and the image with the hole filled.
    """
    image, known, missing = guess.copy(), level.usable.copy(), level.hole.copy()
    confidence, edges = known.astype(np.float32), _edges(guess, known)
    offsets = np.zeros((2, *missing.shape), np.int64)
    colours = level.source_patches[level.sources]
    squares = np.square(colours).reshape(len(colours), -1, 3).sum(2)
    source_y, source_x = level.sources // level.width, level.sources % level.width
    while True:
        front = missing & (cv2.dilate(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        if not front.any():
            break
        ys, xs = np.nonzero(front)
        trust, priority = _priorities(known, confidence, edges, ys, xs)
        first = int(priority.argmax())
        y, x = (np.clip(at[first] + _WINDOW, 0, most - 1) for at, most in ((ys, level.height), (xs, level.width)))
        window = np.ix_(y, x)
        weight, patch = known[window].astype(np.float32).ravel(), image[window].reshape(-1, 3)
        squared = squares @ weight - 2 * (colours @ (weight[:, None] * patch).ravel())
        climb = (source_y - ys[first]) / np.float32(level.height)
        best = int((squared / (3 * weight.sum()) + _HEIGHT_PRIOR * climb * climb).argmin())
        dy, dx = int(source_y[best] - ys[first]), int(source_x[best] - xs[first])
        rows, columns = (values[missing[window]] for values in np.meshgrid(y, x, indexing="ij"))
        image[rows, columns] = level.image[rows + dy, columns + dx]
        edges[rows, columns] = edges[rows + dy, columns + dx]
        confidence[rows, columns], known[rows, columns], missing[rows, columns] = _MADE_UP * trust[first], True, False
        offsets[:, rows, columns] = [[dy], [dx]]
    nearest_y, nearest_x = distance_transform_edt(~level.hole, return_distances=False, return_indices=True)
    offset_y, offset_x = offsets[:, nearest_y, nearest_x]
    return _PatchField(offset_y, offset_x), image


def _edges(image: Array, known: Mask) -> Array:
    """Gradients (h, w, 2) of the brightness along x and y, grey levels a pixel; 0 beside unknown pixels."""
    bright = image.mean(2)
    inside = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.dstack([cv2.Sobel(bright, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0)]) * inside[..., None]


def _priorities(known: Mask, confidence: Array, edges: Array, ys: Index, xs: Index) -> tuple[Array, Array]:
    """Confidence and priority of the patches about pixels of the front (n,): how much of them is known, and that times
    how strong an edge runs into the hole there.
    """
    share = cv2.boxFilter(confidence * known, -1, _PATCH.shape, borderType=cv2.BORDER_CONSTANT)[ys, xs]
    soft = cv2.GaussianBlur(known.astype(np.float32), (0, 0), 1.0)
    normal: Array = np.stack([cv2.Sobel(soft, cv2.CV_32F, dx, 1 - dx)[ys, xs] for dx in (1, 0)], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-6))
    padded = np.pad(edges, ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)))
    near = np.lib.stride_tricks.sliding_window_view(padded, _PATCH.shape, axis=(0, 1))[ys, xs].reshape(len(ys), 2, -1)
    strongest = np.square(near).sum(1).argmax(1)
    edge = near[np.arange(len(ys)), :, strongest]
    running_in = np.abs(edge[:, 0] * normal[:, 1] - edge[:, 1] * normal[:, 0])
    return share, share * (running_in + _EDGELESS)


Pixels = NDArray[np.uint8]

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
    if not usable.any():
        filled = fill_smoothly(image.astype(np.float32), (~hole).astype(np.float32))
        return np.where(hole[..., None], np.clip(filled + 0.5, 0, 255), image).astype(np.uint8)
    scale = min(1.0, (options.search_pixels / float(hole.sum())) ** 0.5)
    random = np.random.default_rng(options.seed)
    field: _PatchField | None = None
    estimate: Array | None = None
    for small, small_hole, small_usable in reversed(_pyramid(image, hole, usable, scale)):
        field, estimate = _search_level(small, small_hole, small_usable, field, estimate, random)
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
        copied, lambda part: grid.mix(part, image, copied[ys[part], xs[part]] + grid.interpolate(part, drift), weight)
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
    """Whether the hole is still large and a few pixels deep, and enough whole patches of background are left."""
    depth = cv2.distanceTransform(np.pad(missing, 1).astype(np.uint8), cv2.DIST_L2, 3).max()
    sources = cv2.erode(good.astype(np.uint8), _PATCH, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return int(missing.sum()) >= _COARSEST and depth >= 2.5 and int(sources.sum()) >= 250


class _Grid:
    """Some pixels (ys, xs) of a full image and their four neighbours in its reduced copy, a block at a time."""

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
        """A reduced image's values (n, C)."""
        total = np.zeros((len(self.ys[part]), values.shape[2]), np.float32)
        for row, column, weight in self._neighbours(part):
            total += weight[:, None] * values[row, column]
        return total

    def follow(self, part: slice, field: _PatchField, image: Pixels, usable: Mask) -> Array:
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
        """Colours (n, 3) over the image's own, by weight (H, W)."""
        ys, xs = self.ys[part], self.xs[part]
        share = weight[ys, xs][:, None]
        return image[ys, xs] * (1 - share) + np.clip(colours, 0, 255) * share


def _soft(hole: Mask, feather: float) -> Array:
    """1 in the hole, falling to 0 within a few pixels outside."""
    ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    width = max(1.5, feather * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - distance / np.float32(width), 0, 1)
