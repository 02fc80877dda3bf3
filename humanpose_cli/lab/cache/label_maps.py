"""Label maps of posed bodies: person, part, depth, normal and surface position of each pixel; and their files.

A map labels what is visible at each pixel's centre. Clothes count as the body under them: a vertex of a dressed mesh
names the vertex of the body that it belongs to. Objects in front of people have no label: their pixels are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.engine.rasterising.op import Raster, interpolate, merge_meshes
from humanpose_cli.lab.cache.encoding import decode_png
from humanpose_cli.lab.cache.samples import LABEL_MAPS
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mesh = tuple[Tensor, Tensor]
RENDERED_MAPS = ("persons", "parts", "depth", "normals", "correspondence")
"""The maps that a mesh yields; `densepose` comes with datasets."""
_UV_STEPS = 4095
_MAX_MILLIMETRES = 65535


class BodyLabels:
    """Part labels and texture coordinates of a body, for all meshes on it.

    Args:
        body: The body.

    Attributes:
        parts: (V,) rows of SMPL24.
        faces: (F, 3) vertices.
        uv: (T, 2) texture coordinates of the body.
        uv_faces: (F, 3) rows of `uv`.
    """

    def __init__(self, body: Body) -> None:
        self.parts = body.part_labels.cpu().numpy().astype(np.int64)
        self.faces = body.faces.cpu().numpy().astype(np.int64)
        self.uv = body.uv.cpu().numpy().astype(np.float32)
        self.uv_faces = body.uv_faces.cpu().numpy().astype(np.int64)

    @cached_property
    def _sorted_faces(self) -> tuple[Array, Array]:
        keys = self._keys(np.sort(self.faces, 1))
        order = np.argsort(keys)
        return keys[order], order

    @cached_property
    def vertex_uv(self) -> Array:
        """(V, 2) texture coordinates of each vertex; at seams, of one of its faces."""
        uv = np.zeros((len(self.parts), 2), np.float32)
        uv[self.faces.ravel()] = self.uv[self.uv_faces.ravel()]
        return uv

    def _keys(self, corners: Array) -> Array:
        count = len(self.parts)
        return (corners[:, 0] * count + corners[:, 1]) * count + corners[:, 2]

    def texture_coordinates(self, corners: Array, weights: Array) -> Array:
        """Interpolate texture coordinates between three vertices.

        The coordinates of a face count if the vertices form one; otherwise, as between the layers of a skirt, those of
        the vertex with the largest weight.

        Args:
            corners: (N, 3) vertices.
            weights: (N, 3) barycentric weights.

        Returns:
            (N, 2) texture coordinates.
        """
        keys, order = self._sorted_faces
        turn = np.argsort(corners, 1, kind="stable")
        corner_keys = self._keys(np.take_along_axis(corners, turn, 1))
        index = np.minimum(np.searchsorted(keys, corner_keys), len(keys) - 1)
        is_face = keys[index] == corner_keys
        uv = self.vertex_uv[np.take_along_axis(corners, weights.argmax(1)[:, None], 1)[:, 0]]
        rows = order[index[is_face]]
        # The corners of these faces in the same sorted order.
        face_order = np.argsort(self.faces[rows], 1, kind="stable")
        coordinates = self.uv[np.take_along_axis(self.uv_faces[rows], face_order, 1)]
        share = np.take_along_axis(weights[is_face], turn[is_face], 1)
        uv[is_face] = np.einsum("nkc,nk->nc", coordinates, share)
        return uv


@dataclass(frozen=True)
class LabelledMesh:
    """A posed mesh whose vertices belong to a body.

    Attributes:
        vertices: (V, 3) metres, camera axes.
        faces: (F, 3) int32.
        labels: Labels of the body.
        body_vertex: (V,) vertex of the body that each vertex belongs to; None for the body's mesh.
    """

    vertices: Tensor
    faces: Tensor
    labels: BodyLabels
    body_vertex: NDArray[np.integer] | None = None


@lru_cache(maxsize=8)
def labels_of(body: Body) -> BodyLabels:
    """Return the labels of a body; they are made once."""
    return BodyLabels(body)


class MeshStack:
    """Several meshes as one, so that one z-buffer decides between them.

    Args:
        meshes: (vertices (V, 3), faces (F, 3)) of each mesh.

    Attributes:
        vertices: (V, 3) of all meshes.
        faces: (F, 3) int32 of all meshes.
        first_vertex: (M + 1,) first vertex of each mesh.
        first_face: (M + 1,) first face of each mesh.
    """

    def __init__(self, meshes: Iterable[Mesh]) -> None:
        pairs = list(meshes) or [(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))]
        union = merge_meshes([vertices[None] for vertices, _ in pairs], [faces for _, faces in pairs])
        self.vertices = union.vertices[0]
        self.faces = union.faces
        self.first_vertex = np.array(union.first_vertex)
        self.first_face = np.array(union.first_face)

    @cached_property
    def normals(self) -> Tensor:
        """(V, 3) unit normals."""
        return vertex_normals(self.vertices, self.faces)


def render_label_maps(
    meshes: Sequence[LabelledMesh], view: Camera, names: Sequence[str] = RENDERED_MAPS, occluders: Sequence[Mesh] = ()
) -> dict[str, Array]:
    """Render label maps of people before a camera, encoded as in `LABEL_MAPS`.

    Args:
        meshes: The image's people in their order.
        view: The camera.
        names: Names of the maps, from `RENDERED_MAPS`.
        occluders: (vertices (V, 3) in camera axes, faces (F, 3)) of objects that hide people.

    Returns:
        Name → (H, W) or (H, W, 3).
    """
    stack = MeshStack([*((mesh.vertices, mesh.faces) for mesh in meshes), *occluders])
    return maps_of_raster(meshes, stack, rasterise_view(stack.vertices[None], stack.faces, view), names)


def maps_of_raster(
    meshes: Sequence[LabelledMesh], stack: MeshStack, raster: Raster, names: Sequence[str] = RENDERED_MAPS
) -> dict[str, Array]:
    """Make the maps of `render_label_maps` from a raster.

    Args:
        meshes: The image's people in their order.
        stack: The rasterised meshes, which begin with those people.
        raster: The raster (1, H, W) of the stack.
        names: Names of the maps, from `RENDERED_MAPS`.

    Returns:
        Name → (H, W) or (H, W, 3).
    """
    assert len(meshes) <= 255, "people have numbers of a byte"
    maps = _RenderedMaps(meshes, stack, raster)
    return {name: maps.map(name) for name in names}


class _RenderedMaps:
    """The pixels that show people: their indices, faces, weights and vertices of the body."""

    def __init__(self, meshes: Sequence[LabelledMesh], stack: MeshStack, raster: Raster) -> None:
        self.meshes = meshes
        self.stack = stack
        self.raster = raster
        face = raster.face[0].cpu().numpy()
        self.size = face.shape
        flat = face.ravel()
        self.pixels = np.flatnonzero((flat >= 0) & (flat < stack.first_face[len(meshes)]))
        self.face = flat[self.pixels]
        self.owner = np.repeat(np.arange(len(stack.first_face) - 1), np.diff(stack.first_face))[self.face]
        self.weights = raster.barycentrics[0].cpu().numpy().reshape(-1, 3)[self.pixels]
        self.corners = stack.faces.cpu().numpy()[self.face].astype(np.int64)

    @cached_property
    def body_corners(self) -> Array:
        """(N, 3) vertices of each pixel's body."""
        table = np.concatenate(
            [np.arange(len(m.vertices)) if m.body_vertex is None else np.asarray(m.body_vertex) for m in self.meshes]
            or [np.zeros(0, np.int64)]
        )
        return table[self.corners].astype(np.int64)

    @cached_property
    def nearest(self) -> Array:
        """(N,) vertex of the body nearest to each pixel's point, among the three of its face."""
        return np.take_along_axis(self.body_corners, self.weights.argmax(1)[:, None], 1)[:, 0]

    def map(self, name: str) -> Array:
        """Return a map by its name, of the image's size."""
        spec = LABEL_MAPS[name]
        values = np.zeros((self.size[0] * self.size[1], spec.channels), spec.dtype)
        values[self.pixels] = getattr(self, name)().reshape(-1, spec.channels)
        return values.reshape(self.size if spec.channels == 1 else (*self.size, spec.channels))

    # The values (N,) or (N, 3) of the pixels.

    def persons(self) -> Array:
        return self.owner + 1

    def parts(self) -> Array:
        values = np.zeros(len(self.pixels), np.int64)
        for mesh, rows in self._per_mesh():
            values[rows] = mesh.labels.parts[self.nearest[rows]] + 1
        return values

    def depth(self) -> Array:
        metres = self.raster.depth[0].cpu().numpy().ravel()[self.pixels]
        return np.clip(np.rint(metres * 1000), 1, _MAX_MILLIMETRES)

    def normals(self) -> Array:
        smooth = interpolate(self.raster, self.stack.faces, self.stack.normals[None])[0].cpu().numpy()
        normal = smooth.reshape(-1, 3)[self.pixels]
        a, b, c = (self.stack.vertices.cpu().numpy()[self.corners[:, k]] for k in range(3))
        faces_away = np.einsum("nk,nk->n", np.cross(b - a, c - a), a) > 0  # the inside of a skirt or coat
        normal = np.where(faces_away[:, None], -normal, normal)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        return np.rint(127.5 * (normal + 1))

    def correspondence(self) -> Array:
        values = np.zeros((len(self.pixels), 3), np.float32)
        values[:, 0] = self.nearest + 1
        for mesh, rows in self._per_mesh():
            uv = mesh.labels.texture_coordinates(self.body_corners[rows], self.weights[rows])
            values[rows, 1:] = np.rint(np.clip(uv, 0, 1) * _UV_STEPS)
        return values

    def _per_mesh(self) -> Iterable[tuple[LabelledMesh, Array | slice]]:
        if len(self.meshes) == 1:
            return [(self.meshes[0], slice(None))]
        return [(mesh, np.flatnonzero(self.owner == i)) for i, mesh in enumerate(self.meshes)]


