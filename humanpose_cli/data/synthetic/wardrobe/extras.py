"""Small things: glasses, scarves, collars."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.base import ClothBase
from humanpose_cli.data.synthetic.wardrobe.lofts import Grid, polar_hull, revolve
from humanpose_cli.data.synthetic.wardrobe.outfit import Top
from humanpose_cli.data.synthetic.wardrobe.scalp import rigid_head

__all__ = ["collar_grid", "glasses_grids", "scarf_grid"]

Array = NDArray[Any]

_EYE_X, _EYE_Y, _EYE_Z = 0.031, 0.679, 0.145  # metres on the average body: before the eye
_NECK_Z = 0.018


def glasses_grids(kind: str, random: np.random.Generator) -> list[Grid]:
    """Two rims (or dark lenses), a bridge and the temples; [] for none."""
    if not kind:
        return []
    width, height = random.uniform(0.02, 0.026), random.uniform(0.014, 0.022)
    rim = random.uniform(0.0015, 0.004)
    square = random.uniform(2, 4)
    angles = np.arange(16) * (2 * math.pi / 16)
    power = (np.abs(np.sin(angles)) ** square + np.abs(np.cos(angles)) ** square) ** (-1 / square)
    grids = []
    for side in (1, -1):
        outline = np.stack((power * width * np.cos(angles), power * height * np.sin(angles)), -1)
        inside = outline * (0.02 if kind == "dark" else 1 - rim / np.linalg.norm(outline, axis=1)[:, None])
        reach = np.stack((outline, inside)[::-1])
        z = _EYE_Z - 6 * reach[..., 0] ** 2 - 0.25 * np.maximum(side * reach[..., 0], 0)
        grids.append(_rigid(np.stack((side * _EYE_X + reach[..., 0], _EYE_Y + reach[..., 1], z), -1), closed=True))
        outer = side * (_EYE_X + width)
        hinge = np.array([outer, _EYE_Y + 0.004, _EYE_Z - 0.25 * width - 6 * width**2])
        ear = np.array([side * 0.079, 0.672, 0.035])
        grids.append(_bar(hinge, ear, rim + 0.001))
    nose = np.array([_EYE_X - width, _EYE_Y + 0.003, _EYE_Z])
    grids.append(_bar(nose * [-1, 1, 1], nose, rim))
    return grids


def _bar(start: Array, end: Array, thick: float) -> Grid:
    """A four-sided bar from start to end."""
    axis = (end - start) / np.linalg.norm(end - start)
    up = np.array([0.0, 1.0, 0.0])
    side = np.cross(axis, up)
    ring = np.stack((up + side, side - up, -up - side, up - side)) * (thick / 2)
    return _rigid(np.stack((start + ring, end + ring)), closed=True)


def _rigid(points: Array, *, closed: bool) -> Grid:
    return Grid(points, closed, "head", np.tile(rigid_head(), (points.shape[0] * points.shape[1], 1)))


def scarf_grid(under: float, random: np.random.Generator) -> Grid:
    """A thick ring of cloth round the neck; under: metres of clothes beneath."""
    columns, sides = 24, 10
    angles = np.arange(columns) * (2 * math.pi / columns)
    turn = np.linspace(0, 2 * math.pi, sides)
    thick, tall = random.uniform(0.018, 0.03), random.uniform(0.03, 0.045)
    waves = 1 + 0.15 * np.sin(5 * angles + random.uniform(0, 6.3)) + 0.1 * np.sin(9 * angles + random.uniform(0, 6.3))
    middle = 0.072 + under + 0.5 * thick
    radius = middle + thick * waves * np.sin(turn)[:, None]
    droop = 0.03 * np.cos(angles)
    y = 0.538 - droop + tall * waves * np.cos(turn)[:, None]
    points = revolve(np.tile([0.0, _NECK_Z], (sides, 1)), radius, y, angles)
    return Grid(points, True, "trunk")


def collar_grid(top: Top, base: ClothBase, under: float) -> Grid:
    """A folded collar: up the neck, and down over the shoulders, open in front."""
    gap = 0.25 + 0.5 * top.depth
    angles = np.linspace(gap, 2 * math.pi - gap, 26)
    points = base.template
    near = np.abs(points[:, 1] - 0.56) < 0.015
    near &= np.hypot(points[:, 0], points[:, 2] - _NECK_Z) < 0.12
    neck = polar_hull(points[near][:, [0, 2]] - [0.0, _NECK_Z], angles)
    spread = 0.035 * np.exp(-(((np.minimum(angles, 2 * math.pi - angles) - gap) / 0.5) ** 2))
    rows = ((0.0, 0.008), (0.03, 0.007), (0.034, 0.012), (0.004, 0.026))
    slope = 0.528 - 0.32 * neck * np.cos(angles)
    radius = np.stack([neck + under + off + spread * (k == 3) for k, (_, off) in enumerate(rows)])
    y = np.stack([slope + up - spread * (k == 3) for k, (up, _) in enumerate(rows)])
    return Grid(revolve(np.tile([0.0, _NECK_Z], (4, 1)), radius, y, angles), False, "trunk")
