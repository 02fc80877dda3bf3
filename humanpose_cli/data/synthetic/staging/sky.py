"""Skies and the haze that veils what is far away."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.staging.tiles import VARIANTS, tile

__all__ = ["haze", "sky_colours"]

Array = NDArray[Any]


def sky_colours(random: np.random.Generator) -> tuple[Array, Array]:
    """Colours (3,) of the sky at the horizon and overhead: clear, overcast, evening or night."""
    kind = random.random()
    if kind < 0.45:
        horizon, zenith = np.array([205, 218, 232]), np.array([95, 145, 215])
    elif kind < 0.8:
        grey = random.uniform(150, 245)
        horizon, zenith = np.array([grey, grey, grey + 4]), np.array([grey - 25, grey - 22, grey - 12])
    elif kind < 0.93:
        horizon, zenith = np.array([250, 190, 140]), np.array([110, 120, 175])
    else:
        horizon, zenith = np.array([60, 60, 80]), np.array([18, 20, 36])
    shift = random.normal(0, 10, 3)
    return np.asarray(horizon + shift, np.float32), np.asarray(zenith + shift, np.float32)


def haze(
    random: np.random.Generator,
    image: Array,
    depth: Array,
    sky: NDArray[np.bool_],
    rays: Array,
    horizon: Array,
    zenith: Array,
) -> Array:
    """The picture with its sky filled in and distant things faded towards the horizon's colour.

    image (H, W, 3), depth (H, W) metres, sky (H, W), rays (3, H, W) in world axes
    """
    reach = np.float32(random.uniform(60, 500))
    veil = (1 - np.exp(-np.minimum(depth, np.float32(1e4)) / reach)) * np.float32(random.uniform(0.4, 1.0))
    kept = cv2.merge([1 - veil] * 3)
    result = cv2.add(cv2.multiply(image, kept), cv2.merge([veil * value for value in horizon]))
    if sky.any():
        x, y, z = rays[:, sky]
        elevation = np.clip(y / np.hypot(x, z), 0, 4)
        colour = horizon + (zenith - horizon) * (1 - np.exp(-2.2 * elevation))[:, None]
        clouds = tile("plaster", int(random.integers(VARIANTS)))[..., 0].astype(np.float32)
        clouds = (clouds - clouds.mean()) / max(float(clouds.std()), 1e-3)
        # Clouds lie on a ceiling, so they crowd towards the horizon.
        far = 40 / np.maximum(elevation, 0.06)
        azimuth = np.arctan2(x, z)
        column = (far * np.sin(azimuth) + 128).astype(np.int64) % 256
        row = (far * np.cos(azimuth) + 128).astype(np.int64) % 256
        amount = np.clip(random.normal(0.3, 0.5) + 0.45 * clouds[row, column], 0, 1)
        amount = amount * np.minimum(elevation * 5, 1) * random.uniform(0, 1)
        white = np.minimum(horizon + 40, 252)
        result[sky] = colour + amount[:, None].astype(np.float32) * (white - colour)
    return np.asarray(result, np.float32)
