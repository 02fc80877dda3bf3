"""Whether two detections show one person: by landmarks, boxes and clothes, and the best matches of many detections."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.person import DetectedPerson

_T = TypeVar("_T")

SAME_PASSES = 0.5  # two landmark passes of unrefined candidates or followed people
SAME_CANDIDATES = 0.4  # mean poses of two refined candidates, by the joints that both show
SAME_NETWORKS = 0.5  # poses of one person by BlazePose and Thunder, or by a pass and all together
SAME_KEYPOINTS = 0.4  # keypoints from the user's file and the landmark model's pose around them
SAME_POSE_MODEL = 0.4  # joints of the user's pose network and of the shipped ones
SAME_DETECTIONS = 0.7  # two people of a frame: a second detection has a similarity of 1.0, another person one of 0.2

_OKS_WIDTH = 0.07  # of the body's size: σ of the distance between two predictions of one joint
_HIDDEN_WEIGHT = 0.02  # of a joint that only one of two poses shows
_KEYPOINT_WIDTH = 0.1  # longer sides of the box: standard deviation of a keypoint's movement from frame to frame
_MIN_CONFIDENCE = 0.3  # of keypoints that are compared, or at which colours are taken
_MIN_KEYPOINTS = 4  # that are compared at least


@dataclass(frozen=True, eq=False)
class PosePoints:
    """A prediction of a person's joints.

    Attributes:
        points: (L, 2) float, pixels.
        size: The size of the body, pixels.
        confidence: (L,) float, 0…1; None if all joints count alike.
        mirror: The rows with left and right swapped, for networks that may swap them; () if they do not.
    """

    points: np.ndarray
    size: float
    confidence: np.ndarray | None = None
    mirror: Sequence[int] = ()


def same_person(
    a: PosePoints, b: PosePoints, threshold: float, *, min_confidence: float | None = None, min_joints: int = 1
) -> bool:
    """Return whether two poses have a `similarity` above a threshold.

    Args:
        a: The first pose.
        b: The second pose.
        threshold: The threshold.
        min_confidence: As for `similarity`.
        min_joints: As for `similarity`.
    """
    return similarity(a, b, min_confidence=min_confidence, min_joints=min_joints) > threshold


def similarity(a: PosePoints, b: PosePoints, *, min_confidence: float | None = None, min_joints: int = 1) -> float:
    """Return the object keypoint similarity of two poses, 0…1, for the better of both assignments of left and right.

    Args:
        a: The first pose.
        b: The second pose, whose sides may be swapped.
        min_confidence: The minimum confidence of joints that are compared, all with equal weight. None compares all
            joints, weighted by their confidence.
        min_joints: The minimum number of compared joints; with fewer, the similarity is 0.
    """
    width = _OKS_WIDTH * math.sqrt(a.size * b.size)
    best = 0.0
    for rows in (slice(None), list(b.mirror)) if len(b.mirror) else (slice(None),):
        points = a.points
        counterparts = b.points[rows]
        weights = None
        confidences = [c for c in (a.confidence, None if b.confidence is None else b.confidence[rows]) if c is not None]
        if confidences and min_confidence is None:
            weights = np.sqrt(math.prod(confidences)) + _HIDDEN_WEIGHT
        elif confidences:
            visible = np.min(confidences, axis=0) > min_confidence
            points = points[visible]
            counterparts = counterparts[visible]
        if len(points) >= min_joints:
            best = max(best, similarity_of_points(points, counterparts, width, weights))
    return best


def similarity_of_points(
    points: np.ndarray, counterparts: np.ndarray, width: float, weights: np.ndarray | None = None
) -> float:
    """Return the mean closeness of points to their counterparts, 0…1.

    Args:
        points: (N, 2) float, pixels.
        counterparts: (N, 2) float, pixels.
        width: The standard deviation, pixels.
        weights: (N,) float; None for equal weights.
    """
    squares = np.sum((points - counterparts) ** 2, axis=-1)
    return float(np.average(np.exp(-squares / (2 * width**2)), weights=weights))


def similarity_over_frames(previous: DetectedPerson, current: DetectedPerson) -> float:
    """Return the similarity of two frames' people, 0…1: of boxes or of keypoints, whichever is higher."""
    overlap = float(box_overlap(previous.box, current.box))
    if previous.skeleton != current.skeleton:
        return overlap
    in_both = np.minimum(previous.keypoints[:, 2], current.keypoints[:, 2]) > _MIN_CONFIDENCE
    if in_both.sum() < _MIN_KEYPOINTS:
        return overlap
    # People move from frame to frame, which passes over one frame do not: a width of its own, and sides do not swap.
    width = _KEYPOINT_WIDTH * max(_longer_side(person) for person in (previous, current)) + 1e-6
    points = previous.keypoints[in_both, :2]
    counterparts = current.keypoints[in_both, :2]
    return max(overlap, similarity_of_points(points, counterparts, width))


def distinct_rows(people: Sequence[DetectedPerson]) -> list[int]:
    """Return the rows of a frame's people without second detections, of which the likeliest stays."""
    poses = [PosePoints(p.keypoints[:, :2], _longer_side(p), p.keypoints[:, 2], p.skeleton.mirror) for p in people]
    rows = sorted(range(len(people)), key=lambda row: (not people[row].confirmed, -people[row].score))

    def is_same(a: int, b: int) -> bool:
        """Compare the joints that both show; left and right may be swapped."""
        return same_person(
            poses[a], poses[b], SAME_DETECTIONS, min_confidence=_MIN_CONFIDENCE, min_joints=_MIN_KEYPOINTS
        )

    return sorted(distinct(rows, is_same))


