"""IoU and F1 of label maps against scikit-learn's formulas by hand."""

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.bodies import class_f1, class_iou, confusion, mean_of_visible

TRUE = np.array([[0, 0, 1, 1], [0, 2, 2, 1]])
FOUND = np.array([[0, 1, 1, 1], [0, 2, 0, 0]])


def test_reference_values():
    matrix = confusion(FOUND, TRUE, 4)
    np.testing.assert_allclose(class_iou(matrix), [2 / 5, 2 / 4, 1 / 2, np.nan])
    np.testing.assert_allclose(class_f1(matrix), [4 / 7, 4 / 6, 2 / 3, np.nan])
    assert mean_of_visible(class_iou(matrix)) == pytest.approx(0.5)
    assert mean_of_visible(class_iou(matrix), background=True) == pytest.approx((0.4 + 0.5 + 0.5) / 3)


def test_random_maps_agree_with_sets_of_pixels():
    random = np.random.default_rng(0)
    true, found = random.integers(0, 5, (2, 3, 20, 30))
    iou, f1 = class_iou(confusion(found, true, 5)), class_f1(confusion(found, true, 5))
    assert iou.shape == (3, 5)
    for image in range(3):
        for label in range(5):
            a, b = true[image] == label, found[image] == label
            assert iou[image, label] == pytest.approx((a & b).sum() / (a | b).sum())
            assert f1[image, label] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_same_map_is_perfect_and_an_empty_one_has_no_classes():
    matrix = confusion(TRUE, TRUE, 4)
    assert mean_of_visible(class_iou(matrix)) == mean_of_visible(class_f1(matrix)) == 1
    nothing = confusion(np.zeros((2, 2), int), np.zeros((2, 2), int), 4)
    assert np.isnan(mean_of_visible(class_iou(nothing)))
    assert mean_of_visible(class_iou(nothing), background=True) == 1


def test_other_arrays_are_refused():
    for labels in (TRUE + 9, TRUE - 1):
        with raises(UsageError, subject="label maps"):
            confusion(labels, TRUE, 4)
