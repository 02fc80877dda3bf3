"""Light of a scene: ambient light that varies with direction, a sun that casts shadows, fill lights; and shadows.

Light is linear while textures and images are gamma encoded; as the gamma is a power, a texture's colour times the
encoded light is the encoded product, so that no image is ever converted. Shadows come from one z-buffer as the sun sees
it; the floor is darkened where things meet it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.texture import look_up
from humanpose_cli.engine.rasterising import rasterise

__all__ = ["ContactShadow", "Light", "SceneLighting", "ShadowMap", "encoded", "irradiance", "sample_lighting"]

Array = NDArray[Any]

GAMMA = 2.2


@dataclass(frozen=True)
class Light:
    """A distant light: direction (3,) unit vector towards it, world axes; colour (3,) linear; wrap 0 (hard) … 1."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    wrap: float = 0.0


@dataclass(frozen=True)
class SceneLighting:
    """All light of a scene, world axes (y up); a white surface that faces the camera looks white at a gain of 1.

    ambient   (3,) linear colour; gradient (3, 3): what it gains along x, y, z of the normal, in columns of colours
    sun       the one light with shadows; penumbra radians: the angle under which it is seen
    fills     lights without shadows
    exposure  gain of everything
    """

    ambient: tuple[float, float, float]
    gradient: NDArray[np.float32]
    sun: Light
    penumbra: float
    fills: tuple[Light, ...] = ()
    exposure: float = 1.0


def _towards(azimuth: float, elevation: float) -> tuple[float, float, float]:
    flat = math.cos(elevation)
    return flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)


def _light_tint(random: np.random.Generator, warmth: float, spread: float) -> Array:
    """A colour of brightness one: warm for positive `warmth`, bluish for negative."""
    colour = np.array([1 + 0.35 * warmth, 1 + 0.05 * warmth, 1 - 0.45 * warmth]) * np.exp(random.normal(0, spread, 3))
    return colour / colour.mean()


def sample_lighting(random: np.random.Generator, towards_camera: float, *, indoor: bool) -> SceneLighting:
    """Random light: hard suns and overcast days outside, lamps and windows inside.

    towards_camera  azimuth (radians about y, from +z to +x) in which the camera stands, so that most light comes
                    from its side, and one image in six is taken against the light
    """
    against = random.random() < 0.16
    spread = 2.3 if not against else 0.7
    azimuth = towards_camera + (math.pi if against else 0.0) + random.uniform(-spread / 1.4, spread / 1.4)
    elevation = math.radians(random.uniform(20, 75) if indoor else random.uniform(12, 75))
    # How much of the light is directed: an overcast day or a bright room has hardly any shadow.
    directed = random.beta(1.6, 1.4) * (0.75 if indoor else 0.9)
    warmth = random.normal(0.25, 0.35) if indoor else random.normal(0.1, 0.15)
    sun = 1.9 * directed * _light_tint(random, warmth, 0.04)
    sky = (1 - 0.8 * directed) * _light_tint(random, random.normal(0.1, 0.25) if indoor else -0.35 * directed, 0.05)
    ambient = sky * random.uniform(0.65, 0.85)
    gradient = np.zeros((3, 3), np.float32)
    gradient[1] = ambient * random.uniform(0.1, 0.55)
    side = random.uniform(0, 2 * math.pi)
    sideways = ambient * random.uniform(0, 0.35) * _light_tint(random, 0.0, 0.15)
    gradient[0], gradient[2] = sideways * math.sin(side), sideways * math.cos(side)
    fills = []
    for _ in range(int(random.integers(0, 3))):
        strong = random.random() < 0.12  # coloured stage light
        colour = random.uniform(0.05, 0.35) * _light_tint(random, random.normal(0, 0.3), 0.7 if strong else 0.08)
        direction = _towards(random.uniform(0, 2 * math.pi), math.radians(random.uniform(-20, 60)))
        fills.append(Light(direction, _triple(colour), wrap=0.5))
    lighting = SceneLighting(
        ambient=_triple(ambient),
        gradient=gradient,
        sun=Light(_towards(azimuth, elevation), _triple(sun)),
        penumbra=random.uniform(0.01, 0.12) if not indoor else random.uniform(0.04, 0.25),
        fills=tuple(fills),
    )
    # Exposed for what faces the camera, off by up to about a stop.
    azimuths = towards_camera + np.repeat(np.linspace(-1.2, 1.2, 7), 3)
    elevations = np.tile([-0.5, 0.1, 0.7], 7)
    flat = np.cos(elevations)
    normals = np.stack((flat * np.sin(azimuths), np.sin(elevations), flat * np.cos(azimuths)), -1).astype(np.float32)
    mean = float(irradiance(normals, lighting).mean())
    return replace(lighting, exposure=float(np.exp2(np.clip(random.normal(0.0, 0.5), -1.6, 0.75))) / max(mean, 0.05))


def _triple(values: Array) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b


def irradiance(normals: Array, lighting: SceneLighting, sunlit: Array | float = 1.0) -> NDArray[np.float32]:
    """Light (N, 3) that surfaces with unit normals (N, 3) in world axes get; sunlit (N,) 0…1: how much of the sun."""
    normals = np.asarray(normals, np.float32)
    light = np.asarray(lighting.ambient, np.float32) + normals @ np.asarray(lighting.gradient, np.float32)
    np.maximum(light, 0.02, out=light)
    for lamp, share in ((lighting.sun, sunlit), *((fill, 1.0) for fill in lighting.fills)):
        facing = normals @ np.asarray(lamp.direction, np.float32)
        amount = np.maximum((facing + np.float32(lamp.wrap)) / np.float32(1 + lamp.wrap), 0) * share
        light += amount[:, None].astype(np.float32) * np.asarray(lamp.colour, np.float32)
    return np.asarray(light * np.float32(lighting.exposure), np.float32)


def encoded(light: Array) -> NDArray[np.float32]:
    """Linear light as the factor on gamma encoded colours."""
    flat = np.maximum(light, 0).astype(np.float32).reshape(-1, 1)
    return np.asarray(cv2.pow(flat, 1 / GAMMA), np.float32).reshape(np.shape(light))


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
        in_light = torch.stack([axis - value for axis, value in zip(along, shift.tolist(), strict=True)], -1)
        focal, middle = torch.tensor([self.focal]), torch.full((1, 2), side / 2)
        depth = rasterise(in_light[None], faces, focal, middle, (side, side)).depth[0].numpy()
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
        found = look_up(self._cover[1], x - half, y - half, cv2.BORDER_CONSTANT)
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
        return (look_up(wide, x / cell + shift, y / cell + shift, cv2.BORDER_CONSTANT) > 0) & (z > self.nearest)


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
        return look_up(self.grid, x, y, cv2.BORDER_CONSTANT)
