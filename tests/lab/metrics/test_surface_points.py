"""Geodesic point similarity by its formula, and average precision against figures of DensePose's evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.keypoints import average_precision
from humanpose_cli.lab.metrics.surface_points import matched_surfaces, point_similarity

# densepose_cocoeval.py at 51fb9f1, with numpy's removed names replaced: evaluateImg and accumulate of `images`, whose
# similarities were put in the place of computeOgps; precision[:, :, 0, 0, 0].mean(1).
PRECISION = [
    *(0.52395047, 0.45952982, 0.52119213, 0.52119213, 0.49714299),
    *(0.49444272, 0.41684925, 0.31359482, 0.2067863, 0.0740099),
]

# The same of areas of 32² to 96² and of 96² and more; precision[:, :, 0, 1, 0] and [:, :, 0, 2, 0].
MEDIUM = [
    *(0.55445545, 0.4620462, 0.56859972, 0.56859972, 0.56859972),
    *(0.56859972, 0.4620462, 0.3960396, 0.22277228, 0.14427157),
]
LARGE = [
    *(0.70135187, 0.6419266, 0.65507265, 0.65507265, 0.64267218),
    *(0.63948972, 0.62205221, 0.46281545, 0.33762376, 0.09009901),
]


def images() -> list[tuple[np.ndarray, ...]]:
    """Similarities, overlaps, scores, who has points, crowds: with images without people, and equal similarities."""
    random, made = np.random.default_rng(0), []
    for _ in range(24):
        people, found = int(random.integers(0, 4)), int(random.integers(0, 6))
        annotated = random.random(people) < 0.6
        similarity = np.round(random.uniform(0, 1, (found, people)), 2) * annotated
        overlaps = random.uniform(0.5, 1, (found, people))
        crowds = ~annotated & (random.random(people) < 0.3)
        made.append((similarity, overlaps, random.random(found), annotated, crowds))
    return made


def areas() -> list[tuple[np.ndarray, np.ndarray]]:
    """Square pixels of the predictions and of the people of `images`."""
    random = np.random.default_rng(1)
    return [(random.uniform(500, 2e4, len(one[2])), random.uniform(500, 2e4, len(one[3]))) for one in images()]


def test_average_precision_is_that_of_densepose() -> None:
    precision, _ = average_precision([matched_surfaces(*image) for image in images()])
    np.testing.assert_allclose(precision, PRECISION, atol=1e-6)


@pytest.mark.parametrize(("low", "high", "expected"), [(32**2, 96**2, MEDIUM), (96**2, 1e10, LARGE)])
def test_average_precision_of_areas_is_that_of_densepose(low: float, high: float, expected: list[float]) -> None:
    ranges = [tuple((of >= low) & (of <= high) for of in both) for both in areas()]
    matches = [matched_surfaces(*image, in_range=inside) for image, inside in zip(images(), ranges, strict=True)]
    np.testing.assert_allclose(average_precision(matches)[0], expected, atol=1e-6)


def test_points_are_weighed_by_their_part() -> None:
    """By computeOgps: Mean_Distances of CoarseParts of each annotated chart; not predicted is infinitely far."""
    mean_distances = np.array([0, 0.351, 0.107, 0.126, 0.237, 0.173, 0.142, 0.128, 0.150])
    coarse = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8, 8])
    random = np.random.default_rng(1)
    charts, distances = random.integers(1, 25, 40), random.uniform(0, 0.5, 40)
    distances[:4] = np.inf
    derived = np.sum(np.exp(-(distances**2) / (2 * mean_distances[coarse[charts]] ** 2))) / 40
    assert derived == pytest.approx(0.3210954, abs=1e-6)
    assert point_similarity(distances, charts) == pytest.approx(0.3210954, abs=1e-6)
    assert point_similarity([], []) == 0
    for wrong in ([0], [25], [1, 2]):
        with raises(UsageError, subject="charts", problem="do not match the distances"):
            point_similarity([0.1], wrong)


def test_people_without_points_are_no_errors() -> None:
    """One person with points, one without; three predictions, of the first, of the second, and of nobody."""
    similarity, overlaps = [[0.9, 0], [0, 0], [0, 0]], [[1, 0], [0, 0.85], [0, 0.75]]
    found = matched_surfaces(similarity, overlaps, [0.5, 0.9, 0.7], [True, False])
    assert found.scores.tolist() == [0.9, 0.7, 0.5]
    assert (found.correct[0].tolist(), found.ignored[0].tolist()) == ([False, False, True], [True, False, False])
    assert found.people == 1
    unlabelled = matched_surfaces(similarity, overlaps, [0.5, 0.9, 0.7], [False, False])
    assert (unlabelled.people, unlabelled.ignored.all()) == (0, True)
