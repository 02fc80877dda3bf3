"""Garments that follow the body: which part of the cloth surface they take, and how far they stand off it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.coordinates import Coordinates
from humanpose_cli.data.synthetic.wardrobe.outfit import Bottom, Top

__all__ = ["bottom_field", "bottom_thickness", "folds", "hem_flare", "ramp", "top_field", "top_thickness"]

Array = NDArray[Any]

_EVERYWHERE = np.float32(0.3)
# Height of the armpits, and the distance from the middle where armholes of sleeveless tops run above them.
_ARMPIT, _ARMHOLE = 0.36, 0.128


def ramp(values: Array, low: float, high: float) -> Array:
    """0 at low, 1 at high, smooth between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def top_field(top: Top, at: Coordinates) -> Array:
    """(n,) metres to the garment's nearest edge, positive inside it."""
    if top.sleeve > 0:
        sleeve = np.where(at.is_arm, np.float32(top.sleeve) - at.arm, _EVERYWHERE)
    else:
        hole = np.float32(_ARMHOLE) - np.float32(0.02) * (top.neckline == "strap") - np.abs(at.x)
        hole = np.where(at.y < _ARMPIT, hole + (np.float32(_ARMPIT) - at.y) * 2, hole)
        sleeve = np.where(at.is_arm, np.float32(-0.05) - at.arm * 0.1, hole)
    field = np.minimum(sleeve, np.where(at.is_arm, _EVERYWHERE, at.y - np.float32(top.hem)))
    field = np.minimum(field, np.where(at.is_arm, _EVERYWHERE, _neck_field(top, at)))
    if top.opening > 0:
        # An open front widens from the collar down.
        half = np.float32(top.opening) * (np.float32(0.25) + ramp(-at.y, -0.46, -0.1) * np.float32(0.75))
        field = np.minimum(field, np.where(at.is_arm | (at.z < 0.0), _EVERYWHERE, np.abs(at.x) - half))
    return field.astype(np.float32)


def _neck_field(top: Top, at: Coordinates) -> Array:
    """Below a plane that slopes down to the front, less what the neckline cuts out."""
    height = 0.572 if top.neckline == "turtle" else 0.524
    slope = 0.15 if top.neckline == "turtle" else 0.32
    field = np.float32(height) - np.float32(slope) * at.z - at.y
    deep = np.float32(top.depth)
    front = np.where(at.z > 0.005, np.float32(0), _EVERYWHERE)
    if top.neckline in ("scoop", "strap"):
        width = 0.075 + 0.03 * deep
        bowl = np.hypot(at.x / width, np.minimum(at.y - 0.53, 0) / (0.05 + 0.09 * deep)) - 1
        field = np.minimum(field, bowl * 0.07 + front)
    elif top.neckline == "v":
        point = 0.46 - 0.14 * deep
        field = np.minimum(field, np.abs(at.x) * 0.8 + (point - at.y) * 0.45 + front)
    elif top.neckline == "boat":
        bowl = np.hypot(at.x / 0.105, np.minimum(at.y - 0.525, 0) / 0.035) - 1
        field = np.minimum(field, bowl * 0.05 + front)
    if top.neckline == "strap":
        # The back is cut out, too.
        bowl = np.hypot(at.x / 0.07, np.minimum(at.y - 0.53, 0) / 0.1) - 1
        field = np.minimum(field, bowl * 0.06 + np.where(at.z < 0.005, np.float32(0), _EVERYWHERE))
    return field


def bottom_field(bottom: Bottom, at: Coordinates) -> Array:
    """(n,) metres to the edge of trousers and the like, positive inside."""
    hem = np.float32(bottom.hem) - at.leg
    if bottom.hem < 0.1:
        # Briefs are cut along the groin instead of across the thigh.
        hem = np.float32(bottom.hem + 0.07) - at.leg - np.maximum(np.abs(at.x) - 0.03, 0) * 0.75
    field = np.minimum(hem, np.float32(bottom.waist) - at.y)
    return np.where(at.is_arm, -_EVERYWHERE, field).astype(np.float32)


def top_thickness(top: Top, at: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """(n,) metres that the garment stands off the body; field as of `top_field`."""
    below_chest = ramp(-at.y, -0.38, -0.1)
    trunk = np.float32(0.3) + np.float32(0.7) * below_chest
    sleeve = np.float32(0.35) + np.float32(0.3) * ramp(at.arm, 0.0, max(0.6 * top.sleeve, 0.1))
    loose = np.float32(top.looseness) * np.where(at.is_arm, sleeve, trunk)
    if top.cuffs:
        loose = loose * ramp(field, 0.0, 0.07)
    result = np.float32(top.thickness) + loose + folds(at, 0.15 * top.looseness + 0.0015, random)
    if not top.cuffs:
        result = result + hem_flare(field, 0.004 + 0.08 * top.looseness)
    neck = np.hypot(at.x, at.z + 0.01)
    if top.collar:
        near = ramp(-field, -0.045, -0.03) * ramp(at.y, 0.40, 0.47) * (neck < 0.16)
        result = result + np.float32(0.008) * near
    if top.hood:
        behind = np.exp(-(((at.x / 0.085) ** 2) + ((at.y - 0.475) / 0.06) ** 2)) * (at.z < 0.02)
        result = result + np.float32(0.05) * behind.astype(np.float32)
    return np.maximum(result, np.float32(0.002)).astype(np.float32)


def bottom_thickness(bottom: Bottom, at: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """(n,) metres that trousers stand off the body."""
    # Cloth falls straight from the thigh, so that it is widest where the leg is thin.
    loose = np.float32(bottom.looseness) * (np.float32(0.25) + np.float32(0.75) * ramp(at.leg, 0.0, 0.75))
    if bottom.cuffs:
        loose = loose * ramp(field, 0.0, 0.08)
    result = np.float32(bottom.thickness) + loose
    if bottom.thickness > 0.004:
        result = result + folds(at, 0.12 * bottom.looseness + 0.0012, random) + hem_flare(field, 0.003)
    return np.maximum(result, np.float32(0.0015)).astype(np.float32)


def hem_flare(field: Array, amount: float) -> Array:
    """Metres that an edge stands off more than the rest."""
    return np.float32(amount) * np.exp(-np.maximum(field, 0) / np.float32(0.03))


def folds(at: Coordinates, depth: float, random: np.random.Generator) -> Array:
    """(n,) metres: a few slow waves over the cloth, of that depth."""
    total = np.zeros_like(at.x)
    for _ in range(3):
        along, across = random.uniform(8, 45), random.uniform(-40, 40)
        phase = random.uniform(0, 6.3)
        total = total + np.sin(np.float32(along) * at.along + np.float32(across) * at.across + np.float32(phase))
    return np.float32(depth * 0.6) * total
