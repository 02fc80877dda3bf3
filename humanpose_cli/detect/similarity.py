"""Whether two predictions are of one person: a measure of two poses, and its thresholds by what is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAME_PASSES = 0.5  # poses of two landmark passes: of candidates before they are refined, and of people followed
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
        points: (L, 2) pixels.
        size: Of the body, pixels.
        confidence: (L,) 0..1; None: all joints count alike.
        mirror: Rows of the joints with left and right swapped, for networks that may swap them; () if none may.
    """

    points: np.ndarray
    size: float
    confidence: np.ndarray | None = None
    mirror: Sequence[int] = ()


def same_person(
    a: PosePoints, b: PosePoints, threshold: float, *, min_confidence: float | None = None, min_joints: int = 1
) -> bool:
    """Check that two poses have a `similarity` above a threshold."""
    return similarity(a, b, min_confidence=min_confidence, min_joints=min_joints) > threshold


def similarity(a: PosePoints, b: PosePoints, *, min_confidence: float | None = None, min_joints: int = 1) -> float:
    """Compute the object keypoint similarity of two poses, 0..1; with the better of b's sides if they may be swapped.

    Args:
        min_confidence: Of joints that are compared, all alike; None: joints count by their confidence.
        min_joints: That are compared at least; else the similarity is 0.
    """
    width = _OKS_WIDTH * math.sqrt(a.size * b.size)
    best = 0.0
    for rows in (slice(None), list(b.mirror)) if len(b.mirror) else (slice(None),):
        points, others, weights = a.points, b.points[rows], None
        confidences = [c for c in (a.confidence, None if b.confidence is None else b.confidence[rows]) if c is not None]
        if confidences and min_confidence is None:
            weights = np.sqrt(math.prod(confidences)) + _HIDDEN_WEIGHT
        elif confidences:
            visible = np.min(confidences, axis=0) > min_confidence
            points, others = points[visible], others[visible]
        if len(points) >= min_joints:
            best = max(best, similarity_of_points(points, others, width, weights))
    return best


def similarity_of_points(
    points: np.ndarray, others: np.ndarray, width: float, weights: np.ndarray | None = None
) -> float:
    """Average over (N, 2) points how near each is to its counterpart, 0..1.

    Args:
        width: Pixels that are one standard deviation.
    """
    apart = np.sum((points - others) ** 2, axis=-1)
    return float(np.average(np.exp(-apart / (2 * width**2)), weights=weights))
