"""The surface of close clothes: a shirt and trousers bridge the hollows of the body that they lie on.

The fitted body is bare. A photograph of clothes, wrapped around it, would show buttocks, navel and shoulder blades
through them. Cloth that goes round the trunk or a leg is under tension there: at each height its outline is about the
convex hull of what it encloses, and from one height to the next it hangs from what stands out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import grey_closing, map_coordinates
from scipy.spatial import ConvexHull

from humanpose_cli.avatar.colours import like_colour, skin_hued
from humanpose_cli.avatar.shoes import VertexColours
from humanpose_cli.avatar.surface import FEET, HANDS, TRUNK, BodyTexels, SurfaceOperator, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_SLICE = 0.02  # metres: height of the slices whose outlines are bridged
_FADE = 0.04  # metres: way from shoulders, crotch and ankles over which it begins
_SPAN = 0.2  # metres: length of hollows that cloth spans along a limb
_MAX_GAP = 0.06  # metres: maximum distance of cloth that spans a hollow
_NORMAL_REACH = 0.04  # metres: way over which the cloth's normals average
_MIN_VISIBLE = 0.1  # visible share of a part that decides whether it is bare
_BARE_SHARE = 0.5  # share of skin on a bare part
_SOFTNESS = 0.012  # metres: way along the surface that the result averages

_cached_forms: WeakKeyDictionary[Body, ClothForm] = WeakKeyDictionary()
_BARE = ("neck", "head", *HANDS, *FEET)
_HIPS, _LEGS = ("left_hip", "right_hip"), ("hip", "knee")
_DIRECTIONS = 96  # around a tube
_PASSES = 3


class ClothForm(NamedTuple):
    """Close clothes over a resting body: offsets (V, 3) metres, and the directions (V, 3) that the surface then has."""

    offsets: NDArray[np.float32]
    directions: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Worn:
    """What somebody wears in a photo.

    Attributes:
        tone: (3,) of the skin, as the photo has it; None where it is not known.
        parts: (24,) 0 or 1: the parts that clothes cover; shod: whether the feet wear shoes.
        pocketed: (V,) bool: vertices of hands that are in pockets.
    """

    tone: Array | None
    parts: NDArray[np.float32]
    shod: bool
    pocketed: Mask

    def share(self, body: Body) -> NDArray[np.float32]:
        """Return how far (V,) 0…1 each vertex moves with covered parts."""
        weights, bones = body.bone_weights.cpu().numpy(), body.bone_indices.cpu().numpy().astype(np.int64)
        return np.asarray((weights * self.parts[bones]).sum(1), np.float32)

    def covered(self, body: Body) -> NDArray[np.float32]:
        """Return how far (V,) 0…1 clothes or shoes cover each vertex."""
        feet = parts_mask(body.part_labels.cpu().numpy(), FEET)
        return np.where(feet, np.float32(self.shod), self.share(body))


def cloth_form(body: Body) -> ClothForm:
    """Find where close clothes lie over the body's usual shape: horizontally away from the axes of trunk and legs; as
    the body itself on head, neck, arms and feet.

    Made once per body: people differ from its usual shape by less than clothes do.
    """
    if body not in _cached_forms:
        rest, labels = body.template.cpu().numpy().astype(np.float64), body.part_labels.cpu().numpy()
        cloth = rest.copy()
        for rows in _tubes(rest, labels):
            cloth[rows] = _bridged(rest[rows])
        operator = SurfaceOperator(rest, body.faces.cpu().numpy().astype(np.int64))
        offsets = _softened(operator, rest, cloth, _SOFTNESS)
        normals = vertex_normals(torch.from_numpy(rest + offsets), body.faces.cpu()).numpy()
        data, nothing = operator.areas / _NORMAL_REACH**2, np.full(operator.count, 1e-9)
        smooth = operator.spread(data, normals, nothing, np.zeros(3))
        smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-9)
        _cached_forms[body] = ClothForm(offsets.astype(np.float32), smooth.astype(np.float32))
    return _cached_forms[body]


def clothed_parts(surface: BodyTexels, visible: VertexColours, tone: Array | None) -> NDArray[np.float32]:
    """Decide whether (24,) clothes cover each part: not if most of what it shows has the skin's colour, tone (3,).

    Parts that show nothing are as the part above them, heads, hands and feet bare. Without skin to compare with, all
    parts are clothed.
    """
    bare = np.zeros(len(visible.shown), bool)
    if tone is not None:
        bare = like_colour(visible.colour, tone) & skin_hued(visible.colour)
    cover, areas = np.ones(len(SMPL24), np.float32), surface.operator.areas
    for row, (name, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parents, strict=True)):  # parents come first
        part = surface.part_labels == row
        in_photo = part & visible.shown
        if name in _BARE:
            cover[row] = 0
        elif areas[in_photo].sum() >= _MIN_VISIBLE * areas[part].sum():
            cover[row] = areas[in_photo & bare].sum() < _BARE_SHARE * areas[in_photo].sum()
        elif parent >= 0:
            cover[row] = cover[parent]
    return cover


def _softened(operator: SurfaceOperator, rest: Array, cloth: Array, reach: float) -> Array:
    """Smooth the offsets (V, 3) from a resting surface to the cloth (V, 3) over it over some metres."""
    data, nothing, offsets = operator.areas / reach**2, np.full(operator.count, 1e-9), np.zeros_like(rest)
    gap = cloth - rest
    for _ in range(_PASSES):  # what smoothing takes off narrow hollows is added again
        offsets += operator.spread(data, gap - offsets, nothing, np.zeros(3))
    return offsets


def _tubes(rest: Array, labels: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Select vertices of the trunk down to where the legs part, and of each leg below, of a resting body (V, 3)."""
    crotch = rest[parts_mask(labels, ("pelvis",)), 1].min()
    trunk = parts_mask(labels, TRUNK) | (parts_mask(labels, _HIPS) & (rest[:, 1] >= crotch))
    legs = [parts_mask(labels, tuple(f"{side}_{part}" for part in _LEGS)) for side in ("left", "right")]
    return [np.flatnonzero(some) for some in (trunk, *(leg & (rest[:, 1] < crotch) for leg in legs)) if some.any()]


