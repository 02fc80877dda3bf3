"""Cloth: colours, seamless tiles of woven, knitted and printed fabrics, prints and logos."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.lab.synthetic.tiles import noise_patch, repeats

Array = NDArray[Any]

RGB = tuple[float, float, float]

_EARTH = ((196, 178, 148), (150, 120, 88), (104, 78, 58), (92, 94, 66), (124, 116, 84), (170, 132, 92), (112, 52, 44))


def vary(random: np.random.Generator, colour: Any, spread: float) -> RGB:
    """Vary the brightness and hue of a colour.

    Args:
        random: Source of the random numbers.
        colour: RGB, 0 … 255.
        spread: Standard deviation of the brightness, 0 … 255.
    """
    rgb = np.asarray(colour, np.float64) + random.normal(0, spread) + random.normal(0, spread / 2, 3)
    r, g, b = np.clip(rgb, 3, 252)
    return float(r), float(g), float(b)


def cloth_colour(random: np.random.Generator) -> RGB:
    """Draw a colour of clothes: mostly dark colours, greys, blues and whites, and some earth tones."""
    kind = random.choice(6, p=[0.27, 0.15, 0.15, 0.14, 0.11, 0.18])
    if kind == 0:
        dark = random.uniform(10, 52)
        return vary(random, (dark, dark, dark + random.choice([0, 0, 14, 26])), 4)
    if kind == 1:
        return vary(random, (random.uniform(205, 246),) * 3, 5)
    if kind == 2:
        return vary(random, (random.uniform(60, 190),) * 3, 5)
    if kind == 3:
        value = random.uniform(0.18, 0.8)
        return _from_hsv(random.uniform(0.55, 0.64), random.uniform(0.25, 0.8), value)
    if kind == 4:
        return vary(random, _EARTH[int(random.integers(len(_EARTH)))], 12)
    return saturated_colour(random)


def cloth_palette(random: np.random.Generator) -> tuple[RGB, ...]:
    """Draw the four colours of a fabric, of which the first two mostly differ visibly in brightness."""
    palette = [cloth_colour(random)]
    while len(palette) < 4:
        colour = cloth_colour(random)
        if len(palette) > 1 or abs(sum(colour) - sum(palette[0])) > 90 or random.random() < 0.1:
            palette.append(colour)
    return tuple(palette)


def saturated_colour(random: np.random.Generator) -> RGB:
    """Draw a strong colour of any hue."""
    return _from_hsv(random.random(), random.uniform(0.45, 0.95), random.uniform(0.3, 0.92))


def _from_hsv(hue: float, saturation: float, value: float) -> RGB:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * r, 255 * g, 255 * b


TILE = 128  # texels along each side of a tile


@dataclass(frozen=True)
class Fabric:
    """A fabric.

    Attributes:
        pattern: Name in PATTERNS.
        colours: RGB, 0 … 255; the first is the ground.
        size: Metres. Size of a tile.
        wrinkles: Contrast of the wrinkles, 0 (leather, tight knit) … 1 (crumpled linen).
        seed: Seed of the tiles.
    """

    pattern: str
    colours: tuple[RGB, ...]
    size: float
    wrinkles: float
    seed: int


def fabric_tile(fabric: Fabric) -> NDArray[np.uint8]:
    """Return a seamless tile (TILE, TILE, 3) uint8 of a fabric."""
    random = np.random.default_rng((fabric.seed, 1))
    tile = PATTERNS[fabric.pattern][0](random, np.asarray(fabric.colours, np.float32))
    grain = noise_patch(random, TILE, 128, 0.2) * np.float32(random.uniform(0.5, 3.0))
    return np.clip(tile + grain[..., None], 0, 255).astype(np.uint8)


def wrinkle_tile(fabric: Fabric) -> NDArray[np.uint8]:
    """Return a seamless tile (TILE, TILE) uint8 of the brightness of folds in 0.7 m of cloth, 128 for flat cloth."""
    random = np.random.default_rng((fabric.seed, 2))
    slow = noise_patch(random, TILE, 16, 0.6)
    # Creases lie at the zeros of a noise field.
    creases = np.exp(-np.abs(noise_patch(random, TILE, 32, 0.8)) * 4) - 0.25
    shade = 0.7 * slow - 0.7 * creases
    # Folds are less visible in bright cloth.
    bright = float(np.mean(fabric.colours[0])) / 255
    return np.clip(128 + fabric.wrinkles * (15 - 8 * bright) * shade, 60, 190).astype(np.uint8)


def sample_fabric(random: np.random.Generator, patterns: dict[str, float] | None = None) -> Fabric:
    """Draw a fabric.

    Args:
        random: Source of the random numbers.
        patterns: Pattern → relative frequency; None for the frequencies in PATTERNS.
    """
    table = patterns or {name: share for name, (_, share) in PATTERNS.items()}
    shares = np.array(list(table.values()))
    pattern = str(random.choice(list(table), p=shares / shares.sum()))
    size = float(np.exp(random.uniform(math.log(0.06), math.log(0.45))))
    if pattern in ("denim", "knit"):
        size = float(random.uniform(0.08, 0.16))
    return Fabric(pattern, cloth_palette(random), size, float(random.beta(2, 2)) * 1.3, int(random.integers(2**31)))


def _plain(random: np.random.Generator, colours: Array) -> Array:
    weave = noise_patch(random, TILE, 64, 0.1) * random.uniform(0, 4)
    return colours[0] + weave[..., None].astype(np.float32)


def _bands(random: np.random.Generator, colours: Array) -> Array:
    """Draw one repeat (TILE, 3) of random bands."""
    line = np.tile(colours[0], (TILE, 1))
    count = int(random.choice([1, 1, 2, 3, 4]))
    for i in range(count):
        width = random.uniform(0.08, 0.5) / count
        start = (i + random.uniform(0, 0.4)) / count
        rows = np.arange(int(start * TILE), max(int((start + width) * TILE), int(start * TILE) + 3)) % TILE
        line[rows] = colours[1 + i % (len(colours) - 1)] if count > 2 else colours[1]
    return cv2.GaussianBlur(line[:, None], (1, 3), 0.6)[:, 0]


def _checks(random: np.random.Generator, colours: Array) -> Array:
    if random.random() < 0.5:
        # Tartan: the same bands in both directions.
        bands = _bands(random, colours)
        return (bands[:, None] + bands[None]) / 2
    # Gingham or a chess board.
    half = np.arange(TILE) < TILE // 2
    row, column = half[:, None], half[None]
    mix = np.where(row ^ column, 0.5, (row & column).astype(float)) if random.random() < 0.5 else row ^ column
    mix = np.asarray(mix, np.float32)[..., None]
    return colours[0] * (1 - mix) + colours[1] * mix


def _dots(random: np.random.Generator, colours: Array) -> Array:
    tile = np.tile(colours[0], (TILE, TILE, 1))
    radius = int(TILE * random.uniform(0.08, 0.22))
    for centre in ((0, 0), (0, TILE), (TILE, 0), (TILE, TILE), (TILE // 2, TILE // 2)):
        cv2.circle(tile, centre, radius, colours[1].tolist(), -1, cv2.LINE_AA)
    return tile


def _floral(random: np.random.Generator, colours: Array) -> Array:
    tile = np.tile(colours[0], (TILE, TILE, 1))
    for _ in range(int(random.integers(5, 14))):
        centre = random.uniform(0, TILE, 2)
        colour, heart = (colours[1 + int(random.integers(len(colours) - 1))].tolist() for _ in range(2))
        size, petals, turn = random.uniform(5, 15), int(random.integers(4, 8)), random.uniform(0, 2 * math.pi)
        axes = (round(size * 0.8), round(size * 0.45))
        for x, y in repeats(centre, TILE, 40):
            for petal in range(petals):
                angle = turn + petal * 2 * math.pi / petals
                middle = (round(x + size * math.cos(angle)), round(y + size * math.sin(angle)))
                cv2.ellipse(tile, middle, axes, math.degrees(angle), 0, 360, colour, -1, cv2.LINE_AA)
            cv2.circle(tile, (round(x), round(y)), round(size * 0.4), heart, -1, cv2.LINE_AA)
    return tile


def _blotches(random: np.random.Generator, colours: Array) -> Array:
    """Draw camouflage, tie-dye or animal spots: levels of noise."""
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
    fading = noise_patch(random, TILE, 16, 0.5) * 5
    return ground + (twill + fading)[..., None]


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
    """Draw zigzags, diamonds or waves."""
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


PATTERNS: dict[str, tuple[Callable[[np.random.Generator, Array], Array], float]] = {
    "plain": (_plain, 0.5),
    "stripes": (lambda random, colours: np.repeat(_bands(random, colours)[:, None], TILE, 1), 0.1),
    "pinstripes": (lambda random, colours: np.repeat(_bands(random, colours)[None], TILE, 0), 0.03),
    "diagonal": (lambda random, colours: _bands(random, colours)[np.indices((TILE, TILE)).sum(0) % TILE], 0.02),
    "checks": (_checks, 0.09),
    "dots": (_dots, 0.03),
    "floral": (_floral, 0.06),
    "blotches": (_blotches, 0.05),
    "denim": (_denim, 0.04),
    "knit": (_knit, 0.06),
    "geometric": (_geometric, 0.03),
}
"""Name → function that draws the tile, and share of the fabrics."""


PRINT = 96  # pixels along each side of a print
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)


def draw_print(random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a print (PRINT, PRINT, 4) uint8 RGBA with alpha 0 on bare cloth."""
    image = np.zeros((PRINT, PRINT, 4), np.uint8)
    kinds = ("word", "number", "shape", "badge", "photo", "bars")
    kind = str(random.choice(kinds, p=[0.3, 0.16, 0.2, 0.14, 0.12, 0.08]))
    if kind in ("shape", "badge"):
        _draw_shape(image, random)
    elif kind == "photo":
        _draw_photo(image, random)
    elif kind == "bars":
        _draw_bars(image, random)
    if kind in ("word", "badge", "photo"):
        _draw_lettering(image, random, low=kind == "photo")
    elif kind == "number":
        number = str(int(random.integers(1, 100)))
        _draw_text(image, number, (PRINT * 0.5, PRINT * 0.5), PRINT * 0.75, _ink(random), random)
    return image


