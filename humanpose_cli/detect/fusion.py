"""Joints of a person from several networks: BlazePose full and heavy, and MoveNet Thunder on upright crops.

Their errors differ, so where most of them agree is nearer the truth than any one of them, and how many agree says how
near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.models import ModelPool, PoseModels
from humanpose_cli.detect.movenet import THUNDER_SIZE, single_pose
from humanpose_cli.detect.person import (
    CropView,
    DetectedPerson,
    FusedJoints,
    Observation,
    combine,
    mean_confidence,
    mean_points,
    observe_jittered,
)
from humanpose_cli.detect.regions import Pyramid, Region
from humanpose_cli.detect.search import BODY, Found, similarity_of_points

_SHARED = BLAZEPOSE33.indices(COCO17.joint_names)  # rows of BLAZEPOSE33 that COCO17 names, in COCO17's order
_MIRROR = list(COCO17.mirror)
_TORSO = COCO17.indices(["left_shoulder", "right_shoulder", "left_hip", "right_hip"])
_HIPS = COCO17.indices(["left_hip", "right_hip"])
_SURE = 0.3
_BOX_MARGIN = 1.25
_TORSO_REACH, _BODY_REACH = 1.9, 1.2  # MoveNet's own crop: half its side in reaches of torso and body from the hips
_SAME_PERSON = 0.5  # mean similarity to BlazePose's passes below which Thunder shows somebody else
_CLEAR = 0.7  # Thunder's score of a joint of which BlazePose has no doubt
_LEAST_WEIGHT = 1e-3
_LEAST_SUPPORT = 0.05
_FULL_WEIGHT, _HEAVY_WEIGHT = 0.5, 1.0  # of all passes of a network together; Thunder's is 1
_AGREEMENT = 0.01  # of the region's side: votes this far from the mean count half
_ITERATIONS = 8


@dataclass(frozen=True)
class UprightPose:
    """Thunder's pose in one upright crop, mirroring undone: points (17, 2) pixels of the image, score (17,) 0..1."""

    points: np.ndarray
    score: np.ndarray


def fused_people(
    pool: ModelPool, pyramid: Pyramid, found: Sequence[Found], heavy: int, upright: int, *, masked: bool = True
) -> list[DetectedPerson]:
    """The people who were found, each from its own passes, `upright` crops of Thunder, and, where they have none yet,
    `heavy` crops of BlazePose heavy.

    At most 4 and 9 crops. With masks, which the people's own passes must have then, or without.
    """
    unseen = [row for row, f in enumerate(found) if heavy and not f.heavy]
    regions = [found[row].passes[0].region for row in unseen]
    seen, poses = pool.together(
        lambda: observe_jittered(pool, pyramid, regions, heavy - 1, "blazepose-heavy", masks=False),
        lambda: observe_upright(pool, pyramid, [view for f in found for view in upright_views(f.passes)[:upright]]),
    )
    more = {**{row: f.heavy for row, f in enumerate(found)}, **dict(zip(unseen, seen, strict=True))}
    people = []
    for row, f in enumerate(found):
        joints = fuse(f.passes, more[row], poses[row * upright : (row + 1) * upright])
        person = combine(f.passes, pyramid.width, pyramid.height, f.score, joints, masked=masked)
        people.append(replace(person, confirmed=f.confirmed))
    return people


def upright_views(passes: Sequence[Observation]) -> list[CropView]:
    """Four upright views of a person: two crops, plain and mirrored; the first two show both.

    One crop is the box of the confident joints with a margin, the other the one that MoveNet's authors cut around the
    hips in a video. Both are means over the passes of what swapped sides leave as it is.
    """
    regions = np.array([_upright_regions(o.points[_SHARED], o.confidence[_SHARED] > _SURE) for o in passes]).mean(0)
    box, hips = (Region(*region) for region in regions)
    return [CropView(box), CropView(hips, mirror=True), CropView(box, mirror=True), CropView(hips)]


