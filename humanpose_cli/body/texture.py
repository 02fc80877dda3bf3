"""Texture maps of bodies: baking a photo into them, filling their gaps, and building an atlas.

`TexelMap` holds the surface point of each texel. `part_atlas`, in the second half, computes texture coordinates for
bodies that lack them: one or more charts for each of the 24 parts. Limbs, trunk and head are unrolled as cylinders
around the part's axis, cut at the back. Hands and feet, and the ends of cylinders (crown, crotch), are projected from
both sides. Charts keep their proportions in metres and never overlap; within a chart, only folds (between fingers,
behind ears) overlap.
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

# Metres. A texel is hidden if the photo's nearest surface is this much in front of it, plus the difference of a slanted
# surface within a pixel.
_DEPTH_TOLERANCE = 0.008
# Neighbouring pixels whose depths differ by more (metres) belong to different parts of the body.
_DEPTH_STEP = 0.05
_BLEED_REACH = 12  # texels by which islands of a texture grow
# OpenCV's maps must be shorter than 2¹⁵ along each side.
_MAP_SIDE = 16384


class TexelMap:
    """The surface points that the texels of a square texture show.

    Args:
        uv: (T, 2) float, 0 to 1. Texture coordinates, v down.
        uv_faces: (F, 3) int. Rows of `uv`.
        size: Texels along each side.

    Attributes:
        face: (size, size) int32. The face at each texel, −1 if there is none.
        covered: (size, size) bool. Whether a texel is on the surface.
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
        return _bleeding(self.covered, _BLEED_REACH)

    def bleed(self, image: Array) -> None:
        """Extend the islands of a texture of this size, in place, as `bleed_islands` does, with texels found once."""
        _copy_texels(image, *self._gaps)

    @property
    def barycentrics(self) -> Array:
        """(size, size, 3) float. Weights of the corners of each texel's face."""
        return self._raster.barycentrics[0].cpu().numpy()

    def interpolate(self, values: Array, faces: Tensor) -> Array:
        """Interpolate values at the corners of faces.

        Args:
            values: (N, C) float. The values.
            faces: (F, 3) int. Rows of `values`.

        Returns:
            (size, size, C) float32. The values, 0 off the surface.
        """
        attributes = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(faces.device)
        return interpolate(self._raster, faces, attributes[None])[0].cpu().numpy()


class BakedTexture(NamedTuple):
    """A surface's colours in a photo, per texel.

    Attributes:
        colour: (size, size, 3) float32, 0 to 1. Undefined where the confidence is 0.
        confidence: (size, size) float32. From 0, hidden, to 1, frontal and far from any edge.
        visible: (size, size) bool. Whether nothing hides the texel, at any confidence and slant.
    """

    colour: Array
    confidence: Array
    visible: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PhotoSource:
    """A photo with its surface and camera.

    Attributes:
        photo: (H, W, 3) uint8. The photo.
        mask: (H, W) float, 0 to 1. The visible pixels of the surface's owner.
        trust: (H, W) float, 0 to 1. Confidence that a pixel shows this surface and not something beside it.
        depth: (H, W) float, metres. Depth of the rasterised surface, inf off it.
        camera: The camera of the photo.
    """

    photo: NDArray[np.uint8]
    mask: Array
    trust: Array
    depth: Array
    camera: Camera


