"""Cloth and hair that hang free of the body: grids of points round it, carried along by the nearest body points.

Everything is laid out on the average body; `loft` moves it to an identity's body by what the body points nearest to
it move.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe.base import ClothBase, ShapedBase, strongest_bones
from humanpose_cli.data.synthetic.wardrobe.mesh import Piece
from humanpose_cli.data.synthetic.wardrobe.texels import Tile

__all__ = ["Grid", "grid_faces", "loft", "nearest_points", "polar_hull", "revolve"]

Array = NDArray[Any]

_NEIGHBOURS = 3


@dataclass(frozen=True, eq=False)
class Grid:
    """Points (R, C, 3) metres on the average body, rows from the top down, columns round the body.

    closed  the last column is followed by the first
    group   of body points that carry it: "trunk" (all but arms and head), "head" or "feet"
    weights (R·C, 24) skinning weights, or None for those of the nearest body points
    """

    points: Array
    closed: bool
    group: str
    weights: Array | None = None


_TREES: WeakKeyDictionary[ClothBase, dict[str, tuple[cKDTree, Array]]] = WeakKeyDictionary()


def loft(base: ClothBase, shape: ShapedBase, grid: Grid, material: str, tile: Tile) -> Piece:
    """The surface of a grid on an identity's body, its texture spread over a tile of the atlas."""
    rows, columns = grid.points.shape[:2]
    flat = grid.points.reshape(-1, 3)
    near, share = nearest_points(base, flat, grid.group)
    moved = ((shape.points - base.template)[near] * share[..., None]).sum(1)
    weights = (base.weights[near] * share[..., None]).sum(1) if grid.weights is None else grid.weights
    indices, strongest = strongest_bones(weights)
    faces, uv_faces = grid_faces(rows, columns, grid.closed)
    across = np.linspace(0, 1, columns + int(grid.closed))
    v, u = np.meshgrid(np.linspace(0, 1, rows), across, indexing="ij")
    return Piece(
        material=material,
        vertices=(flat + moved).astype(np.float32),
        faces=faces,
        uv=tile.uv(u.ravel(), v.ravel()),
        uv_faces=uv_faces,
        bone_indices=indices,
        bone_weights=strongest,
        body_vertex=base.ends[near[:, 0], 0],
    )


def nearest_points(base: ClothBase, points: Array, group: str) -> tuple[Array, Array]:
    """Indices (n, 3) of the body points nearest to points (n, 3) of the average body, and their shares, of sum 1."""
    trees = _TREES.setdefault(base, {})
    if group not in trees:
        rows = group_rows(base, group)
        trees[group] = cKDTree(base.template[rows]), rows
    tree, rows = trees[group]
    distance, found = tree.query(points, k=_NEIGHBOURS)
    share = 1 / (distance + 0.005)
    return rows[found], (share / share.sum(1, keepdims=True)).astype(np.float32)


def group_rows(base: ClothBase, group: str) -> Array:
    """Body points of a group by the bone that moves them most."""
    strongest = base.bones[0][:, 0]
    arms = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "hand")]
    feet = [f"{side}_{name}" for side in ("left", "right") for name in ("knee", "ankle", "foot")]
    if group == "head":
        chosen = np.isin(strongest, SMPL24.indices(("head", "neck")))
    elif group == "feet":
        chosen = np.isin(strongest, SMPL24.indices(feet))
    else:
        chosen = ~np.isin(strongest, SMPL24.indices([*arms, "head"]))
    return np.flatnonzero(chosen & ~base.is_eye)


@lru_cache(maxsize=256)
def grid_faces(rows: int, columns: int, closed: bool) -> tuple[Array, Array]:
    """Triangles of a grid, seen from outside where columns run to the left of who stands inside: faces, uv faces."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not closed)), indexing="ij")

    def triangles(width: int, wrap: int) -> Array:
        a = row * width + column
        b = row * width + (column + 1) % wrap
        c, d = a + width, b + width
        return np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))

    return triangles(columns, columns), triangles(columns + closed, columns + 1)


def polar_hull(points: Array, angles: Array) -> Array:
    """Distance (C,) from the origin to the convex hull of points (n, 2) along angles (C,) from the second axis on."""
    directions = np.stack((np.sin(angles), np.cos(angles)), 0)
    support = (points @ directions).max(0)
    cosine = np.cos(angles[:, None] - angles[None])
    return np.where(cosine > 0.1, support[None] / np.maximum(cosine, 0.1), np.inf).min(1)


def revolve(centre: Array, radius: Array, y: Array, angles: Array) -> Array:
    """Grid points (R, C, 3) round centres (R, 2) of x and z, at radius (R, C) and heights y (R,) or (R, C)."""
    height = np.broadcast_to(np.reshape(y, (len(y), -1)), radius.shape)
    return np.stack(
        (
            centre[:, :1] + radius * np.sin(angles),
            height,
            centre[:, 1:] + radius * np.cos(angles),
        ),
        -1,
    )