def _ink(random: np.random.Generator) -> tuple[float, ...]:
    return (*cloth_colour(random), 255.0)


def _draw_text(
    image: Array,
    text: str,
    centre: tuple[float, float],
    height: float,
    ink: tuple[float, ...],
    random: np.random.Generator,
) -> None:
    font = _FONTS[int(random.integers(len(_FONTS)))]
    thickness = max(1, round(height * random.uniform(0.08, 0.2)))
    (width, tall), _ = cv2.getTextSize(text, font, 1.0, thickness)
    scale = min(height / max(tall, 1), PRINT * 0.94 / max(width, 1))
    thickness = max(1, round(thickness * min(1.0, scale * tall / height)))
    origin = (round(centre[0] - width * scale / 2), round(centre[1] + tall * scale / 2))
    cv2.putText(image, text, origin, font, scale, ink, thickness, cv2.LINE_AA)


def _draw_lettering(image: Array, random: np.random.Generator, *, low: bool) -> None:
    lines = int(random.integers(1, 4)) if not low else 1
    ink = _ink(random)
    for i in range(lines):
        word = "".join(_LETTERS[int(k)] for k in random.integers(0, 26, int(random.integers(2, 9))))
        y = PRINT * (0.88 if low else 0.5 + (i - (lines - 1) / 2) * 0.27)
        _draw_text(image, word, (PRINT / 2, y), PRINT * random.uniform(0.14, 0.26), ink, random)


