"""Shadows: what the sun does not see, from one z-buffer seen from the sun, and the dark where things meet the floor."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.engine.rasterising import rasterise

__all__ = ["ContactShadow", "ShadowMap"]

Array = NDArray[Any]

DISTANCE = 400.0  # metres from which the sun looks: its rays then are parallel to a third of a degree
_BIAS = 0.022  # metres that a surface may lie behind what the sun sees before it is in the shadow
_TAPS = 6


class ShadowMap:
    """The z-buffer of some meshes as the sun sees them.

    vertices   (V, 3) metres and faces (F, 3) of everything that casts shadows, any axes
    direction  (3,) unit vector towards the sun, same axes
    penumbra   radians: the sun's size, which softens edges in proportion to the distance that shadows fall
    """

    def __init__(
        self, vertices: torch.Tensor, faces: torch.Tensor, direction: Array, penumbra: float, *, side: int = 256
    ) -> None:
        towards = np.asarray(direction, np.float64) / np.linalg.norm(direction)
        helper = np.array([1.0, 0, 0]) if abs(towards[0]) < 0.7 else np.array([0, 0, 1.0])
        right = np.cross(helper, towards)
        right /= np.linalg.norm(right)
        # Rows: the sun's camera axes; it looks along −towards.
        self.axes = np.stack((right, np.cross(-towards, right), -towards)).astype(np.float32)
        axes = torch.from_numpy(self.axes)
        along = [vertices[:, 0] * x + vertices[:, 1] * y + vertices[:, 2] * z for x, y, z in axes.tolist()]
        low, high = (
            np.array([float(value) for value in ends]) for ends in zip(*map(torch.aminmax, along), strict=True)
        )
        self.centre = ((low + high) / 2).astype(np.float32)
        half = float((high - low)[:2].max()) / 2 * 1.02 + 0.05
        self.side, self.penumbra = side, penumbra
        self.metres = 2 * half / side  # of a texel
        self.focal = DISTANCE * side / (2 * half)
        shift = self.centre - np.array([0, 0, DISTANCE], np.float32)
        seen = torch.stack([axis - value for axis, value in zip(along, shift.tolist(), strict=True)], -1)
        focal, middle = torch.tensor([self.focal]), torch.full((1, 2), side / 2)
        depth = rasterise(seen[None], faces, focal, middle, (side, side)).depth[0].numpy()
        self.depth = np.where(np.isfinite(depth), depth, np.float32(2 * DISTANCE))
        self.nearest = float(depth.min())
        self._cover: tuple[float, Array] | None = None

    def _texels(self, points: Array) -> tuple[Array, Array, Array]:
        """Points (N, 3) → x, y in texels (a texel's centre at +0.5) and depth from the sun."""
        x, y, z = (points @ self.axes.T - self.centre).T
        z = z + np.float32(DISTANCE)
        scale = np.float32(self.focal) / z
        half = np.float32(self.side / 2)
        return x * scale + half, y * scale + half, z

    def sunlit(self, points: Array, normals: Array) -> Array:
        """How much of the sun points (N, 3) of the casting meshes themselves get: 0…1.

        normals  (N, 3) unit vectors: points are looked up a little off their surface, so that it does not shade itself
        """
        spread = np.float32(max(0.012, 0.25 * self.penumbra) / self.metres)
        lifted = points + np.float32(0.012) * normals
        x, y, z = self._texels(lifted)
        flat, limit = self.depth.ravel(), np.float32(self.side - 1)
        lit = np.zeros(len(points), np.float32)
        for tap in range(_TAPS):
            angle, radius = tap * 2.39996, spread * ((tap + 0.5) / _TAPS) ** 0.5
            column = np.clip(x + np.float32(radius * np.cos(angle)), 0, limit).astype(np.int32)
            row = np.clip(y + np.float32(radius * np.sin(angle)), 0, limit).astype(np.int32)
            lit += flat[row * self.side + column] >= z - np.float32(_BIAS)
        return lit / np.float32(_TAPS)

    def cover(self, points: Array, fall: float) -> Array:
        """How much of the sun is hidden from points (N, 3) that cast no shadow themselves, such as a floor's: 0…1.

        fall  metres that the shadow falls on the way there, which softens it
        """
        sigma = max(0.6, 0.5 * self.penumbra * fall / self.metres)
        if self._cover is None or self._cover[0] != sigma:
            mask = (self.depth < DISTANCE * 1.5).astype(np.float32)
            self._cover = sigma, np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
        x, y, z = self._texels(points)
        half = np.float32(0.5)
        found = _look_up(self._cover[1], x - half, y - half)
        return found * (z > self.nearest)

    def near(self, points: Array, within: float) -> NDArray[np.bool_]:
        """Whether points (N, 3) may lie within so many metres of a shadow."""
        cell = max(1, int(within / self.metres / 3))  # texels
        hit = (self.depth < DISTANCE * 1.5).astype(np.float32)
        count = -(-self.side // cell)
        padded = np.zeros((count * cell, count * cell), np.float32)
        padded[: self.side, : self.side] = hit
        cells = padded.reshape(count, cell, count, cell).max((1, 3))
        reach = int(np.ceil(within / (self.metres * cell))) + 1
        border = cv2.copyMakeBorder(cells, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
        wide = np.asarray(cv2.dilate(border, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
        x, y, z = self._texels(points)
        shift = np.float32(reach - 0.5)
        return (_look_up(wide, x / cell + shift, y / cell + shift) > 0) & (z > self.nearest)


def _look_up(image: Array, x: Array, y: Array) -> Array:
    """Bilinear values (N,) of a picture at texel numbers (N,); zero outside."""
    count = len(x)
    columns = 1024
    rows = -(-max(count, 1) // columns)
    padding = (0, rows * columns - count)
    grid_x, grid_y = (np.pad(values.astype(np.float32), padding).reshape(rows, columns) for values in (x, y))
    found = cv2.remap(image, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(found, np.float32).ravel()[:count]


class ContactShadow:
    """Darkness on the floor under and around whatever is near it.

    points  (N, 3) metres, world axes, y above the floor
    """

    CELL, REACH, SIDE = 0.03, 0.30, 128  # metres, metres, cells

    def __init__(self, points: Array) -> None:
        low = points[points[:, 1] < self.REACH]
        self.empty = len(low) == 0
        if self.empty:
            return
        centre = (low[:, [0, 2]].min(0) + low[:, [0, 2]].max(0)) / 2
        self.corner = centre - self.CELL * self.SIDE / 2
        cells = np.clip(((low[:, [0, 2]] - self.corner) / self.CELL).astype(np.int64), 0, self.SIDE - 1)
        weight = np.clip(1 - low[:, 1] / self.REACH, 0, 1)
        grid: Array = np.zeros(self.SIDE * self.SIDE, np.float32)
        np.maximum.at(grid, cells[:, 1] * self.SIDE + cells[:, 0], weight.astype(np.float32))
        grid = grid.reshape(self.SIDE, self.SIDE)
        widened = cv2.dilate(grid, np.ones((3, 3), np.uint8))
        self.grid = np.asarray(cv2.GaussianBlur(widened, (0, 0), 2.2), np.float32)

    def darkness(self, points: Array) -> Array:
        """How much ambient light is kept from points (N, 3) of the floor: 0…1."""
        if self.empty:
            return np.zeros(len(points), np.float32)
        x, y = ((points[:, k] - c) / self.CELL - 0.5 for k, c in ((0, self.corner[0]), (2, self.corner[1])))
        return _look_up(self.grid, x, y)
