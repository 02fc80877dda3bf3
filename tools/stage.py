"""Bodies on a floor with a grid, drawn from any direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.shading import draw_people, render_people
from humanpose_cli.rendering.surfaces import Surface

_LENS = 2.4  # focal length in heights of the image
_ELEVATION = 8.0  # degrees above the horizon
_MARGIN = 1.08  # the image's extent in extents of the bodies
_GROUND = np.array((232, 235, 239), np.float32)
_LINE = np.array((186, 193, 201), np.float32)
_CELL = 0.5  # metres: cell of the grid
_SHADOW = 0.3  # share of light that a body takes from the floor


@dataclass(frozen=True)
class Stage:
    """A camera that looks at bodies in a world whose y axis points down and whose floor is y = 0.

    Attributes:
        target: (3,) float, metres. The point in the middle of the image.
        distance: The distance from there to the camera, metres.
        azimuth: Degrees. 0 looks along z as the photograph's camera does, 90 from the right of its image.
        elevation: Degrees above the horizon.
        size: The width and height, pixels.
    """

    target: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    size: tuple[int, int]

    @classmethod
    def around(cls, vertices: Tensor, size: tuple[int, int], azimuth: float) -> Stage:
        """Return the stage on which all vertices are in the image.

        Args:
            vertices: (..., 3) float, metres in world axes.
            size: The width and height, pixels.
            azimuth: Degrees.
        """
        points = vertices.reshape(-1, 3)
        target = (points.amin(0) + points.amax(0)) / 2
        stage = cls((float(target[0]), float(target[1]), float(target[2])), 1.0, azimuth, _ELEVATION, size)
        offset = (points - target) @ stage._world_to_camera().mT
        width, height = size
        # At distance d a point is in the image if focal · |x| / (d + z) is at most half of it.
        reach = offset[:, :2].abs() * _MARGIN * stage._camera.focal / (points.new_tensor((width, height)) / 2)
        return replace(stage, distance=float((reach - offset[:, 2:]).max()))

    def draw(self, surfaces: Sequence[Surface]) -> NDArray[np.uint8]:
        """Draw the image (H, W, 3) uint8 of surfaces in world axes."""
        floor = self._floor()
        flat = [replace(s, vertices=s.vertices * s.vertices.new_tensor((1, 0, 1))) for s in surfaces]
        shadow = render_people([self._in_camera(surface) for surface in flat], self._camera)[..., 3]
        shadow = np.asarray(cv2.GaussianBlur(np.float32(shadow / 255), (0, 0), self.size[1] / 90), np.float32)
        image = np.rint(floor * (1 - _SHADOW * shadow[..., None])).astype(np.uint8)
        draw_people(image, [self._in_camera(surface) for surface in surfaces], self._camera, supersampling=3)
        return image

    @property
    def _camera(self) -> Camera:
        return Camera.of_image(self.size, _LENS * self.size[1])

    def _world_to_camera(self) -> Tensor:
        """Return the rotation (3, 3) from world to camera axes."""
        turn, tilt = np.deg2rad((self.azimuth, self.elevation))
        about_y = torch.tensor([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        about_x = torch.tensor([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        return (about_x @ about_y).float()

    def _in_camera(self, surface: Surface) -> Surface:
        offset = (surface.vertices - surface.vertices.new_tensor(self.target)) @ self._world_to_camera().mT
        return replace(surface, vertices=offset + offset.new_tensor((0, 0, self.distance)))

    def _floor(self) -> NDArray[np.float32]:
        """Draw the grid (H, W, 3), 0…255, which fades towards the horizon."""
        camera = self._camera
        rotation = self._world_to_camera().numpy()
        width, height = self.size
        y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
        rays = np.dstack(((x - width / 2) / camera.focal, (y - height / 2) / camera.focal, np.ones_like(x))) @ rotation
        eye = np.asarray(self.target) - self.distance * rotation[2]
        # Rays that point down meet the floor.
        distance = np.where(rays[..., 1] > 1e-3, -eye[1] / np.maximum(rays[..., 1], 1e-3), np.inf)
        hit = np.where(np.isfinite(distance), distance, 0.0)
        line = np.zeros((height, width), np.float32)
        for axis in (0, 2):
            position = (eye[axis] + hit * rays[..., axis]) / _CELL
            step = np.hypot(*np.gradient(position)) + 1e-6  # cells a pixel
            to_line = np.abs(position - np.rint(position)) / step
            line = np.maximum(line, np.clip(1.3 - to_line, 0, 1) * np.clip(1 - 2 * step, 0, 1))
        fade = np.where(np.isfinite(distance), np.clip(2.2 - hit / self.distance, 0, 1), 0)
        return np.asarray(_GROUND + (_LINE - _GROUND) * (line * fade)[..., None], np.float32)
