"""AGORA's matching and detection: known answers, and what the public evaluator gives for the same random people."""

from __future__ import annotations

from collections import Counter

import numpy as np
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.agora import Detection, match_people

GOLDEN = {"matched": 382, "false": 618, "sum of numbers": 8415}


def boxes(points: np.ndarray) -> np.ndarray:
    return np.concatenate((points.min(1), points.max(1)), 1)


def people(*centres: float) -> np.ndarray:
    """(N, 24, 2) pixels: the same square figure at places along x."""
    figure = np.stack(np.meshgrid(np.linspace(-20, 20, 6), np.linspace(-20, 20, 4)), -1).reshape(24, 2)
    return np.stack([figure + np.array([centre, 100]) for centre in centres])


def matched(predicted: np.ndarray, true: np.ndarray, counted: list[bool]) -> list[tuple[int, int]]:
    return match_people(predicted, true, boxes(true), counted)


def test_the_nearest_are_the_same_person() -> None:
    assert matched(people(108, 2), people(0, 100), [True] * 2) == [(1, 0), (0, 1)]
    assert matched(people(0, 5), people(1), [True]) == [(0, 0)]  # each once
    assert matched(people(0)[:0], people(1), [True]) == matched(people(0), people(1)[:0], []) == []


def test_boxes_must_overlap_by_a_tenth() -> None:
    """Squares of 41 pixels, counted as the evaluator does, that share 7 or 8 columns: 0.093 and 0.108."""
    for apart, found in ((34, []), (33, [(0, 0)])):
        assert matched(people(apart), people(0), [True]) == found


def test_hidden_people_take_no_prediction_from_others() -> None:
    """The evaluator leaves a prediction free that is nearest to somebody who does not count."""
    assert matched(people(0), people(1, 15), [False, True]) == [(0, 1)]
    assert matched(people(0), people(1), [False]) == []


def test_the_evaluator_stops_early() -> None:
    """Two pairs apart are as many as the predictions, so that the match behind them is not found."""
    large = 20 * (people(0) - [0, 100]) + [1000, 100]
    larger = 1.5 * (large - [1000, 100]) + [1000, 100]
    predicted, true = np.concatenate((people(0), large)), np.concatenate((people(45, 50), larger))
    assert matched(predicted, true[1:], [True] * 2) == [(1, 1)]
    assert matched(predicted, true, [True] * 3) == []


def test_wrong_shapes_are_refused() -> None:
    with raises(UsageError, subject="people", problem="do not match"):
        match_people(people(0), people(0)[:, :3], boxes(people(0)), [True])


def test_golden_numbers() -> None:
    """Frozen from match_2d_greedy of pixelite1201/agora_evaluation@8c9dece5 on these scenes."""
    random = np.random.default_rng(11)
    found: Counter[str] = Counter()
    for _ in range(200):
        count = int(random.integers(1, 7))
        true = random.normal(size=(count, 45, 2)) * random.uniform(5, 60) + random.normal(size=(count, 1, 2)) * 100
        predicted = true[random.integers(0, count, 5), :24] + random.normal(size=(5, 24, 2)) * random.uniform(1, 40)
        predicted += random.normal(size=(5, 1, 2)) * random.uniform(0, 80)
        pairs = match_people(predicted, true[:, :24], boxes(true), random.random(count) < 0.7)
        found["matched"] += len(pairs)
        found["false"] += 5 - len(pairs)
        found["sum of numbers"] += sum(10 * i + j for i, j in pairs)
    assert found == GOLDEN


def test_detection_and_normalised_errors() -> None:
    """compute_prf1 and compute_avg_error: 7 of 9 found and 2 false, all three are 7 / 9, rounded before division."""
    detection = Detection.of_counts(9, 2, 2)
    assert detection == (0.78, 0.78, 0.78)
    assert detection.normalised(100.04) == round(100.0 / 0.78, 1)
    assert Detection.of_counts(4, 1, 3) == (0.5, 0.75, 0.6)
    assert Detection.of_counts(0, 0, 3) == Detection.of_counts(3, 3, 0) == (0, 0, 0)
    assert np.isnan(Detection(0, 0, 0).normalised(100))
