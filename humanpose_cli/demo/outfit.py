"""Clothes, hair and a face painted on the default body's texture, for the clip with known truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from humanpose_cli.bodies.parts import PARTS12
from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.bodies.texture import TexelMap, bleed_islands, texel_map
from humanpose_cli.conventions import SMPL24

__all__ = ["paint_outfit"]

_SKIN, _HAIR, _SHIRT, _STRIPE = (206, 160, 132), (66, 44, 32), (36, 78, 118), (226, 222, 208)
_TROUSERS, _SHOES, _LIPS, _IRIS, _WHITE = (74, 70, 66), (38, 34, 34), (176, 96, 90), (52, 40, 34), (236, 232, 226)
_STRIPE_METRES = 0.085
_BELT = 0.03  # metres above the pelvis joint, where the shirt ends


def paint_outfit(body: RiggedBody, size: int = 1024) -> NDArray[np.uint8]:
    """A texture (size, size, 3) uint8: striped shirt, trousers, shoes, hair, a face."""
    texels = texel_map(body.uv, body.uv_faces, size)
    faces = body.faces.numpy().astype(np.int64)
    place = texels.interpolate(body.template.numpy()[faces])
    part = _part_of_texels(body, faces, texels)
    colour = np.zeros((len(place), 3), np.float32)
    for name, paint in _CLOTHES.items():
        colour[part == PARTS12.names.index(name)] = paint
    _stripe(colour, part, place)
    _shoe(body, colour, faces, texels)
    _hair_and_face(body, colour, part, place)
    _weave(colour, place)
    return np.clip(bleed_islands(texels.to_image(colour), texels), 0, 255).astype(np.uint8)


_CLOTHES = {
    "head": _SKIN,
    "neck": _SKIN,
    "upper_torso": _SHIRT,
    "pelvis": _TROUSERS,
    **{f"{side}_upper_arm": _SHIRT for side in ("left", "right")},
    **{f"{side}_forearm": _SKIN for side in ("left", "right")},
    **{f"{side}_thigh": _TROUSERS for side in ("left", "right")},
    **{f"{side}_shank": _TROUSERS for side in ("left", "right")},
}


_ROWS = {
    "shirt": [PARTS12.names.index(n) for n in ("upper_torso", "left_upper_arm", "right_upper_arm")],
    "head": [PARTS12.names.index(n) for n in ("head", "neck")],
}


def _part_of_texels(body: RiggedBody, faces: NDArray[np.int64], texels: TexelMap) -> NDArray[np.int64]:
    labels = np.eye(len(PARTS12), dtype=np.float32)[PARTS12.labels(body.part_labels).numpy()]
    return texels.interpolate(labels[faces]).argmax(1)


def _stripe(colour: NDArray[np.float32], part: NDArray[np.int64], place: NDArray[np.float32]) -> None:
    shirt = np.isin(part, _ROWS["shirt"]) | ((part == PARTS12.names.index("pelvis")) & (place[:, 1] > _BELT))
    colour[shirt] = _SHIRT
    colour[shirt & ((place[:, 1] / _STRIPE_METRES) % 1 < 0.4)] = _STRIPE


def _shoe(body: RiggedBody, colour: NDArray[np.float32], faces: NDArray[np.int64], texels: TexelMap) -> None:
    feet = SMPL24.indices(("left_ankle", "right_ankle", "left_foot", "right_foot"))
    is_foot = np.isin(body.part_labels.numpy(), feet).astype(np.float32)
    colour[texels.interpolate(is_foot[faces][..., None])[:, 0] > 0.5] = _SHOES


def _hair_and_face(
    body: RiggedBody, colour: NDArray[np.float32], part: NDArray[np.int64], place: NDArray[np.float32]
) -> None:
    points = body.landmarks("face13")
    at = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    head = np.isin(part, _ROWS["head"])
    ear, eye = at["left_ear"], at["left_eye"]
    behind = place[:, 2] < ear[2] + 0.015
    crown = place[:, 1] > eye[1] + 0.055
    colour[head & (place[:, 1] > ear[1] - 0.05) & (behind | crown)] = _HAIR
    for side in ("left", "right"):
        _dot(colour, head, place, at[f"{side}_eye"], (0.013, 0.006), _WHITE)
        _dot(colour, head, place, at[f"{side}_eye"], (0.006, 0.006), _IRIS)
        _dot(colour, head, place, at[f"{side}_eye"] + np.array([0, 0.022, 0]), (0.018, 0.004), _HAIR)
    mouth = (at["left_mouth"] + at["right_mouth"]) / 2
    _dot(colour, head, place, mouth, (abs(at["left_mouth"][0]), 0.007), _LIPS)


def _dot(
    colour: NDArray[np.float32],
    head: NDArray[np.bool_],
    place: NDArray[np.float32],
    centre: NDArray[np.floating],
    radii: tuple[float, float],
    paint: tuple[int, int, int],
) -> None:
    """An ellipse on the front of the head, radii in metres along x and y."""
    offset = (place[:, :2] - centre[:2]) / np.asarray(radii, np.float32)
    colour[head & (place[:, 2] > 0.04) & ((offset**2).sum(1) < 1)] = paint


def _weave(colour: NDArray[np.float32], place: NDArray[np.float32]) -> None:
    """Slow and fast variations of brightness, as cloth and skin have; a function of the place on the body."""
    grid = np.random.default_rng(0).normal(0, 1, (64, 64, 2)).astype(np.float32)
    slow = gaussian_filter(grid[..., 0], 1.5, mode="wrap") * 3
    x = np.floor(place[:, 0] * 60).astype(int) % 64
    y = np.floor(place[:, 1] * 60).astype(int) % 64
    fast = grid[np.floor(place[:, 1] * 400).astype(int) % 64, np.floor(place[:, 0] * 400).astype(int) % 64, 1]
    colour *= (1 + 0.05 * slow[y, x] + 0.03 * fast)[:, None]
