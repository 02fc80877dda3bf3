"""The light of a photograph on a person: taken off their texture, and put on again in another pose.

The brightness of a diffuse surface depends on its normal n alone where nothing casts shadows, and smoothly (Ramamoorthi
and Hanrahan 2001). The logarithm of a pixel is that of its colour plus log S(n), with log S a quadratic in n; points
of like hue on the same limb are taken to have one colour. Both are found by robust least squares.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

_HUES = 5  # clusters of hue in each region
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


def light_of(colours: Array, normals: Array, regions: NDArray[np.integer], weights: Array) -> PhotoLight:
    """The light on some points of a surface.

    colours  (N, 3) in 0…1; normals (N, 3) unit vectors, camera axes
    regions  (N,) points of one region and hue have one colour; weights (N,) 0…1
    """
    bright = colours.max(1)
    used = (weights > 0.3) & (bright > _DARK) & (bright < 0.98)
    if used.sum() < _FEWEST:
        return PhotoLight()
    colours, normals, regions, weights = (values[used] for values in (colours, normals, regions, weights))
    groups = _groups(colours, regions)
    value, basis = np.log(colours.mean(1)), _basis(normals.astype(np.float64))
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


def _groups(colours: Array, regions: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number (N,) for each region and cluster of hue in it."""
    hue = (colours / np.maximum(colours.sum(1, keepdims=True), 1e-6)).astype(np.float32)[:, :2]
    groups = np.zeros(len(colours), np.int64)
    count = 0
    for region in np.unique(regions):
        rows = np.flatnonzero(regions == region)
        clusters = min(_HUES, len(rows))
        if clusters == 1:  # OpenCV takes one row for several points
            groups[rows] = count
            count += 1
            continue
        cv2.setRNGSeed(0)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4)
        _, labels, _ = cv2.kmeans(np.ascontiguousarray(hue[rows]), clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
        groups[rows] = count + labels[:, 0]
        count += clusters
    return groups