def _draw_shape(image: Array, random: np.random.Generator) -> None:
    """Draw nested circles, stars or polygons."""
    for level in range(int(random.integers(1, 4))):
        radius = PRINT * random.uniform(0.3, 0.46) * 0.68**level
        ink, corners = _ink(random), int(random.integers(3, 10))
        if corners > 7:
            cv2.circle(image, (PRINT // 2, PRINT // 2), round(radius), ink, -1, cv2.LINE_AA)
            continue
        star = random.random() < 0.4
        count = corners * (2 if star else 1)
        angles = random.uniform(0, 6.3) + np.arange(count) * 2 * math.pi / count
        radii = np.where(np.arange(count) % 2 == 0, radius, radius * (0.45 if star else 1))
        points = PRINT / 2 + np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None]
        cv2.fillPoly(image, [points.round().astype(np.int32)], ink, cv2.LINE_AA)


def _draw_photo(image: Array, random: np.random.Generator) -> None:
    """Draw a rectangle of soft colour fields, like a printed photograph."""
    small = random.uniform(0, 255, (5, 5, 3)).astype(np.float32)
    part = slice(round(PRINT * 0.1), round(PRINT * 0.76))
    side = part.stop - part.start
    image[part, part, :3] = np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255)
    image[part, part, 3] = 255


def _draw_bars(image: Array, random: np.random.Generator) -> None:
    """Draw a few broad bars across the chest."""
    y = PRINT * random.uniform(0.1, 0.4)
    for _ in range(int(random.integers(1, 4))):
        height = PRINT * random.uniform(0.06, 0.18)
        cv2.rectangle(image, (0, round(y)), (PRINT, round(y + height)), _ink(random), -1)
        y += height + PRINT * random.uniform(0.02, 0.1)
