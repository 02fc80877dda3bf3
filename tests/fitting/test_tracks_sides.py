"""Left and right over a sequence: runs of swapped frames are found, what is right stays."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.tracks import best_path, settle_sides

MIRROR = list(BLAZEPOSE33.mirror)
LEGS = [
    row
    for row, name in enumerate(BLAZEPOSE33.joint_names)
    if name.endswith(("hip", "knee", "ankle", "heel", "foot_index"))
]


def person(step: int) -> DetectedPerson:
    """Somebody 200 pixels tall who walks to the right, limbs apart."""
    random = np.random.default_rng(3)
    points = random.uniform(0, 200, (33, 2)) + np.array([3 * step, 0])
    rows = np.concatenate([points, np.ones((33, 1))], axis=1).astype(np.float32)
    world = random.normal(size=(33, 3)).astype(np.float32)
    box = np.array([3 * step, 0, 200 + 3 * step, 200], np.float32)
    return DetectedPerson(box, rows, world, np.arange(33, dtype=np.float32), np.ones(33, np.float32), None, 1.0)


def swapped(p: DetectedPerson, rows: list[int]) -> DetectedPerson:
    order = np.arange(33)
    order[rows] = np.array(MIRROR)[rows]
    assert p.world is not None
    return replace(p, keypoints=p.keypoints[order], world=p.world[order], spread=p.spread[order])


@pytest.mark.parametrize("rows", [list(range(33)), LEGS])
def test_a_run_of_swapped_frames_is_put_right(rows: list[int]) -> None:
    truth = [person(step) for step in range(20)]
    observed = [swapped(p, rows) if 6 <= t < 13 else p for t, p in enumerate(truth)]
    for got, expected in zip(settle_sides(observed, range(20)), truth, strict=True):
        for name in ("keypoints", "world", "spread"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_what_is_right_stays_as_it_is() -> None:
    truth = [person(step) for step in range(5)]
    assert all(got is p for got, p in zip(settle_sides(truth, range(5)), truth, strict=True))
    assert settle_sides(truth[:1], [0]) == truth[:1]


def test_the_best_path_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    costs, steps = random.uniform(size=(6, 3)), list(random.uniform(size=(5, 3, 3)))

    def cost(path: tuple[int, ...]) -> float:
        between = sum(step[a, b] for step, a, b in zip(steps, path, path[1:], strict=False))
        return sum(costs[t, k] for t, k in enumerate(path)) + between

    assert tuple(best_path(costs, steps)) == min(product(range(3), repeat=6), key=cost)
