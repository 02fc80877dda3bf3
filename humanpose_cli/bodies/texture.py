"""Texture maps of bodies: which surface point each texel shows, and baking a photo into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.engine.rasterising import Raster, interpolate, rasterise

__all__ = [
    "BakedTexture",
    "PhotoSource",
    "TexelMap",
    "bake_photo",
    "bleed_islands",
    "look_up",
    "mirror_uv_corners",
    "paint_vertices",
    "sample_at",
]

Array = NDArray[Any]

# A texel is hidden where the photo's nearest surface lies this much in front of it (metres), plus what a slanted
# surface may differ within a pixel.
_DEPTH_TOLERANCE = 0.008
# OpenCV's maps must be shorter than 2¹⁵ along each side.
_MAP_SIDE = 16384


class TexelMap:
    """The surface points that the texels of a square texture show.

    uv (T, 2) in 0…1, v down; uv_faces (F, 3); size texels along each side.
    covered (size, size) tells which texels lie on the surface; face (size, size) which of the F, −1 for none.
    """

    def __init__(self, uv: Tensor, uv_faces: Tensor, size: int) -> None:
        flat = torch.cat((uv, torch.ones_like(uv[:, :1])), 1)[None].contiguous()
        self.size = size
        self._raster: Raster = rasterise(
            flat, uv_faces, uv.new_full((1,), float(size)), uv.new_zeros(1, 2), (size, size)
        )
        self.face: NDArray[np.int32] = self._raster.face[0].cpu().numpy()
        self.covered: NDArray[np.bool_] = self.face >= 0

    @property
    def barycentrics(self) -> Array:
        """(size, size, 3) weights of each texel's face's corners."""
        return self._raster.barycentrics[0].cpu().numpy()

    def interpolate(self, values: Array, faces: Tensor) -> Array:
        """Values (N, C) at the corners that `faces` (F, 3) name → (size, size, C) float32, zero off the surface."""
        attributes = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(faces.device)
        return interpolate(self._raster, faces, attributes[None])[0].cpu().numpy()


class BakedTexture(NamedTuple):
    """What a photo shows of a surface, per texel.

    colour      (size, size, 3) float32 in 0…1; meaningless where confidence is 0
    confidence  (size, size) float32: 0 unseen … 1 seen frontally and far from any edge
    visible     (size, size) bool: nothing hides it, however unsure or slanted
    """

    colour: Array
    confidence: Array
    visible: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PhotoSource:
    """A photo with what is known of it.

    photo  (H, W, 3) uint8; mask (H, W) 0…1: where the surface's owner is seen
    trust  (H, W) 0…1: how surely a pixel shows this surface and not something beside it
    depth  (H, W) metres of the rasterised surface, inf where there is none
    focal, principal_point  pixels
    """

    photo: NDArray[np.uint8]
    mask: Array
    trust: Array
    depth: Array
    focal: float
    principal_point: tuple[float, float]


def bake_photo(source: PhotoSource, vertices: Tensor, normals: Tensor, faces: Tensor, texels: TexelMap) -> BakedTexture:
    """Look up every texel in the photo, where the surface is seen.

    vertices (V, 3) metres, camera axes; normals (V, 3) unit vectors; faces (F, 3)
    """
    facing = -(normals * torch.nn.functional.normalize(vertices, dim=-1)).sum(-1, keepdim=True)
    values = texels.interpolate(torch.cat((vertices, facing), 1).cpu().numpy(), faces)
    chosen = np.flatnonzero((values[..., 3] > 0.02) & (values[..., 2] > 0.05))
    x, y, z, cosine = values.reshape(-1, 4)[chosen].T
    height, width = source.trust.shape
    x = source.focal * x / z + np.float32(source.principal_point[0])
    y = source.focal * y / z + np.float32(source.principal_point[1])
    inside = (x >= 0.5) & (x < width - 0.5) & (y >= 0.5) & (y < height - 0.5)
    column, row = np.clip(x, 0, width - 1).astype(np.int64), np.clip(y, 0, height - 1).astype(np.int64)
    cosine = np.clip(cosine, 0.05, 1)
    slack = _DEPTH_TOLERANCE + 2 * z / source.focal * np.sqrt(1 - cosine**2) / cosine
    seen = inside & (z < source.depth[row, column] + slack)
    # Surfaces seen at more than 80° are a smear; from 58° on they are as good as frontal ones.
    grazing = np.clip((cosine - 0.12) / 0.4, 0, 1)
    colour = np.zeros((texels.size**2, 3), np.float32)
    confidence = np.zeros(texels.size**2, np.float32)
    colour[chosen] = sample_at(source.photo, x, y) / np.float32(255)
    confidence[chosen] = np.where(seen, sample_at(source.trust, x, y) * grazing, 0)
    visible = np.zeros(texels.size**2, bool)
    visible[chosen] = seen & (source.mask[row, column] >= 0.5)
    square = (texels.size, texels.size)
    return BakedTexture(colour.reshape(*square, 3), confidence.reshape(square), visible.reshape(square))


def sample_at(image: Array, x: Array, y: Array) -> Array:
    """Bilinear values (N[, C]) float32 of a picture (H, W[, C]) at pixel positions (N,), centres at +0.5."""
    return look_up(image, x - 0.5, y - 0.5)


def look_up(image: Array, x: Array, y: Array, border: int = cv2.BORDER_REPLICATE) -> Array:
    """Bilinear values (N[, C]) float32 of an image (H, W[, C]) at pixel indices (N,), whole numbers at the centres.

    border  of OpenCV's, for what lies beyond the image; BORDER_CONSTANT is zero
    """
    count = len(x)
    columns = min(_MAP_SIDE, max(count, 1))
    rows = -(-count // columns)
    padding = (0, rows * columns - count)
    map_x, map_y = (np.pad(axis.astype(np.float32), padding).reshape(rows, columns) for axis in (x, y))
    result = np.zeros((rows, columns, *image.shape[2:]), np.float32)
    for start in range(0, rows, _MAP_SIDE):
        part = slice(start, start + _MAP_SIDE)
        found = cv2.remap(image, map_x[part], map_y[part], cv2.INTER_LINEAR, borderMode=border)
        result[part] = np.asarray(found).reshape(result[part].shape)
    return result.reshape(rows * columns, *image.shape[2:])[:count]


def paint_vertices(texels: TexelMap, faces: NDArray[np.integer], values: Array, weights: Array) -> tuple[Array, Array]:
    """Averages per vertex of values per texel: (size, size, C) with weights (size, size) → (V, C) and (V,).

    A vertex gathers the texels of its faces, in proportion to how near they are; the second result is the weight
    found there, 1 where all of a vertex's texels weigh 1.
    """
    used = np.flatnonzero(texels.covered)
    corners = faces[texels.face.ravel()[used]]
    shares = texels.barycentrics.reshape(-1, 3)[used]
    weight, value = weights.ravel()[used], values.reshape(len(weights.ravel()), -1)[used]
    count = int(faces.max()) + 1
    vertex, share = corners.ravel(), shares.ravel()
    weighted = (shares * weight[:, None]).ravel()
    whole = np.bincount(vertex, share, count)
    found = np.bincount(vertex, weighted, count)
    total = np.stack(
        [np.bincount(vertex, weighted * np.repeat(value[:, c], 3), count) for c in range(value.shape[1])], 1
    )
    # Faces smaller than a texel leave their vertices without any.
    return total / np.maximum(found, 1e-9)[:, None], np.where(whole > 1e-3, found / np.maximum(whole, 1e-3), 0)


def mirror_uv_corners(
    faces: NDArray[np.integer], uv: Array, uv_faces: NDArray[np.integer], mirror_vertices: NDArray[np.integer]
) -> tuple[Array, NDArray[np.bool_]]:
    """Texture coordinates of each face's mirror image: (F, 3, 2) in the order of the face's own corners.

    The second array (F,) tells which faces have a mirror image in the mesh; others keep their own coordinates.
    """
    mirrored = mirror_vertices[faces]
    count = np.int64(len(mirror_vertices))

    def key(corners: NDArray[np.integer]) -> NDArray[np.int64]:
        a, b, c = np.sort(corners.astype(np.int64), 1).T
        return (a * count + b) * count + c

    own = key(faces)
    order = np.argsort(own)
    rows = order[np.minimum(np.searchsorted(own, key(mirrored), sorter=order), len(own) - 1)]
    found = own[rows] == key(mirrored)
    # Which corner of the partner is this corner's mirror image.
    corner = (faces[rows][:, None, :] == mirrored[:, :, None]).argmax(2)
    result = uv[uv_faces][rows[:, None], corner]
    return np.where(found[:, None, None], result, uv[uv_faces]).astype(np.float32), found


def bleed_islands(image: Array, covered: NDArray[np.bool_], reach: int = 12) -> None:
    """Give the texels just outside the islands their nearest island's colour, so that seams never show the gap.

    In place: image (size, size, C), C-contiguous.
    """
    gap = (~covered).astype(np.uint8)
    if gap.all():
        return
    distance, label = cv2.distanceTransformWithLabels(gap, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.flatnonzero(covered)
    owner = np.zeros(int(label.max()) + 1, np.int64)
    owner[label.ravel()[inside]] = inside
    outside = np.flatnonzero((gap.ravel() > 0) & (distance.ravel() <= reach))
    flat = image.reshape(gap.size, -1)
    flat[outside] = flat[owner[label.ravel()[outside]]]
