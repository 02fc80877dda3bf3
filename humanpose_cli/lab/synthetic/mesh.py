"""Meshes of dressed people: pieces cut from the cloth surface or lofted around the body, joined and posed.

In this order: `DressedMesh` and its pieces; posing; `cut_piece` from the cloth surface; `Grid` and `loft` for separate
surfaces such as shoes and skirts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.skinning.op import forward_kinematics, skin_vertices
from humanpose_cli.lab.synthetic.cloth_surface import ClothBase, ShapedBase, Tile, largest_weights

Array = NDArray[Any]

MATERIALS = ("skin", "eye", "hair", "top", "bottom", "outer", "skirt", "shoe", "hat", "accessory", "tail")
"""Materials of faces; `DressedMesh.material` holds indices."""
_PER_VERTEX = ("vertices", "bone_indices", "bone_weights", "body_vertex")


@dataclass(frozen=True, eq=False)
class DressedMesh:
    """One person in one outfit at rest, for the betas of the identity.

    Attributes:
        vertices: (V, 3) float32, metres. Vertices.
        faces: (F, 3) int32. Faces, counter-clockwise from outside.
        uv: (T, 2) float32, 0 … 1, v down. Texture vertices.
        uv_faces: (F, 3) int32. Texture vertices of the faces.
        texture: (h, w, 3) uint8. Texture.
        bone_indices: (V, 4) int32. Indices in SMPL24.
        bone_weights: (V, 4) float32. Skinning weights; rows sum to 1.
        rest_joints: (24, 3) float32, metres. Joints at rest.
        body_vertex: (V,) int32. The vertex of the body under each vertex.
        material: (F,) uint8. Indices in MATERIALS.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    bone_indices: NDArray[np.int32]
    bone_weights: NDArray[np.float32]
    rest_joints: NDArray[np.float32]
    body_vertex: NDArray[np.int32]
    material: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a dressed mesh with the arrays of `DressedMesh`; indices refer to the part.

    Attributes:
        material: Name in MATERIALS.
    """

    material: str
    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    bone_indices: Array
    bone_weights: Array
    body_vertex: Array

    def compact(self) -> Piece:
        """Remove the vertices and texture vertices that no face uses."""
        faces, mask = _renumber(self.faces, len(self.vertices))
        uv_faces, uv_mask = _renumber(self.uv_faces, len(self.uv))
        per_vertex = {name: getattr(self, name)[mask] for name in _PER_VERTEX}
        return replace(self, faces=faces, uv=self.uv[uv_mask], uv_faces=uv_faces, **per_vertex)


def _renumber(faces: Array, count: int) -> tuple[Array, Array]:
    mask = np.zeros(count, bool)
    mask[faces.ravel()] = True
    return (np.cumsum(mask) - 1)[faces], mask


def join_pieces(pieces: Sequence[Piece], texture: NDArray[np.uint8], rest_joints: Array) -> DressedMesh:
    """Join all pieces to one mesh.

    Args:
        pieces: The pieces, in the order of the mesh.
        texture: (h, w, 3) uint8. The texture.
        rest_joints: (24, 3) float, metres. Joints at rest.
    """
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    uv_starts = np.cumsum([0, *(len(piece.uv) for piece in pieces)])
    materials = [np.full(len(piece.faces), MATERIALS.index(piece.material), np.uint8) for piece in pieces]
    return DressedMesh(
        vertices=np.concatenate([piece.vertices for piece in pieces]).astype(np.float32),
        faces=np.concatenate([p.faces + start for p, start in zip(pieces, starts, strict=False)]).astype(np.int32),
        uv=np.concatenate([piece.uv for piece in pieces]).astype(np.float32),
        uv_faces=np.concatenate([p.uv_faces + s for p, s in zip(pieces, uv_starts, strict=False)]).astype(np.int32),
        texture=texture,
        bone_indices=np.concatenate([piece.bone_indices for piece in pieces]).astype(np.int32),
        bone_weights=np.concatenate([piece.bone_weights for piece in pieces]).astype(np.float32),
        rest_joints=np.asarray(rest_joints, np.float32),
        body_vertex=np.concatenate([piece.body_vertex for piece in pieces]).astype(np.int32),
        material=np.concatenate(materials),
    )


def pose_dressed(body: Body, mesh: DressedMesh, rotations: Tensor, trans: Tensor) -> Tensor:
    """Pose a dressed person.

    Args:
        body: The body.
        mesh: The dressed person.
        rotations: (B, 24, 3, 3) float32. Parent-relative rotations; the pelvis rotates from body to camera axes.
        trans: (B, 3) float32, metres. Translation after posing.

    Returns:
        (B, V, 3) float32, metres in camera axes. The vertices.
    """
    names = "rest_joints", "vertices", "bone_indices", "bone_weights"
    arrays = (torch.from_numpy(getattr(mesh, name)).to(rotations.device, non_blocking=True) for name in names)
    rest_joints, vertices, bone_indices, bone_weights = arrays
    joints = rest_joints.expand(len(rotations), -1, -1)
    skeleton = forward_kinematics(rotations, joints, body.skeleton.parents, None, body.rest_rotations)
    positions = skeleton.positions + trans[:, None]
    return skin_vertices(vertices[None], joints, skeleton.linear, positions, bone_indices, bone_weights)


def cut_piece(base: ClothBase, points: Array, field: Array, material: str, panel: str = "body") -> Piece | None:
    """Cut out the part of the cloth surface with a positive field; its edge lies on the zero line.

    Args:
        base: The cloth surface.
        points: (N, 3) float32, metres. The displaced surface.
        field: (N,) float32. The field.
        material: Name in MATERIALS.
        panel: Panel of the surface, "body" or "head".

    Returns:
        The piece, or None if it is empty.
    """
    inside = field > 0
    all_faces, all_uv_faces = base.panels[panel]
    count = inside.view(np.uint8).take(all_faces).sum(1, dtype=np.uint8)
    edge_rows = np.flatnonzero((count == 1) | (count == 2))
    uncut = np.flatnonzero(count == 3)
    if len(uncut) + len(edge_rows) == 0:
        return None
    # Rotate each cut triangle so that the corner that is single on its side comes first.
    faces = all_faces[edge_rows]
    uv_faces = all_uv_faces[edge_rows]
    single_inside = count[edge_rows] == 1
    odd = np.argmax(inside[faces] == single_inside[:, None], axis=1)
    turn = (odd[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, turn, 1).T
    uv_a, uv_b, uv_c = np.take_along_axis(uv_faces, turn, 1).T
    to_b, to_c = _share(field, a, b), _share(field, a, c)
    # One new point per edge, shared by the triangles on both sides.
    total = np.int64(len(field))
    starts, ends = np.concatenate((a, a)), np.concatenate((b, c))
    edges = np.minimum(starts, ends) * total + np.maximum(starts, ends)
    _, first, edge_index = np.unique(edges, return_index=True, return_inverse=True)
    start = starts[first]
    end = ends[first]
    share = np.concatenate((to_b, to_c))[first][:, None]
    on_b, on_c = edge_index.reshape(2, -1) + total
    uv_on_b = np.arange(len(a)) + len(base.uv)
    uv_on_c = uv_on_b + len(a)
    new_faces = _triangles(a, b, c, on_b, on_c, single_inside)
    new_uv_faces = _triangles(uv_a, uv_b, uv_c, uv_on_b, uv_on_c, single_inside)
    new_uv = np.concatenate((_mix(base.uv, uv_a, uv_b, to_b[:, None]), _mix(base.uv, uv_a, uv_c, to_c[:, None])))
    indices, weights = base.bones
    new_indices, new_weights = largest_weights(_mix(base.weights, start, end, share))
    return Piece(
        material=material,
        vertices=np.concatenate((points, _mix(points, start, end, share))),
        faces=np.concatenate((all_faces[uncut], new_faces)),
        uv=np.concatenate((base.uv, new_uv)),
        uv_faces=np.concatenate((all_uv_faces[uncut], new_uv_faces)),
        bone_indices=np.concatenate((indices, new_indices)),
        bone_weights=np.concatenate((weights, new_weights)),
        body_vertex=np.concatenate((base.ends[:, 0], base.ends[start, 0])),
    ).compact()


def _share(field: Array, start: Array, end: Array) -> Array:
    """Return the position of the field's zero between start and end, 0 … 1."""
    return (field[start] / (field[start] - field[end])).astype(np.float32)


