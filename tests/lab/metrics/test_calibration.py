"""Calibration and ROC figures of confidences, on cases whose answers are known."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from humanpose_cli.lab.metrics.calibration import false_alarms, reliability, wrong_auc


def test_the_diagram_of_a_few_predictions():
    found = reliability([0.05, 0.15, 0.95, 1.0, 0.9], [0, 1, 1, 1, 0])
    assert found.number.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    np.testing.assert_allclose(found.confidence[[0, 1, 9]], [0.05, 0.15, 0.95])
    np.testing.assert_allclose(found.right[[0, 1, 9]], [0, 1, 2 / 3])
    assert np.isnan(found.right[5])
    assert found.expected_error == pytest.approx((0.05 + 0.85 + 3 * (0.95 - 2 / 3)) / 5)
    assert np.isnan(reliability([], []).expected_error)


def test_true_probabilities_are_calibrated():
    random = np.random.default_rng(1)
    confidence = random.uniform(size=20_000)
    right = random.uniform(size=20_000) < confidence
    assert reliability(confidence, right).expected_error < 0.02
    assert reliability(confidence**3, right).expected_error > 0.2
    # Of uniform confidences, which are believed: P(wrong < right) = 5/6.
    assert wrong_auc(confidence, right) == pytest.approx(5 / 6, abs=0.01)


def test_the_auc_is_that_of_another_library():
    random = np.random.default_rng(2)
    confidence, right = random.integers(0, 8, 300) / 8, random.uniform(size=300) < 0.6
    pairs = mannwhitneyu(confidence[right], confidence[~right]).statistic / (right.sum() * (~right).sum())
    assert wrong_auc(confidence, right) == pytest.approx(pairs)
    assert np.isnan(wrong_auc([0.3, 0.4], [1, 1]))


def test_false_alarms_at_the_threshold_that_catches_nine_of_ten():
    wrong = np.arange(10) / 100  # 0.00 … 0.09
    right = np.array([0.05, 0.08, 0.085, 0.5])
    share, threshold = false_alarms(np.concatenate((wrong, right)), [False] * 10 + [True] * 4)
    assert (share, threshold) == (0.5, 0.08)
    assert false_alarms(np.concatenate((wrong, right)), [False] * 10 + [True] * 4, recall=1.0) == (0.75, 0.09)
    assert np.isnan(false_alarms([0.5], [True])).all()
