"""Joints of several networks joined: agreement wins, a swapped network and a neighbour's pose do not."""

from __future__ import annotations

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.fusion import UprightPose, fuse, observe_upright, upright_views
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import CropView, Observation, jittered_views, mean_confidence, mean_points, observe_all
from humanpose_cli.detect.regions import Pyramid, Region

SHARED = BLAZEPOSE33.indices(COCO17.joint_names)
REGION = Region(200, 200, 300)


def observation(points: np.ndarray, confidence: float = 0.9) -> Observation:
    sure = np.full(33, confidence)
    return Observation(REGION, points, sure, 1.0, np.zeros((33, 3)), np.zeros((256, 256)), REGION)


def pose(points: np.ndarray, score: float = 0.9) -> UprightPose:
    return UprightPose(points[SHARED], np.full(17, score))


def body() -> np.ndarray:
    return np.random.default_rng(0).uniform(100, 300, (33, 2))


def shifted(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points + np.array([x, y])


def test_networks_that_agree_are_averaged() -> None:
    points = body()
    passes = [observation(shifted(points, shift, 0)) for shift in (-1, 1)]
    fused = fuse(passes, passes, [pose(shifted(points, 0, shift)) for shift in (-1, 1)])
    np.testing.assert_allclose(fused.points, points, atol=1e-9)
    np.testing.assert_allclose(fused.disagreement[SHARED], 0, atol=1e-9)
    assert np.isnan(np.delete(fused.disagreement, SHARED)).all()


def test_a_network_that_swaps_left_and_right_is_outvoted() -> None:
    points = body()
    swapped = points[list(BLAZEPOSE33.mirror)]
    fused = fuse([observation(swapped)] * 9, [observation(points)] * 9, [pose(points)] * 4)
    assert np.abs(fused.points - points)[SHARED].max() < 3
    mean = (points + swapped) / 2
    assert np.abs(mean - points)[SHARED].max() > 30
    sides = [row for row in SHARED if np.linalg.norm(points[row] - swapped[row]) > 30]
    assert fused.disagreement[sides].min() > 10


def test_thunder_on_somebody_else_changes_nothing() -> None:
    points = body()
    passes = [observation(shifted(points, shift, 0)) for shift in (-1, 1)]
    alone = fuse(passes, passes, [])
    neighbour = fuse(passes, passes, [pose(shifted(points, 150, 0))] * 4)
    np.testing.assert_array_equal(neighbour.points, alone.points)
    np.testing.assert_allclose(alone.points, points, atol=1e-6)


def test_upright_crops_hold_the_person_and_thunder_agrees(astronaut: np.ndarray) -> None:
    with ModelPool(1) as pool:
        pyramid = Pyramid(astronaut)
        region = observe_all(pool, pyramid, [CropView(Region(220, 300, 600))])[0].next_region
        full = observe_all(pool, pyramid, [CropView(region), *jittered_views(region, 2)])
        views = upright_views(mean_points(full), mean_confidence(full))
        upright = observe_upright(pool, pyramid, views)
    assert [view.mirror for view in views] == [False, True, False, True]
    assert all(view.region.angle == 0 for view in views)
    rows = [COCO17.index(name) for name in ("nose", "left_eye", "right_eye")]
    truth = mean_points(full)[SHARED][rows]
    for found in upright:
        assert np.linalg.norm(found.points[rows] - truth, axis=1).max() < 10
        assert found.score[rows].min() > 0.3
