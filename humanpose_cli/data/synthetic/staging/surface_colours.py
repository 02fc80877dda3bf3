"""What surfaces look like: their textures, made as fine as the picture, times the light that their vertices get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.data.label_maps import MeshStack
from humanpose_cli.data.synthetic.staging.backgrounds import look_up
from humanpose_cli.data.synthetic.staging.cameras import Camera
from humanpose_cli.data.synthetic.staging.lighting import Lighting, encoded, irradiance
from humanpose_cli.data.synthetic.staging.props import Prop
from humanpose_cli.data.synthetic.staging.shadows import ShadowMap
from humanpose_cli.data.synthetic.staging.tiles import TILE_SIDE, tile, tile_level
from humanpose_cli.data.synthetic.wardrobe.mesh import MATERIALS, DressedMesh
from humanpose_cli.engine.rasterising import Raster, interpolate

__all__ = ["Coat", "coat_of_person", "coat_of_prop", "paint_surfaces", "vertex_light"]

Array = NDArray[Any]

# Strength and sharpness of the highlights that materials throw, in order of MATERIALS.
_GLOSS: dict[str, tuple[float, float]] = {"skin": (0.08, 10), "eye": (0.3, 40), "hair": (0.16, 16), "shoe": (0.14, 14)}
_GLOSS_TABLE = np.array([_GLOSS.get(name, (0.0, 1.0)) for name in MATERIALS], np.float32)


class Coat:
    """The texture of a mesh, and what of it does not change while the mesh moves.

    picture  (h, w, 3) uint8; uv (T, 2) in pictures, v down; uv_faces and faces (F, 3)
    vertex   (T,) the vertex that each texture vertex belongs to
    gloss    (V, 2) strength and sharpness of highlights, or None
    tile     (kind, variant) where the picture is a tile that repeats; tint (3,) its factors
    """

    def __init__(self, picture: NDArray[np.uint8], uv: Array, uv_faces: Array, faces: Array) -> None:
        self.picture, self.uv = picture, np.asarray(uv, np.float32)
        self.uv_faces, self.faces = torch.from_numpy(uv_faces), torch.from_numpy(faces)
        self.vertex = np.zeros(len(uv), np.int32)
        for corner in range(3):
            self.vertex[uv_faces[:, corner]] = faces[:, corner]
        self.gloss: Array | None = None
        self.tile: tuple[str, int] | None = None
        self.tint = np.ones(3, np.float32)

    def colours(self, uv: Array, level: int) -> Array:
        """Colours (N, 3) float32 at places (N, 2), from the picture halved `level` times."""
        if self.tile is not None:
            picture = tile_level(*self.tile, min(level, TILE_SIDE.bit_length() - 3))
            return look_up(picture, uv[:, 0], uv[:, 1], wrap=True) * self.tint
        picture = self.picture
        if level:
            size = (max(1, picture.shape[1] >> level), max(1, picture.shape[0] >> level))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        return look_up(picture, uv[:, 0], uv[:, 1])


def coat_of_person(mesh: DressedMesh) -> Coat:
    """The coat of somebody dressed."""
    coat = Coat(mesh.texture, mesh.uv, mesh.uv_faces, mesh.faces)
    material = np.zeros(len(mesh.vertices), np.uint8)
    for corner in range(3):
        material[mesh.faces[:, corner]] = mesh.material
    coat.gloss = _GLOSS_TABLE[material]
    return coat


def coat_of_prop(prop: Prop) -> Coat:
    """The coat of a thing."""
    coat = Coat(tile(*prop.tile), prop.solid.uv / np.float32(prop.metres), prop.solid.faces, prop.solid.faces)
    coat.tile, coat.tint = prop.tile, np.asarray(prop.tint, np.float32)
    return coat


def vertex_light(
    stack: MeshStack,
    coats: Sequence[Coat],
    camera: Camera,
    lighting: Lighting,
    shadow: ShadowMap | None,
    casting: int,
) -> tuple[Array, Array]:
    """Factor on the encoded colour (V, 3), and encoded highlight (V,), at each vertex of a stack in camera axes.

    casting  vertices, from the first, that cast shadows and get them
    """
    points, normals = stack.vertices.numpy(), stack.normals.numpy()
    sunlit = np.ones(len(points), np.float32)
    if shadow is not None:
        sunlit[:casting] = shadow.sunlit(points[:casting], normals[:casting])
    gain = encoded(irradiance(normals @ camera.rotation, lighting, sunlit))
    shine = np.zeros(len(points), np.float32)
    sun = camera.rotation @ np.asarray(lighting.sun.direction, np.float32)
    strength = np.float32(255 * min(lighting.exposure * float(np.mean(lighting.sun.colour)), 1.5))
    for coat, start in zip(coats, stack.first_vertex, strict=False):
        if coat.gloss is None:
            continue
        rows = np.flatnonzero(coat.gloss[:, 0])
        gloss, rows = coat.gloss[rows], rows + start
        half = sun - points[rows] / np.linalg.norm(points[rows], axis=1, keepdims=True)
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        facing = np.maximum(np.einsum("nk,nk->n", half, normals[rows]), 0)
        shine[rows] = strength * gloss[:, 0] * sunlit[rows] * facing ** gloss[:, 1]
    return gain, shine


def paint_surfaces(
    stack: MeshStack, coats: Sequence[Coat], raster: Raster, focal: float, gain: Array, shine: Array
) -> Array:
    """Colours and coverage (h, w, 4) float32 of the samples of a raster (1, h, w); zero where it sees nothing.

    focal  pixels, of the raster's samples; gain and shine as of `vertex_light`
    """
    uv = np.concatenate([coat.uv for coat in coats])
    vertex = np.concatenate([coat.vertex + start for coat, start in zip(coats, stack.first_vertex, strict=False)])
    starts = np.cumsum([0, *(len(coat.uv) for coat in coats)]).tolist()
    faces = torch.cat([coat.uv_faces + start for coat, start in zip(coats, starts, strict=False)])
    attributes = np.concatenate((uv, gain[vertex], shine[vertex, None]), 1)
    seen = interpolate(raster, faces, torch.from_numpy(attributes)[None])[0].numpy().reshape(-1, 6)
    face = raster.face[0].numpy().ravel()
    pixels = np.flatnonzero(face >= 0)
    owner = stack.mesh_of_faces(face[pixels])
    samples = np.zeros((len(face), 4), np.float32)
    for mesh in np.flatnonzero(np.bincount(owner, minlength=len(coats))).tolist():
        rows = pixels if len(coats) == 1 else pixels[owner == mesh]
        values = seen[rows]
        level = _level(stack, coats[mesh], mesh, face[rows], focal)
        colour = coats[mesh].colours(values[:, :2], level)
        colour *= values[:, 2:5]
        colour += values[:, 5:6]
        samples[rows, :3] = np.minimum(colour, 255)
        samples[rows, 3] = 1
    return samples.reshape(*raster.face.shape[1:], 4)


def _level(stack: MeshStack, coat: Coat, mesh: int, seen: NDArray[np.int32], focal: float) -> int:
    """How often a texture is halved to be about as fine as the samples, judged by some of the faces seen."""
    some = seen[:: max(1, len(seen) // 256)] - stack.first_face[mesh]
    corners: Tensor = coat.faces[some] + int(stack.first_vertex[mesh])
    points = stack.vertices.numpy()[corners.numpy()]
    size = np.array([coat.picture.shape[1], coat.picture.shape[0]], np.float32)
    places = coat.uv[coat.uv_faces[some].numpy()] * size
    edges = points[:, 1:] - points[:, :1]
    across = np.cross(edges[:, 0], edges[:, 1])
    area, middle = np.linalg.norm(across, axis=1), points.mean(1)
    slant = np.abs(np.einsum("nk,nk->n", across, middle))
    slant /= np.maximum(area * np.linalg.norm(middle, axis=1), 1e-12)
    samples = area * np.maximum(slant, 0.3) * (focal / np.maximum(middle[:, 2], 0.05)) ** 2
    step = places[:, 1:] - places[:, :1]
    texels = np.abs(step[:, 0, 0] * step[:, 1, 1] - step[:, 0, 1] * step[:, 1, 0])
    ratio = float(np.median(texels / np.maximum(samples, 1e-9)))
    return int(np.clip(round(0.5 * float(np.log2(max(ratio, 1e-6)))), 0, 8))
