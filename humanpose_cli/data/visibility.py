"""Which joints and landmarks a picture shows, from its label maps: confidences for keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.rendering.view import View

__all__ = ["joint_visibility", "landmark_visibility", "point_visibility", "surface_reach"]

Array = NDArray[Any]


def surface_reach(body: RiggedBody, rest_points: Tensor, *, clothes: float = 0.05) -> NDArray[np.float32]:
    """How far from joints or landmarks their surface may lie: (J, 3) rest positions, metres → (J,) metres.

    The median over all directions of how far the mean body's surface is, and the thickness of `clothes`. Points on
    the surface itself (nose, ears) have nothing but the clothes: no more than four times the nearest vertex counts.
    """
    count = 48  # directions, spread evenly over the sphere
    height = (torch.arange(count) + 0.5) / count * 2 - 1
    turn = torch.arange(count) * 2.39996
    flat = (1 - height.square()).sqrt()
    directions = torch.stack((flat * turn.cos(), height, flat * turn.sin()), -1)
    offsets = body.template - rest_points[:, None]
    distance = offsets.norm(dim=-1)  # [J, V]
    ahead = torch.einsum("jvk,dk->jdv", offsets, directions) > 0.92 * distance[:, None]
    along = torch.where(ahead, distance[:, None], torch.inf).amin(2)
    reach = torch.minimum(along.median(1).values, 4 * distance.amin(1))
    return np.asarray(reach + clothes, np.float32)


def joint_visibility(
    joints: NDArray[np.floating], place: int, view: View, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """How much of the surface around the joints of SMPL24 is seen: (24, 3) metres, camera axes → (24,) 0…1.

    As `point_visibility`, but whatever shows the part of the joint, its parent or its child counts, from any side:
    the chest shows the spine. maps: `persons`, `depth` and `parts`.
    """
    return point_visibility(joints, _JOINT_REACH, place, view, maps, _joint_regions())


def landmark_visibility(
    body: RiggedBody, name: str, points: NDArray[np.floating], place: int, view: View, maps: Mapping[str, Array]
) -> NDArray[np.float32]:
    """How much of the surface around a body's landmarks of that set is seen: (L, 3) metres, camera axes → (L,) 0…1."""
    return point_visibility(points, _landmark_reach(body, name), place, view, maps)


@lru_cache(maxsize=16)
def _landmark_reach(body: RiggedBody, name: str) -> NDArray[np.float32]:
    return surface_reach(body, body.landmarks(name).template)


_JOINT_REACH = 0.3  # metres, beyond which not even a big trunk's surface lies


@lru_cache(maxsize=1)
def _joint_regions() -> NDArray[np.bool_]:
    """(24, 24): which parts belong to the surroundings of each joint."""
    near = np.eye(len(SMPL24), dtype=bool)
    for child, parent in enumerate(SMPL24.parents):
        if parent >= 0:
            near[child, parent] = near[parent, child] = True
    return near


def point_visibility(
    points: NDArray[np.floating],
    reach: NDArray[np.floating] | float,
    place: int,
    view: View,
    maps: Mapping[str, Array],
    regions: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """How much of the surface around landmarks is seen: (J, 3) metres, camera axes → (J,) 0…1.

    reach    (J,) metres: as far from the point its surface lies at most, as of `surface_reach`
    place    of the person among the picture's people
    maps     `persons` and `depth` of the picture
    regions  (J, 24) parts of which the surface must be; needs the map `parts`

    Twelve pixels around each point's projection, within half its reach (at most 6 cm), are looked up: a pixel counts
    where it shows this person within the reach of the point. What other people, things, the picture's edge or the
    person's own limbs hide does not count. Half of the pixels make 1: a thin limb fills no more.
    """
    points = np.asarray(points, np.float64)
    reach = np.broadcast_to(np.asarray(reach, np.float64), len(points))
    ahead = points[:, 2] > 0.05
    z = np.where(ahead, points[:, 2], 1.0)
    principal_point = np.asarray(view.principal_point)
    centre = points[:, :2] * (view.focal / z)[:, None] + principal_point
    angles = np.arange(12) * 2.39996  # the golden angle spreads them evenly over the disc
    disc = np.sqrt((np.arange(12) + 0.5) / 12)[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)
    radius = np.maximum(np.minimum(0.5 * reach, 0.06) * view.focal / z, 0.75)
    pixels = centre[:, None] + radius[:, None, None] * disc  # [J, 12, 2]
    height, width = view.size
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    column = np.where(inside, pixels[..., 0], 0).astype(np.int64)
    row = np.where(inside, pixels[..., 1], 0).astype(np.int64)
    metres = maps["depth"][row, column] / 1000.0
    at = (np.stack((column, row), -1) + 0.5 - principal_point) / view.focal * metres[..., None]
    surface = np.concatenate((at, metres[..., None]), -1)
    near = np.linalg.norm(surface - points[:, None], axis=-1) <= reach[:, None]
    seen = inside & (maps["persons"][row, column] == place + 1) & near
    if regions is not None:
        padded = np.concatenate((np.zeros((len(points), 1), bool), regions), 1)
        seen &= np.take_along_axis(padded, maps["parts"][row, column].astype(np.int64), 1)
    return np.where(ahead, np.minimum(seen.mean(1) * 2, 1.0), 0.0).astype(np.float32)
