"""Label maps of posed bodies: person, part, depth, normal and surface position of each pixel; and their files.

A map has the label of what is visible at each pixel's centre. Clothes count as the body under them: a vertex of a
dressed mesh names the vertex of the body that it belongs to. Things in front of people have no label: their pixels are
zero.
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
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.engine.rasterising.op import Raster, interpolate, merge_meshes
from humanpose_cli.lab.cache.encoding import decode_png
from humanpose_cli.lab.cache.samples import LABEL_MAPS
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mesh = tuple[Tensor, Tensor]
RENDERED_MAPS = ("persons", "parts", "depth", "normals", "correspondence")
"""The maps that a mesh gives; `densepose` comes with data sets."""
_UV_STEPS = 4095
_MAX_MILLIMETRES = 65535
_MAX_PEOPLE = 255


class BodyLabels:
    """Part labels and texture coordinates of a body, made once and used for all meshes on it.

    parts  (V,) rows of SMPL24; faces (F, 3); uv (T, 2) and uv_faces (F, 3) of the body's own texture
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
        """(V, 2) one of the texture coordinates that each vertex has."""
        uv = np.zeros((len(self.parts), 2), np.float32)
        uv[self.faces.ravel()] = self.uv[self.uv_faces.ravel()]
        return uv

    def _keys(self, corners: Array) -> Array:
        count = len(self.parts)
        return (corners[:, 0] * count + corners[:, 1]) * count + corners[:, 2]

    def texture_coordinates(self, corners: Array, weights: Array) -> Array:
        """Interpolate texture coordinates (N, 2) between three vertices: corners (N, 3), weights (N, 3).

        If these are one of the body's faces, that face's coordinates count; else, as between the layers of a skirt,
        those of the nearest of the three.
        """
        keys, order = self._sorted_faces
        turn = np.argsort(corners, 1, kind="stable")
        corner_keys = self._keys(np.take_along_axis(corners, turn, 1))
        index = np.minimum(np.searchsorted(keys, corner_keys), len(keys) - 1)
        is_face = keys[index] == corner_keys
        uv = self.vertex_uv[np.take_along_axis(corners, weights.argmax(1)[:, None], 1)[:, 0]]
        rows = order[index[is_face]]
        # The face's own order of corners, brought to the same sorted order.
        face_order = np.argsort(self.faces[rows], 1, kind="stable")
        coordinates = self.uv[np.take_along_axis(self.uv_faces[rows], face_order, 1)]
        share = np.take_along_axis(weights[is_face], turn[is_face], 1)
        uv[is_face] = np.einsum("nkc,nk->nc", coordinates, share)
        return uv


@dataclass(frozen=True)
class LabelledMesh:
    """A posed mesh whose vertices belong to a body.

    Attributes:
        vertices: (V, 3) metres, camera axes; faces (F, 3) int32.
        labels: Of the body.
        body_vertex: (V,) the body's vertex that each vertex belongs to; None for the body's own mesh.
    """

    vertices: Tensor
    faces: Tensor
    labels: BodyLabels
    body_vertex: NDArray[np.integer] | None = None


@lru_cache(maxsize=8)
def labels_of(body: Body) -> BodyLabels:
    """Return the labels of a body, made once for it."""
    return BodyLabels(body)


