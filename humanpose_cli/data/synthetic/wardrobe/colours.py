"""Colours as people, clothes and hair have them, RGB 0…255."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RGB", "cloth_colour", "cloth_palette", "hair_colour", "skin_colour", "vary"]

Array = NDArray[Any]
RGB = tuple[float, float, float]

# From light to dark; people lie between neighbours.
_SKIN = np.array(
    [
        (244, 213, 193),
        (232, 190, 164),
        (216, 168, 138),
        (196, 145, 112),
        (168, 118, 86),
        (138, 92, 64),
        (106, 68, 48),
        (78, 50, 38),
        (58, 38, 31),
    ],
    np.float64,
)
_HAIR = (
    ((22, 19, 18), 0.3),
    ((44, 31, 24), 0.22),
    ((78, 54, 38), 0.15),
    ((118, 86, 56), 0.09),
    ((176, 140, 92), 0.07),
    ((208, 178, 128), 0.04),
    ((126, 58, 32), 0.04),
    ((150, 148, 146), 0.05),
    ((214, 212, 208), 0.03),
)
_EARTH = ((196, 178, 148), (150, 120, 88), (104, 78, 58), (92, 94, 66), (124, 116, 84), (170, 132, 92), (112, 52, 44))


def vary(random: np.random.Generator, colour: Any, spread: float) -> RGB:
    """A colour a little lighter or darker and a little off in hue."""
    shifted = np.asarray(colour, np.float64) + random.normal(0, spread) + random.normal(0, spread / 2, 3)
    r, g, b = np.clip(shifted, 3, 252)
    return float(r), float(g), float(b)


def skin_colour(random: np.random.Generator) -> RGB:
    """Skin over the human range, light ones somewhat more often, as in most pictures."""
    place = float(random.beta(1.0, 1.35)) * (len(_SKIN) - 1)
    low = min(int(place), len(_SKIN) - 2)
    colour = _SKIN[low] + (place - low) * (_SKIN[low + 1] - _SKIN[low])
    # Redder or yellower.
    colour = colour * (1 + random.normal(0, 0.015, 3) + np.array([0.012, -0.01, -0.014]) * random.normal())
    return vary(random, colour, 2 + 0.012 * float(colour.mean()))


def hair_colour(random: np.random.Generator) -> RGB:
    """Natural hair, now and then dyed."""
    if random.random() < 0.03:
        return _saturated(random)
    shares = np.array([share for _, share in _HAIR])
    colour = _HAIR[int(random.choice(len(_HAIR), p=shares / shares.sum()))][0]
    return vary(random, colour, 6)


def cloth_colour(random: np.random.Generator) -> RGB:
    """What people wear: many darks, greys, blues and whites, some earth tones, some strong colours."""
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
    return _saturated(random)


def cloth_palette(random: np.random.Generator, count: int = 3) -> tuple[RGB, ...]:
    """Colours worn together in one fabric: the first two differ visibly in brightness."""
    first = cloth_colour(random)
    chosen = [first]
    while len(chosen) < count:
        other = cloth_colour(random)
        if len(chosen) > 1 or abs(sum(other) - sum(first)) > 90 or random.random() < 0.1:
            chosen.append(other)
    return tuple(chosen)


def _saturated(random: np.random.Generator) -> RGB:
    return _from_hsv(random.random(), random.uniform(0.45, 0.95), random.uniform(0.3, 0.92))


def _from_hsv(hue: float, saturation: float, value: float) -> RGB:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * r, 255 * g, 255 * b
