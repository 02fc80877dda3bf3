"""Colour codes of parts and joints: fixed, far from each other, black for nothing."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_bytes", "code_colours"]

_LEVELS = (-1.0, 0.0, 1.0)


@lru_cache(maxsize=16)
def code_colours(count: int) -> NDArray[np.float32]:
    """(count + 1, 3) RGB in −1…1, at most 26: row 0, black, for the background, then one for each part or joint.

    First the colour cube's corners, then other points of its 3×3×3 grid, each as far as possible from those before it.
    """
    grid = np.array(list(product(_LEVELS, repeat=3)), np.float32)
    if not 1 <= count < len(grid):
        raise ValueError(f"there are colours for 1 to {len(grid) - 1}, not {count}")
    chosen = [0]  # (−1, −1, −1)
    distance = np.linalg.norm(grid - grid[0], axis=1)
    corner = np.abs(grid).min(1) == 1
    for number in range(count):
        allowed = corner if number < corner.sum() - 1 else np.ones(len(grid), bool)
        following = int(np.where(allowed, distance, -1).argmax())
        chosen.append(following)
        distance = np.minimum(distance, np.linalg.norm(grid - grid[following], axis=1))
    colours = grid[chosen]
    colours.setflags(write=False)
    return colours


def as_bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours in −1…1 as 0…255, for looking at them."""
    return np.rint(127.5 * (np.clip(colours, -1, 1) + 1)).astype(np.uint8)
