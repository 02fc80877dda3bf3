"""Texture coordinates for bodies that come without: an atlas with one or more charts for each of the 24 parts.

Limbs, trunk and head unroll as cylinders around the part's axis, cut at the back; hands and feet, and what caps a
cylinder (crown, crotch), are seen from both sides. Charts keep their proportions in metres and never overlap;
inside a chart only folds (between fingers, behind ears) do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.conventions import SMPL24

__all__ = ["part_atlas"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MARGIN = 0.006  # of the atlas, around each chart: six pixels of a texture of 1024
CAP_COSINE = 0.8  # a triangle that faces along the axis closer than this belongs to a cap
X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class Chart:
    """Triangles laid out in metres: faces (n,) rows, corners (n, 3, 2), and a key per corner that tells copies apart.

    A vertex on the cut of a cylinder has two places in the chart; `keys` (n, 3) is 1 for the copy past the cut.
    """

    faces: Rows
    corners: Array
    keys: Rows

    @property
    def size(self) -> Array:
        """(2,) width and height in metres."""
        return np.ptp(self.corners.reshape(-1, 2), axis=0)


def part_atlas(
    vertices: Array, faces: NDArray[np.int32], labels: NDArray[np.int32], joints: Array
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Texture vertices (T, 2) in 0…1, v down, and texture triangles (F, 3).

    vertices (V, 3) and joints (24, 3)  metres, T pose, body axes; labels (V,) rows of SMPL24
    """
    face_labels = _majority(labels[faces])
    charts = [
        chart
        for row, joint in enumerate(SMPL24.joint_names)
        for chart in _charts(vertices, faces, np.flatnonzero(face_labels == row), joint, joints[row])
    ]
    places, scale = _pack([chart.size for chart in charts])
    uv_faces = np.empty(faces.shape, dtype=np.int32)
    tables: list[Array] = []
    count = 0
    for chart, place in zip(charts, places, strict=True):
        corners = (chart.corners - chart.corners.reshape(-1, 2).min(0)) * scale + place + MARGIN
        names = faces[chart.faces].astype(np.int64) * 2 + chart.keys
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        uv_faces[chart.faces] = inverse.reshape(-1, 3) + count
        tables.append(corners.reshape(-1, 2)[first])
        count += len(first)
    return np.clip(np.concatenate(tables), 0, 1).astype(np.float32), uv_faces


def _majority(corner_labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """(F, 3) → (F,): the label that two corners share, else the first corner's."""
    a, b, c = corner_labels.T
    return np.where(b == c, b, a)


def _charts(vertices: Array, faces: NDArray[np.int32], rows: Rows, joint: str, centre: Array) -> Iterator[Chart]:
    part = joint.rpartition("_")[2]
    corners = vertices[faces[rows]] - centre
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if part in ("wrist", "hand", "ankle", "foot"):
        axis, across = (Y, (X, Z))
        threshold = 0.0
    else:
        axis, across = (X, (Z, Y)) if part in ("collar", "shoulder", "elbow") else (Y, (X, Z))
        threshold = CAP_COSINE
    facing = normals @ axis
    limit = threshold * np.linalg.norm(normals, axis=1)
    up, down = facing > limit, (facing <= -limit if threshold == 0 else facing < -limit)
    for chosen, sign in ((up, 1.0), (down, -1.0)):
        if chosen.any():
            flat = np.stack((corners[chosen] @ across[0] * sign, corners[chosen] @ across[1]), -1)
            yield Chart(rows[chosen], flat, np.zeros((chosen.sum(), 3), dtype=np.int64))
    side = ~(up | down)
    if side.any():
        yield _cylinder(rows[side], corners[side], axis)


def _cylinder(rows: Rows, corners: Array, axis: Array) -> Chart:
    """Unroll around `axis`; the cut runs along the back (−z)."""
    lateral = np.cross(axis, Z)
    middle = corners.reshape(-1, 3).mean(0)
    x, z = (corners - middle) @ lateral, (corners - middle) @ Z
    angle = np.arctan2(x, z)
    radius = np.hypot(x, z).mean()
    past_cut = (np.ptp(angle, axis=1, keepdims=True) > math.pi) & (angle < 0)
    unrolled = np.stack(((angle + 2 * math.pi * past_cut) * radius, -(corners @ axis)), -1)
    return Chart(rows, unrolled, past_cut.astype(np.int64))


def _pack(sizes: list[Array]) -> tuple[list[Array], float]:
    """Corners of rectangles laid on shelves in the unit square, and the scale that makes them fit."""
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], i))

    def lay(scale: float) -> list[Array] | None:
        places: list[Array] = [np.zeros(2)] * len(sizes)
        x = y = shelf = 0.0
        for i in order:
            width, height = sizes[i] * scale + 2 * MARGIN
            if x + width > 1:
                x, y, shelf = 0.0, y + shelf, 0.0
            if width > 1 or y + height > 1:
                return None
            places[i] = np.array([x, y])
            x, shelf = x + width, max(shelf, height)
        return places

    low, high = 0.0, 1.0 / max(1e-6, max(size.max() for size in sizes))
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if lay(middle) is None else (middle, high)
    places = lay(low)
    assert places is not None, "charts of zero size always fit"
    return places, low
