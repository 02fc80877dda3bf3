"""Light of a scene: ambient light that varies with direction, a sun that casts shadows, fill lights.

Light is linear while textures and pictures are gamma encoded; as the gamma is a power, a texture's colour times the
encoded light is the encoded product, so that no picture is ever converted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Light", "Lighting", "encoded", "irradiance", "sample_lighting"]

Array = NDArray[Any]
GAMMA = 2.2


@dataclass(frozen=True)
class Light:
    """A distant light: direction (3,) unit vector towards it, world axes; colour (3,) linear; wrap 0 (hard) … 1."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    wrap: float = 0.0


@dataclass(frozen=True)
class Lighting:
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


def _tint(random: np.random.Generator, warmth: float, spread: float) -> Array:
    """A colour of brightness one: warm for positive `warmth`, bluish for negative."""
    colour = np.array([1 + 0.35 * warmth, 1 + 0.05 * warmth, 1 - 0.45 * warmth]) * np.exp(random.normal(0, spread, 3))
    return colour / colour.mean()


def sample_lighting(random: np.random.Generator, towards_camera: float, *, indoor: bool) -> Lighting:
    """Random light: hard suns and overcast days outside, lamps and windows inside.

    towards_camera  azimuth (radians about y, from +z to +x) in which the camera stands, so that most light comes
                    from its side, and one picture in six is taken against the light
    """
    against = random.random() < 0.16
    spread = 2.3 if not against else 0.7
    azimuth = towards_camera + (math.pi if against else 0.0) + random.uniform(-spread / 1.4, spread / 1.4)
    elevation = math.radians(random.uniform(20, 75) if indoor else random.uniform(12, 75))
    # How much of the light is directed: an overcast day or a bright room has hardly any shadow.
    directed = random.beta(1.6, 1.4) * (0.75 if indoor else 0.9)
    warmth = random.normal(0.25, 0.35) if indoor else random.normal(0.1, 0.15)
    sun = 1.9 * directed * _tint(random, warmth, 0.04)
    sky = (1 - 0.8 * directed) * _tint(random, random.normal(0.1, 0.25) if indoor else -0.35 * directed, 0.05)
    ambient = sky * random.uniform(0.65, 0.85)
    gradient = np.zeros((3, 3), np.float32)
    gradient[1] = ambient * random.uniform(0.1, 0.55)
    side = random.uniform(0, 2 * math.pi)
    sideways = ambient * random.uniform(0, 0.35) * _tint(random, 0.0, 0.15)
    gradient[0], gradient[2] = sideways * math.sin(side), sideways * math.cos(side)
    fills = []
    for _ in range(int(random.integers(0, 3))):
        strong = random.random() < 0.12  # coloured stage light
        colour = random.uniform(0.05, 0.35) * _tint(random, random.normal(0, 0.3), 0.7 if strong else 0.08)
        direction = _towards(random.uniform(0, 2 * math.pi), math.radians(random.uniform(-20, 60)))
        fills.append(Light(direction, _triple(colour), wrap=0.5))
    lighting = Lighting(
        ambient=_triple(ambient),
        gradient=gradient,
        sun=Light(_towards(azimuth, elevation), _triple(sun)),
        penumbra=random.uniform(0.01, 0.12) if not indoor else random.uniform(0.04, 0.25),
        fills=tuple(fills),
    )
    return _exposed(lighting, towards_camera, random)


def _triple(values: Array) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b


def _exposed(lighting: Lighting, towards_camera: float, random: np.random.Generator) -> Lighting:
    """Exposure by what faces the camera, off by up to about a stop."""
    azimuth = towards_camera + np.repeat(np.linspace(-1.2, 1.2, 7), 3)
    elevation = np.tile([-0.5, 0.1, 0.7], 7)
    normals = np.stack(
        (np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)), -1
    ).astype(np.float32)
    mean = float(irradiance(normals, lighting).mean())
    exposure = float(np.exp2(np.clip(random.normal(0.0, 0.5), -1.6, 0.75))) / max(mean, 0.05)
    return Lighting(lighting.ambient, lighting.gradient, lighting.sun, lighting.penumbra, lighting.fills, exposure)


def irradiance(normals: Array, lighting: Lighting, sunlit: Array | float = 1.0) -> NDArray[np.float32]:
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