def _upright_regions(joints: np.ndarray, sure: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """x, y and side of the two crops of joints (17, 2)."""
    known = joints[sure] if sure.sum() >= 2 else joints
    low, high = known.min(0), known.max(0)
    (x, y), side = (low + high) / 2, _BOX_MARGIN * float((high - low).max())
    hips = joints[_HIPS].mean(0)
    torso, body = (float(np.abs(rows - hips).max()) for rows in (joints[_TORSO], known))
    around = 2 * max(_TORSO_REACH * torso, _BODY_REACH * body)
    return (x, y, max(side, 1.0)), (hips[0], hips[1], max(around, 1.0))


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
    """The passes of BlazePose full and heavy and Thunder's poses of one person, joined; the latter two may be empty.

    Every pass votes with its confidence, and votes far from where most agree count little (Cauchy weights), for a
    network that swaps left and right or jumps to another limb would spoil a mean. The search for agreement begins at
    Thunder's mean, which swaps least. Thunder's poses of somebody else are left out; landmarks that COCO17 lacks are
    BlazePose's alone. A landmark's noise is inverse to the votes that agree: measured on 1,200 joints of rendered and
    real people, with Gaussian noise of 0.0102 of the region's side at one vote and an exponent of 1.03.
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
    same = [
        p for p in upright if np.mean([_similarity(p.points, o.points[_SHARED], side) for o in passes]) >= _SAME_PERSON
    ]
    confidence = mean_confidence(passes)
    if same:
        points, scores = (np.stack([getattr(pose, name) for pose in same]) for name in ("points", "score"))
        start[_SHARED] = np.average(points, axis=0, weights=np.repeat(scores[..., None] + _LEAST_WEIGHT, 2, axis=-1))
        confidence[_SHARED] = (confidence[_SHARED] + np.minimum(scores.mean(0) / _CLEAR, 1)) / 2
        added, votes_added = np.zeros((len(same), len(BLAZEPOSE33))), np.zeros((len(same), len(BLAZEPOSE33), 2))
        added[:, _SHARED], votes_added[:, _SHARED] = (scores + _LEAST_WEIGHT) / len(same), points
        votes, weights = np.concatenate([votes, votes_added]), np.concatenate([weights, added])
    joined, support = _agreed(votes, weights, start, _AGREEMENT * side)
    noise = _AGREEMENT * side / np.maximum(support, _LEAST_SUPPORT)
    return FusedJoints(joined, confidence, noise, tuple(_showing(joined, passes)))


def _showing(points: np.ndarray, passes: Sequence[Observation]) -> list[Observation]:
    """The passes that show the pose (33, 2), with left and right named as it names them."""
    shown = []
    for o in passes:
        alike, rows = max(
            (similarity_of_points(o.points[rows][BODY], points[BODY], o.region.side), rows)
            for rows in (list(range(len(BLAZEPOSE33))), list(BLAZEPOSE33.mirror))
        )
        if alike >= _SAME_PERSON:
            shown.append(replace(o, points=o.points[rows], confidence=o.confidence[rows], world=o.world[rows]))
    return shown


def _similarity(joints: np.ndarray, others: np.ndarray, side: float) -> float:
    """Of two poses (17, 2), of which one may have left and right swapped."""
    return max(similarity_of_points(joints, others[rows], side) for rows in (slice(None), _MIRROR))


def _agreed(votes: np.ndarray, weights: np.ndarray, start: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (L, 2) of votes (V, L, 2) with weights (V, L), of which those far from the mean count little, and the
    total weight (L,) of those that agree.
    """
    points, share = start, weights
    for _ in range(_ITERATIONS):
        apart = np.linalg.norm(votes - points, axis=-1) / scale
        share = weights / (1 + apart**2)
        points = (share[..., None] * votes).sum(0) / share.sum(0)[:, None]
    return points, share.sum(0)
