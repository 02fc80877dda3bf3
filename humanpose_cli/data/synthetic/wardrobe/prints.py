"""Prints and logos: shapes, letters and small pictures drawn at random."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.colours import cloth_colour

__all__ = ["PRINT", "draw_print"]

Array = NDArray[Any]

PRINT = 96  # pixels along each side of a print
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)


def draw_print(random: np.random.Generator) -> NDArray[np.uint8]:
    """(PRINT, PRINT, 4) uint8 RGBA; alpha 0 where the cloth shows."""
    picture = np.zeros((PRINT, PRINT, 4), np.uint8)
    kind = str(
        random.choice(["word", "number", "shape", "badge", "photo", "bars"], p=[0.3, 0.16, 0.2, 0.14, 0.12, 0.08])
    )
    if kind in ("shape", "badge"):
        _shape(picture, random)
    elif kind == "photo":
        _photo(picture, random)
    elif kind == "bars":
        _bars(picture, random)
    if kind in ("word", "badge", "photo"):
        _words(picture, random, low=kind == "photo")
    elif kind == "number":
        _text(
            picture, str(int(random.integers(1, 100))), (PRINT * 0.5, PRINT * 0.5), PRINT * 0.75, _ink(random), random
        )
    return picture


def _ink(random: np.random.Generator) -> tuple[float, ...]:
    return (*cloth_colour(random), 255.0)


def _text(
    picture: Array,
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
    at = (round(centre[0] - width * scale / 2), round(centre[1] + tall * scale / 2))
    cv2.putText(picture, text, at, font, scale, ink, thickness, cv2.LINE_AA)


def _words(picture: Array, random: np.random.Generator, *, low: bool) -> None:
    lines = int(random.integers(1, 4)) if not low else 1
    ink = _ink(random)
    for i in range(lines):
        word = "".join(_LETTERS[int(k)] for k in random.integers(0, 26, int(random.integers(2, 9))))
        y = PRINT * (0.88 if low else 0.5 + (i - (lines - 1) / 2) * 0.27)
        _text(picture, word, (PRINT / 2, y), PRINT * random.uniform(0.14, 0.26), ink, random)


def _shape(picture: Array, random: np.random.Generator) -> None:
    """Circles, stars, polygons, a few inside each other."""
    for level in range(int(random.integers(1, 4))):
        radius = PRINT * random.uniform(0.3, 0.46) * 0.68**level
        ink, corners = _ink(random), int(random.integers(3, 10))
        if corners > 7:
            cv2.circle(picture, (PRINT // 2, PRINT // 2), round(radius), ink, -1, cv2.LINE_AA)
            continue
        star = random.random() < 0.4
        count = corners * (2 if star else 1)
        angles = random.uniform(0, 6.3) + np.arange(count) * 2 * math.pi / count
        radii = np.where(np.arange(count) % 2 == 0, radius, radius * (0.45 if star else 1))
        points = PRINT / 2 + np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None]
        cv2.fillPoly(picture, [points.round().astype(np.int32)], ink, cv2.LINE_AA)


def _photo(picture: Array, random: np.random.Generator) -> None:
    """A rectangle of soft colour fields, as of a printed photograph."""
    small = random.uniform(0, 255, (5, 5, 3)).astype(np.float32)
    part = slice(round(PRINT * 0.1), round(PRINT * 0.76))
    side = part.stop - part.start
    picture[part, part, :3] = np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255)
    picture[part, part, 3] = 255


def _bars(picture: Array, random: np.random.Generator) -> None:
    """A few broad bars across the chest."""
    y = PRINT * random.uniform(0.1, 0.4)
    for _ in range(int(random.integers(1, 4))):
        height = PRINT * random.uniform(0.06, 0.18)
        cv2.rectangle(picture, (0, round(y)), (PRINT, round(y + height)), _ink(random), -1)
        y += height + PRINT * random.uniform(0.02, 0.1)
