"""The mesh of a dressed person: pieces that are put together, and posing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.engine.skinning import forward_kinematics, skin_vertices

__all__ = ["MATERIALS", "DressedMesh", "Piece", "join_pieces", "pose_dressed"]

Array = NDArray[Any]

MATERIALS = ("skin", "eye", "hair", "top", "bottom", "outer", "skirt", "shoe", "hat", "accessory")
"""What a face is made of; `DressedMesh.material` holds rows of it."""


@dataclass(frozen=True, eq=False)
class DressedMesh:
    """One person in one outfit, in the rest frame of the body's file, for that identity's betas.

    vertices      (V, 3) float32 metres; faces (F, 3) int32, counter-clockwise seen from outside
    uv            (T, 2) float32 in 0…1, v down; uv_faces (F, 3) int32
    texture       (h, w, 3) uint8
    bone_indices  (V, 4) int32 rows of SMPL24; bone_weights (V, 4) float32, rows sum to 1
    rest_joints   (24, 3) float32 metres
    body_vertex   (V,) int32: the vertex of the naked body under it
    material      (F,) uint8 rows of MATERIALS
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
    """Part of a dressed mesh; arrays as of `DressedMesh`, indices count from its own first vertex."""

    material: str
    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    bone_indices: Array
    bone_weights: Array
    body_vertex: Array

    def compact(self) -> Piece:
        """Without the vertices and texture vertices that no face uses."""
        faces, used = _renumbered(self.faces, len(self.vertices))
        uv_faces, used_uv = _renumbered(self.uv_faces, len(self.uv))
        return replace(
            self,
            vertices=self.vertices[used],
            faces=faces,
            uv=self.uv[used_uv],
            uv_faces=uv_faces,
            bone_indices=self.bone_indices[used],
            bone_weights=self.bone_weights[used],
            body_vertex=self.body_vertex[used],
        )


def _renumbered(faces: Array, count: int) -> tuple[Array, Array]:
    used = np.zeros(count, bool)
    used[faces.ravel()] = True
    return (np.cumsum(used) - 1)[faces], used


def join_pieces(pieces: Sequence[Piece], texture: NDArray[np.uint8], rest_joints: Array) -> DressedMesh:
    """One mesh of all pieces, in their order."""
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


def pose_dressed(body: RiggedBody, mesh: DressedMesh, rotations: Tensor, trans: Tensor) -> Tensor:
    """Vertices (B, V, 3) metres, camera axes, of a dressed person in B poses.

    rotations  (B, 24, 3, 3) parent-relative, the pelvis body to camera; trans (B, 3) metres, added after posing
    """
    device = rotations.device
    joints = torch.from_numpy(mesh.rest_joints).to(device).expand(len(rotations), -1, -1)
    posed = forward_kinematics(rotations, joints, body.skeleton.parents, None, body.rest_rotations)
    return skin_vertices(
        torch.from_numpy(mesh.vertices).to(device)[None],
        joints,
        posed.linear,
        posed.positions + trans[:, None],
        torch.from_numpy(mesh.bone_indices).to(device),
        torch.from_numpy(mesh.bone_weights).to(device),
    )