def pixel_trust(mask: Array, depth: Array, margin: float) -> Array:
    """Compute a `PhotoSource`'s trust.

    It is 0 within about `margin` pixels of the mask's edge and of steps in the surface's depth, where a fit that
    is off by a few pixels would read the background or another part.

    Args:
        mask: (h, w) float, 0 to 1. The owner's mask.
        depth: (h, w) float, metres. Depth of the surface, inf off it.
        margin: Pixels.

    Returns:
        (h, w) float32, 0 to 1. The trust.
    """
    # Pixels of distance from the mask's edge, then from edges of depth; trust rises from 0 to 1 over 0.8 margins.
    inside = cv2.distanceTransform((mask >= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    trust = np.clip((inside - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1)
    edges = _depth_edges(depth)
    if edges.any():
        distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
        trust = np.minimum(trust, np.clip((distance - 0.6 * margin) / max(0.8 * margin, 1.0), 0, 1))
    return trust.astype(np.float32)


def _depth_edges(depth: Array) -> NDArray[np.bool_]:
    """Find pixels on both sides of a step in depth inside the body."""
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
    """Look up every texel in the photo, if the surface is visible there.

    Args:
        source: The photo.
        vertices: (V, 3) float, metres in camera axes. The surface.
        normals: (V, 3) float. Unit normals.
        faces: (F, 3) int. Vertex indices.
        texels: The texels.
    """
    facing = -(normals * torch.nn.functional.normalize(vertices, dim=-1)).sum(-1, keepdim=True)
    values = texels.interpolate(torch.cat((vertices, facing), 1).cpu().numpy(), faces)
    square = (texels.size, texels.size)
    texture = BakedTexture(np.zeros((*square, 3), np.float32), np.zeros(square, np.float32), np.zeros(square, bool))
    in_blocks(lambda rows: _bake_rows(source, values[rows], texture, rows), square)
    return texture


def _bake_rows(source: PhotoSource, values: Array, texture: BakedTexture, rows: slice) -> None:
    """Fill some rows of a texture; values (n, size, 4) hold position in metres and cosine to the view of each texel."""
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
    indices = indices[visible]
    x = x[visible]
    y = y[visible]
    # Surfaces turned away by more than 83° are a smear; up to 58° they are as good as frontal ones.
    grazing = np.clip((cosine[visible] - 0.12) / 0.4, 0, 1)
    colour = look_up(source.photo, x - 0.5, y - 0.5, interpolation=cv2.INTER_CUBIC) / np.float32(255)
    texture.colour[rows].reshape(-1, 3)[indices] = colour
    texture.confidence[rows].reshape(-1)[indices] = sample_at(source.trust, x, y) * grazing
    texture.visible[rows].reshape(-1)[indices] = source.mask[row[visible], column[visible]] >= 0.5


def sample_at(image: Array, x: Array, y: Array) -> Array:
    """Sample an image bilinearly at pixel positions, with pixel centres at +0.5.

    Args:
        image: (H, W[, C]). The image.
        x: (N,) float, pixels. Columns.
        y: (N,) float, pixels. Rows.

    Returns:
        (N[, C]) float32. The values.
    """
    return look_up(image, x - 0.5, y - 0.5)


def look_up(
    image: Array, x: Array, y: Array, border: int = cv2.BORDER_REPLICATE, interpolation: int = cv2.INTER_LINEAR
) -> Array:
    """Sample an image at pixel indices, with pixel centres at integers.

    Args:
        image: (H, W[, C]). The image.
        x: (N,) float, pixels. Columns.
        y: (N,) float, pixels. Rows.
        border: OpenCV's border mode beyond the image; BORDER_CONSTANT is zero.
        interpolation: OpenCV's interpolation: bilinear, or INTER_CUBIC, which keeps fine detail.

    Returns:
        (N[, C]) float32. The values.
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
    """Average texels for each vertex, in proportion to their distance.

    Args:
        texels: The texels.
        faces: (F, 3) int. Vertex indices.
        values: (size, size, C) float. Values of the texels.
        weights: (size, size) float. Weights of the texels.

    Returns:
        (V, C), the averages, and (V,), their weight, 1 if all texels of a vertex have weight 1.
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
    """Compute texture coordinates of each face's mirror image.

    Args:
        faces: (F, 3) int. Vertex indices.
        uv: (T, 2) float. Texture coordinates.
        uv_faces: (F, 3) int. Rows of `uv`.
        mirror_vertices: (V,) int. The vertex on the other side.

    Returns:
        (F, 3, 2) float32 in the order of the face's corners, and (F,) bool, whether the mesh has the mirror image.
        Other faces keep their own coordinates.
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
    """Give texels just outside the islands their nearest island's colour, so that seams do not show the gap.

    Args:
        image: (size, size, C), C-contiguous. The texture, changed in place.
        mask: (size, size) bool. The islands.
        reach: Texels by which islands grow.
    """
    _copy_texels(image, *_bleeding(mask, reach))


def _copy_texels(image: Array, outside: NDArray[np.int64], owners: NDArray[np.int64]) -> None:
    """Copy the colours of owners to outside texels of an image (size, size, C), by flat indices, in place."""
    flat = image.reshape(image.shape[0] * image.shape[1], -1)
    flat[outside] = flat[owners]


def _bleeding(mask: NDArray[np.bool_], reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return texels outside the islands, up to `reach` away, and the nearest texel of an island, as flat indices."""
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
    """Keep values where weights are 1, and spread them to where weights are 0.

    In between, both are mixed. Gaps get the average of their surroundings, the nearer the more (pull-push:
    Gortler et al. 1996). Without any weight the result is zero.

    Args:
        values: (H, W, C) float32. The values.
        weights: (H, W) float, 0 to 1. The weights.

    Returns:
        (H, W, C) float32. The filled values.
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
    """Triangles laid out in metres. A vertex on the cut of a cylinder has two positions in the chart.

    Attributes:
        faces: (n,) int64. Rows of the faces.
        corners: (n, 3, 2) float, metres. Positions of their corners.
        keys: (n, 3) int64. 1 for a corner past the cut, otherwise 0.
    """

    faces: Rows
    corners: Array
    keys: Rows

    @property
    def size(self) -> Array:
        """(2,) float, metres. Width and height."""
        return np.ptp(self.corners.reshape(-1, 2), axis=0)


def part_atlas(
    vertices: Array, faces: NDArray[np.int32], labels: NDArray[np.int32], joints: Array
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Lay out texture coordinates.

    Args:
        vertices: (V, 3) float, metres. The T pose in body axes.
        faces: (F, 3) int32. Vertex indices.
        labels: (V,) int32. Rows of SMPL24.
        joints: (24, 3) float, metres. The joints of the T pose in body axes.

    Returns:
        (T, 2) float32 from 0 to 1, v down, the texture vertices, and (F, 3) int32, the texture triangles.
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
    """Return the label that two corners share, otherwise the first corner's: (F, 3) → (F,)."""
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
    """Unroll around `axis`; the cut is along the back (−z)."""
    lateral = np.cross(axis, Z)
    middle = corners.reshape(-1, 3).mean(0)
    x, z = (corners - middle) @ lateral, (corners - middle) @ Z
    angle = np.arctan2(x, z)
    radius = np.hypot(x, z).mean()
    past_cut = (np.ptp(angle, axis=1, keepdims=True) > math.pi) & (angle < 0)
    plane = np.stack(((angle + 2 * math.pi * past_cut) * radius, -(corners @ axis)), -1)
    return Chart(rows, plane, past_cut.astype(np.int64))


def _pack(sizes: list[Array]) -> tuple[list[Array], float]:
    """Pack rectangles on shelves in the unit square; return their corners and the scale that makes them fit."""
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
