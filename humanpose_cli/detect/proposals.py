"""Where in an image people may be: the detector run on the whole, on windows, and beyond the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from humanpose_cli.detect.models import DETECTOR_SIZE, ModelPool, PoseModels
from humanpose_cli.detect.regions import Pyramid, Region, region_from_axis

__all__ = ["Proposal", "propose", "propose_in", "windows_over"]


_SMALLEST_WINDOW = 64


@dataclass(frozen=True)
class Proposal:
    """A region in which the detector saw somebody, its score 0..1, and the number of the window it saw."""

    region: Region
    score: float
    window: int


def windows_over(width: int, height: int, shares: Sequence[float], beyond: float = 0.0) -> list[Region]:
    """Square windows, each share of the longer side, that overlap by half and cover the image.

    A share above 1 is one window around the middle; windows of less than 64 pixels show nobody well enough and are left
    out. With `beyond`, the outermost windows of shares below 1 reach
    over the image's edges by that part of their side.
    """
    longest = max(width, height)
    windows = []
    for share in shares:
        side = share * longest
        if share < 1 and side < _SMALLEST_WINDOW:
            continue
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
    found = pool.map(lambda models, window: propose_in(models, pyramid, window, threshold), windows)
    return [replace(p, window=number) for number, proposals in enumerate(found) for p in proposals]


def propose_in(models: PoseModels, pyramid: Pyramid, window: Region, threshold: float) -> list[Proposal]:
    """What the detector sees in one window, best first; the window's number is 0."""
    size = DETECTOR_SIZE
    detections = models.find(pyramid.crop(window, size, pad=cv2.BORDER_CONSTANT), threshold)
    placed = window.to_image(size).points(detections.points.astype(np.float64) * size)
    return [
        Proposal(region_from_axis(points[0], points[1]), float(score), 0)
        for score, points in zip(detections.scores, placed, strict=True)
    ]