class MeshStack:
    """Several meshes as one, so that one z-buffer decides between them.

    vertices (V, 3), faces (F, 3) int32; first_vertex and first_face (M + 1,): where each mesh begins
    """

    def __init__(self, meshes: Iterable[Mesh]) -> None:
        pairs = list(meshes) or [(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))]
        union = merge_meshes([vertices[None] for vertices, _ in pairs], [faces for _, faces in pairs])
        self.vertices, self.faces = union.vertices[0], union.faces
        self.first_vertex, self.first_face = np.array(union.first_vertex), np.array(union.first_face)

    @cached_property
    def normals(self) -> Tensor:
        """(V, 3) unit normals."""
        return vertex_normals(self.vertices, self.faces)

    def mesh_of_faces(self, face: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the mesh that each of some faces (N,) belongs to."""
        owner = np.repeat(np.arange(len(self.first_face) - 1), np.diff(self.first_face))
        return owner[face]


def render_label_maps(
    meshes: Sequence[LabelledMesh], view: Camera, names: Sequence[str] = RENDERED_MAPS, occluders: Sequence[Mesh] = ()
) -> dict[str, Array]:
    """Render label maps of people before a camera, encoded as `LABEL_MAPS` says: name → (H, W) or (H, W, 3).

    Raises UsageError for a name that meshes do not give, or more than 255 people.

    Args:
        meshes: The image's people in their order.
        occluders: (vertices (V, 3) camera axes, faces (F, 3)) of things that hide people.
    """
    stack = MeshStack([*((mesh.vertices, mesh.faces) for mesh in meshes), *occluders])
    raster = rasterise_view(stack.vertices[None], stack.faces, view)
    return maps_of_raster(meshes, stack, raster, names)


def maps_of_raster(
    meshes: Sequence[LabelledMesh], stack: MeshStack, raster: Raster, names: Sequence[str] = RENDERED_MAPS
) -> dict[str, Array]:
    """Make the maps of `render_label_maps` from a raster (1, H, W) of a stack that begins with these meshes."""
    unknown = [name for name in names if name not in RENDERED_MAPS]
    if unknown:
        raise UsageError(unknown[0], "is no map that a mesh gives", expected=", ".join(RENDERED_MAPS))
    if len(meshes) > _MAX_PEOPLE:
        expected = f"{_MAX_PEOPLE} or fewer"
        raise UsageError("people", "are too many for one map", expected=expected, got=f"{len(meshes)}")
    maps = _RenderedMaps(meshes, stack, raster)
    return {name: maps.map(name) for name in names}


class _RenderedMaps:
    """The pixels that see one of the people: flat numbers, faces, weights and the body's vertices there."""

    def __init__(self, meshes: Sequence[LabelledMesh], stack: MeshStack, raster: Raster) -> None:
        self.meshes, self.stack, self.raster = meshes, stack, raster
        face = raster.face[0].cpu().numpy()
        self.size = face.shape
        flat = face.ravel()
        self.pixels = np.flatnonzero((flat >= 0) & (flat < stack.first_face[len(meshes)]))
        self.face = flat[self.pixels]
        self.owner = stack.mesh_of_faces(self.face)
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
        """(N,) the body's vertex nearest to each pixel's point, of the face's three."""
        return np.take_along_axis(self.body_corners, self.weights.argmax(1)[:, None], 1)[:, 0]

    def map(self, name: str) -> Array:
        """Return a map by its name, of the image's size."""
        kind = LABEL_MAPS[name]
        values = np.zeros((self.size[0] * self.size[1], kind.channels), kind.dtype)
        values[self.pixels] = getattr(self, name)().reshape(-1, kind.channels)
        return values.reshape(self.size if kind.channels == 1 else (*self.size, kind.channels))

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
        away = np.einsum("nk,nk->n", np.cross(b - a, c - a), a) > 0  # the inside of a skirt or coat
        normal = np.where(away[:, None], -normal, normal)
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
    """Decode a map (H, W) or (H, W, 3) from PNG bytes. Raises InputError if they are damaged."""
    values = decode_png(data)
    if values is None:
        raise InputError(f"label map {name}", "cannot be read", expected="a PNG")
    return values


# Which joints and landmarks an image shows, from its label maps: confidences for keypoints.

_CLOTHES = 0.05  # metres


def surface_reach(body: Body, rest_points: Tensor) -> NDArray[np.float32]:
    """Estimate how far joints or landmarks lie from their surface: (J, 3) rest positions, metres → (J,) metres.

    The median over all directions of how far the mean body's surface is, and the thickness of clothes. Points on
    the surface itself (nose, ears) have nothing but the clothes: no more than four times the nearest vertex counts.
    """
    count = 48  # directions, spread evenly over the sphere
    height = (torch.arange(count) + 0.5) / count * 2 - 1
    turn = torch.arange(count) * 2.39996
    flat = (1 - height.square()).sqrt()
    directions = torch.stack((flat * turn.cos(), height, flat * turn.sin()), -1)
    offsets = body.template - rest_points[:, None]
    distance = offsets.norm(dim=-1)  # [J, V]
    ahead = torch.einsum("jvk,dk->jdv", offsets, directions) > 0.92 * distance[:, None]
    along = torch.where(ahead, distance[:, None], torch.inf).amin(2)
    reach = torch.minimum(along.median(1).values, 4 * distance.amin(1))
    return np.asarray(reach + _CLOTHES, np.float32)


def visible_joint_shares(
    joints: NDArray[np.floating], index: int, view: Camera, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around the joints of SMPL24: (24, 3) metres, camera axes → (24,) 0…1.

    As `point_visibility`, but any visible pixel of the part of the joint, its parent or its child counts, from any
    side: the chest shows the spine. maps: `persons`, `depth` and `parts`.
    """
    return point_visibility(joints, _JOINT_REACH, index, view, maps, _joint_regions())


def landmark_visibility(
    body: Body, name: str, points: NDArray[np.floating], index: int, view: Camera, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around landmarks: (L, 3) metres, camera axes → (L,) 0…1."""
    return point_visibility(points, _landmark_reach(body, name), index, view, maps)


@lru_cache(maxsize=16)
def _landmark_reach(body: Body, name: str) -> NDArray[np.float32]:
    return surface_reach(body, body.landmarks(name).template)


_JOINT_REACH = 0.3  # metres, beyond which not even a big trunk's surface lies


@lru_cache(maxsize=1)
def _joint_regions() -> NDArray[np.bool_]:
    """Return (24, 24): which parts belong to the surroundings of each joint."""
    near = np.eye(len(SMPL24), dtype=bool)
    for child, parent in enumerate(SMPL24.parents):
        if parent >= 0:
            near[child, parent] = near[parent, child] = True
    return near


def point_visibility(
    points: NDArray[np.floating],
    reach: NDArray[np.floating] | float,
    index: int,
    view: Camera,
    maps: Mapping[str, Array],
    regions: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Measure the visible share of the surface around points: (J, 3) metres, camera axes → (J,) 0…1.

    Twelve pixels around each point's projection, within half its reach (at most 6 cm), are looked up: a pixel counts
    where it shows this person within the reach of the point. What other people, things, the image's edge or the
    person's own limbs hide does not count. Half of the pixels make 1: a thin limb fills no more.

    Args:
        reach: (J,) metres: as far from the point its surface lies at most, as of `surface_reach`.
        index: Of the person among the image's people.
        maps: `persons` and `depth` of the image.
        regions: (J, 24) parts of which the surface must be; needs the map `parts`.
    """
    points = np.asarray(points, np.float64)
    reach = np.broadcast_to(np.asarray(reach, np.float64), len(points))
    ahead = points[:, 2] > 0.05
    z = np.where(ahead, points[:, 2], 1.0)
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
    at = (np.stack((column, row), -1) + 0.5 - principal_point) / view.focal * metres[..., None]
    surface = np.concatenate((at, metres[..., None]), -1)
    near = np.linalg.norm(surface - points[:, None], axis=-1) <= reach[:, None]
    visible = inside & (maps["persons"][row, column] == index + 1) & near
    if regions is not None:
        parts_of_points = np.concatenate((np.zeros((len(points), 1), bool), regions), 1)
        visible &= np.take_along_axis(parts_of_points, maps["parts"][row, column].astype(np.int64), 1)
    return np.where(ahead, np.minimum(visible.mean(1) * 2, 1.0), 0.0).astype(np.float32)
