"""Several people, or a person and things, in one picture: their meshes drawn as one, in one z-buffer.

So who hides whom is decided sample by sample and exactly, also where bodies touch or pass through each other; equal
depths go to the mesh named first. Pictures of one batch may hold different numbers of people: a mesh whose vertices
are NaN is in no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import check_rows, check_shape, check_tensors
from humanpose_cli.engine.rasterising.op import Raster
from humanpose_cli.errors import UsageError

__all__ = ["MergedMesh", "merge_meshes"]


@dataclass(frozen=True)
class MergedMesh:
    """M meshes as one, for `rasterise` and `vertex_visibility`.

    vertices      (B, ΣV, 3) metres, camera axes: those of the first mesh, then those of the second…
    faces         (ΣF, 3) int32, in the same order
    first_vertex  (M + 1) where each mesh's vertices begin, and their number
    first_face    (M + 1) where each mesh's faces begin, and their number
    """

    vertices: Tensor
    faces: Tensor
    first_vertex: tuple[int, ...]
    first_face: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.first_face) - 1

    def mesh_of_pixels(self, raster: Raster) -> Tensor:
        """Which mesh each pixel sees: (B, H, W) int32, −1 where there is none."""
        ends = torch.tensor(self.first_face[1:], dtype=torch.int32, device=raster.face.device)
        mesh = torch.bucketize(raster.face, ends, right=True, out_int32=True)
        return torch.where(raster.face < 0, -1, mesh)

    def own_faces(self, face: Tensor, mesh: int) -> Tensor:
        """Face ids of the merged mesh as those of one mesh itself, −1 where another or none is seen; any shape."""
        first, end = self.first_face[mesh], self.first_face[mesh + 1]
        return torch.where((face >= first) & (face < end), face - first, -1)

    def part(self, raster: Raster, mesh: int) -> Raster:
        """What the pixels see of one mesh, with the mesh's own face ids: for `interpolate` with its own attributes.

        raster  of the merged mesh, or any rectangle of it
        """
        face = self.own_faces(raster.face, mesh)
        seen = face >= 0
        return Raster(face, raster.barycentrics * seen[..., None], torch.where(seen, raster.depth, torch.inf))


def merge_meshes(vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> MergedMesh:
    """Meshes of any topologies as one.

    vertices  M of (B, V, 3) metres, camera axes; V differs from mesh to mesh, B does not
    faces     M of (F, 3) integer rows into the vertices of the same mesh

    UsageError for shapes that do not fit.
    """
    if not vertices or len(vertices) != len(faces):
        raise UsageError("faces", "do not match the vertices", expected=f"{len(vertices)} ≥ 1", got=str(len(faces)))
    for points, corners in zip(vertices, faces, strict=True):
        check_shape("vertices", points, vertices[0].shape[0], "V", 3)
        check_shape("faces", corners, "F", 3)
        check_tensors(corners, vertices=vertices[0], others=points)
        check_rows("faces", corners, points.shape[1])
    first_vertex = (0, *accumulate(points.shape[1] for points in vertices))
    return MergedMesh(
        vertices=torch.cat(list(vertices), 1),
        faces=torch.cat([corners.int() + first for corners, first in zip(faces, first_vertex, strict=False)]),
        first_vertex=first_vertex,
        first_face=(0, *accumulate(len(corners) for corners in faces)),
    )
