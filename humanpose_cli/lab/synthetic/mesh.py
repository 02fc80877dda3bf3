"""Meshes of dressed people: pieces cut from the cloth surface or lofted around the body, joined and posed.

In this order: `DressedMesh`, joined from pieces; posing; `Grid` and `loft` for separate surfaces such as shoes and
skirts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.cloth import Piece, grid_faces
from humanpose_cli.body.cloth_surface import ClothBase, ShapedBase, largest_weights
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.skinning.op import forward_kinematics, skin_vertices
from humanpose_cli.lab.synthetic.atlas import Tile

Array = NDArray[Any]

MATERIALS = ("skin", "eye", "hair", "top", "bottom", "outer", "skirt", "shoe", "hat", "accessory", "tail")
"""Materials of faces; `DressedMesh.material` holds indices."""


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
