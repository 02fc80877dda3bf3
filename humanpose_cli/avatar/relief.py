"""What gives made-up surfaces relief: hollows that less light reaches, and the strands of hair.

Colours that are spread over a surface are flat. Fingers show by the light that they keep from each other; a head looks
like hair when its brightness varies as much, at each scale, as the visible part of the hair does.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_HOLLOW_REACH = 0.035  # metres: distance at which surface keeps light off
_HOLLOW_STRENGTH = 1.5  # factor on the light that is kept off
_MIN_LIGHT = 0.45  # share of the light in the deepest hollow
_STRAND_WIDTHS = (0.004, 0.009, 0.02)  # metres: strands of hair
_STRAND_LENGTH = 5.0  # length of strands, in widths
_STRAND_WAVE = (0.03, 0.004)  # metres: way along a head over which strands lean to a side, and how far
_MAX_DEPTH = 0.12  # maximum share by which strands of one size darken
_MIN_TEXELS = 200  # texels of visible hair from which its variation is measured

_LATTICE = 24  # cells after which a pattern repeats
_CROWN = (0.0, 0.84, -0.54)  # from a head's centre towards where its hair comes from; unit vector


def light_in_hollows(points: Array, normals: Array, areas: Array) -> Array:
    """Estimate how much of the light reaches each vertex (V,) past the others nearby, up to 1.

    Disk to disk (Bunnell 2005), a vertex being a disk of its area that hides what lies before its front.

    Args:
        points: (V, 3) metres; normals (V, 3) unit vectors; areas (V,) square metres.
    """
    a, b = cKDTree(points).query_pairs(_HOLLOW_REACH, output_type="ndarray").T
    way = (points[b] - points[a]).astype(np.float32)
    squares = np.maximum(np.square(way).sum(1), np.float32(1e-10))
    way /= np.sqrt(squares)[:, None]
    # Only disks that face each other hide anything.
    cosine_a = np.maximum(np.einsum("ij,ij->i", normals[a], way), 0)
    cosine_b = np.maximum(-np.einsum("ij,ij->i", normals[b], way), 0)
    facing = cosine_a * cosine_b
    occlusion = np.zeros(len(points))
    for one, other in ((a, b), (b, a)):
        occlusion += np.bincount(one, facing * areas[other] / (np.pi * squares + areas[other]), len(points))
    return np.maximum(1 - _HOLLOW_STRENGTH * occlusion, _MIN_LIGHT)


def strand_patterns(points: Array) -> Array:
    """Compute the brightness of strands of hair of each size at points (N, 3) metres of a resting head: (N, 3), of mean
    0 and variance 1.

    Strands fall from the crown, along the meridians of a sphere whose pole is there.
    """
    centre = (points.max(0) + points.min(0)) / 2
    pole = np.array(_CROWN)
    way = points - centre
    radius = np.linalg.norm(way, axis=1).mean()
    up = way @ pole
    out = way - up[:, None] * pole
    beside = np.linalg.norm(out, axis=1)
    along = radius / _STRAND_LENGTH * np.arctan2(beside, up)
    # Meridians as points of the equator: there is no seam where the longitude begins anew.
    equator = radius * out / np.maximum(beside, 1e-6)[:, None] + along[:, None] * pole
    # Strands lean to a side here and there.
    wave_length, wave = _STRAND_WAVE
    return _noise(equator + wave * _noise(way, (wave_length,) * 3), _STRAND_WIDTHS)


def _noise(points: Array, sizes: Iterable[float]) -> Array:
    """Sample value noise of each size of cells, metres, at points (N, 3): (N, sizes), of mean 0 and variance 1."""
    random = np.random.default_rng(0)
    coordinates, columns = np.ascontiguousarray(points.T), []
    for size in sizes:
        lattice = random.standard_normal((_LATTICE,) * 3).astype(np.float32)
        values = map_coordinates(lattice, coordinates / size, order=1, mode="grid-wrap")
        columns.append((values - values.mean()) / max(float(values.std()), 1e-6))
    return np.stack(columns, 1).astype(np.float32)


def strand_depths(colours: Array, visible: Mask, texels_per_metre: float) -> Array | None:
    """Measure how much visible hair's brightness varies at each of the strands' widths (3,); None if little is visible.

    Args:
        colours: (S, S, 3) of a texture; shown (S, S) where it shows the hair.
    """
    if visible.sum() < _MIN_TEXELS:
        return None
    weight = visible.astype(np.float32)
    bright = np.log(np.maximum(colours.mean(2), np.float32(0.02))) * weight

    def average(sigma: float) -> Array:
        smooth, share = (cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3)) for values in (bright, weight))
        return np.asarray(smooth / np.maximum(share, np.float32(1e-3)))

    widths = _STRAND_WIDTHS
    sigmas = [width * texels_per_metre / 4 for width in (*widths, 2 * widths[-1])]
    levels = [average(sigma)[visible] for sigma in sigmas]
    # Strands are few and deep: the spread of most, not of half of the points.
    depths = [np.percentile(np.abs(fine - wide), 80) / 1.28 for fine, wide in pairwise(levels)]
    return np.minimum(np.array(depths, np.float32), np.float32(_MAX_DEPTH))
