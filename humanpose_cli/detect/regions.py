"""Rotated square regions of an image, and the windows and proposals of the detector."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.models import DETECTOR_SIZE, Detections, ModelPool, PoseModels
from humanpose_cli.detect.movenet import MULTIPOSE_STEP, multi_pose

_MARGIN = 1.25  # side of a landmark crop, in diameters of the circle around the body: mediapipe's factor
_LONGEST_SIDE = 2560  # pixels: images are reduced to it before the search; a tenth of it fills a landmark crop


@dataclass(frozen=True)
class Region:
    """A square in an image.

    Attributes:
        x: The centre, pixels.
        y: The centre, pixels.
        side: The side, pixels.
        angle: The clockwise rotation of its up direction from the image's, radians.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def is_near(self, region: Region, shift: float, ratio: float, turn: float = math.inf) -> bool:
        """Return whether two regions are close.

        Args:
            region: The second region.
            shift: The maximum distance of the centres, in geometric means of the sides.
            ratio: The maximum ratio of the sides.
            turn: The maximum difference of the angles, radians.
        """
        close = math.hypot(self.x - region.x, self.y - region.y) < shift * math.sqrt(self.side * region.side)
        is_turned = abs(math.remainder(self.angle - region.angle, 2 * math.pi)) >= turn
        return close and abs(math.log(self.side / region.side)) < math.log(ratio) and not is_turned

    def to_image(self, size: int) -> Affine2D:
        """Return the map from pixels of a crop with `size` pixels per side to pixels of the image."""
        scale = self.side / size
        c = scale * math.cos(self.angle)
        s = scale * math.sin(self.angle)
        half = size / 2
        return Affine2D(np.array([[c, -s, self.x - (c - s) * half], [s, c, self.y - (s + c) * half]]))

    def axes_to_image(self, vectors: np.ndarray) -> np.ndarray:
        """Turn vectors (..., 3) from the crop's axes (x right, y down, z forward) to the image's axes."""
        c = math.cos(self.angle)
        s = math.sin(self.angle)
        x, y, z = np.moveaxis(vectors, -1, 0)
        return np.stack([c * x - s * y, s * x + c * y, z], axis=-1)

    def moved(self, right: float = 0.0, down: float = 0.0, scale: float = 1.0, turn: float = 0.0) -> Region:
        """Shift the region by shares of its side along its own axes, scale it, and turn it by radians."""
        c = math.cos(self.angle)
        s = math.sin(self.angle)
        return Region(
            self.x + self.side * (c * right - s * down),
            self.y + self.side * (s * right + c * down),
            self.side * scale,
            self.angle + turn,
        )


def region_from_axis(centre: np.ndarray, edge: np.ndarray) -> Region:
    """Return the region in which a person is upright.

    Args:
        centre: (2,) float, pixels. The middle of the hips.
        edge: (2,) float, pixels. The point of the circle around the body in the direction of the head.
    """
    right = float(edge[0] - centre[0])
    down = float(edge[1] - centre[1])
    side = max(2 * math.hypot(right, down) * _MARGIN, 1e-3)
    return Region(float(centre[0]), float(centre[1]), side, math.atan2(right, -down))


