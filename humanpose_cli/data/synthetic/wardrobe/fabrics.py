"""Fabrics: seamless tiles of woven, knitted and printed cloth, drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.colours import RGB, cloth_palette
from humanpose_cli.data.synthetic.wardrobe.noise import noise_patch

__all__ = ["PATTERNS", "TILE", "Fabric", "fabric_tile", "sample_fabric", "wrinkle_tile"]

Array = NDArray[Any]

TILE = 128  # texels along each side of a tile


@dataclass(frozen=True)
class Fabric:
    """A cloth.

    pattern   one of PATTERNS
    colours   RGB 0…255, the ground first
    size      metres of one repeat of the tile
    wrinkles  contrast of its wrinkles, 0 (leather, tight knit) … 1 (crumpled linen)
    seed      of everything drawn at random in it
    """

    pattern: str
    colours: tuple[RGB, ...]
    size: float
    wrinkles: float
    seed: int


def fabric_tile(fabric: Fabric) -> NDArray[np.uint8]:
    """(TILE, TILE, 3) uint8, seamless."""
    random = np.random.default_rng((fabric.seed, 1))
    tile = PATTERNS[fabric.pattern](random, np.asarray(fabric.colours, np.float32))
    grain = noise_patch(random, TILE, 128, 0.2) * np.float32(random.uniform(0.5, 3.0))
    return np.clip(tile + grain[..., None], 0, 255).astype(np.uint8)


def wrinkle_tile(fabric: Fabric) -> NDArray[np.uint8]:
    """(TILE, TILE) uint8, seamless: light and shade of folds in cloth about 0.7 m wide, 128 where there is none."""
    random = np.random.default_rng((fabric.seed, 2))
    slow = noise_patch(random, TILE, 16, 0.6)
    # Creases are where a noise field passes through zero; warped, they run on for long.
    creases = np.exp(-np.abs(noise_patch(random, TILE, 32, 0.8)) * 4) - 0.25
    shade = 0.7 * slow - 0.7 * creases
    # The brighter the cloth, the less its folds show.
    bright = float(np.mean(fabric.colours[0])) / 255
    return np.clip(128 + fabric.wrinkles * (15 - 8 * bright) * shade, 60, 190).astype(np.uint8)


def sample_fabric(random: np.random.Generator, patterns: dict[str, float] | None = None) -> Fabric:
    """A random fabric; patterns: name → how often, relative to the others."""
    table = patterns or _USUAL
    shares = np.array(list(table.values()))
    pattern = str(random.choice(list(table), p=shares / shares.sum()))
    size = float(np.exp(random.uniform(math.log(0.06), math.log(0.45))))
    if pattern in ("denim", "knit"):
        size = float(random.uniform(0.08, 0.16))
    return Fabric(pattern, cloth_palette(random, 4), size, float(random.beta(2, 2)) * 1.3, int(random.integers(2**31)))


def _plain(random: np.random.Generator, colours: Array) -> Array:
    weave = noise_patch(random, TILE, 64, 0.1) * random.uniform(0, 4)
    return colours[0] + weave[..., None].astype(np.float32)


def _bands(random: np.random.Generator, colours: Array) -> Array:
    """(TILE, 3) one repeat of random bands."""
    line = np.tile(colours[0], (TILE, 1))
    count = int(random.choice([1, 1, 2, 3, 4]))
    for i in range(count):
        width = random.uniform(0.08, 0.5) / count
        start = (i + random.uniform(0, 0.4)) / count
        rows = np.arange(int(start * TILE), max(int((start + width) * TILE), int(start * TILE) + 3)) % TILE
        line[rows] = colours[1 + i % (len(colours) - 1)] if count > 2 else colours[1]
    return cv2.GaussianBlur(line[:, None], (1, 3), 0.6)[:, 0]


def _stripes(random: np.random.Generator, colours: Array) -> Array:
    return np.repeat(_bands(random, colours)[:, None], TILE, 1)


def _pinstripes(random: np.random.Generator, colours: Array) -> Array:
    return np.repeat(_bands(random, colours)[None], TILE, 0)


def _diagonal(random: np.random.Generator, colours: Array) -> Array:
    y, x = np.mgrid[:TILE, :TILE]
    return _bands(random, colours)[(x + y) % TILE]


def _checks(random: np.random.Generator, colours: Array) -> Array:
    if random.random() < 0.5:
        # Tartan: the same bands along and across, woven.
        bands = _bands(random, colours)
        return (bands[:, None] + bands[None]) / 2
    # Gingham or chess board.
    half = np.arange(TILE) < TILE // 2
    along, across = half[:, None], half[None]
    mix = np.where(along ^ across, 0.5, (along & across).astype(float)) if random.random() < 0.5 else along ^ across
    mix = np.asarray(mix, np.float32)[..., None]
    return colours[0] * (1 - mix) + colours[1] * mix


def _dots(random: np.random.Generator, colours: Array) -> Array:
    tile = np.tile(colours[0], (TILE, TILE, 1))
    radius = int(TILE * random.uniform(0.08, 0.22))
    colour = tuple(float(v) for v in colours[1])
    for x in (0, 1):
        for y in (0, 1):
            cv2.circle(tile, (x * TILE, y * TILE), radius, colour, -1, cv2.LINE_AA)
    cv2.circle(tile, (TILE // 2, TILE // 2), radius, colour, -1, cv2.LINE_AA)
    return tile


def _floral(random: np.random.Generator, colours: Array) -> Array:
    tile = np.tile(colours[0], (TILE, TILE, 1))
    for _ in range(int(random.integers(5, 14))):
        centre = random.uniform(0, TILE, 2)
        colour = tuple(float(v) for v in colours[1 + int(random.integers(len(colours) - 1))])
        heart = tuple(float(v) for v in colours[1 + int(random.integers(len(colours) - 1))])
        size, petals, turn = random.uniform(5, 15), int(random.integers(4, 8)), random.uniform(0, 2 * math.pi)
        for dx in (-TILE, 0, TILE):
            for dy in (-TILE, 0, TILE):
                x, y = centre[0] + dx, centre[1] + dy
                if not (-40 < x < TILE + 40 and -40 < y < TILE + 40):
                    continue
                for petal in range(petals):
                    angle = turn + petal * 2 * math.pi / petals
                    at = (round(x + size * math.cos(angle)), round(y + size * math.sin(angle)))
                    cv2.ellipse(
                        tile,
                        at,
                        (round(size * 0.8), round(size * 0.45)),
                        math.degrees(angle),
                        0,
                        360,
                        colour,
                        -1,
                        cv2.LINE_AA,
                    )
                cv2.circle(tile, (round(x), round(y)), round(size * 0.4), heart, -1, cv2.LINE_AA)
    return tile


def _blotches(random: np.random.Generator, colours: Array) -> Array:
    """Camouflage, tie-dye, animal spots: levels of noise."""
    field = noise_patch(random, TILE, int(random.choice([8, 16, 32])), 0.5)
    edges = np.sort(random.normal(0, 0.8, len(colours) - 1)).astype(np.float32)
    softness = np.float32(random.choice([0.04, 0.04, 0.6]))
    result = np.tile(colours[0], (TILE, TILE, 1))
    for edge, colour in zip(edges, colours[1:], strict=True):
        mix = np.clip((field - edge) / softness + 0.5, 0, 1)[..., None]
        result = result * (1 - mix) + colour * mix
    return result


def _denim(random: np.random.Generator, colours: Array) -> Array:
    y, x = np.mgrid[:TILE, :TILE]
    twill = np.sin((x + 2 * y) * (2 * math.pi * 16 / TILE)).astype(np.float32) * 6
    value = random.uniform(0.25, 0.85)
    ground = np.array([78, 104, 148], np.float32) * np.float32(value) * np.float32(random.uniform(0.9, 1.25))
    if random.random() < 0.25:
        ground = np.full(3, random.uniform(24, 70), np.float32)
    worn = noise_patch(random, TILE, 16, 0.5) * 5
    return ground + (twill + worn)[..., None]


def _knit(random: np.random.Generator, colours: Array) -> Array:
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32)
    count = int(random.choice([8, 16]))
    loops = np.sin(y * (2 * math.pi * count / TILE) + 2.2 * np.abs(np.sin(x * (math.pi * count / TILE))))
    result = colours[0] * (1 + 0.13 * loops[..., None])
    if random.random() < 0.3:
        rows = (y[..., None] // 16) % 4 == 0
        result = np.where(rows, colours[1] * (1 + 0.13 * loops[..., None]), result)
    return result.astype(np.float32)


def _geometric(random: np.random.Generator, colours: Array) -> Array:
    """Zigzags, diamonds, waves."""
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32) / TILE
    kind = int(random.integers(3))
    if kind == 0:
        level = y * 2 + np.abs((x * 4) % 2 - 1) * 0.5
    elif kind == 1:
        level = np.abs((x * 2) % 2 - 1) + np.abs((y * 2) % 2 - 1)
    else:
        level = y * 3 + 0.25 * np.sin(2 * math.pi * 2 * x)
    mix = ((level % 1) > random.uniform(0.35, 0.65)).astype(np.float32)
    mix = cv2.GaussianBlur(mix, (3, 3), 0.7)[..., None]
    return colours[0] * (1 - mix) + colours[1] * mix


PATTERNS: dict[str, Callable[[np.random.Generator, Array], Array]] = {
    "plain": _plain,
    "stripes": _stripes,
    "pinstripes": _pinstripes,
    "diagonal": _diagonal,
    "checks": _checks,
    "dots": _dots,
    "floral": _floral,
    "blotches": _blotches,
    "denim": _denim,
    "knit": _knit,
    "geometric": _geometric,
}
"""Name → how its tile is drawn."""

_USUAL = {
    "plain": 0.5,
    "stripes": 0.1,
    "pinstripes": 0.03,
    "diagonal": 0.02,
    "checks": 0.09,
    "dots": 0.03,
    "floral": 0.06,
    "blotches": 0.05,
    "denim": 0.04,
    "knit": 0.06,
    "geometric": 0.03,
}
