"""What a camera that turns, zooms or walks sees in a textured room: parallax with exact truth."""

from __future__ import annotations

import cv2
import numpy as np

SIZE, FOCAL = (640, 480), 700.0


def blobs() -> np.ndarray:
    """A large image of blobs, four times the camera's."""
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (110, 150, 3), dtype=np.uint8)
    return cv2.resize(small, (1920, 1440), interpolation=cv2.INTER_CUBIC)


def room(
    texture: np.ndarray, centre: tuple[float, float, float], rotation: np.ndarray | None = None, zoom: float = 1.0
) -> np.ndarray:
    """Return the image of a camera at `centre`, which looks along z without `rotation`.

    The room has a wall at 6 m, a floor 1.5 m below the camera, two walls at 3 m, and a pillar at 3.5 m on each side.
    """
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5 - SIZE[0] / 2, np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2)
    rays = np.stack((x / FOCAL / zoom, y / FOCAL / zoom, np.ones_like(x)), -1)
    rays = rays if rotation is None else rays @ rotation
    image, nearest = np.zeros((SIZE[1], SIZE[0], 3), np.uint8), np.full(x.shape, np.inf)
    everywhere = (-np.inf, np.inf)
    walls = [(1, 1.5, everywhere), (2, 6.0, everywhere), (0, -3.0, everywhere), (0, 3.0, everywhere)]
    for axis, coordinate, extent in [*walls, (2, 3.5, (-1.4, -0.8)), (2, 3.5, (0.8, 1.4))]:
        depth = (coordinate - centre[axis]) / np.where(rays[..., axis] == 0, 1e-9, rays[..., axis])
        points = np.asarray(centre) + depth[..., None] * rays
        u, v = (np.asarray(100 * points[..., other] + 700, np.float32) for other in range(3) if other != axis)
        nearer = (depth > 0) & (depth < nearest) & (points[..., 0] >= extent[0]) & (points[..., 0] <= extent[1])
        image[nearer] = cv2.remap(texture, u % 1900, v % 1400, cv2.INTER_LINEAR)[nearer]
        nearest = np.where(nearer, depth, nearest)
    return image
