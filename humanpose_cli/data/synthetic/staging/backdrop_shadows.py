"""Shadows that people and things throw on floors and walls of the background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.staging.backgrounds import Backdrop
from humanpose_cli.data.synthetic.staging.cameras import Camera
from humanpose_cli.data.synthetic.staging.lighting import Lighting, encoded, irradiance
from humanpose_cli.data.synthetic.staging.shadows import ContactShadow, ShadowMap

__all__ = ["shade_backdrop"]

Array = NDArray[Any]

_FARTHEST = 60.0  # metres from the lens
_COARSE = 4  # pixels of the grid on which shadows on walls are looked for
_NEAR, _MARGIN = 0.1, 0.3  # metres
_FALL = 0.8  # metres that light passes between a person and the floor, for the softness of edges
_CONTACT = 0.6  # of the light that is kept away under what touches the floor
_WALLS = 0.7  # share of the sun's shadow on walls, which also get light from the floor


def shade_backdrop(
    image: Array, backdrop: Backdrop, camera: Camera, lighting: Lighting, shadow: ShadowMap, casting: Array
) -> None:
    """Darken a background's picture (H, W, 3) in place where the sun or the open sky does not reach it.

    shadow   in camera axes; casting (V, 3) the vertices that cast shadows, camera axes
    """
    ground = np.where(backdrop.depth < _FARTHEST, backdrop.surface, 0)
    if not ground.any():
        return
    world = (casting[::3] - camera.translation) @ camera.rotation
    contact = ContactShadow(world)
    mask = ground == 1
    mask &= _floor_window(world, np.asarray(lighting.sun.direction), camera)
    mask |= _shadowed_walls(ground == 2, backdrop.depth, camera, shadow)
    rows = np.flatnonzero(mask)
    if not len(rows):
        return
    points = _points(rows, backdrop.depth, camera)
    up = np.array([[0, 1, 0]], np.float32)
    kept = encoded(irradiance(up, lighting, 0.0)[0] / irradiance(up, lighting)[0])
    floor = backdrop.surface.ravel()[rows] == 1
    cover = shadow.cover(points, _FALL) * np.where(floor, np.float32(1), np.float32(_WALLS))
    factor = 1 - cover[:, None] * (1 - kept)
    below = np.flatnonzero(floor)
    places = (points[below] - camera.translation) @ camera.rotation
    factor[below] *= 1 - np.float32(_CONTACT) * contact.darkness(places)[:, None]
    image.reshape(-1, 3)[rows] *= factor


def _floor_window(world: Array, sun: Array, camera: Camera) -> NDArray[np.bool_]:
    """The rectangle (H, W) of the picture in which the floor's shadow of points (N, 3) in world axes lies."""
    height, width = camera.view.size
    window = np.zeros((height, width), bool)
    some = world[::8]
    fallen = some - np.maximum(some[:, 1:2], 0) / max(float(sun[1]), 0.05) * sun
    points = camera.to_camera(np.concatenate((fallen, some * [1, 0, 1])))
    if points[:, 2].min() < _NEAR:
        window[:] = True  # the shadow reaches the lens: it may be anywhere
        return window
    pixels = points[:, :2] / points[:, 2:] * camera.view.focal + np.asarray(camera.view.principal_point)
    margin = _MARGIN * camera.view.focal / points[:, 2].min()
    low, high = np.floor(pixels.min(0) - margin), np.ceil(pixels.max(0) + margin)
    (left, top), (right, bottom) = (np.clip(end, 0, (width, height)).astype(int) for end in (low, high))
    window[top:bottom, left:right] = True
    return window


def _shadowed_walls(wall: NDArray[np.bool_], depth: Array, camera: Camera, shadow: ShadowMap) -> NDArray[np.bool_]:
    """Walls (H, W) in whose neighbourhood a coarse grid of pixels finds a shadow."""
    height, width = depth.shape
    y, x = np.meshgrid(np.arange(0, height, _COARSE), np.arange(0, width, _COARSE), indexing="ij")
    numbers = (y * width + x).ravel()
    use = wall.ravel()[numbers]
    points = _points(numbers[use], depth, camera)
    if not len(points):
        return wall
    dark = np.zeros(len(numbers), np.uint8)
    dark[use] = shadow.near(points, _COARSE * float(np.median(points[:, 2])) / camera.view.focal)
    grid = cv2.dilate(dark.reshape(y.shape), np.ones((3, 3), np.uint8))
    full = cv2.resize(grid, (grid.shape[1] * _COARSE, grid.shape[0] * _COARSE), interpolation=cv2.INTER_NEAREST)
    return (full[:height, :width] > 0) & wall


def _points(pixels: NDArray[np.int64], depth: Array, camera: Camera) -> Array:
    """Points (N, 3) float32 in camera axes of a background at some pixels."""
    y, x = np.divmod(pixels, depth.shape[1])
    z = depth.ravel()[pixels].astype(np.float32)
    cx, cy = camera.view.principal_point
    scale = z / np.float32(camera.view.focal)
    return np.stack(((x + np.float32(0.5 - cx)) * scale, (y + np.float32(0.5 - cy)) * scale, z), 1).astype(np.float32)
