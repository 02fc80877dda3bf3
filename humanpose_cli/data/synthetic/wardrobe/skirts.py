"""Skirts, the lower parts of dresses, and the tails of coats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe.base import ClothBase
from humanpose_cli.data.synthetic.wardrobe.lofts import Grid, group_rows, nearest_points, polar_hull, revolve
from humanpose_cli.data.synthetic.wardrobe.outfit import Skirt
from humanpose_cli.data.synthetic.wardrobe.shells import ramp

__all__ = ["Hanging", "hang_skirt", "skirt_cover", "skirt_size"]

Array = NDArray[Any]

_COLUMNS = 48
_RING_STEP, _HIGHEST, _LOWEST = 0.025, 0.2, -0.86  # metres above the pelvis joint
_ROW_METRES = 0.035
# A leg may lift within a skirt: skin is left out only this far above its hem (metres).
_LEG_SHOWS = 0.07
_RINGS: WeakKeyDictionary[ClothBase, tuple[Array, Array]] = WeakKeyDictionary()


def skirt_cover(skirt: Skirt, base: ClothBase) -> Array:
    """(N,) metres that body points lie inside a closed skirt, above where legs may show under its hem."""
    at = base.where
    field = np.minimum(skirt.top - at.y, at.y - skirt.hem - _LEG_SHOWS)
    return np.where(at.is_arm, np.float32(-0.3), field).astype(np.float32)


def skirt_size(skirt: Skirt) -> tuple[float, float]:
    """Metres round and down of its cloth, about."""
    return 1.15 + 3 * skirt.flare * (skirt.top - skirt.hem), skirt.top - skirt.hem


@dataclass(frozen=True, eq=False)
class Hanging:
    """Cloth that hangs round the body: its grid, and the radius (R, C) round middles z (R,) at heights y (R,)."""

    grid: Grid
    radius: Array
    middle: Array
    y: Array
    angles: Array

    def stand_off(self, base: ClothBase) -> Array:
        """(N,) metres that it lies outside the body's points; 0 where it does not cover them."""
        at = base.where
        rows = np.flatnonzero(~at.is_arm & (at.y <= self.y[0]) & (at.y >= self.y[-1]))
        row = np.interp(-at.y[rows], -self.y, np.arange(len(self.y))).round().astype(int)
        x, z = at.x[rows], at.z[rows] - self.middle[row]
        step = (np.mod(np.arctan2(x, z), 2 * math.pi) - self.angles[0]) / (self.angles[1] - self.angles[0])
        column = np.clip(step.round().astype(int), 0, None) % len(self.angles)
        result = np.zeros(len(at.y), np.float32)
        result[rows] = np.maximum(self.radius[row, column] - np.hypot(x, z), 0)
        return result


