"""Landmark passes: regions of a picture in, landmarks in picture coordinates and camera axes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.detection.models import LANDMARK_SIZE, ModelPool, PoseModels
from humanpose_cli.detection.regions import Pyramid, Region, region_from_axis

__all__ = ["Observation", "View", "jittered_views", "observe", "observe_all"]

_BODY_ROWS = len(BLAZEPOSE33)
_MIRROR = list(BLAZEPOSE33.mirror)
_CENTRE_ROW, _EDGE_ROW = _BODY_ROWS, _BODY_ROWS + 1

_FADE = 0.02  # of the region's side: a joint this far out of the picture keeps a third of its confidence

# Shift right and down (share of the side), scale, turn (radians), mirrored: small enough that a person stays well
# inside, different enough that the model's errors differ. Fixed, so that the same picture gives the same people.
_JITTER: tuple[tuple[float, float, float, float, bool], ...] = (
    (0.0, 0.0, 1.0, 0.0, True),
    (0.035, 0.02, 1.06, 0.07, False),
    (-0.035, 0.02, 0.94, -0.07, True),
    (0.02, -0.035, 1.10, -0.10, False),
    (-0.02, -0.035, 0.90, 0.10, True),
    (-0.03, 0.0, 1.02, 0.14, False),
    (0.03, 0.0, 0.98, -0.14, True),
    (0.0, 0.04, 1.08, 0.03, True),
)


@dataclass(frozen=True)
class View:
    """One way to cut a person out: a region, and whether it is shown mirrored."""

    region: Region
    mirror: bool = False


@dataclass(frozen=True)
class Observation:
    """What one landmark pass says, mirroring and the region's rotation undone.

    points (33, 2) pixels of the picture; confidence (33,) 0..1: visible, in the crop and in the picture; presence 0..1;
    world (33, 3) metres in camera axes, hip centre origin; mask (256, 256) in the crop of `region`; next_region: where
    the model would look next.
    """

    region: Region
    points: np.ndarray
    confidence: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray
    next_region: Region


def observe(models: PoseModels, pyramid: Pyramid, view: View) -> Observation:
    """Run the landmark model on one view of the picture."""
    answer = models.landmarks(pyramid.crop(view.region, LANDMARK_SIZE, mirror=view.mirror))
    points, world, mask = answer.points, answer.world, answer.mask
    confidence = answer.visibility * answer.inside
    if view.mirror:
        points = points * [-1, 1] + [LANDMARK_SIZE, 0]
        points[:_BODY_ROWS] = points[_MIRROR]
        world = (world * [-1, 1, 1])[_MIRROR]
        confidence = confidence[_MIRROR]
        mask = np.ascontiguousarray(mask[:, ::-1])
    placed = view.region.points_to_picture(points, LANDMARK_SIZE)
    return Observation(
        region=view.region,
        points=placed[:_BODY_ROWS],
        confidence=confidence * _in_picture(placed[:_BODY_ROWS], pyramid, _FADE * view.region.side),
        presence=answer.presence,
        world=view.region.axes_to_picture(world),
        mask=mask,
        next_region=region_from_axis(placed[_CENTRE_ROW], placed[_EDGE_ROW]),
    )


def _in_picture(points: np.ndarray, pyramid: Pyramid, fade: float) -> np.ndarray:
    """(L,) 1 inside the picture, falling with the distance outside it."""
    outside = np.linalg.norm(points - np.clip(points, 0, [pyramid.width, pyramid.height]), axis=1)
    return np.exp(-outside / fade)


def observe_all(pool: ModelPool, pyramid: Pyramid, views: Sequence[View]) -> list[Observation]:
    """`observe` for each view, spread over the pool's threads."""
    return pool.map(lambda models, view: observe(models, pyramid, view), views)


def jittered_views(region: Region, count: int) -> list[View]:
    """The first `count` (at most 8) of a fixed series of shifted, scaled, turned and mirrored views of a region."""
    return [
        View(region.moved(right, down, scale, turn), mirror) for right, down, scale, turn, mirror in _JITTER[:count]
    ]
