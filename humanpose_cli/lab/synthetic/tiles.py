"""Seamless noise, and tileable images of materials, which are made once per process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.texture import look_up

Array = NDArray[Any]

NOISE_SIZE = 256
_CELLS = (4, 8, 16, 32, 64, 128)


@lru_cache(maxsize=16)
def octave_noise(finest: int, seed: int = 0, steepness: float = 1.0) -> NDArray[np.float32]:
    """Return seamless noise (256, 256) of mean 0 and deviation 1.

    Args:
        finest: The finest features have 256 / finest texels.
        seed: Seed of the noise.
        steepness: 1: each octave has half the amplitude of the previous one; 0: all have the same amplitude.
    """
    random = np.random.default_rng((917, seed))
    total = np.zeros((NOISE_SIZE, NOISE_SIZE), np.float32)
    for octave, cells in enumerate(c for c in _CELLS if c <= finest):
        grid = random.normal(size=(cells, cells)).astype(np.float32)
        margin = 4
        with_margin = np.pad(grid, margin, mode="wrap")
        scale = NOISE_SIZE // cells
        side = (cells + 2 * margin) * scale
        large = cv2.resize(with_margin, (side, side), interpolation=cv2.INTER_CUBIC)
        cut = slice(margin * scale, margin * scale + NOISE_SIZE)
        total += np.float32(0.5 ** (steepness * octave)) * large[cut, cut]
    return (total - total.mean()) / total.std()


@lru_cache(maxsize=32)
def _resize_noise(finest: int, seed: int, steepness: float, size: int) -> Array:
    """Return resized noise, repeated twice along each side."""
    field = cv2.resize(octave_noise(finest, seed, steepness), (size, size), interpolation=cv2.INTER_AREA)
    return np.tile(field, (2, 2))


def noise_patch(random: np.random.Generator, size: int, finest: int, steepness: float = 1.0) -> NDArray[np.float32]:
    """Draw seamless noise (size, size) from a few stored fields.

    Args:
        random: Source of the random numbers.
        size: 256 or a divisor of it.
        finest: See `octave_noise`.
        steepness: See `octave_noise`.
    """
    field = _resize_noise(finest, int(random.integers(2)), steepness, size)
    y, x, transpose = random.integers(0, (size, size, 2)).tolist()
    patch = field[y : y + size, x : x + size]
    return patch.T if transpose else patch


def resample(tile: Array, u: Array, v: Array) -> Array:
    """Interpolate a seamless tile.

    Args:
        tile: (h, w) or (h, w, C). The tile.
        u: (n,) float32, in tiles, 0 at the first texel. Horizontal positions.
        v: (n,) float32, in tiles, 0 at the first texel. Vertical positions.

    Returns:
        (n,) or (n, C) float32.
    """
    height, width = tile.shape[:2]
    # A further row and column make the interpolation periodic.
    with_border = cv2.copyMakeBorder(tile, 0, 1, 0, 1, cv2.BORDER_WRAP)
    return look_up(with_border, (u - np.floor(u)) * np.float32(width), (v - np.floor(v)) * np.float32(height))


def repeats(centre: Array, side: int, reach: int) -> list[tuple[float, float]]:
    """Return the positions of an object in a seamless tile, and of its copies that extend into the tile.

    Args:
        centre: (2,) float, texels. x and y of the object.
        side: Side of the tile in texels.
        reach: Radius of the object in texels.
    """
    x, y = centre.tolist()
    shifts = (-side, 0, side)
    positions = [(x + dx, y + dy) for dx in shifts for dy in shifts]
    return [position for position in positions if all(-reach < value < side + reach for value in position)]


TILE_SIDE = 256  # texels
_SHAPE = (TILE_SIDE, TILE_SIDE)
_Y, _X = np.mgrid[:TILE_SIDE, :TILE_SIDE].astype(np.float32) / np.float32(TILE_SIDE)
VARIANTS = 6  # tiles of each kind
_LEVELS = 7  # of each tile, each half as large as the previous one


def _spectral_noise(random: np.random.Generator, power: float, stretch: float = 1.0) -> Array:
    """Draw periodic noise of deviation 1 and amplitude ∝ frequency^−power, stretched along x."""
    # Photographs of most things have a power near 1.
    fy, fx = np.fft.fftfreq(TILE_SIDE)[:, None] * TILE_SIDE, np.fft.rfftfreq(TILE_SIDE)[None] * TILE_SIDE * stretch
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    spectrum = np.fft.rfft2(random.standard_normal(_SHAPE, dtype=np.float32)) / radius**power
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=_SHAPE)
    return np.asarray(field / max(field.std(), 1e-9), np.float32)


def _blend(value: Array, dark: Array, light: Array) -> Array:
    """Interpolate between two colours by values of 0 … 1."""
    t = np.clip(value, 0, 1)[..., None]
    return np.asarray(dark + (light - dark) * t, np.float32)


def _palette(random: np.random.Generator, saturation: float = 0.25) -> tuple[Array, Array]:
    base = random.uniform(70, 215) + random.normal(0, 255 * saturation * 0.25, 3)
    spread = random.uniform(15, 70)
    return np.clip(base - spread, 8, 250), np.clip(base + spread, 8, 250)


def _plaster(random: np.random.Generator) -> Array:
    field = 0.55 * _spectral_noise(random, 1.3) + 0.25 * _spectral_noise(random, 0.4)
    base = random.uniform(95, 235) + random.normal(0, 18, 3)
    return np.asarray(base + random.uniform(2, 11) * field[..., None], np.float32)


def _concrete(random: np.random.Generator) -> Array:
    field = _spectral_noise(random, 1.0) + 0.6 * _spectral_noise(random, 0.2)
    base = random.uniform(80, 180) + random.normal(0, 8, 3)
    return np.asarray(base + random.uniform(8, 22) * field[..., None], np.float32)


def _brick(random: np.random.Generator) -> Array:
    rows, columns = int(random.choice([8, 12, 16])), int(random.choice([3, 4, 6]))
    row = np.floor(_Y * rows)
    across = _X * columns + 0.5 * (row % 2)
    column = np.floor(across) % columns
    joint = np.float32(random.uniform(0.04, 0.1))
    fx, fy = across % 1, (_Y * rows) % 1
    mortar = (fx < joint * columns / rows) | (fy < joint * 1.4)
    shade = random.normal(0, 1, (rows, columns)).astype(np.float32)[row.astype(int) % rows, column.astype(int)]
    red = random.random() < 0.6
    base = np.array([150, 85, 62]) if red else random.uniform(90, 210) + random.normal(0, 14, 3)
    colour = base + random.uniform(6, 22) * shade[..., None] + 9 * _spectral_noise(random, 0.8)[..., None]
    return np.where(mortar[..., None], random.uniform(120, 200), colour).astype(np.float32)


def _boards(random: np.random.Generator) -> Array:
    count = int(random.choice([4, 6, 8, 12]))
    board = np.floor(_Y * count).astype(int) % count
    tone = random.normal(0, 1, count).astype(np.float32)[board]
    grain = _spectral_noise(random, 1.0, stretch=12)
    base = np.array([[160, 115, 75], [120, 80, 50], [195, 160, 120], [85, 60, 45], [170, 160, 150]])[random.integers(5)]
    colour = base + (random.uniform(4, 16) * tone + random.uniform(6, 14) * grain)[..., None]
    gap = (_Y * count) % 1 < 0.03
    return np.where(gap[..., None], colour * 0.45, colour).astype(np.float32)


def _floor_tiles(random: np.random.Generator) -> Array:
    count = int(random.choice([2, 4, 6, 8]))
    i, j = np.floor(_X * count).astype(int), np.floor(_Y * count).astype(int)
    dark, light = _palette(random)
    checker = (i + j) % 2 if random.random() < 0.4 else np.zeros_like(i)
    tone = checker * random.uniform(0.4, 1.0) + 0.15 * random.normal(0, 1, (count, count))[i, j]
    colour = _blend(0.8 - tone.astype(np.float32), dark, light) + 5 * _spectral_noise(random, 0.9)[..., None]
    width = random.uniform(0.02, 0.05)
    joint = ((_X * count) % 1 < width) | ((_Y * count) % 1 < width)
    return np.where(joint[..., None], random.uniform(60, 200), colour).astype(np.float32)


def _wallpaper(random: np.random.Generator) -> Array:
    dark, light = _palette(random, 0.6)
    count = int(random.choice([4, 8, 12, 16, 24]))
    kind = random.integers(5)
    value: Array
    if kind == 0:
        value = (np.sin(2 * np.pi * count * _X) > random.uniform(-0.6, 0.6)).astype(np.float32)
    elif kind == 1:
        shift = 0.5 * (np.floor(_Y * count) % 2)
        fx, fy = (_X * count + shift) % 1 - 0.5, (_Y * count) % 1 - 0.5
        value = (np.hypot(fx, fy) < random.uniform(0.15, 0.4)).astype(np.float32)
    elif kind == 2:
        value = 0.5 + 0.25 * (np.sign(np.sin(2 * np.pi * count * _X)) + np.sign(np.sin(2 * np.pi * count * _Y)))
    elif kind == 3:
        value = 0.5 + 0.5 * np.sin(2 * np.pi * count * (_X + 0.15 * np.sin(2 * np.pi * 2 * _Y)))
    else:
        value = (((_X + _Y) * count) % 1 < 0.5) ^ (((_X - _Y) * count) % 1 < 0.5)
    return _blend(np.asarray(value, np.float32), dark, light) + 3 * _spectral_noise(random, 0.7)[..., None]


def _grass(random: np.random.Generator) -> Array:
    fine = _spectral_noise(random, 0.35) + 0.8 * _spectral_noise(random, 1.2)
    green = np.array([random.uniform(70, 125), random.uniform(95, 140), random.uniform(40, 70)])
    return np.asarray(green + np.array([16, 20, 11]) * fine[..., None], np.float32)


def _foliage(random: np.random.Generator) -> Array:
    image = np.zeros((*_SHAPE, 3), np.float32) + np.array([28, 38, 20], np.float32)
    hue = random.uniform([40, 80, 15], [130, 145, 70])
    for _ in range(900):
        centre = random.integers(0, TILE_SIDE, 2)
        axes = (int(random.integers(3, 12)), int(random.integers(2, 6)))
        colour = np.clip(hue * random.uniform(0.3, 1.5) + random.normal(0, 8, 3), 0, 255).tolist()
        turn = float(random.uniform(0, 180))
        for x, y in repeats(centre, TILE_SIDE, 14):
            cv2.ellipse(image, (int(x), int(y)), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
    return image


def _ground(random: np.random.Generator) -> Array:
    field = _spectral_noise(random, 0.8) + 0.5 * _spectral_noise(random, 0.1)
    base = np.array([[95, 95, 97], [190, 170, 135], [125, 100, 75], [215, 215, 220], [70, 70, 72]])[random.integers(5)]
    return np.asarray(base + random.uniform(6, 16) * field[..., None], np.float32)


def _carpet(random: np.random.Generator) -> Array:
    dark, light = _palette(random, 0.8)
    motif = np.zeros_like(_X)
    for _ in range(4):
        fx, fy, phase = *random.integers(1, 9, 2), random.uniform(0, 6.28)
        motif = motif + np.sin(2 * np.pi * fx * _X + phase) * np.sin(2 * np.pi * fy * _Y + phase)
    value = 0.5 + 0.3 * np.sign(motif) * random.random() + 0.12 * _spectral_noise(random, 0.1)
    return _blend(value.astype(np.float32), dark, light)


def _facade(random: np.random.Generator) -> Array:
    columns, rows = int(random.integers(2, 6)), int(random.integers(2, 6))
    wall = random.uniform(70, 210) + random.normal(0, 22, 3)
    colour = wall + 9 * _spectral_noise(random, 1.1)[..., None]
    fx, fy = (_X * columns) % 1, (_Y * rows) % 1
    a, b = random.uniform(0.15, 0.3), random.uniform(0.7, 0.88)
    window = (fx > a) & (fx < b) & (fy > 0.2) & (fy < 0.8)
    frame = (fx > a - 0.05) & (fx < b + 0.05) & (fy > 0.15) & (fy < 0.86)
    i, j = np.floor(_X * columns).astype(int), np.floor(_Y * rows).astype(int)
    glass = random.uniform(20, 110, (rows, columns)) + 90 * (random.random((rows, columns)) < 0.12)
    pane = glass[j, i][..., None] + np.array([-6, 0, 10]) + 12 * _spectral_noise(random, 1.4)[..., None]
    colour = np.where(frame[..., None], random.uniform(60, 235), colour)
    return np.where(window[..., None], pane, colour).astype(np.float32)


def _print(random: np.random.Generator) -> Array:
    """Draw posters and signs: coloured fields with lines of writing and blocks."""
    base = np.clip(random.uniform(40, 245) + random.normal(0, 25, 3), 0, 255)
    image = np.full((*_SHAPE, 3), base, np.uint8)
    for _ in range(int(random.integers(2, 9))):
        corner = random.integers(0, TILE_SIDE, 2)
        far = corner + random.integers(20, 150, 2)
        colour = random.uniform(10, 250, 3).tolist()
        cv2.rectangle(image, tuple(map(int, corner)), tuple(map(int, far)), colour, -1)
    letters = "ABCDEFGHIJKLMNOPRSTUVWXYZabcdefghiklmnoprstuvw0123456789 &%!?"
    for _ in range(int(random.integers(1, 9))):
        text = "".join(random.choice(list(letters), int(random.integers(3, 16))))
        origin = (int(random.integers(0, 150)), int(random.integers(20, TILE_SIDE)))
        scale, thick = float(random.uniform(0.4, 2.6)), int(random.integers(1, 6))
        font = int(random.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX]))
        cv2.putText(image, text, origin, font, scale, random.uniform(0, 255, 3).tolist(), thick, cv2.LINE_AA)
    return image.astype(np.float32)


def _shelf(random: np.random.Generator) -> Array:
    """Draw rows of objects side by side, like books or goods."""
    rows = int(random.choice([3, 4, 5]))
    image = np.zeros((*_SHAPE, 3), np.float32) + random.uniform(20, 90)
    height = TILE_SIDE // rows
    for row in range(rows):
        x = 0
        while x < TILE_SIDE:
            width, rise = int(random.integers(5, 24)), int(height * random.uniform(0.55, 0.9))
            bottom = (row + 1) * height - 6
            colour = random.uniform(15, 240) + random.normal(0, 40, 3)
            cv2.rectangle(image, (x, bottom - rise), (x + width - 2, bottom), colour.tolist(), -1)
            x += width
        image[(row + 1) * height - 6 : (row + 1) * height] = random.uniform(60, 200)
    return image


def _stone(random: np.random.Generator) -> Array:
    """Draw a Voronoi diagram of stones."""
    count = 40
    points = random.uniform(0, TILE_SIDE, (count, 2)).astype(np.float32)
    y, x = np.mgrid[:TILE_SIDE, :TILE_SIDE].astype(np.float32)
    best, second = np.full((2, *_SHAPE), 1e9, np.float32)
    owner = np.zeros(_SHAPE, np.int64)
    for k, (px, py) in enumerate(points):
        dx, dy = np.abs(x - px), np.abs(y - py)
        distance = np.hypot(np.minimum(dx, TILE_SIDE - dx), np.minimum(dy, TILE_SIDE - dy))
        nearer = distance < best
        second = np.where(nearer, best, np.minimum(second, distance))
        owner = np.where(nearer, k, owner)
        best = np.where(nearer, distance, best)
    tone = random.normal(0, 1, count).astype(np.float32)[owner]
    base = random.uniform(90, 190) + random.normal(0, 12, 3)
    colour = base + (random.uniform(8, 26) * tone + 10 * _spectral_noise(random, 0.9))[..., None]
    return np.where((second - best < 4)[..., None], random.uniform(50, 160), colour).astype(np.float32)


_MAKERS: dict[str, Callable[[np.random.Generator], Array]] = {
    "plaster": _plaster,
    "concrete": _concrete,
    "brick": _brick,
    "boards": _boards,
    "floor_tiles": _floor_tiles,
    "wallpaper": _wallpaper,
    "grass": _grass,
    "foliage": _foliage,
    "ground": _ground,
    "carpet": _carpet,
    "facade": _facade,
    "print": _print,
    "shelf": _shelf,
    "stone": _stone,
}
TILE_KINDS = tuple(_MAKERS)


@lru_cache(maxsize=len(_MAKERS) * VARIANTS)
def tile(kind: str, variant: int) -> NDArray[np.uint8]:
    """Return a tileable image (256, 256, 3) uint8 of a kind in `TILE_KINDS`; variants repeat after `VARIANTS`."""
    variant %= VARIANTS
    random = np.random.default_rng([zlib.crc32(kind.encode()), variant])
    image = np.clip(_MAKERS[kind](random), 0, 255).astype(np.uint8)
    image.flags.writeable = False
    return image


@lru_cache(maxsize=len(_MAKERS) * VARIANTS * _LEVELS)
def tile_level(kind: str, variant: int, level: int) -> NDArray[np.uint8]:
    """Return a tile halved `level` times, at least 4 texels large."""
    side = TILE_SIDE >> min(max(level, 0), _LEVELS - 1)
    if side == TILE_SIDE:
        return tile(kind, variant)
    return np.asarray(cv2.resize(tile(kind, variant), (side, side), interpolation=cv2.INTER_AREA), np.uint8)
