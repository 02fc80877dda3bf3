"""Joints of a person from several networks: BlazePose full and heavy, and MoveNet Thunder on upright crops.

Their errors differ: a position on which most networks agree is closer to the truth than any single one, and the noise
of a joint follows from how many agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.identity import SAME_NETWORKS, PosePoints, similarity
from humanpose_cli.detect.models import ModelPool, PoseModels
from humanpose_cli.detect.movenet import THUNDER_SIZE, single_pose
from humanpose_cli.detect.person import (
    CropView,
    DetectedPerson,
    FusedJoints,
    Observation,
    assemble,
    mean_confidence,
    mean_points,
    observe_jittered,
)
from humanpose_cli.detect.regions import Pyramid, Region
from humanpose_cli.detect.search import BODY, Candidate, Scheme

_COMMON_ROWS = BLAZEPOSE33.indices(COCO17.joint_names)  # rows of BLAZEPOSE33 that COCO17 names, in COCO17's order
_MIRROR = list(COCO17.mirror)
_TORSO = COCO17.indices(["left_shoulder", "right_shoulder", "left_hip", "right_hip"])
_HIPS = COCO17.indices(["left_hip", "right_hip"])

_FULL_WEIGHT = 0.5  # votes of all passes of BlazePose full for a joint of full confidence; Thunder has 1
_HEAVY_WEIGHT = 1.0  # votes of all passes of BlazePose heavy
_MIN_WEIGHT = 1e-3  # of a vote without confidence, so that every joint has a position
_CLEAR_SCORE = 0.7  # Thunder's score of a joint that is certainly visible
_AGREEMENT = 0.01  # of the region's side: votes this far from the mean count half
_MIN_SUPPORT = 0.05  # votes that agree on a joint at least; bounds its noise
_ITERATIONS = 8  # of the reweighted mean

_MIN_CONFIDENCE = 0.3  # of BlazePose's joints that an upright crop shows
_BOX_MARGIN = 1.25  # side of the first upright crop, in sides of the box around its joints
# Half the side of the second upright crop, MoveNet's own, in reaches from the hips:
_TORSO_REACH = 1.9  # of the torso
_BODY_REACH = 1.2  # of the body


@dataclass(frozen=True)
class UprightPose:
    """Thunder's pose in an upright crop; the crop's mirroring is undone.

    Attributes:
        points: (17, 2) float, pixels of the image.
        score: (17,) float, 0…1.
    """

    points: np.ndarray
    score: np.ndarray


def fused_people(
    pool: ModelPool,
    pyramid: Pyramid,
    candidates: Sequence[Candidate],
    scheme: Scheme,
    *,
    with_mask: bool = True,
) -> list[DetectedPerson]:
    """Combine the networks' poses of each candidate.

    Candidates without passes of BlazePose heavy get the scheme's.

    Args:
        pool: The networks.
        pyramid: The image.
        candidates: The candidates with passes.
        scheme: The numbers of crops: at most 4 for Thunder, and 9 for BlazePose heavy.
        with_mask: Whether people get masks, which the candidates' passes must have then.
    """
    # The crops of both networks for all candidates go together, so that no thread and no batch waits.
    lacking = [row for row, candidate in enumerate(candidates) if scheme.heavy and not candidate.heavy]
    regions = [candidates[row].passes[0].region for row in lacking]
    upright = scheme.upright
    views = [v for candidate in candidates for v in upright_views(candidate.passes)[:upright]]
    heavy_groups, poses = pool.run_both(
        lambda: observe_jittered(pool, pyramid, regions, scheme.heavy - 1, "blazepose-heavy", masks=False),
        lambda: observe_upright(pool, pyramid, views),
    )
    heavy_passes: dict[int, Sequence[Observation]] = dict(zip(lacking, heavy_groups, strict=True))
    people = []
    for row, candidate in enumerate(candidates):
        thunder = poses[row * upright : (row + 1) * upright]
        fusion = fuse(candidate.passes, heavy_passes.get(row, candidate.heavy), thunder)
        person = assemble(candidate.passes, fusion, pyramid.size, candidate.probability, with_mask=with_mask)
        people.append(replace(person, confirmed=candidate.confirmed))
    return people


def upright_views(passes: Sequence[Observation]) -> list[CropView]:
    """Return four upright views of a person: two crops, plain and mirrored; the first two show both crops.

    One crop is the box of the confident joints with a margin, the other one the crop that MoveNet's authors cut around
    the hips in videos. Both are means over the passes of values that do not change with swapped sides.

    Args:
        passes: The passes of BlazePose.
    """
    crops = []
    for o in passes:
        confident = o.confidence[_COMMON_ROWS] > _MIN_CONFIDENCE
        crops.append(_upright_crops(o.points[_COMMON_ROWS], confident))
    box, hips = (Region(x, y, side) for x, y, side in np.array(crops).mean(0))
    return [CropView(box), CropView(hips, mirror=True), CropView(box, mirror=True), CropView(hips)]


def _upright_crops(joints: np.ndarray, confident: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return x, y and side of the two crops of joints (17, 2)."""
    points = joints[confident] if confident.sum() >= 2 else joints
    low = points.min(0)
    high = points.max(0)
    (x, y) = (low + high) / 2
    side = _BOX_MARGIN * float((high - low).max())
    hips = joints[_HIPS].mean(0)
    torso, body = (float(np.abs(rows - hips).max()) for rows in (joints[_TORSO], points))
    hip_side = 2 * max(_TORSO_REACH * torso, _BODY_REACH * body)
    return (x, y, max(side, 1.0)), (hips[0], hips[1], max(hip_side, 1.0))


