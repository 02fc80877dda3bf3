"""Painting clothes into the atlas: fabric, wrinkles, seams, buttons, pockets, prints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.synthetic.atlas import TILES, AtlasTexels, TexelPart
from humanpose_cli.synthetic.cloth_surface import Coordinates, ramp
from humanpose_cli.synthetic.fabrics import RGB, Fabric, draw_print, fabric_tile, wrinkle_tile
from humanpose_cli.synthetic.hair import headwear_field
from humanpose_cli.synthetic.people import Bottom, Headwear, Top
from humanpose_cli.synthetic.tiles import resample

__all__ = ["fill_tile", "paint_bottom", "paint_headwear", "paint_plain", "paint_tile", "paint_top"]

Array = NDArray[Any]

_WRINKLE_METRES = 0.7
_BLEED = -0.004  # metres by which paint reaches past a garment's edge


def _paint_cloth(fabric: Fabric, across: Array, along: Array) -> Array:
    """(k, 3) float32 colours of a fabric with its wrinkles at points (k,) in metres of cloth."""
    colour = resample(fabric_tile(fabric), across / np.float32(fabric.size), along / np.float32(fabric.size))
    wide = np.float32(1 / _WRINKLE_METRES)
    shade = resample(wrinkle_tile(fabric), across * wide, along * wide)
    return np.multiply(colour, shade[:, None] * np.float32(1 / 128), dtype=np.float32)


def paint_tile(image: NDArray[np.uint8], tile: str, fabric: Fabric, metres: tuple[float, float]) -> None:
    """Fill a rectangle of the atlas with a fabric, so wide and high in metres."""
    part, v, u = TILES[tile].pixels(len(image))
    height, width = v.shape
    colour = _paint_cloth(fabric, (u * (metres[0] / width)).ravel(), (v * (metres[1] / height)).ravel())
    image[part] = np.clip(colour, 0, 255).reshape(height, width, 3)


def paint_top(top: Top, texels: TexelPart, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint a garment of the trunk where it lies, in place; field (k,) of the texels as of `top_field`."""
    chosen = np.flatnonzero(field > _BLEED)
    shown, field = texels.select(chosen), field[chosen]
    at = shown.where
    random = np.random.default_rng((seed, 4))
    colour = _paint_cloth(top.fabric, at.across, at.along)
    if top.print_on:
        _print(colour, at, top.print_on, random)
    dark = _seams(at, field, top.cuffs)
    accent = np.asarray(top.fabric.colours[-1], np.float32)
    if top.cuffs:
        band = field < 0.055
        ribs = 1 + 0.1 * np.sin(at.across[band] * 900)
        knit = accent if random.random() < 0.25 else colour[band] * np.float32(0.93)
        colour[band] = knit * ribs[:, None]
    front = (at.z > 0) & ~at.is_arm
    if top.closure == "zip":
        colour[front & (np.abs(at.x) < 0.0045)] = (150, 150, 152)
        dark = np.maximum(dark, (front & (np.abs(at.x) < 0.009)) * np.float32(0.3))
    elif top.closure == "buttons":
        dark = np.maximum(dark, (front & (np.abs(np.abs(at.x) - 0.017) < 0.0018)) * np.float32(0.3))
        y = np.mod(at.y, 0.085) - 0.085 / 2
        ink = (235, 232, 224) if random.random() < 0.5 else (40, 36, 34)
        colour[front & (np.hypot(at.x, y) < 0.0062)] = ink
    if top.pockets == "chest":
        dark = np.maximum(dark, _outline(at.x - 0.085, at.y - 0.36, 0.042, 0.05) * front * np.float32(0.3))
    elif top.pockets == "belly":
        dark = np.maximum(dark, _outline(np.abs(at.x) - 0.06, at.y - 0.07, 0.055, 0.06) * front * np.float32(0.25))
    if top.collar:
        dark = np.maximum(dark, ((field < 0.04) & (field > 0.034) & (at.y > 0.43)) * np.float32(0.4))
    colour *= ((1 - dark) * shown.hollow)[:, None]
    _dirt(colour, at, random)
    image.reshape(-1, 3)[shown.pixel_rows] = np.clip(colour, 0, 255, out=colour)


def paint_bottom(bottom: Bottom, texels: TexelPart, field: Array, image: NDArray[np.uint8], seed: int) -> None:
    """Paint trousers and the like where they lie, in place; field (k,) of the texels as of `bottom_field`."""
    chosen = np.flatnonzero(field > _BLEED)
    shown, field = texels.select(chosen), field[chosen]
    at = shown.where
    random = np.random.default_rng((seed, 5))
    colour = _paint_cloth(bottom.fabric, at.across, at.along)
    if bottom.fabric.pattern == "denim":
        worn = np.exp(-(((at.leg - 0.22) / 0.16) ** 2)) * (at.z > 0.02) * np.float32(random.uniform(0, 45))
        colour += worn[:, None]
    if bottom.side_stripe is not None:
        colour[np.abs(_side_angle(at)) < 0.22] = bottom.side_stripe
    dark = np.zeros(len(field), np.float32)
    if bottom.thickness > 0.004:
        dark = _seams(at, field, bottom.cuffs)
        below = bottom.waist - at.y
        fly = (np.abs(at.x) < 0.0025) & (at.z > 0) & (below < 0.17)
        dark = np.maximum(dark, fly * np.float32(0.35))
        dark = np.maximum(dark, (np.abs(_side_angle(at)) < 0.03) * np.float32(0.2))
    if bottom.pockets:
        slant = np.abs(at.x) - 0.09 - 0.35 * (bottom.waist - at.y)
        low = (bottom.waist - at.y > 0.03) & (bottom.waist - at.y < 0.15)
        dark = np.maximum(dark, ((np.abs(slant) < 0.003) & low & (at.z > 0)) * np.float32(0.4))
        seat = _outline(np.abs(at.x) - 0.08, at.y + 0.01, 0.055, 0.065) * (at.z < -0.02)
        dark = np.maximum(dark, seat * np.float32(0.3))
    colour *= ((1 - dark) * shown.hollow)[:, None]
    if bottom.belt is not None:
        belt = (bottom.waist - at.y < 0.04) & (bottom.waist - at.y > 0.008)
        colour[belt] = np.asarray(bottom.belt, np.float32) * np.float32(0.6)
        colour[belt & (np.abs(at.x) < 0.022) & (at.z > 0)] = (168, 158, 132)
    _dirt(colour, at, random)
    image.reshape(-1, 3)[shown.pixel_rows] = np.clip(colour, 0, 255, out=colour)


