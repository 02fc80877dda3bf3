"""The light of a photograph on a person: taken off their texture, and put on again in another pose.

The brightness of a diffuse surface depends on its normal n alone where nothing casts shadows, and smoothly (Ramamoorthi
and Hanrahan 2001). The logarithm of a pixel is that of its colour plus log S(n), with log S a quadratic in n; points
of like hue on the same limb are taken to have one colour. Both are found by robust least squares.

In a photograph without colours, hue tells neither hair from skin nor a shirt from trousers. There the points of one
part have one colour, or two where bright and dark ones are far apart.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.garments import colourless
from humanpose_cli.avatar.surface import limb_groups

Array = NDArray[Any]

_HUES = 5  # clusters of hue on each limb
# Without colours: log brightness by which two clusters on a part are apart that no light makes of one colour.
_APART = 1.0
_FEWEST = 300  # points that tell the light
_RIDGE = 0.004  # weight of "no light" against one point's mean evidence
_ROUNDS, _SCALE = (
    4,
    0.15,
)  # reweighted least squares: residuals of log brightness beyond the scale are patterns or shadows
_MOST = 0.8  # of |log S|
_DARK = 0.03  # colours 0…1 below it tell nothing


class PhotoLight:
    """log S(n) = c · basis(n), with n (..., 3) unit normals in camera axes; c (K,)."""

    def __init__(self, coefficients: Array | None = None) -> None:
        self.coefficients = np.zeros(_basis(np.zeros((1, 3))).shape[1]) if coefficients is None else coefficients

    def brightness(self, normals: Array) -> Array:
        """S (...) for normals (..., 3); 1 everywhere where the light is not known."""
        values = _basis(normals.reshape(-1, 3)) @ self.coefficients
        return np.exp(_MOST * np.tanh(values / _MOST)).reshape(normals.shape[:-1]).astype(np.float32)

    def on(self, normals: Tensor) -> Tensor:
        """`brightness` of tensors."""
        return torch.from_numpy(self.brightness(normals.cpu().numpy().astype(np.float64))).to(normals)


def _basis(normals: Array) -> Array:
    x, y, z = normals.T
    return np.stack((x, y, z + 0.7, x * y, x * z, y * z, x * x - y * y, z * z - 0.5), 1)


def light_of(colours: Array, normals: Array, parts: NDArray[np.integer], weights: Array) -> PhotoLight:
    """The light on some points of a surface.

    colours  (N, 3) in 0…1; normals (N, 3) unit vectors, camera axes
    parts    (N,) rows of SMPL24; weights (N,) 0…1
    """
    bright = colours.max(1)
    used = (weights > 0.3) & (bright > _DARK) & (bright < 0.98)
    if used.sum() < _FEWEST:
        return PhotoLight()
    colours, normals, parts, weights = (values[used] for values in (colours, normals, parts, weights))
    value = np.log(colours.mean(1))
    groups = _by_brightness(value, parts) if colourless(colours) else _by_hue(colours, limb_groups()[parts])
    basis = _basis(normals.astype(np.float64))
    coefficients = np.zeros(basis.shape[1])
    robust = weights.astype(np.float64)
    for _ in range(_ROUNDS):
        total = np.maximum(np.bincount(groups, robust), 1e-9)

        def centred(values: Array, total: Array = total, robust: Array = robust) -> Array:
            return values - (np.bincount(groups, robust * values) / total)[groups]

        design = np.stack([centred(column) for column in basis.T], 1)
        target = centred(value)
        system = (design * robust[:, None]).T @ design + _RIDGE * robust.sum() * np.eye(basis.shape[1])
        coefficients = np.linalg.solve(system, design.T @ (robust * target))
        residual = target - design @ coefficients
        robust = weights * np.square(_SCALE**2 / (_SCALE**2 + residual**2))
    return PhotoLight(coefficients)


def _by_hue(colours: Array, limbs: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number (N,) for each limb and cluster of hue on it."""
    hue = (colours / np.maximum(colours.sum(1, keepdims=True), 1e-6)).astype(np.float32)[:, :2]
    groups = np.zeros(len(colours), np.int64)
    for limb in np.unique(limbs):
        rows = np.flatnonzero(limbs == limb)
        groups[rows] = _HUES * limb + _clusters(hue[rows], _HUES)
    return groups


def _by_brightness(value: Array, parts: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number (N,) for each part, or for its bright and dark points where their log brightness (N,) is far apart."""
    groups = 2 * parts.astype(np.int64)
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        bright = _clusters(value[rows, None].astype(np.float32), 2)
        if bright.any() and abs(value[rows][bright == 1].mean() - value[rows][bright == 0].mean()) > _APART:
            groups[rows] += bright
    return groups


def _clusters(features: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Which of at most so many clusters each of some features (N, F) is in."""
    if len(features) < 2:  # OpenCV takes one row for several points
        return np.zeros(len(features), np.int32)
    cv2.setRNGSeed(0)
    stop, start = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4), cv2.KMEANS_PP_CENTERS
    _, labels, _ = cv2.kmeans(np.ascontiguousarray(features), min(count, len(features)), None, stop, 1, start)  # type: ignore[call-overload]
    return np.asarray(labels[:, 0])
