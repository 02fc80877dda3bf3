"""A garment as a skinned mesh of its own, which hangs on a person's bones beside the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import PosedBody
from humanpose_cli.engine.skinning.op import skin_vertices
from humanpose_cli.rendering.surfaces import Surface, Texture

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Garment:
    """A skinned mesh of N vertices and F triangles.

    Attributes:
        name: What it is, such as "skirt".
        vertices: (N, 3) float32, metres. The vertices around the person's body at rest, in its axes, before bones
            are scaled.
        faces: (F, 3) int32. The triangles, counter-clockwise from outside.
        uv: (T, 2) float32, 0…1. The texture coordinates, v down.
        uv_faces: (F, 3) int32. Rows of `uv` of the triangles.
        bones: (N, 4) int32. Joints of SMPL24 that move each vertex.
        weights: (N, 4) float32. Their weights; rows sum to 1.
        image: (h, w, 3) uint8. The texture.
    """

    name: str
    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    bones: Array
    weights: Array
    image: NDArray[np.uint8]

    def pose(self, posed: PosedBody) -> Tensor:
        """Return the vertices (N, 3), metres, on a posed body, by linear blend skinning."""
        points, weights = (torch.from_numpy(part).to(posed.linear) for part in (self.vertices, self.weights))
        bones = torch.from_numpy(self.bones).to(points.device)
        return skin_vertices(points[None], posed.rest_joints, posed.linear, posed.joints, bones, weights)[0]

    def surface(self, points: Tensor, *, lit: bool = True) -> Surface:
        """Return the textured surface whose vertices are points (N, 3), metres."""
        faces, uv, uv_faces = (
            torch.from_numpy(part).to(points.device) for part in (self.faces, self.uv, self.uv_faces)
        )
        return Surface(points, faces, texture=Texture(self.image, uv, uv_faces), lit=lit)
