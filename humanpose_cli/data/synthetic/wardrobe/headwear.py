"""Caps, beanies, hats, hoods and head scarves: shells over hair and scalp, with brims."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.coordinates import Coordinates
from humanpose_cli.data.synthetic.wardrobe.lofts import Grid, revolve
from humanpose_cli.data.synthetic.wardrobe.outfit import Headwear
from humanpose_cli.data.synthetic.wardrobe.scalp import rigid_head
from humanpose_cli.data.synthetic.wardrobe.shells import ramp

__all__ = ["brim_grid", "headwear_field", "headwear_thickness"]

Array = NDArray[Any]

_WRAPPED = ("hood", "scarf")


def headwear_field(wear: Headwear, at: Coordinates) -> Array:
    """(n,) metres inside the edge of what is worn on the head."""
    if wear.kind in _WRAPPED:
        # All but the face: an oval opening in front.
        face = np.hypot(at.x / 0.062, (at.y - 0.662) / 0.086) - 1
        face = np.where(at.z > 0.015, face * 0.07, np.float32(0.3))
        low = at.y - np.float32(0.545 if wear.kind == "hood" else 0.53) - 0.25 * np.maximum(at.z, 0)
        return np.minimum(face, low).astype(np.float32)
    front, slope = {"beanie": (0.722, 0.26), "brim": (0.735, 0.16)}.get(wear.kind, (0.728, 0.16))
    if wear.kind == "backward cap":
        front, slope = 0.735, 0.1
    return (at.y - np.float32(front) + np.float32(slope) * (np.float32(0.13) - at.z)).astype(np.float32)


def headwear_thickness(wear: Headwear, at: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """(n,) metres that it stands off the head."""
    base, top = {
        "beanie": (0.012, random.uniform(0.0, 0.03)),
        "brim": (0.014, random.uniform(0.01, 0.03)),
        "hood": (0.02, 0.012),
        "scarf": (0.009, 0.004),
    }.get(wear.kind, (0.012, random.uniform(0.008, 0.02)))
    waves = np.zeros_like(at.x)
    for _ in range(2):
        kx, ky, kz = random.uniform(-90, 90, 3).tolist()
        waves += np.sin(kx * at.x + ky * at.y + kz * at.z + random.uniform(0, 6.3))
    rough = 0.0015 if wear.kind not in _WRAPPED else 0.003
    result = base + top * ramp(at.y, 0.73, 0.785) + rough * waves
    if wear.kind == "beanie":
        result = result + 0.005 * ramp(-field, -0.045, -0.04)
    return result.astype(np.float32)


def brim_grid(wear: Headwear, random: np.random.Generator) -> Grid | None:
    """The peak of a cap or the brim of a hat."""
    if wear.kind not in ("cap", "backward cap", "brim"):
        return None
    columns = 24 if wear.kind == "brim" else 15
    width = random.uniform(0.045, 0.1) if wear.kind == "brim" else random.uniform(0.06, 0.08)
    drop = random.uniform(-0.2, 0.5)
    closed = wear.kind == "brim"
    half = math.pi if closed else 1.05
    angles = np.arange(columns) * (2 * math.pi / columns) if closed else np.linspace(-half, half, columns)
    share = np.ones(columns) if closed else np.sqrt(np.clip(1 - (angles / half) ** 2, 0, 1))
    turn = math.pi if wear.kind == "backward cap" else 0.0
    half_width, half_depth, middle = 0.085, 0.105, 0.042
    inner = 1 / np.hypot(np.sin(angles) / half_width, np.cos(angles) / half_depth)
    steps = np.array([0.0, 0.5, 1.0, 1.0, 0.0])
    lower = np.array([0.0, 0.0, 0.0, 0.004, 0.004])  # the brim's thickness: upper face, then lower face
    radius = inner + steps[:, None] * share * width
    # The head's edge line: as of `headwear_field`, lower at the back.
    facing = np.cos(angles + turn)
    level = 0.732 - 0.16 * (0.13 - (middle + radius * facing)) * (not closed) - 0.02 * closed
    y = level - drop * steps[:, None] * share * width - lower[:, None]
    points = revolve(np.tile([0.0, middle], (len(steps), 1)), radius, y, angles + turn)
    return Grid(points, closed, "head", np.tile(rigid_head(), (points.shape[0] * columns, 1)))
