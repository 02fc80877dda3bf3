"""Geometry of garments: what follows the body, skirts and coat tails, shoes, collars, scarves, glasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.synthetic.appearance import rigid_grid
from humanpose_cli.lab.synthetic.cloth_surface import TILES, ClothBase, Coordinates, ramp
from humanpose_cli.lab.synthetic.mesh import Grid, group_rows, nearest_weights, polar_hull, revolve
from humanpose_cli.lab.synthetic.people import Bottom, Shoes, Skirt, Top
from humanpose_cli.lab.synthetic.tiles import octave_noise

Array = NDArray[Any]

_EVERYWHERE = np.float32(0.3)
# Height of the armpits, and the distance from the middle where armholes of sleeveless tops run above them.
_ARMPIT, _ARMHOLE = 0.36, 0.128


def top_field(top: Top, at: Coordinates) -> Array:
    """Measure metres to the garment's nearest edge, (n,), positive inside it."""
    if top.sleeve > 0:
        sleeve = np.where(at.is_arm, np.float32(top.sleeve) - at.arm, _EVERYWHERE)
    else:
        hole = np.float32(_ARMHOLE) - np.float32(0.02) * (top.neckline == "strap") - np.abs(at.x)
        hole = np.where(at.y < _ARMPIT, hole + (np.float32(_ARMPIT) - at.y) * 2, hole)
        sleeve = np.where(at.is_arm, np.float32(-0.05) - at.arm * 0.1, hole)
    field = np.minimum(sleeve, np.where(at.is_arm, _EVERYWHERE, at.y - np.float32(top.hem)))
    field = np.minimum(field, np.where(at.is_arm, _EVERYWHERE, _neck_field(top, at)))
    if top.opening > 0:
        # An open front widens from the collar down.
        half = np.float32(top.opening) * (np.float32(0.25) + ramp(-at.y, -0.46, -0.1) * np.float32(0.75))
        field = np.minimum(field, np.where(at.is_arm | (at.z < 0.0), _EVERYWHERE, np.abs(at.x) - half))
    return field.astype(np.float32)


def _neck_field(top: Top, at: Coordinates) -> Array:
    """Measure metres below a plane that slopes down to the front, less what the neckline cuts out."""
    height = 0.572 if top.neckline == "turtle" else 0.524
    slope = 0.15 if top.neckline == "turtle" else 0.32
    field = np.float32(height) - np.float32(slope) * at.z - at.y
    deep = np.float32(top.depth)
    front = np.where(at.z > 0.005, np.float32(0), _EVERYWHERE)
    if top.neckline in ("scoop", "strap"):
        width = 0.075 + 0.03 * deep
        bowl = np.hypot(at.x / width, np.minimum(at.y - 0.53, 0) / (0.05 + 0.09 * deep)) - 1
        field = np.minimum(field, bowl * 0.07 + front)
    elif top.neckline == "v":
        point = 0.46 - 0.14 * deep
        field = np.minimum(field, np.abs(at.x) * 0.8 + (point - at.y) * 0.45 + front)
    elif top.neckline == "boat":
        bowl = np.hypot(at.x / 0.105, np.minimum(at.y - 0.525, 0) / 0.035) - 1
        field = np.minimum(field, bowl * 0.05 + front)
    if top.neckline == "strap":
        # The back is cut out, too.
        bowl = np.hypot(at.x / 0.07, np.minimum(at.y - 0.53, 0) / 0.1) - 1
        field = np.minimum(field, bowl * 0.06 + np.where(at.z < 0.005, np.float32(0), _EVERYWHERE))
    return field


def bottom_field(bottom: Bottom, at: Coordinates) -> Array:
    """Measure metres to the edge of trousers and the like, (n,), positive inside."""
    hem = np.float32(bottom.hem) - at.leg
    if bottom.hem < 0.1:
        # Briefs are cut along the groin instead of across the thigh.
        hem = np.float32(bottom.hem + 0.07) - at.leg - np.maximum(np.abs(at.x) - 0.03, 0) * 0.75
    field = np.minimum(hem, np.float32(bottom.waist) - at.y)
    return np.where(at.is_arm, -_EVERYWHERE, field).astype(np.float32)


