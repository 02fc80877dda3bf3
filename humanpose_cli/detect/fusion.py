"""Joints of a person from several networks: MoveNet Thunder on upright crops, joined with BlazePose's landmarks.

Thunder's errors differ from BlazePose's, so their mean is better than either, and their distance predicts a wrong joint
better than the confidence of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.models import ModelPool, PoseModels
from humanpose_cli.detect.movenet import THUNDER_SIZE, single_pose
from humanpose_cli.detect.person import CropView, Observation, mean_confidence, mean_points
from humanpose_cli.detect.regions import Pyramid, Region
from humanpose_cli.detect.search import similarity_of_points

__all__ = ["FusedJoints", "UprightPose", "fuse", "observe_upright", "upright_views"]

_SHARED = BLAZEPOSE33.indices(COCO17.joint_names)  # rows of BLAZEPOSE33 that COCO17 names, in COCO17's order
_MIRROR = list(COCO17.mirror)
_TORSO = COCO17.indices(["left_shoulder", "right_shoulder", "left_hip", "right_hip"])
_HIPS = COCO17.indices(["left_hip", "right_hip"])
_SURE = 0.3
_BOX_MARGIN = 1.25
_TORSO_REACH, _BODY_REACH = 1.9, 1.2  # MoveNet's own crop: half its side in reaches of torso and body from the hips
_SAME_PERSON = 0.5  # similarity to BlazePose's mean below which Thunder shows somebody else
_LEAST_WEIGHT = 1e-3
_FULL_WEIGHT, _HEAVY_WEIGHT = 0.5, 1.0  # of all passes of a network together; Thunder's is 1
_AGREEMENT = 0.01  # of the region's side: votes this far from the mean count half
_ITERATIONS = 8


@dataclass(frozen=True)
class UprightPose:
    """Thunder's pose in one upright crop, mirroring undone: points (17, 2) pixels of the image, score (17,) 0..1."""

    points: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class FusedJoints:
    """Points (33, 2) pixels of the image and confidence (33,) 0..1, rows of BLAZEPOSE33.

    disagreement (33,) pixels between BlazePose's and Thunder's means; NaN where Thunder says nothing.
    """

    points: np.ndarray
    confidence: np.ndarray
    disagreement: np.ndarray


def upright_views(points: np.ndarray, confidence: np.ndarray) -> list[CropView]:
    """Four upright views of a person with BlazePose's landmarks (33, 2), (33,): two crops, plain and mirrored.

    The first crop is the box of the confident joints with a margin; the second is the one that MoveNet's authors cut
    around the hips in a video.
    """
    joints, sure = points[_SHARED], confidence[_SHARED] > _SURE
    known = joints[sure] if sure.sum() >= 2 else joints
    low, high = known.min(0), known.max(0)
    middle, side = (low + high) / 2, _BOX_MARGIN * float((high - low).max())
    hips = joints[_HIPS].mean(0)
    torso, body = (float(np.abs(rows - hips).max()) for rows in (joints[_TORSO], known))
    around = 2 * max(_TORSO_REACH * torso, _BODY_REACH * body)
    regions = Region(middle[0], middle[1], max(side, 1.0)), Region(hips[0], hips[1], max(around, 1.0))
    return [CropView(region, mirror) for region in regions for mirror in (False, True)]


def observe_upright(pool: ModelPool, pyramid: Pyramid, views: Sequence[CropView]) -> list[UprightPose]:
    """Thunder's pose in each view."""

    def observe(models: PoseModels, part: Sequence[CropView]) -> list[UprightPose]:
        crops = [pyramid.crop(v.region, THUNDER_SIZE, mirror=v.mirror, pad=cv2.BORDER_CONSTANT) for v in part]
        return [_placed(*pair) for pair in zip(part, single_pose(np.stack(crops), models.device), strict=True)]

    return pool.map(observe, views)


def _placed(view: CropView, joints: np.ndarray) -> UprightPose:
    points, score = joints[:, :2].astype(np.float64), joints[:, 2]
    if view.mirror:
        points = (points * [-1, 1] + [THUNDER_SIZE, 0])[_MIRROR]
        score = score[_MIRROR]
    return UprightPose(view.region.to_image(THUNDER_SIZE).points(points), score)


def fuse(full: Sequence[Observation], heavy: Sequence[Observation], upright: Sequence[UprightPose]) -> FusedJoints:
    """The passes of BlazePose full and heavy and Thunder's poses of one person, joined; heavy may be empty.

    Every pass votes with its confidence, and votes far from where most agree count little (Cauchy weights), for a
    network that swaps left and right or jumps to another limb would spoil a mean. The search for agreement begins at
    Thunder's mean, which swaps least. Thunder's poses of somebody else are left out; landmarks that COCO17 lacks are
    BlazePose's alone.
    """
    assert full
    side = full[0].region.side
    groups = [(passes, weight) for passes, weight in ((full, _FULL_WEIGHT), (heavy, _HEAVY_WEIGHT)) if passes]
    passes = [o for group, _ in groups for o in group]
    votes = np.stack([o.points for o in passes])  # (V, 33, 2)
    weights = np.concatenate(
        [
            weight / len(group) * np.stack([o.confidence * o.presence + _LEAST_WEIGHT for o in group])
            for group, weight in groups
        ]
    )
    start = mean_points(groups[-1][0])
    means = [mean_points(group)[_SHARED] for group, _ in groups]
    likely = [mean[rows] for mean in means for rows in (slice(None), _MIRROR)]  # left and right may be swapped
    same = [p for p in upright if max(similarity_of_points(p.points, m, side) for m in likely) >= _SAME_PERSON]
    confidence, disagreement = mean_confidence(passes), np.full(len(BLAZEPOSE33), np.nan)
    if same:
        points, scores = (np.stack([getattr(pose, name) for pose in same]) for name in ("points", "score"))
        theirs = np.average(points, axis=0, weights=np.repeat(scores[..., None] + _LEAST_WEIGHT, 2, axis=-1))
        disagreement[_SHARED] = np.linalg.norm(np.average(means, axis=0) - theirs, axis=1)
        start[_SHARED] = theirs
        confidence[_SHARED] = (confidence[_SHARED] + scores.mean(0)) / 2
        added, votes_added = np.zeros((len(same), len(BLAZEPOSE33))), np.zeros((len(same), len(BLAZEPOSE33), 2))
        added[:, _SHARED], votes_added[:, _SHARED] = (scores + _LEAST_WEIGHT) / len(same), points
        votes, weights = np.concatenate([votes, votes_added]), np.concatenate([weights, added])
    return FusedJoints(_agreed(votes, weights, start, _AGREEMENT * side), confidence, disagreement)


def _agreed(votes: np.ndarray, weights: np.ndarray, start: np.ndarray, scale: float) -> np.ndarray:
    """(L, 2): mean of votes (V, L, 2) with weights (V, L), of which those far from the mean count little."""
    points = start
    for _ in range(_ITERATIONS):
        apart = np.linalg.norm(votes - points, axis=-1) / scale
        share = weights / (1 + apart**2)
        points = (share[..., None] * votes).sum(0) / share.sum(0)[:, None]
    return points
