"""Texture maps of bodies: which surface point each texel shows, and baking a photo into them."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.engine.rasterising import rasterise

__all__ = [
    "BakedTexture",
    "TexelMap",
    "bake_photo",
    "bleed_islands",
    "mirror_uv_corners",
    "paint_vertices",
    "texel_map",
]

Array = NDArray[Any]

# A texel is hidden where the photo's nearest surface lies this much in front of it (metres), plus what a slanted
# surface may differ within a pixel.
_DEPTH_TOLERANCE = 0.008


class TexelMap(NamedTuple):
    """The surface points that the covered texels of a square texture show; N of them.

    size          texels along each side
    texel         (N,) row · size + column
    face          (N,) rows of the mesh's faces
    barycentrics  (N, 3) weights of the face's corners
    """

    size: int
    texel: NDArray[np.int64]
    face: NDArray[np.int64]
    barycentrics: Array

    def to_image(self, values: Array) -> Array:
        """Values (N, C) or (N,) at their texels of a (size, size[, C]) array, zero elsewhere."""
        image = np.zeros((self.size * self.size, *values.shape[1:]), np.float32)
        image[self.texel] = values
        return image.reshape(self.size, self.size, *values.shape[1:])

    def select(self, rows: NDArray[np.int64]) -> TexelMap:
        """Some of the texels."""
        return TexelMap(self.size, self.texel[rows], self.face[rows], self.barycentrics[rows])

    def interpolate(self, corner_values: Array) -> Array:
        """Values per face corner (F, 3, C) → per texel (N, C)."""
        corners = corner_values[self.face]
        b = self.barycentrics
        return b[:, :1] * corners[:, 0] + b[:, 1:2] * corners[:, 1] + b[:, 2:] * corners[:, 2]


class BakedTexture(NamedTuple):
    """What a photo shows of a surface, per texel of a `TexelMap`.

    colour      (N, 3) float32 in 0…1; meaningless where confidence is 0
    confidence  (N,) float32: 0 unseen … 1 seen frontally and far from any edge
    """

    colour: Array
    confidence: Array


def texel_map(uv: Tensor, uv_faces: Tensor, size: int) -> TexelMap:
    """The surface points of a texture of size × size texels; uv (T, 2) in 0…1, v down, uv_faces (F, 3)."""
    flat = torch.cat((uv, torch.ones_like(uv[:, :1])), 1)[None].contiguous()
    raster = rasterise(flat, uv_faces, uv.new_full((1,), float(size)), uv.new_zeros(1, 2), (size, size))
    face = raster.face[0].cpu().numpy().ravel()
    texel = np.flatnonzero(face >= 0)
    barycentrics = raster.barycentrics[0].cpu().numpy().reshape(-1, 3)[texel]
    return TexelMap(size, texel, face[texel].astype(np.int64), barycentrics)


def bake_photo(
    photo: NDArray[np.uint8],
    trust: Array,
    depth: Array,
    vertices: Array,
    faces: NDArray[np.int64],
    focal: float,
    principal_point: tuple[float, float],
    texels: TexelMap,
) -> BakedTexture:
    """Look up every texel in the photo, where the surface is seen.

    photo     (H, W, 3) uint8
    trust     (H, W) 0…1: how surely a pixel shows this person's surface and not something beside it
    depth     (H, W) metres of the rasterised surface, inf where there is none
    vertices  (V, 3) metres, camera axes; faces (F, 3)
    """
    height, width = trust.shape
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centre = corners.mean(1)
    facing = -(normal * centre).sum(1) / np.maximum(
        np.linalg.norm(normal, axis=1) * np.linalg.norm(centre, axis=1), 1e-12
    )
    # Facing per vertex is smoother than per face: no facets in the confidence.
    smooth = _vertex_average(facing, faces, len(vertices))[faces].astype(np.float32)
    candidates = np.flatnonzero((facing > 0)[texels.face] & (corners[:, :, 2].min(1) > 0.05)[texels.face])
    chosen = texels.select(candidates)
    attributes = np.concatenate((corners, smooth[..., None]), -1).astype(np.float32)
    values = chosen.interpolate(attributes)
    z = values[:, 2]
    x = focal * values[:, 0] / z + principal_point[0]
    y = focal * values[:, 1] / z + principal_point[1]
    inside = (x >= 0.5) & (x < width - 0.5) & (y >= 0.5) & (y < height - 0.5)
    column = np.clip(x, 0, width - 1).astype(np.int64)
    row = np.clip(y, 0, height - 1).astype(np.int64)
    cosine = np.clip(values[:, 3], 0.05, 1)
    slack = _DEPTH_TOLERANCE + 2 * z / focal * np.sqrt(1 - cosine**2) / cosine
    seen = inside & (z < depth[row, column] + slack)
    grazing = np.clip((values[:, 3] - 0.12) / 0.4, 0, 1)
    confident = np.where(seen, _look_up(trust, x, y) * grazing, 0).astype(np.float32)
    colour = np.zeros((len(texels.texel), 3), np.float32)
    confidence = np.zeros(len(texels.texel), np.float32)
    colour[candidates] = _look_up(photo, x, y) / np.float32(255)
    confidence[candidates] = confident
    return BakedTexture(colour, confidence)


def _look_up(image: NDArray[np.uint8] | Array, x: Array, y: Array) -> Array:
    """Bilinear values (N[, C]) of a picture at pixel positions (N,)."""
    # OpenCV's maps must be less than 2¹⁵ long in each direction.
    count = len(x)
    columns = 4096
    rows = -(-count // columns)
    pad = rows * columns - count
    parts = []
    map_x = np.pad((x - 0.5).astype(np.float32), (0, pad)).reshape(rows, columns)
    map_y = np.pad((y - 0.5).astype(np.float32), (0, pad)).reshape(rows, columns)
    for start in range(0, rows, 4096):
        part = cv2.remap(
            image,
            map_x[start : start + 4096],
            map_y[start : start + 4096],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        parts.append(part.reshape(-1, *image.shape[2:]))
    return np.concatenate(parts)[:count].astype(np.float32) if parts else np.zeros((0, *image.shape[2:]), np.float32)


def _vertex_average(face_values: Array, faces: NDArray[np.int64], count: int) -> Array:
    total = np.bincount(faces.ravel(), np.repeat(face_values, 3), count)
    number = np.bincount(faces.ravel(), minlength=count)
    return (total / np.maximum(number, 1)).astype(np.float32)


def paint_vertices(texels: TexelMap, faces: NDArray[np.int64], values: Array, weights: Array) -> tuple[Array, Array]:
    """Averages per vertex of values per texel: (N, C) with weights (N,) → (V, C) and the weights' sums (V,).

    A vertex gathers the texels of its faces, in proportion to how near they are.
    """
    corners = faces[texels.face]
    count = int(faces.max()) + 1
    total = np.zeros((count, values.shape[1]))
    weight = np.zeros(count)
    used = np.flatnonzero(weights > 0)
    for k in range(3):
        share = weights[used] * texels.barycentrics[used, k]
        weight += np.bincount(corners[used, k], share, count)
        for channel in range(values.shape[1]):
            total[:, channel] += np.bincount(corners[used, k], share * values[used, channel], count)
    return (total / np.maximum(weight, 1e-9)[:, None]).astype(np.float32), weight.astype(np.float32)


def mirror_uv_corners(
    faces: NDArray[np.int64],
    uv: Array,
    uv_faces: NDArray[np.int64],
    mirror_vertices: NDArray[np.int64],
) -> tuple[Array, NDArray[np.bool_]]:
    """Texture coordinates of each face's mirror image: (F, 3, 2) in the order of the face's own corners.

    The second array (F,) tells which faces have a mirror image in the mesh; others keep their own coordinates.
    """
    corner_uv = uv[uv_faces]
    by_vertices = {tuple(sorted(face)): row for row, face in enumerate(faces.tolist())}
    mirrored = mirror_vertices[faces]
    rows = np.array([by_vertices.get(tuple(sorted(face)), -1) for face in mirrored.tolist()])
    found = rows >= 0
    partner = faces[np.maximum(rows, 0)]
    # Which corner of the partner is this corner's mirror image.
    corner = (partner[:, None, :] == mirrored[:, :, None]).argmax(2)
    result = corner_uv[np.maximum(rows, 0)[:, None], corner]
    return np.where(found[:, None, None], result, corner_uv).astype(np.float32), found


def bleed_islands(image: Array, texels: TexelMap, reach: int = 12) -> Array:
    """Give the texels just outside the islands their nearest island's colour, so that seams never show the gap."""
    gap = np.ones((texels.size, texels.size), np.uint8)
    gap.flat[texels.texel] = 0
    distance, label = cv2.distanceTransformWithLabels(gap, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(label.max()) + 1, np.int64)
    owner[label.flat[texels.texel]] = texels.texel
    outside = np.flatnonzero((gap.ravel() > 0) & (distance.ravel() <= reach))
    result = image.copy()
    flat = result.reshape(texels.size**2, -1)
    flat[outside] = flat[owner[label.flat[outside]]]
    return result