def _seams(at: Coordinates, field: Array, cuffs: bool) -> Array:
    """(k,) how much darker seams, hems and the cloth's inner edge are."""
    dark = np.float32(0.16) * np.exp(-np.maximum(field, 0) / np.float32(0.006))
    if not cuffs:
        dark = np.maximum(dark, (np.abs(field - 0.022) < 0.0016) * np.float32(0.2))
    shoulder = at.is_arm & (np.abs(at.arm - 0.012) < 0.0035)
    return np.maximum(dark, shoulder * np.float32(0.22)).astype(np.float32)


def _side_angle(at: Coordinates) -> Array:
    """Radians from the outer side of each leg, where its seam runs."""
    turn = at.across / np.float32(0.075) * np.sign(at.x)
    return np.where(at.leg > 0.09, turn - np.float32(1.57), np.float32(1))


def _outline(x: Array, y: Array, half_width: float, half_height: float) -> NDArray[np.bool_]:
    """Near the edge of a rectangle round 0."""
    away = np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
    return np.abs(away) < 0.0022


def _print(colour: Array, at: Coordinates, where: str, random: np.random.Generator) -> None:
    """Lay a print on chest or back, in place."""
    width, height = random.uniform(0.07, 0.26), random.uniform(0.6, 1.1)
    left_chest = where == "front" and random.random() < 0.2
    if left_chest:
        width = random.uniform(0.04, 0.08)
    middle_x, middle_y = (0.08 if left_chest else 0.0), random.uniform(0.3, 0.36)
    image = draw_print(random)
    opacity = np.float32(random.uniform(0.8, 1))
    for side, name in ((1, "front"), (-1, "back")):
        if where not in (name, "both"):
            continue
        u = side * (at.x - middle_x) / width + 0.5
        v = (middle_y - at.y) / (width * height) + 0.5
        rows = np.flatnonzero((u > 0) & (u < 1) & (v > 0) & (v < 1) & (at.z * side > 0) & ~at.is_arm)
        size = len(image)
        print_pixels = image[(v[rows] * size).astype(int), (u[rows] * size).astype(int)].astype(np.float32)
        share = print_pixels[:, 3:] * (opacity / 255)
        colour[rows] += share * (print_pixels[:, :3] - colour[rows])


def _dirt(colour: Array, at: Coordinates, random: np.random.Generator) -> None:
    """Now and then a few stains."""
    if random.random() > 0.12:
        return
    for _ in range(int(random.integers(1, 5))):
        i = int(random.integers(len(at.x)))
        away = np.hypot(at.across - at.across[i], at.along - at.along[i])
        radius = random.uniform(0.01, 0.05)
        stain = np.float32(random.uniform(0.2, 0.6)) * ramp(-away, -radius, -0.3 * radius)
        colour += stain[:, None] * (np.array([70, 58, 44], np.float32) - colour)


def paint_plain(image: NDArray[np.uint8], texels: AtlasTexels, chosen: Array, colour: RGB | Array) -> None:
    """One colour for some of the texels (indices), with the slightest grain."""
    grain = np.random.default_rng(len(chosen)).normal(0, 2.5, (len(chosen), 1))
    image.reshape(-1, 3)[texels.rows[chosen]] = np.clip(np.asarray(colour, np.float32) + grain, 0, 255)


def fill_tile(image: NDArray[np.uint8], tile: str, colour: RGB) -> None:
    """One colour for a whole tile."""
    image[TILES[tile].slices(len(image))] = colour


def paint_headwear(wear: Headwear, texels: AtlasTexels, image: NDArray[np.uint8]) -> None:
    """Paint what is worn on the head, and its brim's tile."""
    field = headwear_field(wear, texels.where)
    chosen = np.flatnonzero(field > _BLEED)
    at, field = texels.where.at(chosen), field[chosen]
    colour = _paint_cloth(wear.fabric, at.across, at.along)
    random = np.random.default_rng((wear.fabric.seed, 7))
    if wear.kind == "brim":
        colour[field < 0.025] = wear.accent
    elif wear.kind == "beanie":
        colour *= np.where(field < 0.04, 1 + 0.1 * np.sin(at.across * 700), 1)[:, None].astype(np.float32)
    elif wear.kind == "cap":
        panels = np.abs(np.mod(at.across / 0.15, np.pi / 3)) < 0.02
        colour[panels] *= np.float32(0.8)
        if random.random() < 0.6:
            badge = np.hypot(at.x / 0.03, (at.y - 0.76) / 0.016) < 1
            colour[badge & (at.z > 0.05)] = wear.accent
    image.reshape(-1, 3)[texels.rows[chosen]] = np.clip(colour, 0, 255)
    if random.random() < 0.6:
        paint_tile(image, "hat", wear.fabric, (0.5, 0.1))
    else:
        fill_tile(image, "hat", wear.accent)
