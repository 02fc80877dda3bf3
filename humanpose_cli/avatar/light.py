"""The light of a photograph on a person, which is removed from the texture and added again in another pose.

The brightness of a diffuse surface without cast shadows depends on its normal n alone, and smoothly (Ramamoorthi and
Hanrahan 2001). The logarithm of a pixel is the logarithm of the surface's colour plus log S(n), a quadratic in n.
Points of similar hue on the same limb are assumed to have one colour. Both are found by robust least squares.

A photograph without colours has no hue. There, the points of a part have one colour, or two if bright and dark points
are clearly separate.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.colours import cloth_features, dominant_colour, is_grey, k_means, skin_hued
from humanpose_cli.avatar.surface import LEGS, SLEEVES, limb_groups
from humanpose_cli.body.parts import parts_mask

Array = NDArray[Any]

_HUES = 5  # clusters of hue on each limb; the points of one have one colour
_BRIGHTNESS_GAP = 1.0  # difference of log brightness on a part that no light makes, in a photograph without colours
_MIN_POINTS = 300  # minimum number of visible points that a light is found from
_RIDGE = 0.004  # weight of no light against the mean evidence of a point
_ROUNDS = 4  # rounds of reweighted least squares
_RESIDUAL_SCALE = 0.15  # scale of residuals: larger ones are patterns or cast shadows
_MAX_LOG = 0.8  # maximum of the light's log brightness, in both directions
_LIMBS = ((LEGS, 0.6), (SLEEVES, 0.35))  # parts, and distance of the hues of skin or a cloth in light and shadow
_MAX_LIMB_LOG = (0.5, 1.3)  # maximum of the log brightness of light on the cloth, and on the skin, of limbs
_BRIGHT_RANGE = (0.03, 0.98)  # range of brightness: other colours are too dark, or clipped


class PhotoLight:
    """Light that depends on the normal n: log S(n) = c · basis(n).

    Args:
        coefficients: (K,) float. The factors c; None for no light.
    """

    def __init__(self, coefficients: Array | None = None) -> None:
        self.coefficients = np.zeros(_basis(np.zeros((1, 3))).shape[1]) if coefficients is None else coefficients

    def brightness(self, normals: Array) -> Array:
        """Return the brightness (...) of a surface with unit normals (..., 3) in camera axes; 1 without light."""
        values = _basis(normals.reshape(-1, 3)) @ self.coefficients
        bounds = np.exp(_MAX_LOG * np.tanh(values / _MAX_LOG))
        return np.asarray(bounds.reshape(normals.shape[:-1]), np.float32)

    def brightness_of(self, normals: Tensor) -> Tensor:
        """Return `brightness` of a tensor of normals."""
        return torch.from_numpy(self.brightness(normals.cpu().numpy().astype(np.float64))).to(normals)


def _basis(normals: Array) -> Array:
    x, y, z = normals.T
    return np.stack((x, y, z + 0.7, x * y, x * z, y * z, x * x - y * y, z * z - 0.5), 1)


def light_of(colours: Array, normals: Array, parts: NDArray[np.integer], weights: Array) -> PhotoLight:
    """Estimate the light on points of a surface.

    Args:
        colours: (N, 3) float, 0…1, RGB.
        normals: (N, 3) float, unit vectors in camera axes.
        parts: (N,) int. Rows of SMPL24.
        weights: (N,) float, 0…1. The confidence of each point.

    Returns:
        The light; none if fewer than 300 points are visible.
    """
    bright = colours.max(1)
    (darkest, brightest) = _BRIGHT_RANGE
    rows_used = (weights > 0.3) & (bright > darkest) & (bright < brightest)
    if rows_used.sum() < _MIN_POINTS:
        return PhotoLight()
    colours, normals, parts, weights = (values[rows_used] for values in (colours, normals, parts, weights))
    value = np.log(colours.mean(1))
    groups = _by_brightness(value, parts) if is_grey(colours) else _by_hue(colours, limb_groups()[parts])
    basis = _basis(normals.astype(np.float64))
    coefficients = np.zeros(basis.shape[1])
    robust = weights.astype(np.float64)
    for _ in range(_ROUNDS):
        # Each group's colour is unknown: only differences from its mean say anything about the light.
        total = np.maximum(np.bincount(groups, robust), 1e-9)

        def centred(values: Array, total: Array = total, robust: Array = robust) -> Array:
            return values - (np.bincount(groups, robust * values) / total)[groups]

        design = np.stack([centred(column) for column in basis.T], 1)
        target = centred(value)
        ridge = _RIDGE * robust.sum() * np.eye(basis.shape[1])
        system = (design * robust[:, None]).T @ design + ridge
        coefficients = np.linalg.solve(system, design.T @ (robust * target))
        # Geman and McClure's weights: what the light does not explain is a pattern or a cast shadow.
        residual = target - design @ coefficients
        robust = weights * np.square(_RESIDUAL_SCALE**2 / (_RESIDUAL_SCALE**2 + residual**2))
    return PhotoLight(coefficients)


def _by_hue(colours: Array, limbs: NDArray[np.integer]) -> NDArray[np.int64]:
    """Label (N,) the clusters of hue on each limb."""
    hue = (colours / np.maximum(colours.sum(1, keepdims=True), 1e-6)).astype(np.float32)[:, :2]
    groups = np.zeros(len(colours), np.int64)
    for limb in np.unique(limbs):
        rows = np.flatnonzero(limbs == limb)
        groups[rows] = _HUES * limb + k_means(hue[rows], _HUES, 1e-4)[0]
    return groups


def _by_brightness(value: Array, parts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Label (N,) the parts, split into bright and dark points where these are clearly separate."""
    groups = 2 * parts.astype(np.int64)
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        bright = k_means(value[rows, None].astype(np.float32), 2, 1e-4)[0]
        if not bright.any():
            continue
        means = [value[rows][bright == cluster].mean() for cluster in (0, 1)]
        if abs(means[1] - means[0]) > _BRIGHTNESS_GAP:
            groups[rows] += bright
    return groups


def limb_light(colours: Array, parts: NDArray[np.integer], weights: Array) -> Array:
    """Estimate cast shadows and reflected light on both arms and on both legs, by what most of them shows.

    The skin of limbs has one colour, as has their most frequent cloth; folds between vertices remain.

    Args:
        colours: (V, 3) float, 0…1, RGB. The colours of vertices, divided by the light of `light_of`.
        parts: (V,) int. Rows of SMPL24.
        weights: (V,) float, 0…1. The confidence of each colour.

    Returns:
        (V, 3) float. The factors of the channels.
    """
    colours = np.maximum(colours, _BRIGHT_RANGE[0])
    factors = np.ones_like(colours)
    for (names, limit), bare in product(_LIMBS, (False, True)):
        rows = np.flatnonzero(parts_mask(parts, names) & (weights > 0.1) & (skin_hued(colours) == bare))
        main = dominant_colour(colours[rows])
        if main.any():
            hues = cloth_features(colours[rows])[:, :2]
            same = np.linalg.norm(hues - np.median(hues[main], axis=0), axis=1) < limit
            light = colours[rows] / np.median(colours[rows][same], axis=0)
            same &= np.abs(np.log(light).mean(1)) < _MAX_LIMB_LOG[bare]
            factors[rows[same]] = light[same]
    return factors
