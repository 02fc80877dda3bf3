"""Geometry of garments: clothes that follow the body, skirts and coat tails, shoes, collars, scarves, glasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.cloth import polar_hull
from humanpose_cli.body.cloth_surface import ClothBase, Coordinates, ramp
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.synthetic.appearance import rigid_grid
from humanpose_cli.lab.synthetic.atlas import TILES
from humanpose_cli.lab.synthetic.mesh import Grid, group_rows, nearest_weights, revolve
from humanpose_cli.lab.synthetic.people import Bottom, Shoes, Skirt, Top
from humanpose_cli.lab.synthetic.tiles import octave_noise

Array = NDArray[Any]

_OUTSIDE = np.float32(-0.3)  # value of a field outside a garment


def bottom_field(bottom: Bottom, points: Coordinates) -> Array:
    """Return the distance (n,) of points to the nearest edge of trousers in metres, positive inside."""
    hem = np.float32(bottom.hem) - points.leg
    if bottom.hem < 0.1:
        # Briefs are cut along the groin instead of across the thigh.
        hem = np.float32(bottom.hem + 0.07) - points.leg - np.maximum(np.abs(points.x) - 0.03, 0) * 0.75
    field = np.minimum(hem, np.float32(bottom.waist) - points.y)
    return np.where(points.is_arm, _OUTSIDE, field).astype(np.float32)


def top_thickness(top: Top, points: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return the distance of a top from the body.

    Args:
        top: The garment.
        points: n points.
        field: (n,) float32, metres. The `top_field`.
        random: Source of the random numbers.

    Returns:
        (n,) float32, metres.
    """
    below_chest = ramp(-points.y, -0.38, -0.1)
    trunk = np.float32(0.3) + np.float32(0.7) * below_chest
    sleeve = np.float32(0.35) + np.float32(0.3) * ramp(points.arm, 0.0, max(0.6 * top.sleeve, 0.1))
    loose = np.float32(top.looseness) * np.where(points.is_arm, sleeve, trunk)
    if top.cuffs:
        loose = loose * ramp(field, 0.0, 0.07)
    result = np.float32(top.thickness) + loose + _folds(points, 0.15 * top.looseness + 0.0015, random)
    if not top.cuffs:
        result = result + _hem_flare(field, 0.004 + 0.08 * top.looseness)
    neck = np.hypot(points.x, points.z + 0.01)
    if top.collar:
        near = ramp(-field, -0.045, -0.03) * ramp(points.y, 0.40, 0.47) * (neck < 0.16)
        result = result + np.float32(0.008) * near
    if top.hood:
        behind = np.exp(-(((points.x / 0.085) ** 2) + ((points.y - 0.475) / 0.06) ** 2)) * (points.z < 0.02)
        result = result + np.float32(0.05) * behind.astype(np.float32)
    return np.maximum(result, np.float32(0.002)).astype(np.float32)


