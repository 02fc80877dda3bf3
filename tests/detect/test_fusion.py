"""Joints of several networks joined: agreement wins, a swapped network and a neighbour's pose do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.fusion import UprightPose, fuse, upright_views
from humanpose_cli.detect.person import (
    FusedJoints,
    Observation,
    assemble,
)
from humanpose_cli.detect.regions import Region
from humanpose_cli.detect.search import SCHEMES

SHARED = BLAZEPOSE33.indices(COCO17.joint_names)
HIPS = BLAZEPOSE33.indices(["left_hip", "right_hip"])
REGION = Region(200, 200, 300)


def observation(points: np.ndarray, confidence: float = 0.9) -> Observation:
    confidences = np.full(33, confidence)
    return Observation(REGION, points, confidences, 1.0, np.zeros((33, 3)), np.zeros((256, 256)), REGION)


def pose(points: np.ndarray, score: float = 0.9) -> UprightPose:
    return UprightPose(points[SHARED], np.full(17, score))


def body() -> np.ndarray:
    return np.random.default_rng(0).uniform(100, 300, (33, 2))


def shifted(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points + np.array([x, y])


def test_networks_that_agree_are_averaged() -> None:
    points = body()
    passes = [observation(shifted(points, shift, 0)) for shift in (-1, 1)]
    keypoints, noise, _ = fuse(passes, passes, [pose(shifted(points, 0, shift)) for shift in (-1, 1)])
    np.testing.assert_allclose(keypoints[:, :2], points, atol=1e-9)
    assert noise[SHARED].max() < 0.01 * REGION.side / 2


def test_a_network_that_swaps_left_and_right_is_outvoted() -> None:
    points = body()
    swapped = points[list(BLAZEPOSE33.mirror)]
    keypoints, _, _ = fuse([observation(swapped)] * 9, [observation(points)] * 9, [pose(points)] * 4)
    assert np.abs(keypoints[:, :2] - points)[SHARED].max() < 3
    mean = (points + swapped) / 2
    assert np.abs(mean - points)[SHARED].max() > 30


def test_world_landmarks_are_named_as_the_joined_pose_names_sides() -> None:
    """In a video both passes of one network may be swapped: the limbs are right, their names are not."""
    points = body()
    world = np.random.default_rng(1).normal(size=(33, 3))
    mirror = list(BLAZEPOSE33.mirror)
    right = replace(observation(points), world=world)
    swapped = replace(observation(points[mirror]), world=world[mirror])
    elsewhere = replace(observation(shifted(points, 150, 0)), world=-world)
    fused = fuse([swapped, swapped, elsewhere], [], [pose(points, 1.0)] * 2)
    keypoints, _, showing = fused
    assert np.abs(keypoints[:, :2] - points)[SHARED].max() < 3
    assert len(showing) == 2
    centred = world - world[HIPS].mean(0)
    person = assemble([swapped, swapped, elsewhere], fused, (640, 480), 1.0)
    np.testing.assert_allclose(person.world, centred, atol=1e-6)
    assert person.world_spread is not None
    assert person.world_spread.max() < 0.01
    # Where no pass shows the pose, depth is as good as unknown.
    keypoints, noise, _ = fuse([right], [], [])
    lost = assemble([elsewhere] * 2, FusedJoints(keypoints, noise, ()), (640, 480), 1.0)
    assert lost.world_spread is not None
    assert lost.world_spread.min() >= 1


def test_noise_is_inverse_to_the_votes_that_agree() -> None:
    points = body()
    _, agreed_noise, _ = fuse([observation(points, 1.0)] * 9, [observation(points, 1.0)] * 5, [pose(points, 1.0)] * 4)
    np.testing.assert_allclose(agreed_noise[SHARED], 0.01 * REGION.side / 2.5, rtol=0.01)
    others = np.setdiff1d(np.arange(33), SHARED)
    np.testing.assert_allclose(agreed_noise[others], 0.01 * REGION.side / 1.5, rtol=0.01)
    wrist = BLAZEPOSE33.index("left_wrist")
    astray = points.copy()
    astray[wrist] += [60, 0]
    doubtful, noise, _ = fuse([observation(astray, 1.0)] * 9, [observation(points, 1.0)] * 5, [pose(points, 1.0)] * 4)
    assert np.linalg.norm(doubtful[wrist, :2] - points[wrist]) < 1
    assert noise[wrist] == pytest.approx(0.01 * REGION.side / 2, rel=0.02)
    same = np.delete(np.arange(33), wrist)
    np.testing.assert_allclose(noise[same], agreed_noise[same])
    _, hidden_noise, _ = fuse([observation(points, 0.0)] * 9, [], [])
    np.testing.assert_allclose(hidden_noise, 0.01 * REGION.side / 0.05)  # as unsure as it gets: a fifth of the region


def test_upright_crops_do_not_depend_on_which_side_is_which() -> None:
    points = body()
    right = upright_views([observation(points)] * 2)
    swapped = upright_views([observation(points), observation(points[list(BLAZEPOSE33.mirror)])])
    for a, b in zip(right, swapped, strict=True):
        np.testing.assert_allclose([a.region.x, a.region.y, a.region.side], [b.region.x, b.region.y, b.region.side])
    low, high = points[SHARED].min(0), points[SHARED].max(0)
    assert (right[0].region.x, right[0].region.y) == pytest.approx(tuple((low + high) / 2))
    assert right[0].region.side == pytest.approx(1.25 * (high - low).max())


@pytest.mark.slow
def test_people_are_found_with_the_joints_of_all_networks(rendered, monkeypatch) -> None:
    """The detector's landmarks are the joined ones, and nearer the truth than BlazePose full's alone."""
    limbs = BLAZEPOSE33.indices([f"{s}_{j}" for j in ("shoulder", "elbow", "knee", "ankle") for s in ("left", "right")])

    def error() -> tuple[float, np.ndarray]:
        with PersonDetector("fast", 1) as detector:
            (person,) = detector.detect(rendered.image)
        apart = np.linalg.norm(person.keypoints[limbs, :2] - rendered.points[limbs], axis=1)
        return float(apart.mean()), person.spread

    joined, spread = error()
    scheme = replace(SCHEMES["fast"], upright=0)
    monkeypatch.setitem(SCHEMES, "fast", scheme)
    alone, _ = error()
    assert joined < alone
    assert 1 < np.median(spread) < 0.02 * np.ptp(rendered.points[:, 1])


def test_thunder_counts_though_blazeposes_passes_disagree_about_sides() -> None:
    points = body()
    swapped = points[list(BLAZEPOSE33.mirror)]
    keypoints, _, _ = fuse([observation(points), observation(swapped)], [], [pose(points, 1.0)] * 2)
    assert np.abs(keypoints[:, :2] - points)[SHARED].max() < 3


def test_thunder_on_somebody_else_changes_nothing() -> None:
    points = body()
    passes = [observation(shifted(points, shift, 0)) for shift in (-1, 1)]
    alone, _, _ = fuse(passes, passes, [])
    neighbour, _, _ = fuse(passes, passes, [pose(shifted(points, 150, 0))] * 4)
    np.testing.assert_array_equal(neighbour, alone)
    np.testing.assert_allclose(alone[:, :2], points, atol=1e-6)
