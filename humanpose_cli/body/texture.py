"""Texture maps of bodies: baking a photo into them, filling their gaps, and making an atlas.

`TexelMap` holds the surface point of each texel. `part_atlas`, in the second half, makes texture coordinates for
bodies that come without: one or more charts for each of the 24 parts. Limbs, trunk and head unroll as cylinders around
the part's axis, cut at the back; hands and feet, and what caps a cylinder (crown, crotch), are projected from both
sides. Charts keep their proportions in metres and never overlap; inside a chart only folds (between fingers, behind
ears) do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise

Array = NDArray[Any]

# A texel is hidden where the photo's nearest surface lies this much in front of it (metres), plus what a slanted
# surface may differ within a pixel.
_DEPTH_TOLERANCE = 0.008
# Neighbouring pixels whose depths differ by more (metres) belong to different parts of the body.
_DEPTH_STEP = 0.05
_BLEED_REACH = 12  # texels by which islands of a texture grow
# OpenCV's maps must be shorter than 2¹⁵ along each side.
_MAP_SIDE = 16384


class TexelMap:
    """The surface points that the texels of a square texture show.

    uv (T, 2) in 0…1, v down; uv_faces (F, 3); size texels along each side.
    covered (size, size): which texels lie on the surface; face (size, size): on which of the F faces, −1 for none.
    """

    def __init__(self, uv: Tensor, uv_faces: Tensor, size: int) -> None:
        flat = torch.cat((uv, torch.ones_like(uv[:, :1])), 1)[None].contiguous()
        self.size = size
        self._raster: Raster = rasterise(
            flat, uv_faces, uv.new_full((1,), float(size)), uv.new_zeros(1, 2), (size, size)
        )
        self.face: NDArray[np.int32] = self._raster.face[0].cpu().numpy()
        self.covered: NDArray[np.bool_] = self.face >= 0

    @cached_property
    def _gaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _bled(self.covered, _BLEED_REACH)

    def bleed(self, image: Array) -> None:
        """Bleed the islands of a texture of this size, as `bleed_islands`; the texels are searched once."""
        _give(image, *self._gaps)

    @property
    def barycentrics(self) -> Array:
        """(size, size, 3) weights of each texel's face's corners."""
        return self._raster.barycentrics[0].cpu().numpy()

    def interpolate(self, values: Array, faces: Tensor) -> Array:
        """Interpolate values (N, C) at the corners that `faces` (F, 3) name → (size, size, C) float32, zero off the
        surface.
        """
        attributes = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(faces.device)
        return interpolate(self._raster, faces, attributes[None])[0].cpu().numpy()


class BakedTexture(NamedTuple):
    """A surface's colours in a photo, per texel.

    Attributes:
        colour: (size, size, 3) float32 in 0…1; meaningless where confidence is 0.
        confidence: (size, size) float32: 0 hidden … 1 frontal and far from any edge.
        visible: (size, size) bool: nothing hides it, whatever its confidence and slant.
    """

    colour: Array
    confidence: Array
    visible: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PhotoSource:
    """A photo with its surface and camera.

    camera the photo's

    Attributes:
        photo: (H, W, 3) uint8; mask (H, W) 0…1: 1 where the surface's owner is visible.
        trust: (H, W) 0…1: confidence that a pixel shows this surface and not something beside it.
        depth: (H, W) metres of the rasterised surface, inf where there is none.
    """

    photo: NDArray[np.uint8]
    mask: Array
    trust: Array
    depth: Array
    camera: Camera


def pixel_trust(mask: Array, depth: Array, margin: float) -> Array:
    """Compute a `PhotoSource`'s trust (h, w) float32, 0…1: confidence that a pixel shows the surface at its position.

    0 within about `margin` pixels of the edge of the owner's mask (h, w) 0…1 and of edges of the surface's own depth
    (h, w), inf off it, where a fit that is off by a few pixels would read the background or another part.
    """
    # Pixels of distance from the mask's edge, then from edges of depth; trust rises from 0 to 1 over 0.8 margins.
    inside = cv2.distanceTransform((mask >= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    trust = np.clip((inside - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1)
    edges = _depth_edges(depth)
    if edges.any():
        away = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
        trust = np.minimum(trust, np.clip((away - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1))
    return trust.astype(np.float32)


def _depth_edges(depth: Array) -> NDArray[np.bool_]:
    """Find pixels on either side of a step in depth inside the body."""
    finite = np.where(np.isfinite(depth), depth, np.nan)
    edges = np.zeros(depth.shape, bool)
    with np.errstate(invalid="ignore"):
        across, down = (np.abs(np.diff(finite, axis=axis)) > _DEPTH_STEP for axis in (1, 0))
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def bake_photo(source: PhotoSource, vertices: Tensor, normals: Tensor, faces: Tensor, texels: TexelMap) -> BakedTexture:
    """Look up every texel in the photo, where the surface is visible.

    vertices (V, 3) metres, camera axes; normals (V, 3) unit vectors; faces (F, 3)
    """
    facing = -(normals * torch.nn.functional.normalize(vertices, dim=-1)).sum(-1, keepdim=True)
    values = texels.interpolate(torch.cat((vertices, facing), 1).cpu().numpy(), faces)
    square = (texels.size, texels.size)
    texture = BakedTexture(np.zeros((*square, 3), np.float32), np.zeros(square, np.float32), np.zeros(square, bool))
    in_blocks(lambda rows: _bake_rows(source, values[rows], texture, rows), square)
    return texture


def _bake_rows(source: PhotoSource, values: Array, texture: BakedTexture, rows: slice) -> None:
    """Fill some rows of a texture; values (n, size, 4): position in metres and cosine to the view of each texel."""
    # Texels that face the camera, in front of it.
    indices = np.flatnonzero((values[..., 3] > 0.02) & (values[..., 2] > 0.05))
    if not len(indices):
        return
    x, y, z, cosine = values.reshape(-1, 4)[indices].T
    height, width = source.trust.shape
    focal, (centre_x, centre_y) = source.camera.focal, source.camera.principal_point
    x = focal * x / z + np.float32(centre_x)
    y = focal * y / z + np.float32(centre_y)
    inside = (x >= 0.5) & (x < width - 0.5) & (y >= 0.5) & (y < height - 0.5)
    column, row = np.clip(x, 0, width - 1).astype(np.int64), np.clip(y, 0, height - 1).astype(np.int64)
    # A texel is visible unless another surface is nearer; `slack` is the depth of an oblique surface over two pixels.
    cosine = np.clip(cosine, 0.05, 1)
    slack = _DEPTH_TOLERANCE + 2 * z / focal * np.sqrt(1 - cosine**2) / cosine
    visible = np.flatnonzero(inside & (z < source.depth[row, column] + slack))
    indices, x, y, column, row = (values[visible] for values in (indices, x, y, column, row))
    # Surfaces turned away by more than 83° are a smear; up to 58° they are as good as frontal ones.
    grazing = np.clip((cosine[visible] - 0.12) / 0.4, 0, 1)
    colour = look_up(source.photo, x - 0.5, y - 0.5, interpolation=cv2.INTER_CUBIC) / np.float32(255)
    texture.colour[rows].reshape(-1, 3)[indices] = colour
    texture.confidence[rows].reshape(-1)[indices] = sample_at(source.trust, x, y) * grazing
    texture.visible[rows].reshape(-1)[indices] = source.mask[row, column] >= 0.5


def sample_at(image: Array, x: Array, y: Array) -> Array:
    """Sample bilinear values (N[, C]) float32 of an image (H, W[, C]) at pixel positions (N,), centres at +0.5."""
    return look_up(image, x - 0.5, y - 0.5)


def look_up(
    image: Array, x: Array, y: Array, border: int = cv2.BORDER_REPLICATE, interpolation: int = cv2.INTER_LINEAR
) -> Array:
    """Look up values (N[, C]) float32 of an image (H, W[, C]) at pixel indices (N,), whole numbers at the centres.

    Args:
        border: Of OpenCV's, for what lies beyond the image; BORDER_CONSTANT is zero.
        interpolation: Of OpenCV's: bilinear, or INTER_CUBIC, which keeps fine detail.
    """
    count = len(x)
    columns = min(_MAP_SIDE, max(count, 1))
    rows = -(-count // columns)
    padding = (0, rows * columns - count)
    map_x, map_y = (np.pad(axis.astype(np.float32), padding).reshape(rows, columns) for axis in (x, y))
    result = np.zeros((rows, columns, *image.shape[2:]), np.float32)
    for start in range(0, rows, _MAP_SIDE):
        part = slice(start, start + _MAP_SIDE)
        samples = cv2.remap(image, map_x[part], map_y[part], interpolation, borderMode=border)
        result[part] = np.asarray(samples).reshape(result[part].shape)
    return result.reshape(rows * columns, *image.shape[2:])[:count]


def paint_vertices(texels: TexelMap, faces: NDArray[np.integer], values: Array, weights: Array) -> tuple[Array, Array]:
    """Average values per texel for each vertex: (size, size, C) with weights (size, size) → (V, C) and (V,).

    A vertex gathers the texels of its faces, in proportion to how near they are; the second result is the weight
    there, 1 where all of a vertex's texels weigh 1.
    """
    texel_indices = np.flatnonzero(texels.covered)
    corners = faces[texels.face.ravel()[texel_indices]]
    shares = texels.barycentrics.reshape(-1, 3)[texel_indices]
    weight, value = weights.ravel()[texel_indices], values.reshape(len(weights.ravel()), -1)[texel_indices]
    count = int(faces.max()) + 1
    vertex, share = corners.ravel(), shares.ravel()
    shares_by_weight = (shares * weight[:, None]).ravel()
    area = np.bincount(vertex, share, count)
    weight_sum = np.bincount(vertex, shares_by_weight, count)
    total = np.stack(
        [np.bincount(vertex, shares_by_weight * np.repeat(value[:, c], 3), count) for c in range(value.shape[1])], 1
    )
    # Faces smaller than a texel leave their vertices without any.
    return total / np.maximum(weight_sum, 1e-9)[:, None], np.where(area > 1e-3, weight_sum / np.maximum(area, 1e-3), 0)


def mirror_uv_corners(
    faces: NDArray[np.integer], uv: Array, uv_faces: NDArray[np.integer], mirror_vertices: NDArray[np.integer]
) -> tuple[Array, NDArray[np.bool_]]:
    """Compute texture coordinates of each face's mirror image: (F, 3, 2) in the order of the face's own corners.

    The second array (F,) says which faces have a mirror image in the mesh; others keep their own coordinates.
    """
    mirror_faces = mirror_vertices[faces]
    count = np.int64(len(mirror_vertices))

    def key(corners: NDArray[np.integer]) -> NDArray[np.int64]:
        a, b, c = np.sort(corners.astype(np.int64), 1).T
        return (a * count + b) * count + c

    keys = key(faces)
    order = np.argsort(keys)
    rows = order[np.minimum(np.searchsorted(keys, key(mirror_faces), sorter=order), len(keys) - 1)]
    has_mirror = keys[rows] == key(mirror_faces)
    # Which corner of the partner is this corner's mirror image.
    corner = (faces[rows][:, None, :] == mirror_faces[:, :, None]).argmax(2)
    result = uv[uv_faces][rows[:, None], corner]
    return np.where(has_mirror[:, None, None], result, uv[uv_faces]).astype(np.float32), has_mirror


def bleed_islands(image: Array, mask: NDArray[np.bool_], reach: int = _BLEED_REACH) -> None:
    """Give the texels just outside the islands their nearest island's colour, so that seams never show the gap.

    In place: image (size, size, C), C-contiguous.
    """
    _give(image, *_bled(mask, reach))


def _give(image: Array, outside: NDArray[np.int64], owners: NDArray[np.int64]) -> None:
    """Copy the colours of some texels of an image (size, size, C) to others, by their flat indices; in place."""
    flat = image.reshape(image.shape[0] * image.shape[1], -1)
    flat[outside] = flat[owners]


def _bled(mask: NDArray[np.bool_], reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find texels outside the islands, up to `reach` away, and each one's nearest texel of an island, as flat
    indices.
    """
    gap = (~mask).astype(np.uint8)
    if gap.all():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distance, label = cv2.distanceTransformWithLabels(gap, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.flatnonzero(mask)
    owner = np.zeros(int(label.max()) + 1, np.int64)
    owner[label.ravel()[inside]] = inside
    outside = np.flatnonzero((gap.ravel() > 0) & (distance.ravel() <= reach))
    return outside, owner[label.ravel()[outside]]


def fill_smoothly(values: Array, weights: Array) -> Array:
    """Keep values (H, W, C) float32 where weights (H, W) are 1, and spread them from there to where they are 0.

    Between, the two are mixed. Gaps take the average of their surroundings, the nearer the more (pull-push:
    Gortler et al. 1996). Without any weight the result is zero.
    """
    # Pull: halve weights and weighted values until one pixel is left.
    levels = [(np.ascontiguousarray(values * weights[..., None]), np.ascontiguousarray(weights))]
    while max(levels[-1][1].shape) > 1:
        product, weight = levels[-1]
        height, width = weight.shape
        size = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
        small = cv2.resize(weight, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        colour = cv2.resize(product, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1)
        # A pixel with any evidence counts almost fully one level up: near evidence wins over far evidence.
        confidence = np.minimum(small * 4, 1)
        colour *= (confidence / np.maximum(small, np.float32(1e-8)))[..., None]
        levels.append((colour, confidence.astype(np.float32)))
    # Push: from coarse to fine, missing weight is filled with the coarser level's values.
    product, weight = levels.pop()
    full = product / np.maximum(weight, np.float32(1e-8))[..., None]
    while levels:
        product, weight = levels.pop()
        size = weight.shape[::-1]
        spread = cv2.resize(full, size, interpolation=cv2.INTER_LINEAR).reshape(product.shape)
        full = product + (1 - weight)[..., None] * spread
    return full


Rows = NDArray[np.int64]

MARGIN = 0.006  # of the atlas, around each chart: six pixels of a texture of 1024
CAP_COSINE = 0.8  # a triangle that faces along the axis closer than this belongs to a cap
X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class Chart:
    """Triangles laid out in metres: faces (n,) rows, corners (n, 3, 2), and a key per corner that distinguishes copies.

    A vertex on the cut of a cylinder has two positions in the chart; `keys` (n, 3) is 1 for the copy past the cut.
    """

    faces: Rows
    corners: Array
    keys: Rows

    @property
    def size(self) -> Array:
        """(2,) width and height in metres."""
        return np.ptp(self.corners.reshape(-1, 2), axis=0)


def part_atlas(
    vertices: Array, faces: NDArray[np.int32], labels: NDArray[np.int32], joints: Array
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Lay out texture vertices (T, 2) in 0…1, v down, and texture triangles (F, 3).

    vertices (V, 3) and joints (24, 3)  metres, T pose, body axes; labels (V,) rows of SMPL24
    """
    face_labels = _majority(labels[faces])
    charts = [
        chart
        for row, joint in enumerate(SMPL24.joint_names)
        for chart in _charts(vertices, faces, np.flatnonzero(face_labels == row), joint, joints[row])
    ]
    origins, scale = _pack([chart.size for chart in charts])
    uv_faces = np.empty(faces.shape, dtype=np.int32)
    tables: list[Array] = []
    count = 0
    for chart, origin in zip(charts, origins, strict=True):
        corners = (chart.corners - chart.corners.reshape(-1, 2).min(0)) * scale + origin + MARGIN
        names = faces[chart.faces].astype(np.int64) * 2 + chart.keys
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        uv_faces[chart.faces] = inverse.reshape(-1, 3) + count
        tables.append(corners.reshape(-1, 2)[first])
        count += len(first)
    return np.clip(np.concatenate(tables), 0, 1).astype(np.float32), uv_faces


def _majority(corner_labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Choose the label that two corners share, else the first corner's: (F, 3) → (F,)."""
    a, b, c = corner_labels.T
    return np.where(b == c, b, a)


def _charts(vertices: Array, faces: NDArray[np.int32], rows: Rows, joint: str, centre: Array) -> Iterator[Chart]:
    part = joint.rpartition("_")[2]
    corners = vertices[faces[rows]] - centre
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if part in ("wrist", "hand", "ankle", "foot"):
        axis, across = (Y, (X, Z))
        threshold = 0.0
    else:
        axis, across = (X, (Z, Y)) if part in ("collar", "shoulder", "elbow") else (Y, (X, Z))
        threshold = CAP_COSINE
    facing = normals @ axis
    limit = threshold * np.linalg.norm(normals, axis=1)
    up, down = facing > limit, (facing <= -limit if threshold == 0 else facing < -limit)
    for cap, sign in ((up, 1.0), (down, -1.0)):
        if cap.any():
            flat = np.stack((corners[cap] @ across[0] * sign, corners[cap] @ across[1]), -1)
            yield Chart(rows[cap], flat, np.zeros((cap.sum(), 3), dtype=np.int64))
    side = ~(up | down)
    if side.any():
        yield _cylinder(rows[side], corners[side], axis)


def _cylinder(rows: Rows, corners: Array, axis: Array) -> Chart:
    """Unroll around `axis`; the cut runs along the back (−z)."""
    lateral = np.cross(axis, Z)
    middle = corners.reshape(-1, 3).mean(0)
    x, z = (corners - middle) @ lateral, (corners - middle) @ Z
    angle = np.arctan2(x, z)
    radius = np.hypot(x, z).mean()
    past_cut = (np.ptp(angle, axis=1, keepdims=True) > math.pi) & (angle < 0)
    plane = np.stack(((angle + 2 * math.pi * past_cut) * radius, -(corners @ axis)), -1)
    return Chart(rows, plane, past_cut.astype(np.int64))


def _pack(sizes: list[Array]) -> tuple[list[Array], float]:
    """Pack rectangles on shelves in the unit square: their corners, and the scale that makes them fit."""
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], i))

    def lay(scale: float) -> list[Array] | None:
        origins: list[Array] = [np.zeros(2)] * len(sizes)
        x = y = shelf = 0.0
        for i in order:
            width, height = sizes[i] * scale + 2 * MARGIN
            if x + width > 1:
                x, y, shelf = 0.0, y + shelf, 0.0
            if width > 1 or y + height > 1:
                return None
            origins[i] = np.array([x, y])
            x, shelf = x + width, max(shelf, height)
        return origins

    low, high = 0.0, 1.0 / max(1e-6, max(size.max() for size in sizes))
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if lay(middle) is None else (middle, high)
    origins = lay(low)
    assert origins is not None, "charts of zero size always fit"
    return origins, low
