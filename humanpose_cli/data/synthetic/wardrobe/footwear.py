"""Shoes: a last round the foot's outline, with a sole, and a shaft for boots."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe.base import ClothBase
from humanpose_cli.data.synthetic.wardrobe.coordinates import Coordinates
from humanpose_cli.data.synthetic.wardrobe.lofts import Grid, polar_hull, revolve
from humanpose_cli.data.synthetic.wardrobe.noise import noise
from humanpose_cli.data.synthetic.wardrobe.outfit import Shoes
from humanpose_cli.data.synthetic.wardrobe.texels import TILES

__all__ = ["foot_cover", "paint_shoes", "sandal_straps", "shoe_grids"]

Array = NDArray[Any]

_COLUMNS = 26
# Heights above the ground (metres) of the rings round the foot, from the opening down to the sole.
_LEVELS = np.array([0.1, 0.084, 0.068, 0.054, 0.042, 0.03, 0.018, 0.006])
_TO_SOLE = 0.016
_LASTS: WeakKeyDictionary[ClothBase, tuple[Array, Array, float, Array]] = WeakKeyDictionary()


def foot_cover(shoes: Shoes, base: ClothBase) -> Array | None:
    """(N,) metres that the skin lies inside the shoes; None where it shows."""
    if shoes.kind in ("barefoot", "sandals"):
        return None
    _, _, ground, _ = _last(base)
    top = ground + _LEVELS[0] + shoes.shaft
    return np.where(base.where.is_arm, np.float32(-0.3), top - base.where.y).astype(np.float32)


def shoe_grids(shoes: Shoes, base: ClothBase) -> list[Grid]:
    """Left and right shoe; none for bare feet."""
    if shoes.kind == "barefoot":
        return []
    radius, centre, ground, angles = _last(base)
    wall = 0.007 if shoes.kind != "sandals" else 0.004
    radius, y = radius + wall, ground + _LEVELS
    if shoes.kind == "sandals":
        # Only the sole: its upper face lies under the foot.
        keep = slice(-1, None)
        radius, centre, y = np.repeat(radius[keep], 2, 0), np.repeat(centre[keep], 2, 0), np.array([ground, ground])
        radius[0] = 0.001
    elif shoes.shaft > 0:
        radius, centre, y = _with_shaft(shoes, base, radius, centre, y, angles)
    sole = radius[-1] + (0.004 if shoes.kind != "sandals" else 0.0)
    below = ground - shoes.thickness
    radius = np.concatenate((radius, [sole, sole, np.full_like(sole, 0.001)]))
    centre = np.concatenate((centre, np.repeat(centre[-1:], 3, 0)))
    y = np.concatenate((y, [ground + 0.002, below, below]))
    left = revolve(centre, radius, y, angles)
    right = left[:, ::-1] * np.array([-1, 1, 1], np.float32)
    return [Grid(left, True, "feet"), Grid(right, True, "feet")]


def paint_shoes(shoes: Shoes, image: NDArray[np.uint8], rows: int) -> None:
    """Fill the shoes' tile: upper, accents, sole, in the order of the grid's rows (of which there are `rows`)."""
    part_rows, part_columns = TILES["shoe"].slices(len(image))
    height, width = part_rows.stop - part_rows.start, part_columns.stop - part_columns.start
    v, u = np.mgrid[:height, :width].astype(np.float32)
    v, u = v / max(height - 1, 1), u / max(width - 1, 1)
    colour = np.empty((height, width, 3), np.float32)
    colour[:] = shoes.colour
    front = np.minimum(u, 1 - u)  # 0 at the toe
    if shoes.kind == "sneakers":
        colour[(front > 0.18) & (front < 0.26) & (v > 0.25)] = shoes.accent
        laces = (front < 0.1) & (v < 0.5) & ((v * 16) % 1 < 0.45)
        colour[laces] = shoes.sole
    elif shoes.kind == "shoes":
        colour[(front < 0.08) & (v < 0.3)] *= np.float32(0.6)
    colour[v > (rows - 4) / (rows - 1)] = shoes.sole
    grain = noise(64, 1, 0.4)[np.arange(height)[:, None] % 256, np.arange(width)[None] % 256]
    colour *= (1 + 0.05 * grain)[..., None]
    image[part_rows, part_columns] = np.clip(colour, 0, 255)


def sandal_straps(at: Coordinates) -> Array:
    """Indices of the points (texels) under a sandal's straps: across the toes and round the ankle."""
    toes = (at.z > 0.085) & (at.z < 0.115)
    ankle = (at.leg > 0.815) & (at.leg < 0.832)
    return np.flatnonzero(~at.is_arm & (at.leg > 0.8) & (toes | ankle))


def _last(base: ClothBase) -> tuple[Array, Array, float, Array]:
    """Rings round the left foot: radius (R, C), centres (R, 2) of x and z, the ground's height, angles (C,)."""
    if base not in _LASTS:
        _LASTS[base] = _measure(base)
    return _LASTS[base]


def _measure(base: ClothBase) -> tuple[Array, Array, float, Array]:
    side = [SMPL24.index(f"left_{name}") for name in ("knee", "ankle", "foot")]
    foot = base.template[np.isin(base.bones[0][:, 0], side)]
    ground = float(foot[:, 1].min())
    angles = np.arange(_COLUMNS) * (2 * math.pi / _COLUMNS)
    # More columns where the toes are, far from the centre.
    angles = angles - 0.45 * np.sin(angles)
    radii, centres = [], []
    for level in _LEVELS:
        above = foot[(foot[:, 1] > ground + level - 0.008) & (foot[:, 1] < ground + 0.125)]
        heel = above[:, 2].min()
        centre = np.array([np.median(above[above[:, 2] < heel + 0.09, 0]), heel + 0.055])
        radii.append(polar_hull(above[:, [0, 2]] - centre, angles))
        centres.append(centre)
    return np.asarray(radii), np.asarray(centres), ground, angles


def _with_shaft(
    shoes: Shoes, base: ClothBase, radius: Array, centre: Array, y: Array, angles: Array
) -> tuple[Array, Array, Array]:
    leg = base.template[(base.template[:, 0] > 0) & ~base.where.is_arm]
    rings, centres, heights = [], [], []
    count = max(2, round(shoes.shaft / 0.03))
    for height in np.linspace(y[0] + shoes.shaft, y[0] + 0.02, count):
        ring = leg[np.abs(leg[:, 1] - height) < 0.015]
        middle = (ring[:, [0, 2]].min(0) + ring[:, [0, 2]].max(0)) / 2
        rings.append(polar_hull(ring[:, [0, 2]] - middle, angles) + 0.012)
        centres.append(middle)
        heights.append(height)
    return np.concatenate((rings, radius)), np.concatenate((centres, centre)), np.concatenate((heights, y))
