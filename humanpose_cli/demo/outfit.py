"""Clothes, hair and a face painted on the default body's texture, for the clip with known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.bodies.parts import PARTS12
from humanpose_cli.bodies.texture import TexelMap, bleed_islands
from humanpose_cli.conventions import SMPL24

__all__ = ["paint_outfit"]

Array = NDArray[Any]

_SKIN, _HAIR, _SHIRT, _STRIPE = (206, 160, 132), (66, 44, 32), (36, 78, 118), (226, 222, 208)
_TROUSERS, _SHOES, _LIPS, _IRIS, _WHITE = (74, 70, 66), (38, 34, 34), (176, 96, 90), (52, 40, 34), (236, 232, 226)
_STRIPE_METRES = 0.085
_BELT = 0.03  # metres above the pelvis joint, where the shirt ends
_SHIRT_PARTS = ("upper_torso", "left_upper_arm", "right_upper_arm")
_LEG_PARTS = ("pelvis", "left_thigh", "right_thigh", "left_shank", "right_shank")


def paint_outfit(body: RiggedBody, size: int = 1024) -> NDArray[np.uint8]:
    """A texture (size, size, 3) uint8: striped shirt, trousers, shoes, hair, a face."""
    texels = TexelMap(body.uv, body.uv_faces, size)
    place = texels.interpolate(body.template.numpy(), body.faces)  # each texel's place on the resting body
    part = _parts(body, texels)
    colour = np.full((size, size, 3), _SKIN, np.float32)
    colour[_among(part, _LEG_PARTS)] = _TROUSERS
    _put_on_shirt(colour, part, place)
    colour[_feet(body, texels)] = _SHOES
    _paint_head(body, colour, part, place)
    _weave(colour, place)
    bleed_islands(colour, texels.covered)
    return np.clip(colour, 0, 255).astype(np.uint8)


def _parts(body: RiggedBody, texels: TexelMap) -> Array:
    """(size, size) the twelve parts' labels."""
    one_hot = np.eye(len(PARTS12), dtype=np.float32)[PARTS12.labels(body.part_labels).numpy()]
    return texels.interpolate(one_hot, body.faces).argmax(-1)


def _among(part: Array, names: tuple[str, ...]) -> Array:
    return np.isin(part, [PARTS12.names.index(name) for name in names])


def _put_on_shirt(colour: Array, part: Array, place: Array) -> None:
    shirt = _among(part, _SHIRT_PARTS) | (_among(part, ("pelvis",)) & (place[..., 1] > _BELT))
    colour[shirt] = _SHIRT
    colour[shirt & ((place[..., 1] / _STRIPE_METRES) % 1 < 0.4)] = _STRIPE


def _feet(body: RiggedBody, texels: TexelMap) -> Array:
    rows = SMPL24.indices(("left_ankle", "right_ankle", "left_foot", "right_foot"))
    is_foot = np.isin(body.part_labels.numpy(), rows).astype(np.float32)
    return texels.interpolate(is_foot[:, None], body.faces)[..., 0] > 0.5


def _paint_head(body: RiggedBody, colour: Array, part: Array, place: Array) -> None:
    points = body.landmarks("face13")
    at = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    head = _among(part, ("head", "neck"))
    ear, eye = at["left_ear"], at["left_eye"]
    behind = place[..., 2] < ear[2] + 0.015
    crown = place[..., 1] > eye[1] + 0.055
    colour[head & (place[..., 1] > ear[1] - 0.05) & (behind | crown)] = _HAIR
    for side in ("left", "right"):
        _dot(colour, head, place, at[f"{side}_eye"], (0.013, 0.006), _WHITE)
        _dot(colour, head, place, at[f"{side}_eye"], (0.006, 0.006), _IRIS)
        _dot(colour, head, place, at[f"{side}_eye"] + np.array([0, 0.022, 0]), (0.018, 0.004), _HAIR)
    mouth = (at["left_mouth"] + at["right_mouth"]) / 2
    _dot(colour, head, place, mouth, (abs(at["left_mouth"][0]), 0.007), _LIPS)


def _dot(
    colour: Array, head: Array, place: Array, centre: Array, radii: tuple[float, float], paint: tuple[int, int, int]
) -> None:
    """An ellipse on the front of the head, radii in metres along x and y."""
    offset = (place[..., :2] - centre[:2]) / np.asarray(radii, np.float32)
    colour[head & (place[..., 2] > 0.04) & ((offset**2).sum(-1) < 1)] = paint


def _weave(colour: Array, place: Array) -> None:
    """Slow and fast variations of brightness, as cloth and skin have; a function of the place on the body."""
    grid = np.random.default_rng(0).normal(0, 1, (64, 64, 2)).astype(np.float32)
    slow = gaussian_filter(grid[..., 0], 1.5, mode="wrap") * 3

    def cell(metres: float) -> tuple[Array, Array]:
        x, y = (np.floor(place[..., axis] / metres).astype(int) % 64 for axis in (0, 1))
        return y, x

    colour *= (1 + 0.05 * slow[cell(1 / 60)] + 0.03 * grid[..., 1][cell(1 / 400)])[..., None]
