"""The ground under people before a camera that walks: a plane of the background that their feet reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TRIPLES, _CHUNK = 2000, 100  # planes through three points that are tried, and those tried at once
_MAX_TILT = np.radians(20)  # of the ground about the people's up
_THICKNESS = 0.01  # of the points' median distance: a point nearer to a plane is on it
_MIN_POINTS = 25
_MAX_SPREAD = 0.03  # of the frames' scales under a plane that feet reach, median relative distance from their median
_SOLE = 0.02  # metres from the joint of the toes to the ground
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class WalkGround:
    """The plane up · x + height = 0 of the background, in the path's unit, and the metres for that unit under which the
    lower feet reach it.
    """

    up: Array
    height: float
    metres: float


def find_walk_ground(points: Array, centres: Array, toes: Array, up: Array) -> WalkGround | None:
    """Find the plane with most points among those that the people's lower feet reach; None without one.

    points   (P, 3) of the background, in the path's unit
    centres  (N, 3) of the camera in N rows, in that unit
    toes     (N, 2, 3) metres from the camera, in the world's axes
    up       (3,) about which the plane is level, ±20°
    """
    if len(points) < _MIN_POINTS or not len(toes):
        return None
    distance = np.median(np.linalg.norm(points - centres.mean(0), axis=1))
    normals, heights = _planes(points, up)
    parts = [slice(start, start + _CHUNK) for start in range(0, len(normals), _CHUNK)]
    thickness = _THICKNESS * distance
    on_plane = [(np.abs(normals[part] @ points.T + heights[part, None]) < thickness).sum(1) for part in parts]
    counts = np.concatenate(on_plane) if on_plane else np.zeros(0, int)
    for candidate in np.argsort(-counts, kind="stable"):
        if counts[candidate] < _MIN_POINTS:
            return None
        normal, height = normals[candidate], float(heights[candidate])
        scales = _scales(normal, height, centres, toes)
        if scales is None or _spread(scales) > _MAX_SPREAD:
            continue
        normal, height = _refined(points, normal, height, thickness)
        scales = _scales(normal, height, centres, toes)
        if scales is not None and _spread(scales) <= _MAX_SPREAD:
            return WalkGround(normal, height, float(np.median(scales)))
    return None


def _planes(points: Array, up: Array) -> tuple[Array, Array]:
    """Draw planes through three points, normals (K, 3) and heights (K,), that are level enough."""
    triples = points[np.random.default_rng(0).integers(0, len(points), (_TRIPLES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    usable = length > 1e-12
    normals, triples = normals[usable] / length[usable, None], triples[usable]
    normals *= np.where(normals @ up < 0, -1.0, 1.0)[:, None]
    level = normals @ up > np.cos(_MAX_TILT)
    normals = normals[level]
    return normals, -(normals * triples[level, 0]).sum(1)


def _scales(normal: Array, height: float, centres: Array, toes: Array) -> Array | None:
    """Compute the metres for the unit (N,) under which the lower foot is on the plane; None if a camera is below it."""
    above = centres @ normal + height
    if above.min() <= 0:
        return None
    descent = _SOLE - (toes @ normal).min(1)
    return np.asarray(descent / above)


def _spread(scales: Array) -> float:
    middle = float(np.median(scales))
    return float(np.median(np.abs(scales - middle))) / middle if middle > 0 else np.inf


def _refined(points: Array, normal: Array, height: float, thickness: float) -> tuple[Array, float]:
    """Fit the plane to the points on it."""
    for _ in range(_ROUNDS):
        near = points[np.abs(points @ normal + height) < thickness]
        middle = near.mean(0)
        axis = np.linalg.svd(near - middle)[2][2]
        normal = axis * np.sign(axis @ normal)
        height = -float(normal @ middle)
    return normal, height
