"""Keypoint similarity, average precision: known answers, and COCO's rules."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.keypoint_people import AREA, people, shifted

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.lab.metrics.keypoints import (
    SIGMAS,
    THRESHOLDS,
    average_precision,
    matched_predictions,
    oks,
)


def test_the_similarity_is_cocos() -> None:
    true, areas, boxes = people(2)
    assert SIGMAS[COCO17.index("left_hip")] == 0.107
    np.testing.assert_allclose(oks(shifted(true, 0.72), true, areas, boxes).diagonal(), 0.72)
    by_hand = oks(true[:1, :, :2] + [3, 4], true, areas, boxes)
    np.testing.assert_allclose(by_hand[0, 0], np.exp(-25 / (2 * AREA * (2 * SIGMAS) ** 2)).mean())
    assert by_hand[0, 1] < 1e-6
    true[0, 3:, 2] = 0  # labels of three joints are left: the others may be anywhere
    far = shifted(true, 0.9)
    far[:, 3:] += 1000
    np.testing.assert_allclose(oks(far, true, areas, boxes)[0, 0], 0.9)


def test_people_without_joints_are_compared_by_their_box() -> None:
    true, areas, boxes = people()
    true[..., 2] = 0
    inside = np.broadcast_to((boxes[:, :2] + boxes[:, 2:])[:, None] / 2, (1, 17, 2))
    assert oks(inside, true, areas, boxes)[0, 0] == 1
    assert oks(inside + (boxes[0, 2:] - boxes[0, :2]), true, areas, boxes)[0, 0] == 1  # within three times the box
    assert oks(inside + 1e4, true, areas, boxes)[0, 0] < 1e-6


@pytest.mark.parametrize(("similarity", "levels"), [(1.0, 10), (0.72, 5), (0.93, 9), (0.49, 0)])
def test_precision_counts_thresholds(similarity: float, levels: int) -> None:
    true, areas, boxes = people(3)
    found = matched_predictions(shifted(true, similarity), [0.9, 0.5, 0.7], true, areas, boxes)
    precision, recall = average_precision([found])
    np.testing.assert_allclose(precision, np.arange(10) < levels)
    np.testing.assert_allclose(recall, np.arange(10) < levels)
    assert len(THRESHOLDS) == 10


def test_false_and_missed_people_cost() -> None:
    """Two of four are found; a surer prediction shows nobody. Precision is 2/3 up to a recall of a half."""
    true, areas, boxes = people(4)
    predicted = np.concatenate((true[:2, :, :2], true[:1, :, :2] + 5000))
    precision, recall = average_precision([matched_predictions(predicted, [0.5, 0.6, 0.9], true, areas, boxes)])
    np.testing.assert_allclose(precision, 2 / 3 * 51 / 101)
    np.testing.assert_allclose(recall, 0.5)
    less = average_precision([matched_predictions(predicted, [0.5, 0.6, 0.1], true, areas, boxes)])[0]
    np.testing.assert_allclose(less, 51 / 101)  # a doubtful false person costs nothing here
    none = average_precision([matched_predictions(np.zeros((0, 17, 2)), [], true, areas, boxes)])
    assert not np.any(none)


def test_everybody_is_found_once_and_who_has_no_joints_does_not_count() -> None:
    true, areas, boxes = people(2)
    true[1, :, 2] = 0
    twice = np.concatenate((true[:1, :, :2], true[:1, :, :2], true[1:, :, :2]))
    matches = matched_predictions(twice, [0.9, 0.8, 0.7], true, areas, boxes)
    assert matches.people == 1
    assert matches.correct[0].tolist() == [True, False, False]
    assert matches.ignored[0].tolist() == [False, False, True]
    assert np.isnan(average_precision([matched_predictions(twice, [1, 1, 1], true[1:], areas[1:], boxes[1:])])[0]).all()


def test_a_crowd_takes_any_number_of_predictions() -> None:
    """Also one that somebody labelled with joints; people who count are taken before it."""
    true, areas, boxes = people(2)
    found = np.concatenate((true[:1, :, :2], true[1:, :, :2], true[1:, :, :2]))
    matches = matched_predictions(found, [0.9, 0.8, 0.7], true, areas, boxes, [False, True])
    assert matches.people == 1
    assert matches.correct[0].tolist() == [True, False, False]
    assert matches.ignored[0].tolist() == [False, True, True]
    assert average_precision([matches])[0] == pytest.approx(np.ones(10))


def test_curves_are_of_all_images_together() -> None:
    """The false person of one image is surer than the right one of another."""
    true, areas, boxes = people()
    right = matched_predictions(true[..., :2], [0.5], true, areas, boxes)
    false = matched_predictions(true[..., :2] + 5000, [0.9], true, areas, boxes)
    np.testing.assert_allclose(average_precision([right, false])[0], 0.5 * 51 / 101)


def random_images() -> list[tuple[np.ndarray, ...]]:
    """Predictions, scores with ties, labels, areas and boxes of four images: joints that are not labelled, people
    without any, several predictions of one person, and more than twenty in the last image.
    """
    random, images = np.random.default_rng(0), []
    for doubtful in (2, 0, 5, 22):
        count = int(random.integers(2, 5))
        points = random.uniform(0, 400, (count, 1, 2)) + random.normal(0, 40, (count, 17, 2))
        labels = random.integers(0, 3, (count, 17, 1)) * (random.random((count, 1, 1)) > 0.25)
        boxes = np.concatenate((points.min(1), points.max(1)), 1)
        near = [one + random.normal(0, spread, (17, 2)) for one in points for spread in (2, 7)]
        predicted = np.stack([*near, *random.uniform(0, 400, (doubtful, 17, 2))])
        scores = random.uniform(0, 1, len(predicted)).round(1)
        areas = 0.53 * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        images.append((predicted, scores, np.concatenate((points, labels), -1), areas, boxes))
    return images


def test_the_figures_are_those_of_pycocotools() -> None:
    """Precision and recall at each threshold, from pycocotools 2.0.11."""
    first = [0.57683953, 0.57683953, 0.48359686, 0.48359686, 0.46801555]
    last = [0.42858632, 0.39209458, 0.39209458, 0.39209458, 0.06100858]
    precision, recall = average_precision([matched_predictions(*image) for image in random_images()])
    np.testing.assert_allclose(precision, first + last, atol=1e-8)
    np.testing.assert_allclose(11 * recall, [11, 11, *[10] * 7, 5], atol=1e-8)
