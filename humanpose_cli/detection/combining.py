"""Several passes over one person made into one answer, with its uncertainty and the person's mask."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.detection.models import LANDMARK_SIZE
from humanpose_cli.detection.observing import Observation
from humanpose_cli.detection.person import DetectedPerson, PersonMask
from humanpose_cli.detection.regions import Region

__all__ = ["combine", "mean_confidence", "mean_mask", "mean_points", "points_spread", "world_spread"]

_SURE = 0.3  # confidence from which a keypoint tells where the person is
_MASK_REACH = 0.6  # of the size of the keypoints' box: how far hair, hats and clothes go beyond them
_HIPS = BLAZEPOSE33.indices(["left_hip", "right_hip"])


def mean_points(observations: Sequence[Observation]) -> np.ndarray:
    """(33, 2) pixels."""
    return np.mean([o.points for o in observations], axis=0)


def mean_confidence(observations: Sequence[Observation]) -> np.ndarray:
    """(33,) 0..1: seen, in the picture, and somebody is there."""
    return np.mean([o.confidence * o.presence for o in observations], axis=0)


def points_spread(observations: Sequence[Observation]) -> np.ndarray:
    """(33,) pixels: root mean square distance of each landmark from its mean, per axis."""
    points = np.stack([o.points for o in observations])
    return np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0) / 2)


def world_spread(observations: Sequence[Observation]) -> np.ndarray:
    """(33,) metres: root mean square distance of each world landmark from its mean, per axis."""
    world = np.stack([o.world for o in observations])
    return np.sqrt(((world - world.mean(0)) ** 2).sum(-1).mean(0) / 3)


def combine(observations: Sequence[Observation], width: int, height: int, score: float) -> DetectedPerson:
    """The mean of the passes; `width` and `height` are the picture's."""
    world = np.mean([o.world for o in observations], axis=0)
    mask = mean_mask(observations, observations[0].region)
    keypoints = np.concatenate([mean_points(observations), mean_confidence(observations)[:, None]], axis=1)
    return DetectedPerson(
        box=_box(keypoints, mask, width, height),
        keypoints=keypoints.astype(np.float32),
        world=(world - world[_HIPS].mean(0)).astype(np.float32),
        spread=points_spread(observations).astype(np.float32),
        world_spread=world_spread(observations).astype(np.float32),
        mask=mask,
        score=float(score),
    )


def mean_mask(observations: Sequence[Observation], region: Region) -> PersonMask:
    """The passes' masks averaged in the crop of `region`, each where it sees that crop."""
    size = LANDMARK_SIZE
    target = np.vstack([region.to_picture(size), [0, 0, 1]])
    total = np.zeros((size, size), np.float32)
    weight = np.full((size, size), 1e-6, np.float32)
    for observation in observations:
        source = np.vstack([observation.region.to_picture(size), [0, 0, 1]])
        affine = (np.linalg.inv(source) @ target)[:2]
        affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        total += cv2.warpAffine(observation.mask, affine, (size, size), flags=flags)
        weight += cv2.warpAffine(np.ones_like(observation.mask), affine, (size, size), flags=flags)
    crop = np.rint(np.clip(total / weight, 0, 1) * 255).astype(np.uint8)
    return PersonMask(crop, region.to_picture(size))


def _box(keypoints: np.ndarray, mask: PersonMask, width: int, height: int) -> np.ndarray:
    """Around the confident keypoints and the parts of the mask that they lie on; within the picture."""
    sure = keypoints[keypoints[:, 2] > _SURE, :2]
    sure = sure if len(sure) else keypoints[:, :2]
    low, high = sure.min(0), sure.max(0)
    margin = _MASK_REACH * max(high - low)
    pixels = _mask_pixels(mask, sure)
    near = ((pixels > low - margin) & (pixels < high + margin)).all(1)
    if near.any():
        low = np.minimum(low, pixels[near].min(0))
        high = np.maximum(high, pixels[near].max(0))
    size = np.array([width, height], dtype=float)
    return np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)]).astype(np.float32)


def _mask_pixels(mask: PersonMask, points: np.ndarray) -> np.ndarray:
    """(N, 2) places in the picture of the mask's pixels, of those of its parts that hold one of `points` (M, 2)."""
    affine = mask.crop_to_picture
    _, parts = cv2.connectedComponents((mask.crop > 127).astype(np.uint8))
    to_crop = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
    columns, rows = np.clip(points @ to_crop[:, :2].T + to_crop[:, 2], 0, len(mask.crop) - 1).astype(int).T
    held = np.unique(parts[rows, columns])
    rows, columns = np.nonzero(np.isin(parts, held[held > 0]))
    return np.stack([columns + 0.5, rows + 0.5], axis=1) @ affine[:, :2].T + affine[:, 2]
