"""Seamless noise, made once per process, from which every texture takes its irregularities."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["NOISE_SIZE", "noise", "noise_patch", "resample", "resample_at"]

Array = NDArray[Any]

NOISE_SIZE = 256
_COLUMNS = 2048  # OpenCV's maps must be shorter than 2¹⁵ along each side
_CELLS = (4, 8, 16, 32, 64, 128)


@lru_cache(maxsize=16)
def noise(finest: int, seed: int = 0, steepness: float = 1.0) -> NDArray[np.float32]:
    """(256, 256) seamless noise of mean 0 and deviation 1 with features down to 256 / finest texels.

    steepness  1: each octave has half the last one's amplitude; 0: all alike
    """
    random = np.random.default_rng((917, seed))
    total = np.zeros((NOISE_SIZE, NOISE_SIZE), np.float32)
    for octave, cells in enumerate(c for c in _CELLS if c <= finest):
        grid = random.normal(size=(cells, cells)).astype(np.float32)
        margin = 4
        padded = np.pad(grid, margin, mode="wrap")
        scale = NOISE_SIZE // cells
        side = (cells + 2 * margin) * scale
        large = cv2.resize(padded, (side, side), interpolation=cv2.INTER_CUBIC)
        cut = slice(margin * scale, margin * scale + NOISE_SIZE)
        total += np.float32(0.5 ** (steepness * octave)) * large[cut, cut]
    return (total - total.mean()) / total.std()


@lru_cache(maxsize=32)
def _four_times(finest: int, seed: int, steepness: float, size: int) -> Array:
    field = noise(finest, seed, steepness)
    if size != NOISE_SIZE:
        field = np.asarray(cv2.resize(field, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    return np.tile(field, (2, 2))


def noise_patch(random: np.random.Generator, size: int, finest: int, steepness: float = 1.0) -> NDArray[np.float32]:
    """(size, size) seamless noise for size 256 or a whole part of it, drawn from a few stored fields."""
    field = _four_times(finest, int(random.integers(2)), steepness, size)
    y, x, turned = (int(v) for v in random.integers(0, (size, size, 2)))
    patch = field[y : y + size, x : x + size]
    return patch.T if turned else patch


def resample_at(tile: Array, u: Array, v: Array) -> Array:
    """`resample` at places (n,), in any number → (n[, C])."""
    count = len(u)
    lines = -(-count // _COLUMNS)
    grid = (np.pad(values, (0, lines * _COLUMNS - count)).reshape(lines, _COLUMNS) for values in (u, v))
    found = resample(tile, *grid)
    return found.reshape(lines * _COLUMNS, *found.shape[2:])[:count]


def resample(tile: Array, u: Array, v: Array) -> Array:
    """A seamless tile (n, m[, C]) looked up bilinearly at u, v (H, W) in repeats → (H, W[, C]), same type."""
    height, width = tile.shape[:2]
    x = (u - np.floor(u)) * np.float32(width)
    y = (v - np.floor(v)) * np.float32(height)
    # One more row and column, so that the wrap needs no special border.
    padded = cv2.copyMakeBorder(tile, 0, 1, 0, 1, cv2.BORDER_WRAP)
    return cv2.remap(padded, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
