"""Poses of one person and of two, by the one measure and the table of its thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.landmark_passes import moved, standing

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.search import body_pose
from humanpose_cli.detect.similarity import PosePoints, same_person, similarity, similarity_of_points

MIRROR = list(BLAZEPOSE33.mirror)


def test_similarity_falls_with_distance_in_units_of_the_body() -> None:
    points = standing()
    pose = body_pose(points, 400)
    assert similarity(pose, pose) == pytest.approx(1)
    # 0.07 of the size, 28 pixels, are one standard deviation; of two sizes the geometric mean counts.
    assert similarity(pose, body_pose(moved(points, 14, 0), 400)) == pytest.approx(np.exp(-0.5 * (14 / 28) ** 2))
    assert similarity(pose, body_pose(moved(points, 14, 0), 100)) == pytest.approx(np.exp(-0.5))
    assert similarity(pose, body_pose(moved(points, 200, 0), 400)) < 0.01


def test_sides_may_be_swapped_only_where_a_pose_has_a_mirror() -> None:
    points = standing()
    pose = PosePoints(points, 400)
    assert similarity(pose, PosePoints(points[MIRROR], 400, mirror=MIRROR)) == pytest.approx(1)
    assert similarity(pose, PosePoints(points[MIRROR], 400)) < 0.9


def test_joints_count_by_the_confidence_of_both() -> None:
    points, others = np.zeros((2, 2)), np.array([[0.0, 0.0], [100.0, 0.0]])
    visible, hidden = np.array([1.0, 1.0]), np.array([0.64, 0.0])
    alone = similarity(PosePoints(points, 100, visible), PosePoints(others, 100, hidden))
    assert alone == pytest.approx((0.8 + 0.02) / (0.8 + 0.02 + 0.02))
    assert similarity(PosePoints(points, 100), PosePoints(others, 100, hidden)) == alone
    assert similarity(PosePoints(points, 100, visible), PosePoints(others, 100, visible)) == pytest.approx(0.5)


def test_joints_below_a_confidence_are_not_compared() -> None:
    points, others = np.zeros((3, 2)), np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 0.0]])
    a, b = PosePoints(points, 100, np.array([1.0, 0.3, 1.0])), PosePoints(others, 100, np.array([0.4, 1.0, 0.2]))
    assert similarity(a, b, min_confidence=0.3) == 1.0
    assert similarity(a, b, min_confidence=0.1) == pytest.approx(2 / 3)
    assert similarity(a, b, min_confidence=0.3, min_joints=2) == 0.0
    assert similarity(a, b, min_confidence=0.4) == 0.0  # nothing to compare


def test_the_threshold_itself_is_another_person() -> None:
    pose = PosePoints(np.zeros((2, 2)), 100)
    assert same_person(pose, pose, 0.999)
    assert not same_person(pose, pose, 1.0)


def test_points_count_by_their_weights() -> None:
    points, others = np.zeros((2, 2)), np.array([[0.0, 5.0], [100.0, 0.0]])
    expected = np.exp(-0.5)
    assert similarity_of_points(points, others, 5.0) == pytest.approx(expected / 2)
    assert similarity_of_points(points, others, 5.0, np.array([3.0, 1.0])) == pytest.approx(0.75 * expected)
