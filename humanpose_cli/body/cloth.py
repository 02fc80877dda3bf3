"""Cloth as meshes: pieces cut from the body's cloth surface, and grids of rows that go round the body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.cloth_surface import ClothBase, Coordinates, largest_weights, ramp
from humanpose_cli.body.places import PLACES

Array = NDArray[Any]

_PER_VERTEX = ("vertices", "bone_indices", "bone_weights", "body_vertex")
_INSIDE = np.float32(0.3)  # value of a field that does not limit a garment


@lru_cache(maxsize=256)
def grid_faces(rows: int, columns: int, is_closed: bool) -> tuple[Array, Array]:
    """Return the faces and uv faces of a grid, which face outwards if columns run counter-clockwise from above."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not is_closed)), indexing="ij")

    def triangles(width: int, wrap: int) -> Array:
        a = row * width + column
        b = row * width + (column + 1) % wrap
        c, d = a + width, b + width
        return np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))

    return triangles(columns, columns), triangles(columns + is_closed, columns + 1)


def polar_hull(points: Array, angles: Array) -> Array:
    """Return the distance (C,) from the origin to the convex hull of points (n, 2) in directions (C,).

    Args:
        points: (n, 2) float, metres. The points.
        angles: (C,) float, radians from the second axis.
    """
    directions = np.stack((np.sin(angles), np.cos(angles)), 0)
    support = (points @ directions).max(0)
    cosine = np.cos(angles[:, None] - angles[None])
    return np.where(cosine > 0.1, support[None] / np.maximum(cosine, 0.1), np.inf).min(1)


@dataclass(frozen=True, eq=False)
class Piece:
    """A skinned mesh at rest of V vertices and F faces.

    Attributes:
        material: What it is, such as "top".
        vertices: (V, 3) float, metres. Vertices.
        faces: (F, 3) int. Faces, counter-clockwise from outside.
        uv: (T, 2) float, 0 … 1, v down. Texture vertices.
        uv_faces: (F, 3) int. Texture vertices of the faces.
        bone_indices: (V, 4) int. Indices in SMPL24.
        bone_weights: (V, 4) float. Skinning weights; rows sum to 1.
        body_vertex: (V,) int. The vertex of the body under each vertex.
    """

    material: str
    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    bone_indices: Array
    bone_weights: Array
    body_vertex: Array

    def compact(self) -> Piece:
        """Remove the vertices and texture vertices that no face uses."""
        faces, mask = _renumber(self.faces, len(self.vertices))
        uv_faces, uv_mask = _renumber(self.uv_faces, len(self.uv))
        per_vertex = {name: getattr(self, name)[mask] for name in _PER_VERTEX}
        return replace(self, faces=faces, uv=self.uv[uv_mask], uv_faces=uv_faces, **per_vertex)


def _renumber(faces: Array, count: int) -> tuple[Array, Array]:
    mask = np.zeros(count, bool)
    mask[faces.ravel()] = True
    return (np.cumsum(mask) - 1)[faces], mask


