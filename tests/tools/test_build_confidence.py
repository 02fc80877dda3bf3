"""The regression of the confidence's builder brings back the constants that outcomes were drawn with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting import confidence

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import build_confidence as builder


def drawn(people: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise (N, 3, 24), and errors (N, 24) right as often as the package's constants say."""
    random = np.random.default_rng(5)
    noise = np.exp(random.normal(np.log([[0.03], [0.04], [0.05]]), 0.7, (people, 3, 24)))
    probability = confidence.probability_right(
        confidence.JointNoise(*(torch.from_numpy(noise[:, column]) for column in range(3)))
    ).numpy()
    return noise, np.where(random.uniform(size=probability.shape) < probability, 0.05, 0.2)


def test_the_regression_finds_the_constants_that_outcomes_were_drawn_with():
    slopes, usual, base = builder.regression(*drawn(3000))
    np.testing.assert_allclose(slopes, confidence._SLOPES, atol=0.08)
    np.testing.assert_allclose(usual, [0.03, 0.04, 0.05], rtol=0.03)
    assert base.keys() == confidence._BASE.keys() - {"pelvis"}
    for name in ("knee", "wrist", "spine2", "head"):
        assert base[name] == pytest.approx(confidence._BASE[name], abs=0.5)


def test_noise_that_has_no_relation_or_the_opposite_has_no_slope():
    noise, error = drawn(300)
    noise[:, 1] = np.where(error > builder.RIGHT_WITHIN, 0.01, 0.1)
    slopes, _, _ = builder.regression(noise, error)
    assert slopes[1] == 0


def test_figures_of_confidences_have_known_answers(capsys):
    values, right = np.array([0.05, 0.15, 0.95, 1.0, 0.9]), np.array([0, 1, 1, 1, 0], bool)
    assert builder.calibration_error(values, right) == pytest.approx((0.05 + 0.85 + 3 * (0.95 - 2 / 3)) / 5)
    random = np.random.default_rng(2)
    values, right = random.integers(0, 8, 300) / 8, random.uniform(size=300) < 0.6
    pairs = mannwhitneyu(values[right], values[~right]).statistic / (right.sum() * (~right).sum())
    assert builder.wrong_auc(values, right) == pytest.approx(pairs)
    values = np.concatenate((np.arange(10) / 100, [0.05, 0.08, 0.085, 0.5]))
    assert builder.false_alarms(values, np.arange(14) > 9) == (0.5, 0.08)
    values, error = np.full((3, 24), 0.8), np.zeros((3, 24))
    for row, name, value in ((0, "left_wrist", 0.1), (1, "right_wrist", 0.6)):
        values[row, SMPL24.index(name)], error[row, SMPL24.index(name)] = value, 0.11
    builder.print_quality(values, error)
    joints, limbs = capsys.readouterr().out.splitlines()[1:]
    assert joints == "joints | 36 | 0.056 | 0.208 | 1.000 | 0.000 | 0.600"
    assert limbs == "limbs | 12 | 0.167 | 0.225 | 1.000 | 0.000 | 0.600"