def decode_map(name: str, data: bytes) -> Array:
    """Decode a label map from PNG bytes.

    Args:
        name: Name of the map, for messages.
        data: The bytes.

    Returns:
        (H, W) or (H, W, 3).

    Raises:
        InputError: If the bytes are damaged.
    """
    values = decode_png(data)
    if values is None:
        raise InputError(f"label map {name}", "cannot be read", expected="a PNG")
    return values


# Which joints and landmarks an image shows, from its label maps: confidences for keypoints.

_CLOTHES = 0.05  # metres


def surface_reach(body: Body, rest_points: Tensor) -> NDArray[np.float32]:
    """Estimate how far the surface around joints or landmarks is.

    The median distance of the mean body's surface over all directions, plus the thickness of clothes. Points on the
    surface itself (nose, ears) have nothing but the clothes: at most four times the distance of the nearest vertex
    counts.

    Args:
        body: The body.
        rest_points: (J, 3) metres. Rest positions.

    Returns:
        (J,) metres.
    """
    count = 48  # directions, spread evenly over the sphere
    height = (torch.arange(count) + 0.5) / count * 2 - 1
    turn = torch.arange(count) * 2.39996
    flat = (1 - height.square()).sqrt()
    directions = torch.stack((flat * turn.cos(), height, flat * turn.sin()), -1)
    offsets = body.template - rest_points[:, None]
    distance = offsets.norm(dim=-1)  # [J, V]
    in_direction = torch.einsum("jvk,dk->jdv", offsets, directions) > 0.92 * distance[:, None]
    along = torch.where(in_direction, distance[:, None], torch.inf).amin(2)
    return np.asarray(torch.minimum(along.median(1).values, 4 * distance.amin(1)) + _CLOTHES, np.float32)