def observe_upright(pool: ModelPool, pyramid: Pyramid, views: Sequence[CropView]) -> list[UprightPose]:
    """Run Thunder on each view."""

    def observe(models: PoseModels, part: Sequence[CropView]) -> list[UprightPose]:
        crops = [pyramid.crop(v.region, THUNDER_SIZE, mirror=v.mirror, pad=cv2.BORDER_CONSTANT) for v in part]
        joints = single_pose(np.stack(crops), models.device)
        return [_upright_pose(view, rows) for view, rows in zip(part, joints, strict=True)]

    return pool.map(observe, views)


def _upright_pose(view: CropView, joints: np.ndarray) -> UprightPose:
    points = joints[:, :2].astype(np.float64)
    score = joints[:, 2]
    if view.mirror:
        points = (points * [-1, 1] + [THUNDER_SIZE, 0])[_MIRROR]
        score = score[_MIRROR]
    return UprightPose(view.region.to_image(THUNDER_SIZE).points(points), score)


def fuse(
    full: Sequence[Observation],
    heavy: Sequence[Observation],
    upright: Sequence[UprightPose],
) -> FusedJoints:
    """Combine passes of BlazePose full and heavy, and Thunder's poses, of one person.

    Every pass votes with its confidence. Votes far from the agreement of most have little weight (Cauchy weights),
    because a network that swaps left and right, or jumps to another limb, would spoil a mean. Landmarks that COCO17
    lacks come from BlazePose alone. A landmark's noise is inverse to the agreeing votes: 0.0102 of the region's side at
    one vote, with an exponent of 1.03, measured on 1,200 joints of rendered and real people.

    Args:
        full: Passes of BlazePose full, at least one.
        heavy: Passes of BlazePose heavy.
        upright: Thunder's poses.
    """
    side = full[0].region.side
    # BlazePose's votes, weighted by confidence: each network has its weight, shared by its passes.
    networks = [(full, _FULL_WEIGHT), (heavy, _HEAVY_WEIGHT)]
    passes = [*full, *heavy]
    votes = np.stack([o.points for o in passes])  # (V, 33, 2)
    weights = np.stack(  # (V, 33)
        [w / len(group) * (o.confidence * o.presence + _MIN_WEIGHT) for group, w in networks for o in group]
    )
    confidence = mean_confidence(passes)
    # Agreement is searched for from the better of BlazePose's networks, or from Thunder, which swaps sides least.
    start = mean_points(heavy or full)
    same = [pose for pose in upright if _mean_similarity(pose, passes, side) >= SAME_NETWORKS]
    if same:
        points = np.stack([pose.points for pose in same])
        scores = np.stack([pose.score for pose in same])
        certainty = scores + _MIN_WEIGHT
        start[_COMMON_ROWS] = np.average(points, axis=0, weights=np.repeat(certainty[..., None], 2, axis=-1))
        clear = np.minimum(scores.mean(0) / _CLEAR_SCORE, 1)
        confidence[_COMMON_ROWS] = (confidence[_COMMON_ROWS] + clear) / 2
        # Thunder votes for the joints that it has; for the others its weight is zero.
        thunder_votes = np.zeros((len(same), len(BLAZEPOSE33), 2))
        thunder_weights = np.zeros((len(same), len(BLAZEPOSE33)))
        thunder_votes[:, _COMMON_ROWS] = points
        thunder_weights[:, _COMMON_ROWS] = certainty / len(same)
        votes = np.concatenate([votes, thunder_votes])
        weights = np.concatenate([weights, thunder_weights])
    consensus, support = _agreed(votes, weights, start, _AGREEMENT * side)
    noise = _AGREEMENT * side / np.maximum(support, _MIN_SUPPORT)
    keypoints = np.concatenate([consensus, confidence[:, None]], axis=1)
    return FusedJoints(keypoints, noise, _showing(consensus, passes))


def _mean_similarity(pose: UprightPose, passes: Sequence[Observation], side: float) -> float:
    """Average the similarity to BlazePose's passes, each of which may have left and right swapped."""
    thunder = PosePoints(pose.points, side)
    return float(
        np.mean([similarity(thunder, PosePoints(o.points[_COMMON_ROWS], side, mirror=_MIRROR)) for o in passes])
    )


def _showing(points: np.ndarray, passes: Sequence[Observation]) -> list[Observation]:
    """Select the passes that show the pose (33, 2), with left and right as in the pose."""
    result = []
    for o in passes:
        best, rows = max(
            (similarity(PosePoints(o.points[rows][BODY], o.region.side), PosePoints(points[BODY], o.region.side)), rows)
            for rows in (list(range(len(BLAZEPOSE33))), list(BLAZEPOSE33.mirror))
        )
        if best >= SAME_NETWORKS:
            result.append(replace(o, points=o.points[rows], confidence=o.confidence[rows], world=o.world[rows]))
    return result


def _agreed(votes: np.ndarray, weights: np.ndarray, start: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Average votes (V, L, 2) with weights (V, L) robustly, and sum the weights (L,) of agreeing votes."""
    points = start
    share = weights
    for _ in range(_ITERATIONS):
        distances = np.linalg.norm(votes - points, axis=-1) / scale
        share = weights / (1 + distances**2)
        points = (share[..., None] * votes).sum(0) / share.sum(0)[:, None]
    return points, share.sum(0)