def region_around_box(box: np.ndarray) -> Region:
    """Return an upright region around a box (4,) x0 y0 x1 y1, a quarter larger than its longer side."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return Region((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * _MARGIN)


class Pyramid:
    """An image with reduced copies, made on demand, from which regions are cut without aliasing.

    Copies are halved by area averaging. Copies by the square root of two lie between them, by interpolation, which is
    as smooth at so small a step and takes a tenth of the time.

    Args:
        image: (H, W, 3) uint8 RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.height, self.width = image.shape[:2]
        self._base_scale = max(max(self.height, self.width) / _LONGEST_SIDE, 1.0)
        self._base = image if self._base_scale == 1 else _shrunk(image, self._base_scale)
        self._levels: dict[int, np.ndarray] = {0: self._base}
        self._lock = threading.Lock()

    @property
    def size(self) -> tuple[int, int]:
        """The image's width and height, pixels."""
        return self.width, self.height

    @property
    def image(self) -> np.ndarray:
        """The largest copy: the image itself unless it is very large."""
        return self._base

    def repainted(self, paint: Callable[[np.ndarray, Affine2D], np.ndarray]) -> Pyramid:
        """Return a pyramid of the image with another content.

        Args:
            paint: Gets the largest copy and the map from the image's pixels to the copy's, and returns an array of the
                same size.
        """
        height, width = self._base.shape[:2]
        to_base = Affine2D(np.array([[width / self.width, 0.0, 0.0], [0.0, height / self.height, 0.0]]))
        result = copy.copy(self)
        result._base = paint(self._base, to_base)
        result._levels = {0: result._base}
        result._lock = threading.Lock()
        return result

    def crop(self, region: Region, size: int, *, mirror: bool = False, pad: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        """Crop a region, upright.

        Args:
            region: The region.
            size: The crop's side, pixels.
            mirror: Whether to mirror the crop left to right.
            pad: Fills the outside of the image: cv2.BORDER_REPLICATE or cv2.BORDER_CONSTANT (black).

        Returns:
            (size, size, 3) uint8 RGB.
        """
        shrink = region.side / size / self._base_scale
        step = max(0, math.floor(2 * math.log2(max(shrink, 1.0)) + 1e-9))
        level = self._level(step)
        affine = region.to_image(size)
        if mirror:
            affine = affine @ Affine2D.mirror(size)
        affine = affine.scaled_target(level.shape[1] / self.width, level.shape[0] / self.height)
        return affine.warp(level, (size, size), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, border_mode=pad)

    def _level(self, step: int) -> np.ndarray:
        with self._lock:
            if step not in self._levels:
                self._make(step)
            return self._levels[step]

    def _make(self, step: int) -> None:
        source = step - 1 if step % 2 else step - 2
        if source not in self._levels:
            self._make(source)
        is_between = step - source == 1
        kind = cv2.INTER_LINEAR if is_between else cv2.INTER_AREA
        self._levels[step] = _shrunk(self._levels[source], math.sqrt(2) if is_between else 2.0, kind)


def _shrunk(image: np.ndarray, factor: float, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    height, width = image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return cv2.resize(image, size, interpolation=interpolation)


_SMALLEST_WINDOW = 64  # pixels
_PROPOSAL_SCORE = 0.3  # of the detector's proposals that are followed
_SAME_BOXES = 0.3  # overlap of two boxes of the detector in one window that are of one person


@dataclass(frozen=True)
class Proposal:
    """A region in which a network found a person.

    Attributes:
        region: The region.
        score: The network's score, 0…1.
        window: The number of the window.
        multipose: Whether the network is MoveNet MultiPose rather than BlazePose's detector.
    """

    region: Region
    score: float
    window: int
    multipose: bool = False


def windows_over(width: int, height: int, shares: Sequence[float], beyond: float = 0.0) -> list[Region]:
    """Return square windows that overlap by half and cover the image.

    Windows of less than 64 pixels are too small for a person and left out.

    Args:
        width: The image's width, pixels.
        height: The image's height, pixels.
        shares: The sides of the windows, in longer sides of the image. A share above 1 is one window around the middle.
        beyond: The part of its side by which an outer window with a share below 1 extends over the image's edges.
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
    """Return centres of windows along an axis: evenly spaced, at most half a side apart."""
    free = length + 2 * margin - side
    if free <= 0:
        return [length / 2]
    steps = math.ceil(free / (side / 2) - 1e-6)
    return [side / 2 - margin + free * i / steps for i in range(steps + 1)]


def propose_in(pool: ModelPool, pyramid: Pyramid, windows: Sequence[Region], first: int = 0) -> list[Proposal]:
    """Detect people in each window, in the order of the windows, best first; windows are numbered from `first`."""

    def find(models: PoseModels, part: Sequence[Region]) -> list[list[Proposal]]:
        crops = [pyramid.crop(window, DETECTOR_SIZE, pad=cv2.BORDER_CONSTANT) for window in part]
        detections = models.find(crops, _PROPOSAL_SCORE, _SAME_BOXES)
        return [_proposals(*pair) for pair in zip(part, detections, strict=True)]

    by_window = pool.map(find, windows)
    return [replace(p, window=number) for number, proposals in enumerate(by_window, first) for p in proposals]


def _proposals(window: Region, detections: Detections) -> list[Proposal]:
    """Convert the detections in a window, whose number is 0."""
    size = DETECTOR_SIZE
    positions = window.to_image(size).points(detections.points.astype(np.float64) * size)
    return [
        Proposal(region_from_axis(points[0], points[1]), float(score), 0)
        for score, points in zip(detections.scores, positions, strict=True)
    ]


_MULTIPOSE_THRESHOLD = 0.2  # the highest score on 22 images without people was .10
_MIN_CONFIDENCE = 0.3  # of joints that count for a region
_REACH = 1.1  # circle around the body, as a share of the farthest joint's distance from the hips
_MIN_REACH = 1.8  # of the torso's length


def propose_by_multipose(pool: ModelPool, pyramid: Pyramid, views: Sequence[tuple[Region, int]]) -> list[Proposal]:
    """Find people by MoveNet MultiPose in windows, each with its number of pixels per side."""

    def find(models: PoseModels, part: Sequence[tuple[Region, int]]) -> list[list[Proposal]]:
        return [_multipose_proposals(models, pyramid, window, size) for window, size in part]

    by_window = pool.map(find, views)
    return [replace(p, window=number) for number, proposals in enumerate(by_window) for p in proposals]


def _multipose_proposals(models: PoseModels, pyramid: Pyramid, window: Region, size: int) -> list[Proposal]:
    """Find people in a window, whose number is 0."""
    # If the window is wider or higher than the image, only the strip that shows the image is used.
    size = _full_steps(size)
    square = pyramid.crop(window, size, pad=cv2.BORDER_CONSTANT)
    width, height = (_full_steps(size * min(1.0, n / window.side)) for n in (pyramid.width, pyramid.height))
    left = (size - width) // 2
    top = (size - height) // 2
    (people,) = multi_pose(square[None, top : top + height, left : left + width], models.device)
    to_image = window.to_image(size)
    corner = np.array([left, top], dtype=float)
    return [
        Proposal(_region_of_joints(to_image.points(joints[:, :2] + corner), joints[:, 2]), score, 0, multipose=True)
        for score, joints in zip(people.scores.tolist(), people.joints, strict=True)
        if score >= _MULTIPOSE_THRESHOLD
    ]


def _full_steps(length: float) -> int:
    """Round up to a multiple of MultiPose's step."""
    return math.ceil(length / MULTIPOSE_STEP - 1e-6) * MULTIPOSE_STEP


def _region_of_joints(points: np.ndarray, score: np.ndarray) -> Region:
    """Return the region in which a person with joints (17, 2) of COCO17 and scores (17,) is upright."""
    hips, shoulders = (points[COCO17.indices([f"left_{n}", f"right_{n}"])].mean(0) for n in ("hip", "shoulder"))
    confident = points[score > _MIN_CONFIDENCE] if (score > _MIN_CONFIDENCE).any() else points
    up = shoulders - hips
    length = max(math.hypot(*up), 1e-6)
    reach = max(_REACH * float(np.linalg.norm(confident - hips, axis=1).max()), _MIN_REACH * length)
    return region_from_axis(hips, hips + up / length * reach)
