"""Skirts, the lower parts of dresses, and the tails of coats."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe.base import ClothBase
from humanpose_cli.data.synthetic.wardrobe.lofts import Grid, group_rows, nearest_points, polar_hull, revolve
from humanpose_cli.data.synthetic.wardrobe.outfit import Skirt
from humanpose_cli.data.synthetic.wardrobe.shells import ramp

__all__ = ["skirt_cover", "skirt_grid", "skirt_size"]

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


def skirt_grid(skirt: Skirt, base: ClothBase, under: float, random: np.random.Generator) -> Grid:
    """The hanging cloth; under: metres of clothes beneath its upper edge."""
    rows = max(4, math.ceil((skirt.top - skirt.hem) / _ROW_METRES) + 1)
    y = np.linspace(skirt.top, skirt.hem, rows)
    closed = skirt.opening <= 0
    if closed:
        angles = np.arange(_COLUMNS) * (2 * math.pi / _COLUMNS)
    else:
        gap = math.asin(min(0.95, skirt.opening / 0.15))
        angles = np.linspace(gap, 2 * math.pi - gap, _COLUMNS)
    radius, middle = _hull_at(base, y, angles)
    # Cloth falls: below the widest place it never follows the body back in.
    radius = _falling(radius, np.clip(0.985 - 0.03 * (skirt.flare < 0.05), 0, 1))
    depth = np.maximum(np.maximum(0.04 - y, 0), 0)[:, None]
    # Under a top that hangs over it, the skirt's upper edge lies close to the body.
    ease = under + 0.002 + skirt.ease * (np.float32(1) if under > 0 else ramp(-y, -0.02, 0.1)[:, None])
    waves = np.sin(skirt.pleats * angles + random.uniform(0, 6.3)) + 0.5 * np.sin(
        (skirt.pleats // 2 + 1) * angles + random.uniform(0, 6.3)
    )
    hang = np.clip(depth / 0.5, 0, 1)
    radius = radius + ease + skirt.flare * depth * 0.5 + skirt.folds * hang * waves
    points = revolve(np.stack((np.zeros(rows), middle), 1), radius, y, angles)
    return Grid(points, closed, "trunk", _weights(base, points.reshape(-1, 3)))


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
