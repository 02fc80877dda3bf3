"""Where in a picture people may be: the detector run on the whole, on windows, and beyond the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.detection.anchors import DETECTOR_SIZE, Detections
from humanpose_cli.detection.models import ModelPool, PoseModels
from humanpose_cli.detection.regions import Pyramid, Region, region_from_axis

__all__ = ["Proposal", "propose", "windows_over"]


@dataclass(frozen=True)
class Proposal:
    """A region in which the detector saw somebody, its score 0..1, and the number of the window it saw."""

    region: Region
    score: float
    window: int


def windows_over(width: int, height: int, shares: Sequence[float], beyond: float = 0.0) -> list[Region]:
    """Square windows, each share of the longer side, that overlap by half and cover the picture.

    A share above 1 is one window around the middle. With `beyond`, the outermost windows of shares below 1 reach
    over the picture's edges by that part of their side.
    """
    longest = max(width, height)
    windows = []
    for share in shares:
        side = share * longest
        margin = beyond * side if share < 1 else 0.0
        windows += [
            Region(x, y, side) for y in _positions(height, side, margin) for x in _positions(width, side, margin)
        ]
    return windows


def _positions(length: float, side: float, margin: float) -> list[float]:
    """Centres of windows along one axis: evenly spaced, at most half a side apart."""
    free = length + 2 * margin - side
    if free <= 0:
        return [length / 2]
    steps = math.ceil(free / (side / 2) - 1e-6)
    return [side / 2 - margin + free * i / steps for i in range(steps + 1)]


def propose(pool: ModelPool, pyramid: Pyramid, windows: Sequence[Region], threshold: float) -> list[Proposal]:
    """What the detector sees in each window, in the order of the windows."""

    def find(models: PoseModels, window: Region) -> Detections:
        return models.find(pyramid.crop(window, DETECTOR_SIZE, pad=cv2.BORDER_CONSTANT), threshold)

    proposals = []
    for number, (window, detections) in enumerate(zip(windows, pool.map(find, windows), strict=True)):
        for score, points in zip(detections.scores, detections.points, strict=True):
            placed = window.points_to_picture(np.asarray(points, dtype=np.float64) * DETECTOR_SIZE, DETECTOR_SIZE)
            proposals.append(Proposal(region_from_axis(placed[0], placed[1]), float(score), number))
    return proposals
