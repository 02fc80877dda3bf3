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


@dataclass(frozen=True)
class UprightPose:
    """Thunder's pose in one upright crop, mirroring undone: points (17, 2) pixels of the image, score (17,) 0..1."""

    points: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class FusedJoints:
    """points (33, 2) pixels of the image and confidence (33,) 0..1, rows of BLAZEPOSE33.

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


def fuse(passes: Sequence[Observation], upright: Sequence[UprightPose]) -> FusedJoints:
    """BlazePose's passes (of one network or several) and Thunder's poses of one person, joined by confidence.

    Thunder's poses of somebody else are left out; landmarks that COCO17 lacks stay BlazePose's.
    """
    points, confidence = mean_points(passes), mean_confidence(passes)
    side = passes[0].region.side
    same = [pose for pose in upright if similarity_of_points(pose.points, points[_SHARED], side) >= _SAME_PERSON]
    disagreement = np.full(len(points), np.nan)
    if not same:
        return FusedJoints(points, confidence, disagreement)
    scores = np.stack([pose.score for pose in same])[..., None] + _LEAST_WEIGHT  # (crops, 17, 1)
    theirs = (scores * np.stack([pose.points for pose in same])).sum(0) / scores.sum(0)
    weight = confidence[_SHARED, None] + _LEAST_WEIGHT, scores.mean(0)
    fused, sure = points.copy(), confidence.copy()
    fused[_SHARED] = (weight[0] * points[_SHARED] + weight[1] * theirs) / (weight[0] + weight[1])
    sure[_SHARED] = (confidence[_SHARED] + scores.mean(0)[:, 0]) / 2
    disagreement[_SHARED] = np.linalg.norm(points[_SHARED] - theirs, axis=1)
    return FusedJoints(fused, sure, disagreement)
