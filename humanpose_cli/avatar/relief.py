"""What gives made-up surfaces relief: hollows that less light reaches, and the folds of their cloth.

Colours that are spread over a surface are flat. Fingers are told apart by the light that they keep from each other, and
a sleeve looks like cloth when its brightness varies as much, at each scale, as the visible part of the garment does.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_REACH = 0.035  # metres: surface farther away keeps no light off
_DARKEST, _STRENGTH = 0.45, 1.5
_CELLS = (0.012, 0.025, 0.05)  # metres: sizes of folds
_LATTICE = 24  # cells after which folds repeat
_LENGTH = 3.0  # of a fold, in widths
_MOST = 0.02  # of the brightness, at each size
_FEWEST = 200  # texels that tell of folds


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
    stretched = np.ascontiguousarray((points * (1, 1 / _LENGTH, 1)).T)
    random = np.random.default_rng(0)
    columns = []
    for cell in _CELLS:
        lattice = random.standard_normal((_LATTICE,) * 3).astype(np.float32)
        values = map_coordinates(lattice, stretched / cell, order=1, mode="grid-wrap")
        columns.append((values - values.mean()) / max(float(values.std()), 1e-6))
    return np.stack(columns, 1).astype(np.float32)


def fold_depths(colours: Array, shown: Mask, texels_per_metre: float) -> Array | None:
    """How much the brightness of a visible garment varies at each of the sizes of folds (3,); None where little shows.

    colours  (S, S, 3) of a texture; shown (S, S) where it shows the garment and no print
    """
    if shown.sum() < _FEWEST:
        return None
    weight = shown.astype(np.float32)
    bright = np.log(np.maximum(colours.mean(2), np.float32(0.02))) * weight

    def average(sigma: float) -> Array:
        blurred, share = (cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3)) for values in (bright, weight))
        return np.asarray(blurred / np.maximum(share, np.float32(1e-3)))

    sigmas = [cell * texels_per_metre / 4 for cell in (*_CELLS, 2 * _CELLS[-1])]
    levels = [average(sigma)[shown] for sigma in sigmas]
    # Folds are few and deep: the spread of most, not of half of the points.
    depths = [np.percentile(np.abs(fine - wide), 80) / 1.28 for fine, wide in pairwise(levels)]
    return np.minimum(np.array(depths, np.float32), np.float32(_MOST))