def _bridged(points: Array) -> Array:
    """Move points (N, 3) of an upright tube outward onto the cloth around it; less near the tube's ends."""
    height = points[:, 1]
    count = max(2, int(np.ptp(height) / _SLICE) + 1)
    levels = np.linspace(height.min(), height.max(), count)
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    axis, radius = np.zeros((count, 2)), np.zeros((count, _DIRECTIONS))
    for row, level in enumerate(levels):
        near = points[np.abs(height - level) <= 1.2 * _SLICE][:, [0, 2]]
        if len(near) > 2:  # else the slice of a coarse body has no area
            axis[row] = (near.max(0) + near.min(0)) / 2
            radius[row] = _hull_radius(near - axis[row], angles)
    # What is hollow along the tube, as the small of the back is, is spanned as well.
    length = max(1, round(_SPAN / _SLICE))
    radius = grey_closing(np.pad(radius, ((length, length), (0, 0)), "edge"), (length, 1))[length:-length]
    position = (height - levels[0]) / (levels[1] - levels[0])
    away = points[:, [0, 2]] - np.stack([np.interp(height, levels, axis[:, k]) for k in (0, 1)], 1)
    distance = np.linalg.norm(away, axis=1)
    turn = np.arctan2(away[:, 1], away[:, 0]) % (2 * np.pi) * (_DIRECTIONS / (2 * np.pi))
    cloth = map_coordinates(np.column_stack((radius, radius[:, :1])), (position, turn), order=1, mode="nearest")
    fade = np.clip(np.minimum(height - levels[0], levels[-1] - height) / _FADE, 0, 1)
    result, gap = points.copy(), fade * np.clip(cloth - distance, 0, _MAX_GAP)
    result[:, [0, 2]] += away * (gap / np.maximum(distance, 1e-9))[:, None]
    return result


def _hull_radius(points: Array, angles: Array) -> Array:
    """Measure the distance from the origin to the convex hull of points (N, 2) about it, in directions (A,)."""
    hull = ConvexHull(points).equations  # n · x + d ≤ 0 inside
    towards = np.stack((np.cos(angles), np.sin(angles)), 1) @ hull[:, :2].T
    return np.where(towards > 1e-9, -hull[:, 2] / np.maximum(towards, 1e-9), np.inf).min(1)
