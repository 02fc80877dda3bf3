"""Textured meshes of simple things: boxes, cylinders, balls, tables, plants, cards; metres, y up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Solid", "ball", "box", "card", "cylinder", "merged", "moved", "plant", "table"]

Array = NDArray[Any]
Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Solid:
    """vertices (V, 3) metres; faces (F, 3) int32, counter-clockwise seen from outside; uv (V, 2) metres of surface."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]


def merged(solids: Sequence[Solid]) -> Solid:
    """Several as one."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    return Solid(
        np.concatenate([solid.vertices for solid in solids]),
        np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=False)]).astype(np.int32),
        np.concatenate([solid.uv for solid in solids]),
    )


def moved(solid: Solid, place: Array, turn: float = 0.0, tilt: float = 0.0) -> Solid:
    """Tilted about z, turned about y (radians), and put to a place (3,)."""
    c, s, tc, ts = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[tc, -ts, 0], [ts, tc, 0], [0, 0, 1]])
    vertices = solid.vertices @ (about_y @ about_z).T + np.asarray(place)
    return Solid(vertices.astype(np.float32), solid.faces, solid.uv)


def _sheet(points: Array, uv: Array) -> Solid:
    """A grid of points (n, m, 3) as triangles whose front is seen where rows run up to down and columns rightwards."""
    n, m = points.shape[:2]
    index = np.arange(n * m).reshape(n, m)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))
    return Solid(points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), uv.reshape(-1, 2).astype(np.float32))


def _panel(corner: Array, right: Array, down: Array, cells: int = 6) -> Solid:
    s, t = np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    points = corner + s[..., None] * right + t[..., None] * down
    uv = np.stack((s * np.linalg.norm(right), t * np.linalg.norm(down)), -1)
    return _sheet(points, uv)


def box(size: Vector) -> Solid:
    """A box of width, height, depth, standing on the origin."""
    w, h, d = size
    x, y, z = np.array([w, 0, 0]), np.array([0, h, 0]), np.array([0, 0, d])
    low = np.array([-w / 2, 0, -d / 2])
    return merged(
        [
            _panel(low + z + y, x, -y),  # front, +z
            _panel(low + x + y, -x, -y),  # back
            _panel(low + x + z + y, -z, -y),  # +x
            _panel(low + y, z, -y),  # −x
            _panel(low + y, x, z),  # top
            _panel(low + z, x, -z, 1),  # bottom
        ]
    )


def cylinder(radius: float, height: float, *, top_radius: float | None = None, sides: int = 20) -> Solid:
    """An upright cylinder or cone frustum on the origin, closed above."""
    upper = radius if top_radius is None else top_radius
    angle = np.linspace(0, 2 * math.pi, sides + 1)
    rise = np.linspace(1, 0, 7)
    around = np.stack((np.sin(angle), np.zeros_like(angle), np.cos(angle)), -1)
    wide = upper + (radius - upper) * (1 - rise)
    points = wide[:, None, None] * around + (rise * height)[:, None, None] * np.array([0, 1.0, 0])
    uv = np.stack(np.broadcast_arrays(angle[None] * max(radius, 0.02), (1 - rise[:, None]) * height), -1)
    mantle = _sheet(points, uv)
    rim = points[0]
    lid = np.stack((np.broadcast_to([0, height, 0], rim.shape), rim))
    return merged([mantle, _sheet(lid, np.stack((lid[..., 0], lid[..., 2]), -1))])


def ball(radii: Vector, sides: int = 20) -> Solid:
    """An ellipsoid around the origin."""
    angle, polar = np.linspace(0, 2 * math.pi, sides + 1), np.linspace(0, math.pi, sides // 2 + 1)
    ring = np.sin(polar)[:, None]
    points = np.stack(
        np.broadcast_arrays(ring * np.sin(angle), np.cos(polar)[:, None], ring * np.cos(angle)), -1
    ) * np.asarray(radii)
    uv = np.stack(np.broadcast_arrays(angle[None] * radii[0], polar[:, None] * radii[1]), -1)
    return _sheet(points, uv)


def table(width: float, height: float, depth: float) -> Solid:
    """A board on four legs."""
    thick, leg = 0.04, 0.05
    board = moved(box((width, thick, depth)), np.array([0, height - thick, 0]))
    legs = [
        moved(box((leg, height - thick, leg)), np.array([sx * (width / 2 - leg), 0, sz * (depth / 2 - leg)]))
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
    return merged([board, *legs])


def card(outline: Array) -> Solid:
    """A flat thing in the x-y plane with an outline (n, 2) metres around the origin, seen from both sides."""
    rim = np.concatenate((outline, outline[:1]))
    flat = np.concatenate((rim, np.zeros((len(rim), 1))), 1)
    middle = np.zeros_like(flat)
    return _sheet(np.stack((middle, flat)), np.stack((middle[:, :2], rim)))


def plant(random: np.random.Generator, height: float, leaves: int = 40) -> Solid:
    """Leaves like blades that rise from the origin and bend outwards."""
    blades = []
    t = np.linspace(1, 0, 6)
    width = np.sqrt(np.maximum(t * (1 - t) * 4, 0.05))[:, None]
    for _ in range(leaves):
        azimuth, lean = random.uniform(0, 2 * math.pi), random.uniform(0.1, 1.1)
        length, wide = height * random.uniform(0.5, 1.0), height * random.uniform(0.015, 0.06)
        bend = lean * t**1.5
        out = np.array([math.sin(azimuth), 0, math.cos(azimuth)])
        side = np.array([out[2], 0, -out[0]])
        middle = (length * t * np.sin(bend))[:, None] * out + (length * t * np.cos(bend))[:, None] * np.array([0, 1, 0])
        half = wide * width * side
        points = np.stack((middle - half, middle + half), 1)
        shade = np.stack(np.broadcast_arrays(np.array([0.0, wide]), (t * length)[:, None]), -1) + random.random(2)
        blades.append(_sheet(points, shade))
    return merged(blades)