def _longer_side(person: DetectedPerson) -> float:
    return float(max(person.box[2:] - person.box[:2]))


def best_matches(likeness: np.ndarray, minimum: float = 0.0) -> list[tuple[int, int]]:
    """Match rows and columns of a table (R, C), each once at most, such that the sum of their likeness is largest.

    Pairs below the minimum, or without a likeness above 0, do not match.
    """
    from scipy.optimize import linear_sum_assignment  # a third of a second to import

    usable = np.where(likeness >= minimum, likeness, 0.0)
    pairs = zip(*linear_sum_assignment(usable, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if usable[row, column] > 0]


def distinct(items: Iterable[_T], is_same: Callable[[_T, _T], bool]) -> list[_T]:
    """Select the items that are not the same as one selected before them."""
    selected: list[_T] = []
    for item in items:
        if not any(is_same(item, other) for other in selected):
            selected.append(item)
    return selected


# Spots of the body whose colours distinguish people: each the mean of points between pairs of landmarks, on both sides.
_SPOTS: tuple[tuple[tuple[str, str, float], ...], ...] = (
    (("{}_shoulder", "{}_hip", 0.25), ("{}_shoulder", "{}_hip", 0.45)),
    (("{}_shoulder", "{}_hip", 0.75),),
    (("{}_shoulder", "{}_elbow", 0.5),),
    (("{}_hip", "{}_knee", 0.5),),
    (("{}_knee", "{}_ankle", 0.5),),
    (("{}_ear", "{}_ear", 0.0),),
)
_PATCH = 0.02  # heights of the person: radius of a spot
_MIN_WEIGHT = 0.5  # sum over the spots: less cannot be compared
_LARGEST = 40.0  # ΔE: maximum difference of a spot, beyond which it is not cloth


def body_colours(person: DetectedPerson, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the colours of a person's clothes.

    Args:
        person: The person.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (6, 4) float32. The CIELAB colour and the weight 0…1 of chest, belly, upper arms, thighs, shins and head.
    """
    colours = np.zeros((len(_SPOTS), 4), np.float32)
    radius = max(int(_PATCH * (person.box[3] - person.box[1])), 1)
    height, width = image.shape[:2]
    for row, spot in enumerate(_SPOTS):
        patches = []
        for start, end, share in spot:
            for side in ("left", "right"):
                names = [start.format(side), end.format(side)]
                if not all(name in person.skeleton for name in names):
                    continue
                a, b = person.keypoints[person.skeleton.indices(names)]
                x, y = (int(v) for v in (1 - share) * a[:2] + share * b[:2])
                if min(a[2], b[2]) > _MIN_CONFIDENCE and radius <= x < width - radius and radius <= y < height - radius:
                    patch = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
                    patches.append((*patch.reshape(-1, 3).mean(0), min(a[2], b[2])))
        if patches:
            colours[row] = np.average(patches, axis=0)
    lab = cv2.cvtColor((colours[None, :, :3] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)
    colours[:, :3] = lab[0]
    return colours


def median_colours(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the median colours (6, 4) of a person over several images, with the mean weights."""
    colours = np.stack(rows).astype(np.float64)
    visible = np.where(colours[..., 3:] > 0, colours[..., :3], np.nan)
    weight = colours[..., 3].mean(0)
    median = np.zeros((len(weight), 3))
    is_visible = weight > 0
    median[is_visible] = np.nanmedian(visible[:, is_visible], axis=0)
    return np.concatenate([median, weight[:, None]], axis=1)


def colour_difference(a: NDArray[np.floating], b: NDArray[np.floating], lightness: float) -> float | None:
    """Return the difference ΔE of the colours of two people.

    Args:
        a: (6, 4) float. CIELAB colours and weights.
        b: (6, 4) float. CIELAB colours and weights.
        lightness: The weight of CIELAB's L, below 1: light changes with position and camera, more than colour does.

    Returns:
        0 to 40; None if too little can be compared.
    """
    weight = np.sqrt(a[:, 3] * b[:, 3])
    if weight.sum() < _MIN_WEIGHT:
        return None
    distances = np.linalg.norm((a[:, :3] - b[:, :3]) * [lightness, 1, 1], axis=1)
    return float((weight * np.minimum(distances, _LARGEST)).sum() / weight.sum())


class ClothesOdds(NamedTuple):
    """How the colours of clothes speak for one person.

    Attributes:
        lightness: The weight of CIELAB's L.
        neutral: ΔE that speaks neither for one person nor for two.
        scale: ΔE that is worth one of log-odds.
        largest: The largest log-odds.
    """

    lightness: float
    neutral: float
    scale: float
    largest: float

    def between(self, a: NDArray[np.floating] | None, b: NDArray[np.floating] | None) -> float:
        """Return the log-odds that two colours (6, 4) are one person's; 0 if they are unknown."""
        difference = None if a is None or b is None else colour_difference(a, b, self.lightness)
        if difference is None:
            return 0.0
        return float(np.clip((self.neutral - difference) / self.scale, -self.largest, self.largest))