def bottom_thickness(bottom: Bottom, points: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return the distance of trousers from the body.

    Args:
        bottom: The garment.
        points: n points.
        field: (n,) float32, metres. The `bottom_field`.
        random: Source of the random numbers.

    Returns:
        (n,) float32, metres.
    """
    # Cloth falls straight from the thigh, so that the distance is largest around thin parts of the leg.
    loose = np.float32(bottom.looseness) * (np.float32(0.25) + np.float32(0.75) * ramp(points.leg, 0.0, 0.75))
    if bottom.cuffs:
        loose = loose * ramp(field, 0.0, 0.08)
    result = np.float32(bottom.thickness) + loose
    if bottom.thickness > 0.004:
        creased = 0.0 if bottom.pleats else min(bottom.looseness, 0.08)  # wide cloth falls straight
        result = result + _folds(points, 0.12 * creased + 0.0012, random) + _hem_flare(field, 0.003)
    if bottom.pleats:
        turn = points.across / np.float32(0.075)  # radians around the leg
        folds = np.sin(np.float32(bottom.pleats) * turn) * ramp(points.leg, 0.0, 0.2)
        result = result + (np.float32(0.003) + np.float32(0.06) * loose) * folds
    return np.maximum(result, np.float32(0.0015)).astype(np.float32)


def _hem_flare(field: Array, amount: float) -> Array:
    """Return the additional distance of a hem from the body in metres."""
    return np.float32(amount) * np.exp(-np.maximum(field, 0) / np.float32(0.03))


def _folds(points: Coordinates, depth: float, random: np.random.Generator) -> Array:
    """Return a sum (n,) of slow waves over the cloth in metres."""
    total = np.zeros_like(points.x)
    for _ in range(3):
        along, across = random.uniform(8, 45), random.uniform(-40, 40)
        phase = random.uniform(0, 6.3)
        total = total + np.sin(
            np.float32(along) * points.along + np.float32(across) * points.across + np.float32(phase)
        )
    return np.float32(depth * 0.6) * total


_SKIRT_COLUMNS = 48
_ROW_HEIGHT = 0.035  # metres
_RING_STEP = 0.025  # metres between the measured rings of the body
_TOP_RING = 0.2  # metres above the pelvis joint
_BOTTOM_RING = -0.86  # metres above the pelvis joint
_VISIBLE_LEG = 0.07  # metres above a skirt's hem where the skin is kept, since a leg may lift


def skirt_cover(skirt: Skirt, base: ClothBase) -> Array:
    """Return how far the N body points lie inside a closed skirt in metres, except near its hem."""
    points = base.coordinates
    field = np.minimum(skirt.top - points.y, points.y - skirt.hem - _VISIBLE_LEG)
    return np.where(points.is_arm, np.float32(-0.3), field).astype(np.float32)


def skirt_size(skirt: Skirt) -> tuple[float, float]:
    """Return the approximate width and height of a skirt's cloth in metres."""
    return 1.15 + 3 * skirt.flare * (skirt.top - skirt.hem), skirt.top - skirt.hem


@dataclass(frozen=True, eq=False)
class Hanging:
    """Cloth that hangs around the body, with R rows and C columns.

    Attributes:
        grid: The surface.
        radius: (R, C) float, metres. Horizontal distance from the middle.
        middle: (R,) float, metres. z of the middle; its x is 0.
        y: (R,) float, metres. Heights above the pelvis joint, descending.
        angles: (C,) float, radians from the front.
    """

    grid: Grid
    radius: Array
    middle: Array
    y: Array
    angles: Array

    def stand_off(self, base: ClothBase) -> Array:
        """Return the distance (N,) of the cloth from the body points in metres, 0 for uncovered points."""
        points = base.coordinates
        rows = np.flatnonzero(~points.is_arm & (points.y <= self.y[0]) & (points.y >= self.y[-1]))
        row = np.interp(-points.y[rows], -self.y, np.arange(len(self.y))).round().astype(int)
        x, z = points.x[rows], points.z[rows] - self.middle[row]
        step = (np.mod(np.arctan2(x, z), 2 * math.pi) - self.angles[0]) / (self.angles[1] - self.angles[0])
        column = np.clip(step.round().astype(int), 0, None) % len(self.angles)
        result = np.zeros(len(points.y), np.float32)
        result[rows] = np.maximum(self.radius[row, column] - np.hypot(x, z), 0)
        return result


def hang_skirt(
    skirt: Skirt, base: ClothBase, under: float, random: np.random.Generator, *, close_until: float
) -> Hanging:
    """Make the hanging cloth of a skirt or tail.

    Args:
        skirt: The garment.
        base: The cloth surface of the body.
        under: Metres. Thickness of the clothes below its upper edge.
        random: Source of the random numbers.
        close_until: Metres above the pelvis joint. The part above lies close to the clothes below.
    """
    rows = max(4, math.ceil((skirt.top - skirt.hem) / _ROW_HEIGHT) + 1)
    y = np.linspace(skirt.top, skirt.hem, rows)
    if skirt.opening <= 0:
        angles = np.arange(_SKIRT_COLUMNS) * (2 * math.pi / _SKIRT_COLUMNS)
    else:
        gap = math.asin(min(0.95, skirt.opening / 0.15))
        angles = np.linspace(gap, 2 * math.pi - gap, _SKIRT_COLUMNS)
    radius, middle = _body_hull(base, y, angles)
    # Cloth falls: below the widest point it does not follow the body inwards, or only a little in a straight skirt.
    share = 0.985 if skirt.flare > 0.05 else 0.955
    for row in range(1, rows):
        radius[row] = np.maximum(radius[row], share * radius[row - 1])
    depth = np.maximum(0.04 - y, 0)[:, None]
    ease = under + 0.002 + skirt.ease * ramp(close_until - y, -0.06, 0.06)[:, None]
    waves = np.sin(skirt.pleats * angles + random.uniform(0, 6.3))
    waves = waves + 0.5 * np.sin((skirt.pleats // 2 + 1) * angles + random.uniform(0, 6.3))
    radius = radius + ease + skirt.flare * depth * 0.5 + skirt.folds * np.clip(depth / 0.5, 0, 1) * waves
    points = revolve(np.stack((np.zeros(rows), middle), 1), radius, y, angles)
    grid = Grid(points, skirt.opening <= 0, "trunk", _skirt_weights(base, points.reshape(-1, 3)))
    return Hanging(grid, radius, middle, y, angles)


def _body_hull(base: ClothBase, y: Array, angles: Array) -> tuple[Array, Array]:
    """Interpolate the radius (R, C) of the average body's hull at heights y (R,), and z (R,) of its middle."""
    table, middles = _measure_rings(base)
    height_index = np.clip((_TOP_RING - y) / _RING_STEP, 0, len(table) - 1.001)
    low, share = height_index.astype(int), height_index % 1
    rings = table[low] + share[:, None] * (table[low + 1] - table[low])
    turns = np.linspace(0, 2 * math.pi, table.shape[1])
    radius = np.stack([np.interp(angles, turns, ring) for ring in rings])
    return radius, middles[low] + share * (middles[low + 1] - middles[low])


@lru_cache(maxsize=2)
def _measure_rings(base: ClothBase) -> tuple[Array, Array]:
    heights = np.arange(_TOP_RING, _BOTTOM_RING - _RING_STEP, -_RING_STEP)
    angles = np.linspace(0, 2 * math.pi, 73)
    points = base.template[group_rows(base, "trunk")]
    radii, middles = [], []
    for height in heights:
        ring = points[np.abs(points[:, 1] - height) < 0.8 * _RING_STEP]
        middle = (ring[:, 2].min() + ring[:, 2].max()) / 2
        radii.append(polar_hull(np.stack((ring[:, 0], ring[:, 2] - middle), 1), angles))
        middles.append(middle)
    # Below the calves, where the feet stick out in front, the hull of the calves is used.
    calves = int((_TOP_RING + 0.72) / _RING_STEP)
    for k in range(calves + 1, len(radii)):
        radii[k], middles[k] = radii[calves], middles[calves]
    return np.asarray(radii), np.convolve(np.pad(middles, 2, mode="edge"), np.ones(5) / 5, mode="valid")


def _skirt_weights(base: ClothBase, points: Array) -> Array:
    """Return the skinning weights (n, 24) of a skirt: the trunk at the waist, then the thighs, then the shanks."""
    # Left and right blend over the complete width, so that the cloth stays in one piece if the legs part.
    trunk = nearest_weights(base, points)
    # The blend is wider at the bottom, where the distance of the legs is largest.
    half = 0.11 + 0.2 * np.maximum(-points[:, 1], 0)
    left = ramp(points[:, 0] / half, -1, 1)
    shank = 0.75 * ramp(-points[:, 1], 0.36, 0.6)
    legs = np.zeros_like(trunk)
    for side, part in (("left", left), ("right", 1 - left)):
        legs[:, SMPL24.index(f"{side}_hip")] = part * (1 - shank)
        legs[:, SMPL24.index(f"{side}_knee")] = part * shank
    pelvis = np.zeros_like(trunk)
    pelvis[:, SMPL24.index("pelvis")] = 1
    # A share of the pelvis makes the cloth hang between a lifted and a standing leg.
    hanging = 0.88 * legs + 0.12 * pelvis
    low = ramp(-points[:, 1], -0.06, 0.16)[:, None]
    high = ramp(points[:, 1], 0.0, 0.06)[:, None]
    upper = high * trunk + (1 - high) * pelvis
    return low * hanging + (1 - low) * upper


_SHOE_COLUMNS = 26
# Metres above the ground of the rings around the foot, from the opening down to the sole.
_LEVELS = np.array([0.1, 0.084, 0.068, 0.054, 0.042, 0.03, 0.018, 0.006])


def foot_cover(shoes: Shoes, base: ClothBase) -> Array | None:
    """Return how far the N body points lie inside the shoes in metres; None if the skin is visible."""
    if shoes.kind in ("barefoot", "sandals"):
        return None
    _, _, ground, _ = _last(base)
    top = ground + _LEVELS[0] + shoes.shaft
    return np.where(base.coordinates.is_arm, np.float32(-0.3), top - base.coordinates.y).astype(np.float32)


def shoe_grids(shoes: Shoes, base: ClothBase) -> list[Grid]:
    """Return the left and the right shoe; none for bare feet."""
    if shoes.kind == "barefoot":
        return []
    radius, centre, ground, angles = _last(base)
    wall = 0.007 if shoes.kind != "sandals" else 0.004
    radius, y = radius + wall, ground + _LEVELS
    if shoes.kind == "sandals":
        # Only the sole, whose upper face lies under the foot.
        radius = np.repeat(radius[-1:], 2, 0)
        radius[0] = 0.001
        centre = np.repeat(centre[-1:], 2, 0)
        y = np.array([ground, ground])
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
    """Paint the shoes' tile of the atlas in place.

    Args:
        shoes: The shoes.
        image: (h, w, 3) uint8. The atlas.
        rows: Rows of the shoe's grid, which the tile spans.
    """
    part, v, u = TILES["shoe"].pixels(len(image))
    height, width = v.shape
    v = v / max(height - 1, 1)
    u = u / max(width - 1, 1)
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


def sandal_straps(points: Coordinates) -> Array:
    """Return the indices of the points under a sandal's straps, across the toes and around the ankle."""
    toes = (points.z > 0.085) & (points.z < 0.115)
    ankle = (points.leg > 0.815) & (points.leg < 0.832)
    return np.flatnonzero(~points.is_arm & (points.leg > 0.8) & (toes | ankle))


@lru_cache(maxsize=2)
def _last(base: ClothBase) -> tuple[Array, Array, float, Array]:
    """Return rings around the left foot: radius (R, C), centres (R, 2) in x and z, ground height, angles (C,)."""
    side = [SMPL24.index(f"left_{name}") for name in ("knee", "ankle", "foot")]
    foot = base.template[np.isin(base.bones[0][:, 0], side)]
    ground = float(foot[:, 1].min())
    angles = np.arange(_SHOE_COLUMNS) * (2 * math.pi / _SHOE_COLUMNS)
    # More columns around the toes, which are far from the centre.
    angles = angles - 0.45 * np.sin(angles)
    radii, centres = [], []
    for level in _LEVELS:
        part = foot[(foot[:, 1] > ground + level - 0.008) & (foot[:, 1] < ground + 0.125)]
        heel = part[:, 2].min()
        centre = np.array([np.median(part[part[:, 2] < heel + 0.09, 0]), heel + 0.055])
        radii.append(polar_hull(part[:, [0, 2]] - centre, angles))
        centres.append(centre)
    return np.asarray(radii), np.asarray(centres), ground, angles


def _with_shaft(
    shoes: Shoes, base: ClothBase, radius: Array, centre: Array, y: Array, angles: Array
) -> tuple[Array, Array, Array]:
    leg = base.template[(base.template[:, 0] > 0) & ~base.coordinates.is_arm]
    rings, centres = [], []
    heights = np.linspace(y[0] + shoes.shaft, y[0] + 0.02, max(2, round(shoes.shaft / 0.03)))
    for height in heights:
        ring = leg[np.abs(leg[:, 1] - height) < 0.015][:, [0, 2]]
        centres.append((ring.min(0) + ring.max(0)) / 2)
        rings.append(polar_hull(ring - centres[-1], angles) + 0.012)
    return np.concatenate((rings, radius)), np.concatenate((centres, centre)), np.concatenate((heights, y))


_EYE_X, _EYE_Y, _EYE_Z = 0.031, 0.679, 0.145  # metres on the average body, in front of the left eye
_NECK_Z = 0.018  # metres, middle of the neck


def glasses_grids(kind: str, random: np.random.Generator) -> list[Grid]:
    """Return two rims or dark lenses, a bridge and the temples; none if `kind` is ""."""
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
        x, y = np.moveaxis(np.stack((inside, outline)), -1, 0)
        z = _EYE_Z - 6 * x**2 - 0.25 * np.maximum(side * x, 0)
        grids.append(rigid_grid(np.stack((side * _EYE_X + x, _EYE_Y + y, z), -1), is_closed=True))
        outer = side * (_EYE_X + width)
        hinge = np.array([outer, _EYE_Y + 0.004, _EYE_Z - 0.25 * width - 6 * width**2])
        ear = np.array([side * 0.079, 0.672, 0.035])
        grids.append(_bar(hinge, ear, rim + 0.001))
    nose = np.array([_EYE_X - width, _EYE_Y + 0.003, _EYE_Z])
    grids.append(_bar(nose * [-1, 1, 1], nose, rim))
    return grids


def _bar(start: Array, end: Array, thick: float) -> Grid:
    """Return a four-sided bar from start to end."""
    axis = (end - start) / np.linalg.norm(end - start)
    up = np.array([0.0, 1.0, 0.0])
    side = np.cross(axis, up)
    ring = np.stack((up + side, side - up, -up - side, up - side)) * (thick / 2)
    return rigid_grid(np.stack((start + ring, end + ring)), is_closed=True)


def scarf_grid(under: float, random: np.random.Generator) -> Grid:
    """Return a thick ring of cloth around the neck, over clothes with a thickness of `under` metres."""
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
    """Return a folded collar, up the neck and down over the shoulders, open in front, `under` metres off the neck."""
    gap = 0.25 + 0.5 * top.depth
    angles = np.linspace(gap, 2 * math.pi - gap, 26)
    ring = base.template[np.abs(base.template[:, 1] - 0.56) < 0.015][:, [0, 2]] - [0.0, _NECK_Z]
    neck = polar_hull(ring[np.hypot(*ring.T) < 0.12], angles)
    spread = 0.035 * np.exp(-(((np.minimum(angles, 2 * math.pi - angles) - gap) / 0.5) ** 2))
    rows = ((0.0, 0.008), (0.03, 0.007), (0.034, 0.012), (0.004, 0.026))
    slope = 0.528 - 0.32 * neck * np.cos(angles)
    radius = np.stack([neck + under + distance + spread * (k == 3) for k, (_, distance) in enumerate(rows)])
    y = np.stack([slope + rise - spread * (k == 3) for k, (rise, _) in enumerate(rows)])
    return Grid(revolve(np.tile([0.0, _NECK_Z], (4, 1)), radius, y, angles), False, "trunk")
