"""The regression of the confidence's builder brings back the constants that outcomes were drawn with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

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