def visible_joint_shares(
    joints: NDArray[np.floating], index: int, view: Camera, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around the joints of SMPL24.

    Like `point_visibility`, but any visible pixel of the joint's part, its parent or its child counts, from any side:
    the chest shows the spine.

    Args:
        joints: (24, 3) metres, camera axes.
        index: Index of the person among the image's people.
        view: The camera.
        maps: The maps `persons`, `depth` and `parts`.

    Returns:
        (24,) shares 0…1.
    """
    return point_visibility(joints, _JOINT_REACH, index, view, maps, _joint_regions())


def landmark_visibility(
    body: Body, name: str, points: NDArray[np.floating], index: int, view: Camera, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around landmarks.

    Args:
        body: The body.
        name: Name of the landmarks.
        points: (L, 3) metres, camera axes.
        index: Index of the person among the image's people.
        view: The camera.
        maps: The maps `persons` and `depth`.

    Returns:
        (L,) shares 0…1.
    """
    return point_visibility(points, _landmark_reach(body, name), index, view, maps)


@lru_cache(maxsize=16)
def _landmark_reach(body: Body, name: str) -> NDArray[np.float32]:
    return surface_reach(body, body.landmarks(name).template)


_JOINT_REACH = 0.3  # metres, beyond which not even a big trunk's surface lies


@lru_cache(maxsize=1)
def _joint_regions() -> NDArray[np.bool_]:
    """Return (24, 24): which parts surround each joint."""
    regions = np.eye(len(SMPL24), dtype=bool)
    for child, parent in enumerate(SMPL24.parents):
        if parent >= 0:
            regions[child, parent] = regions[parent, child] = True
    return regions


def point_visibility(
    points: NDArray[np.floating],
    reach: NDArray[np.floating] | float,
    index: int,
    view: Camera,
    maps: Mapping[str, Array],
    regions: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around points.

    Twelve pixels around each projected point are looked up, within half its reach (at most 6 cm). A pixel counts if it
    shows this person within the reach of the point. Pixels hidden by other people, objects, the image's edge or the
    person's limbs do not count. Half of the pixels make 1: a thin limb fills no more.

    Args:
        points: (J, 3) metres, camera axes.
        reach: (J,) metres. Largest distance of each point's surface, as of `surface_reach`.
        index: Index of the person among the image's people.
        view: The camera.
        maps: The maps `persons` and `depth` of the image.
        regions: (J, 24) parts that the surface must belong to; needs the map `parts`.

    Returns:
        (J,) shares 0…1.
    """
    points = np.asarray(points, np.float64)
    reach = np.broadcast_to(np.asarray(reach, np.float64), len(points))
    in_front = points[:, 2] > 0.05
    z = np.where(in_front, points[:, 2], 1.0)
    principal_point = np.asarray(view.principal_point)
    centre = points[:, :2] * (view.focal / z)[:, None] + principal_point
    angles = np.arange(12) * 2.39996  # the golden angle spreads them evenly over the disc
    disc = np.sqrt((np.arange(12) + 0.5) / 12)[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)
    radius = np.maximum(np.minimum(0.5 * reach, 0.06) * view.focal / z, 0.75)
    pixels = centre[:, None] + radius[:, None, None] * disc  # [J, 12, 2]
    width, height = view.size
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    column = np.where(inside, pixels[..., 0], 0).astype(np.int64)
    row = np.where(inside, pixels[..., 1], 0).astype(np.int64)
    metres = maps["depth"][row, column] / 1000.0
    plane = (np.stack((column, row), -1) + 0.5 - principal_point) / view.focal * metres[..., None]
    surface = np.concatenate((plane, metres[..., None]), -1)
    in_reach = np.linalg.norm(surface - points[:, None], axis=-1) <= reach[:, None]
    visible = inside & (maps["persons"][row, column] == index + 1) & in_reach
    if regions is not None:
        parts_of_points = np.concatenate((np.zeros((len(points), 1), bool), regions), 1)
        visible &= np.take_along_axis(parts_of_points, maps["parts"][row, column].astype(np.int64), 1)
    return np.where(in_front, np.minimum(visible.mean(1) * 2, 1.0), 0.0).astype(np.float32)
