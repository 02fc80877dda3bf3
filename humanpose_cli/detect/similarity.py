"""The similarity of two predicted poses, and the thresholds from which they show one person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAME_PASSES = 0.5  # two landmark passes of unrefined candidates or followed people
SAME_CANDIDATES = 0.4  # mean poses of two refined candidates, by the joints that both show
SAME_NETWORKS = 0.5  # poses of one person by BlazePose and Thunder, or by a pass and all together
SAME_KEYPOINTS = 0.4  # keypoints from the user's file and the landmark model's pose around them
SAME_POSE_MODEL = 0.4  # joints of the user's pose network and of the shipped ones
SAME_DETECTIONS = 0.7  # two people of a frame: a second detection has a similarity of 1.0, another person one of 0.2

_OKS_WIDTH = 0.07  # of the body's size: σ of the distance between two predictions of one joint
_HIDDEN_WEIGHT = 0.02  # of a joint that only one of two poses shows


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