def _mix(values: Array, start: Array, end: Array, share: Array) -> Array:
    return values[start] + share * (values[end] - values[start])


def _triangles(a: Array, b: Array, c: Array, on_b: Array, on_c: Array, single_inside: Array) -> Array:
    """Return the inner part of cut triangles: the corner at a if it is inside, else the quadrangle without it."""
    corner = np.stack((a, on_b, on_c), 1)[single_inside]
    quadrangles = (np.stack(columns, 1)[~single_inside] for columns in ((on_b, b, c), (on_b, c, on_c)))
    return np.concatenate((corner, *quadrangles))


@dataclass(frozen=True, eq=False)
class Grid:
    """A surface on the average body with R rows and C columns.

    Attributes:
        points: (R, C, 3) float, metres. Rows run down, columns around the body.
        is_closed: Whether the first column follows the last one.
        group: Body points that move it: "trunk" (without arms and head), "head" or "feet".
        weights: (R · C, 24) float. Skinning weights; None for the weights of the nearest body points.
    """

    points: Array
    is_closed: bool
    group: str
    weights: Array | None = None


def loft(base: ClothBase, shape: ShapedBase, grid: Grid, material: str, tile: Tile) -> Piece:
    """Move a grid from the average body to an identity's body, with its texture in a tile of the atlas.

    Args:
        base: The cloth surface of the average body.
        shape: The cloth surface of the identity.
        grid: The grid.
        material: Name in MATERIALS.
        tile: Tile of the atlas.
    """
    rows, columns = grid.points.shape[:2]
    flat = grid.points.reshape(-1, 3)
    # The grid moves with the nearest body points.
    nearest, share = _nearest_points(base, flat, grid.group)
    offsets = ((shape.points - base.template)[nearest] * share[..., None]).sum(1)
    weights = (base.weights[nearest] * share[..., None]).sum(1) if grid.weights is None else grid.weights
    indices, strongest = largest_weights(weights)
    faces, uv_faces = grid_faces(rows, columns, grid.is_closed)
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns + int(grid.is_closed)), indexing="ij")
    return Piece(
        material=material,
        vertices=(flat + offsets).astype(np.float32),
        faces=faces,
        uv=tile.uv(u.ravel(), v.ravel()),
        uv_faces=uv_faces,
        bone_indices=indices,
        bone_weights=strongest,
        body_vertex=base.ends[nearest[:, 0], 0],
    )


