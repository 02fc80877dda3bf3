"""One level of patch matching: for every patch that touches the hole, a similar patch of the background."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.texture import fill_smoothly

__all__ = ["PATCH", "PatchField", "search_level"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

_RADIUS = 3
# Grounds, horizons, shelves and stands run across a picture: the same height is the likelier source. In squared
# grey levels per squared share of the picture's height.
_HEIGHT_PRIOR = np.float32(30000)
# How much farther colours spread sideways than up and down in the first guess.
_SIDEWAYS = 8
# Pixels over which a mismatch at the hole's border fades out inside.
_ERROR_REACH = 4
PATCH = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
_STEPS = (1, 3)


class PatchField(NamedTuple):
    """Where each pixel's patch was found: offsets (H, W) in pixels, zero where none was needed."""

    offset_y: Index
    offset_x: Index


def search_level(
    image: Array,
    hole: Mask,
    usable: Mask,
    coarser: PatchField | None,
    coarser_estimate: Array | None,
    random: np.random.Generator,
) -> tuple[PatchField | None, Array]:
    """Match and vote at one size: image (h, w, 3), hole and usable (h, w).

    coarser, coarser_estimate  the result of the next coarser size; None at the coarsest
    Returns the offsets (None if no whole patch of background exists) and the picture with the hole filled.
    """
    level = _Level(image, hole, usable)
    estimate = level.first_estimate(coarser_estimate)
    if not len(level.sources):
        return None, estimate
    best = level.first_matches(coarser, random)
    rounds = 8 if coarser is None else 3
    for turn in range(rounds):
        patches = level.patches(estimate)[level.targets]
        cost = level.cost(patches, np.arange(len(best)), best)
        for _ in range(2 if coarser is None else 1):
            best, cost = level.improve(patches, best, cost, random, wide=turn < 2)
        estimate = level.vote(best, cost)
    offset_y, offset_x = np.zeros(hole.shape, np.int64), np.zeros(hole.shape, np.int64)
    width = hole.shape[1]
    offset_y.flat[level.targets] = best // width - level.targets // width
    offset_x.flat[level.targets] = best % width - level.targets % width
    return PatchField(offset_y, offset_x), estimate


class _Level:
    """The arrays of one size. Pixels are numbered row by row."""

    def __init__(self, image: Array, hole: Mask, usable: Mask) -> None:
        self.image, self.hole = image, hole
        self.usable = usable
        height, width = hole.shape
        whole = cv2.erode(usable.astype(np.uint8), PATCH, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        self.is_source = whole.ravel()
        self.sources: Index = np.flatnonzero(self.is_source)
        touched = cv2.dilate(hole.astype(np.uint8), PATCH) > 0
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
        """The picture with the hole filled smoothly, or from the coarser size."""
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

    def first_matches(self, coarser: PatchField | None, random: np.random.Generator) -> Index:
        """Starting matches: random ones, or the coarser size's."""
        anywhere = self.sources[random.integers(0, len(self.sources), len(self.targets))]
        if coarser is None:
            return anywhere
        coarse_height, coarse_width = coarser.offset_y.shape
        ratio_y, ratio_x = self.height / coarse_height, self.width / coarse_width
        row = np.minimum((self.y / ratio_y).astype(np.int64), coarse_height - 1)
        column = np.minimum((self.x / ratio_x).astype(np.int64), coarse_width - 1)
        y = self.y + np.rint(coarser.offset_y[row, column] * ratio_y).astype(np.int64)
        x = self.x + np.rint(coarser.offset_x[row, column] * ratio_x).astype(np.int64)
        found, good = self._number(y, x)
        return np.where(good, found, anywhere)

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
        """Try what the neighbours found, moved along, and random places around the present match."""
        for step in _STEPS if wide else _STEPS[:1]:
            for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
                y, x = self.y + dy, self.x + dx
                neighbour = self.row[np.clip(y, 0, self.height - 1) * self.width + np.clip(x, 0, self.width - 1)]
                match = best[np.maximum(neighbour, 0)]
                found, good = self._number(match // self.width - dy, match % self.width - dx)
                best, cost = self._keep(patches, best, cost, found, good & (neighbour >= 0))
        radius = max(self.height, self.width) if wide else 8
        while radius >= 1:
            y = best // self.width + random.integers(-radius, radius + 1, len(best))
            x = best % self.width + random.integers(-radius, radius + 1, len(best))
            found, good = self._number(y, x)
            best, cost = self._keep(patches, best, cost, found, good)
            radius //= 4
        return best, cost

    def _keep(self, patches: Array, best: Index, cost: Array, found: Index, good: Mask) -> tuple[Index, Array]:
        tried = np.flatnonzero(good & (found != best))
        if not len(tried):
            return best, cost
        new = self.cost(patches, tried, found[tried])
        better = new < cost[tried]
        winners = tried[better]
        best, cost = best.copy(), cost.copy()
        best[winners], cost[winners] = found[winners], new[better]
        return best, cost

    def vote(self, best: Index, cost: Array) -> Array:
        """Every missing pixel: the mean of what the patches that cover it say, good matches first."""
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
