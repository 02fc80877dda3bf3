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

__all__ = ["combine", "mean_mask", "points_spread"]

_OUTSIDE_FADE = 0.02  # of the region's side: a joint this far out of the picture keeps a third of its confidence
_HIPS = BLAZEPOSE33.indices(["left_hip", "right_hip"])


def points_spread(observations: Sequence[Observation]) -> np.ndarray:
    """(33,) pixels: root mean square distance of each landmark from its mean, per axis."""
    points = np.stack([o.points for o in observations])
    return np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0) / 2)


def combine(observations: Sequence[Observation], width: int, height: int, score: float) -> DetectedPerson:
    """The mean of the passes; `width` and `height` are the picture's."""
    points = np.mean([o.points for o in observations], axis=0)
    world = np.stack([o.world - o.world[_HIPS].mean(0) for o in observations])
    region = observations[0].region
    confidence = np.mean([o.visibility * o.inside for o in observations], axis=0)
    confidence = confidence * np.mean([o.presence for o in observations])
    confidence = confidence * _inside_picture(points, width, height, _OUTSIDE_FADE * region.side)
    mask = mean_mask(observations, region)
    keypoints = np.concatenate([points, confidence[:, None]], axis=1)
    return DetectedPerson(
        box=_box(keypoints, mask, width, height),
        keypoints=keypoints.astype(np.float32),
        world=world.mean(0).astype(np.float32),
        spread=points_spread(observations).astype(np.float32),
        world_spread=np.sqrt(((world - world.mean(0)) ** 2).sum(-1).mean(0) / 3).astype(np.float32),
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


def _inside_picture(points: np.ndarray, width: int, height: int, fade: float) -> np.ndarray:
    """(L,) 1 inside the picture, falling with the distance outside it."""
    limits = np.array([width, height], dtype=float)
    outside = np.linalg.norm(points - np.clip(points, 0, limits), axis=1)
    return np.exp(-outside / fade)


def _box(keypoints: np.ndarray, mask: PersonMask, width: int, height: int) -> np.ndarray:
    """Around the confident keypoints, and around the mask as far as it stays near them; within the picture."""
    sure = keypoints[keypoints[:, 2] > 0.3, :2]
    sure = sure if len(sure) else keypoints[:, :2]
    low, high = sure.min(0), sure.max(0)
    margin = 0.2 * max(high - low)
    rows, columns = np.nonzero(mask.crop > 127)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1) @ mask.crop_to_picture[:, :2].T
    pixels = pixels + mask.crop_to_picture[:, 2]
    near = ((pixels > low - margin) & (pixels < high + margin)).all(1)
    if near.any():
        low = np.minimum(low, pixels[near].min(0))
        high = np.maximum(high, pixels[near].max(0))
    size = np.array([width, height], dtype=float)
    return np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)]).astype(np.float32)
