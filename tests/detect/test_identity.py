"""Poses, boxes and clothes of one person and of two, by the one measure of each and the table of thresholds."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.coloured_figures import BLUE, RED, frame_of, person_at
from helpers.landmark_passes import moved, standing

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.identity import (
    ClothesOdds,
    PosePoints,
    best_matches,
    body_colours,
    colour_difference,
    distinct_rows,
    median_colours,
    same_person,
    similarity,
    similarity_of_points,
)
from humanpose_cli.detect.search import body_pose

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


def test_people_who_stand_close_together_are_detected_once_each() -> None:
    """Also where the networks name left and right differently."""
    apart = [person_at(200), person_at(216)]
    mirrored = replace(apart[0], keypoints=apart[0].keypoints[list(BLAZEPOSE33.mirror)], score=0.5)
    assert distinct_rows(apart) == [0, 1]
    assert distinct_rows([mirrored, *apart]) == [1, 2]
    assert distinct_rows([replace(mirrored, confirmed=True), replace(apart[0], confirmed=False)]) == [0]
    hidden = replace(apart[0], keypoints=apart[0].keypoints * np.float32([1, 1, 0]))
    assert distinct_rows([hidden, apart[0]]) == [0, 1]  # nothing to compare


def test_matches_have_the_largest_sum_and_at_least_the_minimum() -> None:
    likeness = np.array([[0.9, 0.8, 0.0], [0.8, 0.1, 0.0]])
    assert best_matches(likeness) == [(0, 1), (1, 0)]
    assert best_matches(likeness, 0.85) == [(0, 0)]
    assert best_matches(likeness[:, 2:]) == best_matches(np.zeros((0, 2))) == []


def lab(colour: tuple[int, int, int]) -> np.ndarray:
    return cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]


def test_colours_are_those_of_the_spots() -> None:
    colours = body_colours(person_at(100), frame_of((100, RED)))
    assert np.allclose(colours[:5, :3], lab(RED), atol=0.5)
    assert (colours[:5, 3] == 1).all()
    outside = body_colours(person_at(-200), frame_of())
    assert (outside[:, 3] == 0).all()


def test_medians_are_of_the_images_that_show_a_spot() -> None:
    red, blue = (body_colours(person_at(100), frame_of((100, colour))) for colour in (RED, BLUE))
    hidden = np.zeros_like(red)
    colours = median_colours([red, hidden, red, blue])
    assert np.allclose(colours[:5, :3], lab(RED), atol=0.5)
    assert np.allclose(colours[:5, 3], 0.75)


def test_differences_are_those_of_cielab_with_less_lightness() -> None:
    red, blue = (np.tile((*lab(colour), 1.0), (6, 1)) for colour in (RED, BLUE))
    darker = red - (20, 0, 0, 0)
    assert colour_difference(red, darker, 1.0) == pytest.approx(20)
    assert colour_difference(red, darker, 0.4) == pytest.approx(8)
    assert colour_difference(red, blue, 0.4) == 40  # and no more, however different
    assert colour_difference(red, red * (1, 1, 1, 0.01), 0.4) == 0
    assert colour_difference(red, red * (1, 1, 1, 0), 0.4) is None


def test_clothes_speak_for_one_person_up_to_a_limit() -> None:
    red, blue = (np.tile((*lab(colour), 1.0), (6, 1)) for colour in (RED, BLUE))
    odds = ClothesOdds(lightness=1.0, neutral=14.0, scale=3.0, largest=4.0)
    assert odds.between(red, red - (17, 0, 0, 0)) == pytest.approx(-1)
    assert odds.between(red, red) == -odds.between(red, blue) == 4
    assert odds.between(red, None) == odds.between(red, red * (1, 1, 1, 0)) == 0