def top_thickness(top: Top, at: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return how far the garment stands off the body, (n,) metres; field as of `top_field`."""
    below_chest = ramp(-at.y, -0.38, -0.1)
    trunk = np.float32(0.3) + np.float32(0.7) * below_chest
    sleeve = np.float32(0.35) + np.float32(0.3) * ramp(at.arm, 0.0, max(0.6 * top.sleeve, 0.1))
    loose = np.float32(top.looseness) * np.where(at.is_arm, sleeve, trunk)
    if top.cuffs:
        loose = loose * ramp(field, 0.0, 0.07)
    result = np.float32(top.thickness) + loose + _folds(at, 0.15 * top.looseness + 0.0015, random)
    if not top.cuffs:
        result = result + _hem_flare(field, 0.004 + 0.08 * top.looseness)
    neck = np.hypot(at.x, at.z + 0.01)
    if top.collar:
        near = ramp(-field, -0.045, -0.03) * ramp(at.y, 0.40, 0.47) * (neck < 0.16)
        result = result + np.float32(0.008) * near
    if top.hood:
        behind = np.exp(-(((at.x / 0.085) ** 2) + ((at.y - 0.475) / 0.06) ** 2)) * (at.z < 0.02)
        result = result + np.float32(0.05) * behind.astype(np.float32)
    return np.maximum(result, np.float32(0.002)).astype(np.float32)


def bottom_thickness(bottom: Bottom, at: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return how far trousers stand off the body, (n,) metres."""
    # Cloth falls straight from the thigh, so that it is widest where the leg is thin.
    loose = np.float32(bottom.looseness) * (np.float32(0.25) + np.float32(0.75) * ramp(at.leg, 0.0, 0.75))
    if bottom.cuffs:
        loose = loose * ramp(field, 0.0, 0.08)
    result = np.float32(bottom.thickness) + loose
    if bottom.thickness > 0.004:
        result = result + _folds(at, 0.12 * bottom.looseness + 0.0012, random) + _hem_flare(field, 0.003)
    return np.maximum(result, np.float32(0.0015)).astype(np.float32)


def _hem_flare(field: Array, amount: float) -> Array:
    """Return how much more than the rest an edge stands off, in metres."""
    return np.float32(amount) * np.exp(-np.maximum(field, 0) / np.float32(0.03))


def _folds(at: Coordinates, depth: float, random: np.random.Generator) -> Array:
    """Sum a few slow waves over the cloth, of that depth: (n,) metres."""
    total = np.zeros_like(at.x)
    for _ in range(3):
        along, across = random.uniform(8, 45), random.uniform(-40, 40)
        phase = random.uniform(0, 6.3)
        total = total + np.sin(np.float32(along) * at.along + np.float32(across) * at.across + np.float32(phase))
    return np.float32(depth * 0.6) * total


_COLUMNS = 48
_RING_STEP, _HIGHEST, _LOWEST = 0.025, 0.2, -0.86  # metres above the pelvis joint
_ROW_METRES = 0.035
# A leg may lift within a skirt: skin is left out only this far above its hem (metres).
_LEG_SHOWS = 0.07


def skirt_cover(skirt: Skirt, base: ClothBase) -> Array:
    """Measure how far body points lie inside a closed skirt, (N,) metres, above where legs may show under its hem."""
    at = base.where
    field = np.minimum(skirt.top - at.y, at.y - skirt.hem - _LEG_SHOWS)
    return np.where(at.is_arm, np.float32(-0.3), field).astype(np.float32)


def skirt_size(skirt: Skirt) -> tuple[float, float]:
    """Estimate metres around and down of a skirt's cloth."""
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
        """Measure how far the cloth lies outside the body's points, (N,) metres; 0 where it does not cover them."""
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
    """Make the hanging cloth of a skirt or tail.

    Args:
        under: Metres of clothes beneath its upper edge.
        close_until: Height in metres above the pelvis joint to which its upper part lies close to what is beneath.
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
    share = 0.985 if skirt.flare > 0.05 else 0.955
    for row in range(1, rows):
        radius[row] = np.maximum(radius[row], share * radius[row - 1])
    depth = np.maximum(0.04 - y, 0)[:, None]
    ease = under + 0.002 + skirt.ease * ramp(close_until - y, -0.06, 0.06)[:, None]
    waves = np.sin(skirt.pleats * angles + random.uniform(0, 6.3))
    waves = waves + 0.5 * np.sin((skirt.pleats // 2 + 1) * angles + random.uniform(0, 6.3))
    radius = radius + ease + skirt.flare * depth * 0.5 + skirt.folds * np.clip(depth / 0.5, 0, 1) * waves
    points = revolve(np.stack((np.zeros(rows), middle), 1), radius, y, angles)
    grid = Grid(points, skirt.opening <= 0, "trunk", _weights(base, points.reshape(-1, 3)))
    return Hanging(grid, radius, middle, y, angles)


def _hull_at(base: ClothBase, y: Array, angles: Array) -> tuple[Array, Array]:
    """Interpolate the radius (R, C) of the average body's hull at heights y (R,), and its middle z (R,)."""
    table, middles = _measure_rings(base)
    height_index = np.clip((_HIGHEST - y) / _RING_STEP, 0, len(table) - 1.001)
    low, share = height_index.astype(int), height_index % 1
    rings = table[low] + share[:, None] * (table[low + 1] - table[low])
    turns = np.linspace(0, 2 * math.pi, table.shape[1])
    radius = np.stack([np.interp(angles, turns, ring) for ring in rings])
    return radius, middles[low] + share * (middles[low + 1] - middles[low])


@lru_cache(maxsize=2)
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
    return np.asarray(radii), np.convolve(np.pad(middles, 2, mode="edge"), np.ones(5) / 5, mode="valid")


def _weights(base: ClothBase, points: Array) -> Array:
    """Blend skinning weights (n, 24): the trunk's at the waist, both thighs' across the middle below, then the shanks'.

    Blending over the whole width keeps the cloth in one piece when the legs part.
    """
    trunk = nearest_weights(base, points)
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


_SHOE_COLUMNS = 26
# Heights above the ground (metres) of the rings round the foot, from the opening down to the sole.
_LEVELS = np.array([0.1, 0.084, 0.068, 0.054, 0.042, 0.03, 0.018, 0.006])


def foot_cover(shoes: Shoes, base: ClothBase) -> Array | None:
    """Measure how far the skin lies inside the shoes, (N,) metres; None if it shows."""
    if shoes.kind in ("barefoot", "sandals"):
        return None
    _, _, ground, _ = _last(base)
    top = ground + _LEVELS[0] + shoes.shaft
    return np.where(base.where.is_arm, np.float32(-0.3), top - base.where.y).astype(np.float32)


def shoe_grids(shoes: Shoes, base: ClothBase) -> list[Grid]:
    """Make the left and the right shoe; none for bare feet."""
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
    part, v, u = TILES["shoe"].pixels(len(image))
    height, width = v.shape
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
    grain = octave_noise(64, 1, 0.4)[np.arange(height)[:, None] % 256, np.arange(width)[None] % 256]
    colour *= (1 + 0.05 * grain)[..., None]
    image[part] = np.clip(colour, 0, 255)


def sandal_straps(at: Coordinates) -> Array:
    """Find the points (texels) under a sandal's straps, across the toes and around the ankle: indices."""
    toes = (at.z > 0.085) & (at.z < 0.115)
    ankle = (at.leg > 0.815) & (at.leg < 0.832)
    return np.flatnonzero(~at.is_arm & (at.leg > 0.8) & (toes | ankle))


@lru_cache(maxsize=2)
def _last(base: ClothBase) -> tuple[Array, Array, float, Array]:
    """Measure rings around the left foot: radius (R, C), centres (R, 2) of x and z, the ground's height, angles."""
    side = [SMPL24.index(f"left_{name}") for name in ("knee", "ankle", "foot")]
    foot = base.template[np.isin(base.bones[0][:, 0], side)]
    ground = float(foot[:, 1].min())
    angles = np.arange(_SHOE_COLUMNS) * (2 * math.pi / _SHOE_COLUMNS)
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
    rings, centres = [], []
    heights = np.linspace(y[0] + shoes.shaft, y[0] + 0.02, max(2, round(shoes.shaft / 0.03)))
    for height in heights:
        ring = leg[np.abs(leg[:, 1] - height) < 0.015][:, [0, 2]]
        centres.append((ring.min(0) + ring.max(0)) / 2)
        rings.append(polar_hull(ring - centres[-1], angles) + 0.012)
    return np.concatenate((rings, radius)), np.concatenate((centres, centre)), np.concatenate((heights, y))


_EYE_X, _EYE_Y, _EYE_Z = 0.031, 0.679, 0.145  # metres on the average body: before the eye
_NECK_Z = 0.018


def glasses_grids(kind: str, random: np.random.Generator) -> list[Grid]:
    """Make two rims (or dark lenses), a bridge and the temples; [] for none."""
    if not kind:
        return []
    width, height = random.uniform(0.02, 0.026), random.uniform(0.014, 0.022)
    rim = random.uniform(0.0015, 0.004)
    square = random.uniform(2, 4)
    angles = np.arange(16) * (2 * math.pi / 16)
    power = (np.abs(np.sin(angles)) ** square + np.abs(np.cos(angles)) ** square) ** (-1 / square)
    grids = []
    for side in (1, -1):
        outline = np.stack((power * width * np.cos(angles), power * height * np.sin(angles)), -1)
        inside = outline * (0.02 if kind == "dark" else 1 - rim / np.linalg.norm(outline, axis=1)[:, None])
        reach = np.stack((outline, inside)[::-1])
        z = _EYE_Z - 6 * reach[..., 0] ** 2 - 0.25 * np.maximum(side * reach[..., 0], 0)
        grids.append(
            rigid_grid(np.stack((side * _EYE_X + reach[..., 0], _EYE_Y + reach[..., 1], z), -1), is_closed=True)
        )
        outer = side * (_EYE_X + width)
        hinge = np.array([outer, _EYE_Y + 0.004, _EYE_Z - 0.25 * width - 6 * width**2])
        ear = np.array([side * 0.079, 0.672, 0.035])
        grids.append(_bar(hinge, ear, rim + 0.001))
    nose = np.array([_EYE_X - width, _EYE_Y + 0.003, _EYE_Z])
    grids.append(_bar(nose * [-1, 1, 1], nose, rim))
    return grids


def _bar(start: Array, end: Array, thick: float) -> Grid:
    """Make a four-sided bar from start to end."""
    axis = (end - start) / np.linalg.norm(end - start)
    up = np.array([0.0, 1.0, 0.0])
    side = np.cross(axis, up)
    ring = np.stack((up + side, side - up, -up - side, up - side)) * (thick / 2)
    return rigid_grid(np.stack((start + ring, end + ring)), is_closed=True)


def scarf_grid(under: float, random: np.random.Generator) -> Grid:
    """Make a thick ring of cloth around the neck; under: metres of clothes beneath."""
    columns, sides = 24, 10
    angles = np.arange(columns) * (2 * math.pi / columns)
    turn = np.linspace(0, 2 * math.pi, sides)
    thick, tall = random.uniform(0.018, 0.03), random.uniform(0.03, 0.045)
    waves = 1 + 0.15 * np.sin(5 * angles + random.uniform(0, 6.3)) + 0.1 * np.sin(9 * angles + random.uniform(0, 6.3))
    middle = 0.072 + under + 0.5 * thick
    radius = middle + thick * waves * np.sin(turn)[:, None]
    droop = 0.03 * np.cos(angles)
    y = 0.538 - droop + tall * waves * np.cos(turn)[:, None]
    points = revolve(np.tile([0.0, _NECK_Z], (sides, 1)), radius, y, angles)
    return Grid(points, True, "trunk")


def collar_grid(top: Top, base: ClothBase, under: float) -> Grid:
    """Make a folded collar: up the neck, and down over the shoulders, open in front."""
    gap = 0.25 + 0.5 * top.depth
    angles = np.linspace(gap, 2 * math.pi - gap, 26)
    around = base.template[np.abs(base.template[:, 1] - 0.56) < 0.015][:, [0, 2]] - [0.0, _NECK_Z]
    neck = polar_hull(around[np.hypot(*around.T) < 0.12], angles)
    spread = 0.035 * np.exp(-(((np.minimum(angles, 2 * math.pi - angles) - gap) / 0.5) ** 2))
    rows = ((0.0, 0.008), (0.03, 0.007), (0.034, 0.012), (0.004, 0.026))
    slope = 0.528 - 0.32 * neck * np.cos(angles)
    radius = np.stack([neck + under + off + spread * (k == 3) for k, (_, off) in enumerate(rows)])
    y = np.stack([slope + up - spread * (k == 3) for k, (up, _) in enumerate(rows)])
    return Grid(revolve(np.tile([0.0, _NECK_Z], (4, 1)), radius, y, angles), False, "trunk")