def _nearest_points(base: ClothBase, points: Array, group: str) -> tuple[Array, Array]:
    """Return the 3 body points (n, 3) nearest to points (n, 3) of the average body, and their shares, of sum 1."""
    tree, rows = _search_tree(base, group)
    distance, nearest = tree.query(points, k=3)
    share = 1 / (distance + 0.005)
    return rows[nearest], (share / share.sum(1, keepdims=True)).astype(np.float32)


def nearest_weights(base: ClothBase, points: Array) -> Array:
    """Return the mean skinning weights (n, 24) of the trunk's points nearest to points (n, 3)."""
    nearest, share = _nearest_points(base, points, "trunk")
    return (base.weights[nearest] * share[..., None]).sum(1)


@lru_cache(maxsize=8)
def _search_tree(base: ClothBase, group: str) -> tuple[cKDTree, Array]:
    rows = group_rows(base, group)
    return cKDTree(base.template[rows]), rows


def group_rows(base: ClothBase, group: str) -> Array:
    """Return the indices of the body points of a group, by their strongest bone."""
    strongest = base.bones[0][:, 0]
    arms = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "hand")]
    feet = [f"{side}_{name}" for side in ("left", "right") for name in ("knee", "ankle", "foot")]
    if group == "head":
        mask = np.isin(strongest, SMPL24.indices(("head", "neck")))
    elif group == "feet":
        mask = np.isin(strongest, SMPL24.indices(feet))
    else:
        mask = ~np.isin(strongest, SMPL24.indices([*arms, "head"]))
    return np.flatnonzero(mask & ~base.is_eye)


@lru_cache(maxsize=256)
def grid_faces(rows: int, columns: int, is_closed: bool) -> tuple[Array, Array]:
    """Return the faces and uv faces of a grid, which face outwards if columns run counter-clockwise from above."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not is_closed)), indexing="ij")

    def triangles(width: int, wrap: int) -> Array:
        a = row * width + column
        b = row * width + (column + 1) % wrap
        c, d = a + width, b + width
        return np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))

    return triangles(columns, columns), triangles(columns + is_closed, columns + 1)


def polar_hull(points: Array, angles: Array) -> Array:
    """Return the distance (C,) from the origin to the convex hull of points (n, 2) in directions (C,).

    Args:
        points: (n, 2) float, metres. The points.
        angles: (C,) float, radians from the second axis.
    """
    directions = np.stack((np.sin(angles), np.cos(angles)), 0)
    support = (points @ directions).max(0)
    cosine = np.cos(angles[:, None] - angles[None])
    return np.where(cosine > 0.1, support[None] / np.maximum(cosine, 0.1), np.inf).min(1)


def revolve(centre: Array, radius: Array, y: Array, angles: Array) -> Array:
    """Return grid points (R, C, 3) around an axis.

    Args:
        centre: (R, 2) float, metres. x and z of the axis.
        radius: (R, C) float, metres. Distance from the axis.
        y: (R,) or (R, C) float, metres. Heights.
        angles: (C,) float, radians from the front.
    """
    height = np.broadcast_to(np.reshape(y, (len(y), -1)), radius.shape)
    return np.stack((centre[:, :1] + radius * np.sin(angles), height, centre[:, 1:] + radius * np.cos(angles)), -1)
