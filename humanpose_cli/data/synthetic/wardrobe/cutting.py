"""Cutting a piece of cloth out of the cloth surface along the zero line of a field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.base import ClothBase, strongest_bones
from humanpose_cli.data.synthetic.wardrobe.mesh import Piece

__all__ = ["cut_piece"]

Array = NDArray[Any]


def cut_piece(base: ClothBase, points: Array, field: Array, material: str, panel: str = "body") -> Piece | None:
    """The part of the cloth surface where field (N,) > 0, its edge exactly on the zero line; None if there is none.

    points  (N, 3) metres, the displaced surface
    panel   of the surface that it is cut from: "body" or "head"
    """
    inside = field > 0
    all_faces, all_uv_faces = base.panels[panel]
    count = inside.view(np.uint8).take(all_faces).sum(1, dtype=np.uint8)
    edge_rows = np.flatnonzero((count == 1) | (count == 2))
    whole = np.flatnonzero(count == 3)
    if len(whole) + len(edge_rows) == 0:
        return None
    # Turn each cut triangle so that its odd corner, the one alone on its side, comes first.
    faces, uv_faces = all_faces[edge_rows], all_uv_faces[edge_rows]
    alone_inside = count[edge_rows] == 1
    odd = np.argmax(inside[faces] == alone_inside[:, None], axis=1)
    turn = (odd[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, turn, 1).T
    uv_a, uv_b, uv_c = np.take_along_axis(uv_faces, turn, 1).T
    to_b, to_c = _share(field, a, b), _share(field, a, c)
    # New points by edge, shared between the triangles on both sides of it.
    total = np.int64(len(field))
    pairs = np.concatenate((np.minimum(a, b) * total + np.maximum(a, b), np.minimum(a, c) * total + np.maximum(a, c)))
    _, first, of_pair = np.unique(pairs, return_index=True, return_inverse=True)
    start = np.concatenate((a, a))[first]
    end = np.concatenate((b, c))[first]
    share = np.concatenate((to_b, to_c))[first][:, None]
    on_b, on_c = of_pair.reshape(2, -1) + total
    uv_on_b = np.arange(len(a)) + len(base.uv)
    uv_on_c = uv_on_b + len(a)
    one, two = alone_inside, ~alone_inside
    new_faces = _triangles(a, b, c, on_b, on_c, one, two)
    new_uv_faces = _triangles(uv_a, uv_b, uv_c, uv_on_b, uv_on_c, one, two)
    new_uv = np.concatenate(
        (_between(base.uv, uv_a, uv_b, to_b[:, None]), _between(base.uv, uv_a, uv_c, to_c[:, None]))
    )
    indices, weights = base.bones
    new_indices, new_weights = strongest_bones(_between(base.weights, start, end, share))
    return Piece(
        material=material,
        vertices=np.concatenate((points, _between(points, start, end, share))),
        faces=np.concatenate((all_faces[whole], new_faces)),
        uv=np.concatenate((base.uv, new_uv)),
        uv_faces=np.concatenate((all_uv_faces[whole], new_uv_faces)),
        bone_indices=np.concatenate((indices, new_indices)),
        bone_weights=np.concatenate((weights, new_weights)),
        body_vertex=np.concatenate((base.ends[:, 0], base.ends[start, 0])),
    ).compact()


def _share(field: Array, start: Array, end: Array) -> Array:
    """Where on the way from start to end the field is zero, 0…1."""
    return (field[start] / (field[start] - field[end])).astype(np.float32)


def _between(values: Array, start: Array, end: Array, share: Array) -> Array:
    return values[start] + share * (values[end] - values[start])


def _triangles(a: Array, b: Array, c: Array, on_b: Array, on_c: Array, one: Array, two: Array) -> Array:
    """What is left of triangles: a's corner where it alone is inside, else the quadrangle without it."""
    return np.concatenate(
        (
            np.stack((a, on_b, on_c), 1)[one],
            np.stack((on_b, b, c), 1)[two],
            np.stack((on_b, c, on_c), 1)[two],
        )
    )
