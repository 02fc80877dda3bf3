"""Smooth fields on a body's surface: values known at some vertices, spread over the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

__all__ = ["SurfaceOperator", "spread"]

Array = NDArray[Any]


class SurfaceOperator:
    """The surface's stiffness K and vertex areas: fᵀ K f is the integral of |∇f|² over the surface.

    The cotangent formula makes the result independent of how finely a part is triangulated: a head with a
    thousand vertices and a shin with fifty behave alike.

    vertices  (V, 3) metres; faces (F, 3)
    """

    def __init__(self, vertices: Array, faces: NDArray[np.integer]) -> None:
        corners = np.asarray(vertices, np.float64)[faces]
        count = len(vertices)
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        rows, columns, weights = [], [], []
        for k in range(3):
            left, right = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
            cotangent = (left * right).sum(1) / np.maximum(double_area, 1e-12)
            rows.append(faces[:, (k + 1) % 3])
            columns.append(faces[:, (k + 2) % 3])
            # Obtuse corners give negative weights, which could overshoot: a small positive one cannot.
            weights.append(np.clip(cotangent / 2, 0.02, 10.0))
        self.rows, self.columns = np.concatenate(rows), np.concatenate(columns)
        self.weights = np.concatenate(weights)
        self.areas = np.bincount(faces.ravel(), np.repeat(double_area / 6, 3), count) + 1e-12
        self.count = count

    def stiffness(self, cut: NDArray[np.integer] | None = None, leak: float = 0.0) -> sparse.csc_matrix:
        """K (V, V); with `cut` (V,) groups, connections between groups are weakened to `leak`."""
        weights = self.weights
        if cut is not None:
            weights = np.where(cut[self.rows] == cut[self.columns], weights, weights * leak)
        i, j = np.concatenate((self.rows, self.columns)), np.concatenate((self.columns, self.rows))
        off = sparse.coo_matrix((np.concatenate((weights, weights)), (i, j)), (self.count, self.count)).tocsc()
        return sparse.diags(np.asarray(off.sum(1)).ravel()).tocsc() - off


def spread(stiffness: sparse.csc_matrix, data_weights: Array, values: Array, rest_weights: Array, rest: Array) -> Array:
    """The field f that minimises fᵀ K f + Σ data (f − values)² + Σ rest_weights (f − rest)².

    data_weights (V,) ≥ 0, values (V, C), rest_weights (V,) > 0, rest (C,) or (V, C) → (V, C)
    """
    system = (stiffness + sparse.diags(data_weights + rest_weights)).tocsc()
    right = data_weights[:, None] * values + rest_weights[:, None] * np.broadcast_to(rest, values.shape)
    # Symmetric mode: a third of the time and fill of the general ordering.
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor.solve(np.ascontiguousarray(right))