def cut_piece(base: ClothBase, points: Array, field: Array, material: str, panel: str = "body") -> Piece | None:
    """Cut out the part of the cloth surface with a positive field; its edge lies on the zero line.

    Args:
        base: The cloth surface.
        points: (N, 3) float32, metres. The displaced surface.
        field: (N,) float32. The field.
        material: What it is.
        panel: Panel of the surface, "body" or "head".

    Returns:
        The piece, or None if it is empty.
    """
    inside = field > 0
    all_faces, all_uv_faces = base.panels[panel]
    count = inside.view(np.uint8).take(all_faces).sum(1, dtype=np.uint8)
    edge_rows = np.flatnonzero((count == 1) | (count == 2))
    uncut = np.flatnonzero(count == 3)
    if len(uncut) + len(edge_rows) == 0:
        return None
    # Rotate each cut triangle so that the corner that is single on its side comes first.
    faces = all_faces[edge_rows]
    uv_faces = all_uv_faces[edge_rows]
    single_inside = count[edge_rows] == 1
    odd = np.argmax(inside[faces] == single_inside[:, None], axis=1)
    turn = (odd[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, turn, 1).T
    uv_a, uv_b, uv_c = np.take_along_axis(uv_faces, turn, 1).T
    to_b, to_c = _share(field, a, b), _share(field, a, c)
    # One new point per edge, shared by the triangles on both sides.
    total = np.int64(len(field))
    starts, ends = np.concatenate((a, a)), np.concatenate((b, c))
    edges = np.minimum(starts, ends) * total + np.maximum(starts, ends)
    _, first, edge_index = np.unique(edges, return_index=True, return_inverse=True)
    start = starts[first]
    end = ends[first]
    share = np.concatenate((to_b, to_c))[first][:, None]
    on_b, on_c = edge_index.reshape(2, -1) + total
    uv_on_b = np.arange(len(a)) + len(base.uv)
    uv_on_c = uv_on_b + len(a)
    new_faces = _triangles(a, b, c, on_b, on_c, single_inside)
    new_uv_faces = _triangles(uv_a, uv_b, uv_c, uv_on_b, uv_on_c, single_inside)
    new_uv = np.concatenate((_mix(base.uv, uv_a, uv_b, to_b[:, None]), _mix(base.uv, uv_a, uv_c, to_c[:, None])))
    indices, weights = base.bones
    new_indices, new_weights = largest_weights(_mix(base.weights, start, end, share))
    return Piece(
        material=material,
        vertices=np.concatenate((points, _mix(points, start, end, share))),
        faces=np.concatenate((all_faces[uncut], new_faces)),
        uv=np.concatenate((base.uv, new_uv)),
        uv_faces=np.concatenate((all_uv_faces[uncut], new_uv_faces)),
        bone_indices=np.concatenate((indices, new_indices)),
        bone_weights=np.concatenate((weights, new_weights)),
        body_vertex=np.concatenate((base.ends[:, 0], base.ends[start, 0])),
    ).compact()


def _share(field: Array, start: Array, end: Array) -> Array:
    """Return the position of the field's zero between start and end, 0 … 1."""
    return (field[start] / (field[start] - field[end])).astype(np.float32)


def _mix(values: Array, start: Array, end: Array, share: Array) -> Array:
    return values[start] + share * (values[end] - values[start])


def _triangles(a: Array, b: Array, c: Array, on_b: Array, on_c: Array, single_inside: Array) -> Array:
    """Return the inner part of cut triangles: the corner at a if it is inside, else the quadrangle without it."""
    corner = np.stack((a, on_b, on_c), 1)[single_inside]
    quadrangles = (np.stack(columns, 1)[~single_inside] for columns in ((on_b, b, c), (on_b, c, on_c)))
    return np.concatenate((corner, *quadrangles))


@dataclass(frozen=True)
class TopEdges:
    """The edges of a garment of trunk and arms; lengths on the average body.

    Attributes:
        hem: Metres above the pelvis joint. Lower edge.
        sleeve: Metres from the shoulder joint along the arm (elbow 0.26, wrist 0.46); 0 for no sleeves.
        neckline: "crew", "scoop", "v", "boat", "turtle" or "strap".
        depth: Depth of the neckline, 0 … 1.
        opening: Metres from the middle to each front edge at the hem of an open front; 0 for a closed front.
    """

    hem: float
    sleeve: float
    neckline: str = "crew"
    depth: float = 0.3
    opening: float = 0.0


def top_field(top: TopEdges, points: Coordinates) -> Array:
    """Return the distance of points to the nearest edge of a top.

    Args:
        top: The edges.
        points: n points.

    Returns:
        (n,) float32, metres; positive inside.
    """
    if top.sleeve > 0:
        sleeve = np.where(points.is_arm, np.float32(top.sleeve) - points.arm, _INSIDE)
    else:
        hole = np.float32(PLACES.armhole) - np.float32(0.02) * (top.neckline == "strap") - np.abs(points.x)
        hole = np.where(points.y < PLACES.armpit, hole + (np.float32(PLACES.armpit) - points.y) * 2, hole)
        sleeve = np.where(points.is_arm, np.float32(-0.05) - points.arm * 0.1, hole)
    field = np.minimum(sleeve, np.where(points.is_arm, _INSIDE, points.y - np.float32(top.hem)))
    field = np.minimum(field, np.where(points.is_arm, _INSIDE, _neck_field(top, points)))
    if top.opening > 0:
        # An open front widens from the collar down.
        down = ramp(-points.y, -PLACES.collarbone, -PLACES.waist)
        half = np.float32(top.opening) * (np.float32(0.25) + down * np.float32(0.75))
        field = np.minimum(field, np.where(points.is_arm | (points.z < 0.0), _INSIDE, np.abs(points.x) - half))
    return field.astype(np.float32)


def _neck_field(top: TopEdges, points: Coordinates) -> Array:
    """Return metres (n,) below a plane that slopes down to the front, without the part that the neckline cuts out."""
    height = PLACES.turtle_collar if top.neckline == "turtle" else PLACES.collar
    slope = 0.15 if top.neckline == "turtle" else 0.32
    field = np.float32(height) - np.float32(slope) * points.z - points.y
    deep = np.float32(top.depth)
    front = np.where(points.z > 0.005, np.float32(0), _INSIDE)
    if top.neckline in ("scoop", "strap"):
        width = 0.075 + 0.03 * deep
        bowl = np.hypot(points.x / width, np.minimum(points.y - PLACES.neckline, 0) / (0.05 + 0.09 * deep)) - 1
        field = np.minimum(field, bowl * 0.07 + front)
    elif top.neckline == "v":
        point = PLACES.collarbone - 0.14 * deep
        field = np.minimum(field, np.abs(points.x) * 0.8 + (point - points.y) * 0.45 + front)
    elif top.neckline == "boat":
        bowl = np.hypot(points.x / 0.105, np.minimum(points.y - 0.525, 0) / 0.035) - 1
        field = np.minimum(field, bowl * 0.05 + front)
    if top.neckline == "strap":
        # The back is cut out too.
        bowl = np.hypot(points.x / 0.07, np.minimum(points.y - PLACES.neckline, 0) / 0.1) - 1
        field = np.minimum(field, bowl * 0.06 + np.where(points.z < 0.005, np.float32(0), _INSIDE))
    return field