def hang_skirt(
    skirt: Skirt, base: ClothBase, under: float, random: np.random.Generator, *, close_until: float
) -> Hanging:
    """The hanging cloth of a skirt or tail.

    under        metres of clothes beneath its upper edge
    close_until  height in metres above the pelvis joint to which its upper part lies close to what is beneath
    """
    rows = max(4, math.ceil((skirt.top - skirt.hem) / _ROW_METRES) + 1)
    y = np.linspace(skirt.top, skirt.hem, rows)
    if skirt.opening <= 0:
        angles = np.arange(_COLUMNS) * (2 * math.pi / _COLUMNS)
    else:
        gap = math.asin(min(0.95, skirt.opening / 0.15))
        angles = np.linspace(gap, 2 * math.pi - gap, _COLUMNS)
    radius, middle = _hull_at(base, y, angles)
    # Cloth falls: below the widest place it never follows the body back in, straight skirts a little.
    radius = _falling(radius, 0.985 if skirt.flare > 0.05 else 0.955)
    depth = np.maximum(0.04 - y, 0)[:, None]
    ease = under + 0.002 + skirt.ease * ramp(close_until - y, -0.06, 0.06)[:, None]
    waves = np.sin(skirt.pleats * angles + random.uniform(0, 6.3))
    waves = waves + 0.5 * np.sin((skirt.pleats // 2 + 1) * angles + random.uniform(0, 6.3))
    radius = radius + ease + skirt.flare * depth * 0.5 + skirt.folds * np.clip(depth / 0.5, 0, 1) * waves
    points = revolve(np.stack((np.zeros(rows), middle), 1), radius, y, angles)
    grid = Grid(points, skirt.opening <= 0, "trunk", _weights(base, points.reshape(-1, 3)))
    return Hanging(grid, radius, middle, y, angles)


def _falling(radius: Array, share: float) -> Array:
    result = radius.copy()
    for row in range(1, len(result)):
        result[row] = np.maximum(result[row], share * result[row - 1])
    return result


def _hull_at(base: ClothBase, y: Array, angles: Array) -> tuple[Array, Array]:
    """Radius (R, C) of the average body's hull at heights y (R,) and its middle z (R,)."""
    if base not in _RINGS:
        _RINGS[base] = _measure_rings(base)
    table, middles = _RINGS[base]
    place = np.clip((_HIGHEST - y) / _RING_STEP, 0, len(table) - 1.001)
    low, share = place.astype(int), place % 1
    rings = table[low] + share[:, None] * (table[low + 1] - table[low])
    turns = np.linspace(0, 2 * math.pi, table.shape[1])
    radius = np.stack([np.interp(angles, turns, ring) for ring in rings])
    return radius, middles[low] + share * (middles[low + 1] - middles[low])


def _measure_rings(base: ClothBase) -> tuple[Array, Array]:
    heights = np.arange(_HIGHEST, _LOWEST - _RING_STEP, -_RING_STEP)
    angles = np.linspace(0, 2 * math.pi, 73)
    points = base.template[group_rows(base, "trunk")]
    radii, middles = [], []
    for height in heights:
        ring = points[np.abs(points[:, 1] - height) < 0.8 * _RING_STEP]
        middle = (ring[:, 2].min() + ring[:, 2].max()) / 2
        radii.append(polar_hull(np.stack((ring[:, 0], ring[:, 2] - middle), 1), angles))
        middles.append(middle)
    # Feet stick out in front: below the calves the hull is that of the calves.
    calves = int((_HIGHEST + 0.72) / _RING_STEP)
    for k in range(calves + 1, len(radii)):
        radii[k], middles[k] = radii[calves], middles[calves]
    smooth = np.asarray(middles)
    kernel = np.ones(5) / 5
    smooth = np.convolve(np.pad(smooth, 2, mode="edge"), kernel, mode="valid")
    return np.asarray(radii), smooth


def _weights(base: ClothBase, points: Array) -> Array:
    """(n, 24): the trunk's at the waist, both thighs' blended across the middle below, the shanks' share further down.

    Blending over the whole width keeps the cloth in one piece when the legs part.
    """
    near, share = nearest_points(base, points, "trunk")
    trunk = (base.weights[near] * share[..., None]).sum(1)
    # The further down, the wider: there the legs part most.
    half = 0.11 + 0.2 * np.maximum(-points[:, 1], 0)
    left = ramp(points[:, 0] / half, -1, 1)
    shank = 0.75 * ramp(-points[:, 1], 0.36, 0.6)
    legs = np.zeros_like(trunk)
    for side, part in (("left", left), ("right", 1 - left)):
        legs[:, SMPL24.index(f"{side}_hip")] = part * (1 - shank)
        legs[:, SMPL24.index(f"{side}_knee")] = part * shank
    pelvis = np.zeros_like(trunk)
    pelvis[:, SMPL24.index("pelvis")] = 1
    # Some of the pelvis stays in, so that the cloth hangs between a lifted and a standing leg.
    hanging = 0.88 * legs + 0.12 * pelvis
    low = ramp(-points[:, 1], -0.06, 0.16)[:, None]
    high = ramp(points[:, 1], 0.0, 0.06)[:, None]
    upper = high * trunk + (1 - high) * pelvis
    return low * hanging + (1 - low) * upper
