"""What gives made-up surfaces relief: hollows that less light reaches, the folds of cloth, the strands of hair.

Colours that are spread over a surface are flat. Fingers are told apart by the light that they keep from each other; a
sleeve looks like cloth, and a head like hair, when its brightness varies as much, at each scale, as the visible part of
the garment, or of the hair, does.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_REACH = 0.035  # metres: surface farther away keeps no light off
_DARKEST, _STRENGTH = 0.45, 1.5
_LATTICE = 24  # cells after which a pattern repeats
_FEWEST = 200  # texels that tell of a pattern
_CROWN = (0.0, 0.84, -0.54)  # from a head's centre towards where its hair comes from; unit vector


class Pattern(NamedTuple):
    """Brightness that varies at three sizes: widths in metres, length in widths, the most at each size (a share)."""

    widths: tuple[float, float, float]
    length: float
    most: float


FOLDS = Pattern((0.012, 0.025, 0.05), 3.0, 0.02)
STRANDS = Pattern((0.004, 0.009, 0.02), 5.0, 0.12)
_WAVE = (0.03, 0.004)  # metres: over which way strands lean to a side, and how far


def light_in_hollows(points: Array, normals: Array, areas: Array) -> Array:
    """How much of the light reaches each vertex (V,) past the others nearby, up to 1.

    Disk to disk (Bunnell 2005), a vertex being a disk of its area that hides what lies before its front.

    points   (V, 3) metres; normals (V, 3) unit vectors; areas (V,) square metres
    """
    a, b = cKDTree(points).query_pairs(_REACH, output_type="ndarray").T
    way = (points[b] - points[a]).astype(np.float32)
    squared = np.maximum(np.square(way).sum(1), np.float32(1e-10))
    way /= np.sqrt(squared)[:, None]
    cosine_a = np.maximum(np.einsum("ij,ij->i", normals[a], way), 0)
    cosine_b = np.maximum(-np.einsum("ij,ij->i", normals[b], way), 0)
    facing = cosine_a * cosine_b
    hidden = np.zeros(len(points))
    for one, other in ((a, b), (b, a)):
        hidden += np.bincount(one, facing * areas[other] / (np.pi * squared + areas[other]), len(points))
    return np.maximum(1 - _STRENGTH * hidden, _DARKEST)


def fold_patterns(points: Array) -> Array:
    """Brightness of folds of each size at points (N, 3) metres of the resting body: (N, 3), of mean 0 and variance 1.

    Folds are longer than wide: they hang down the trunk and go round the arms, which the resting body holds out.
    """
    return _noise(points * (1, 1 / FOLDS.length, 1), FOLDS.widths)


def strand_patterns(points: Array) -> Array:
    """Brightness of strands of hair at points (N, 3) metres of a resting head, as `fold_patterns`.

    Strands fall from the crown, along the meridians of a sphere whose pole is there.
    """
    centre = (points.max(0) + points.min(0)) / 2
    pole = np.array(_CROWN)
    way = points - centre
    radius = np.linalg.norm(way, axis=1).mean()
    up = way @ pole
    out = way - up[:, None] * pole
    beside = np.linalg.norm(out, axis=1)
    along = radius / STRANDS.length * np.arctan2(beside, up)
    # Meridians as points of the equator: there is no seam where the longitude begins anew.
    equator = radius * out / np.maximum(beside, 1e-6)[:, None] + along[:, None] * pole
    return _noise(equator + _WAVE[1] * _noise(way, (_WAVE[0],) * 3), STRANDS.widths)


def _noise(points: Array, sizes: Iterable[float]) -> Array:
    """Value noise of each size of cells, metres, at points (N, 3): (N, sizes), of mean 0 and variance 1."""
    random = np.random.default_rng(0)
    coordinates, columns = np.ascontiguousarray(points.T), []
    for size in sizes:
        lattice = random.standard_normal((_LATTICE,) * 3).astype(np.float32)
        values = map_coordinates(lattice, coordinates / size, order=1, mode="grid-wrap")
        columns.append((values - values.mean()) / max(float(values.std()), 1e-6))
    return np.stack(columns, 1).astype(np.float32)


def depths_of(pattern: Pattern, colours: Array, shown: Mask, texels_per_metre: float) -> Array | None:
    """How much a visible thing's brightness varies at each of the pattern's widths (3,); None where little shows.

    colours  (S, S, 3) of a texture; shown (S, S) where it shows the garment or the hair, and no print
    """
    if shown.sum() < _FEWEST:
        return None
    weight = shown.astype(np.float32)
    bright = np.log(np.maximum(colours.mean(2), np.float32(0.02))) * weight

    def average(sigma: float) -> Array:
        blurred, share = (cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3)) for values in (bright, weight))
        return np.asarray(blurred / np.maximum(share, np.float32(1e-3)))

    sigmas = [width * texels_per_metre / 4 for width in (*pattern.widths, 2 * pattern.widths[-1])]
    levels = [average(sigma)[shown] for sigma in sigmas]
    # Folds are few and deep: the spread of most, not of half of the points.
    depths = [np.percentile(np.abs(fine - wide), 80) / 1.28 for fine, wide in pairwise(levels)]
    return np.minimum(np.array(depths, np.float32), np.float32(pattern.most))
