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

    def halved(self, level: int) -> NDArray[np.uint8]:
        """The picture, halved `level` times as far as it goes."""
        if self.tile is not None:
            return tile_level(*self.tile, min(level, TILE_SIDE.bit_length() - 3))
        if not level:
            return self.picture
        size = (max(1, self.picture.shape[1] >> level), max(1, self.picture.shape[0] >> level))
        return np.asarray(cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA), np.uint8)


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
    """Colours (h, w, 3) float32 of the samples of a raster (1, h, w); zero where it sees nothing.

    focal  pixels, of the raster's samples; gain and shine as of `vertex_light`
    """
    face = raster.face[0].numpy()
    owner = _owners(stack, face)
    present = np.flatnonzero(np.bincount(owner.ravel(), minlength=len(coats) + 1)[1:]).tolist()
    starts = np.cumsum([0, *(len(coat.uv) for coat in coats)]).tolist()
    texels, light = np.zeros((starts[-1], 2), np.float32), np.zeros((starts[-1], 3), np.float32)
    pictures: dict[int, NDArray[np.uint8]] = {}
    for mesh in present:
        coat, rows = coats[mesh], slice(starts[mesh], starts[mesh + 1])
        pictures[mesh] = coat.halved(_level(stack, coat, mesh, face[owner == mesh + 1], focal))
        height, width = pictures[mesh].shape[:2]
        texels[rows] = coat.uv * np.array([width, height], np.float32) - np.float32(0.5)
        light[rows] = (gain[stack.first_vertex[mesh] : stack.first_vertex[mesh + 1]] * coat.tint)[coat.vertex]
    faces = torch.cat([coat.uv_faces + start for coat, start in zip(coats, starts, strict=False)])
    at = interpolate(raster, faces, torch.from_numpy(texels)[None])[0].numpy()
    lit = interpolate(raster, faces, torch.from_numpy(light)[None])[0].numpy()
    colour = np.zeros((*face.shape, 3), np.uint8)
    for mesh in present:
        _paint(colour, owner == mesh + 1, pictures[mesh], at, wrap=coats[mesh].tile is not None)
    result = np.asarray(cv2.multiply(colour, lit, dtype=cv2.CV_32F), np.float32)
    if shine.any():
        glow = interpolate(raster, stack.faces, torch.from_numpy(shine)[None, :, None])[0, ..., 0].numpy()
        result = np.asarray(cv2.add(result, cv2.merge([glow, glow, glow])), np.float32)
    return np.minimum(result, np.float32(255), out=result)


def _owners(stack: MeshStack, face: NDArray[np.int32]) -> NDArray[np.uint8]:
    """1 + the mesh that each sample (h, w) sees, 0 for none."""
    table = np.zeros(len(stack.faces) + 1, np.uint8)  # its last entry is that of face −1
    table[:-1] = np.repeat(np.arange(1, len(stack.first_face)), np.diff(stack.first_face))
    return table[face]


def _paint(colour: Array, where: NDArray[np.bool_], picture: NDArray[np.uint8], at: Array, *, wrap: bool) -> None:
    """Put a picture's colours at texels (h, w, 2) into (h, w, 3) in place, where one mesh is seen."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    x, y = cv2.split(at[part])
    found = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=border)
    cv2.copyTo(found, where[part].view(np.uint8), colour[part])


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
