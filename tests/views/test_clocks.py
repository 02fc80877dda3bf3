"""Clocks by people's movements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import RATE, camera_at, film
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.clocks import STEP, clock_evidence, likely_clocks
from humanpose_cli.views.tracks import ViewTrack, tracks_of

CAMERAS = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
OFFSETS = (0.0, 0.45, -0.3)


@pytest.fixture(scope="module")
def views() -> list[list[ViewTrack]]:
    filmed = film(CAMERAS, ((0, (-0.6, 0.0)), (3, (0.7, 0.3))), frames=70, offsets=OFFSETS)
    return [tracks_of(fit, number, default_body()) for number, fit in enumerate(filmed.fits)]


def wandering(seconds: float, seed: int = 0, slow: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Times, 30 per second, and joints (T, 24, 3) of a person who moves irregularly."""
    times = np.arange(int(30 * seconds)) / 30
    random = np.random.default_rng(seed)
    knots = random.normal(0, 0.15, (int(2 * seconds / slow) + 4, 24, 3))
    joints = np.stack(
        [np.interp(times, 0.5 * slow * np.arange(len(knots)), knots[:, k, c]) for k in range(24) for c in range(3)], 1
    )
    return times, random.normal(0, 0.35, (24, 3)) + joints.reshape(-1, 24, 3)


def track(times: np.ndarray, joints: np.ndarray, view: int) -> ViewTrack:
    shape = joints.shape[:2]
    return ViewTrack(view, 0, np.arange(len(times)), times, np.ones((len(times), 33, 3)), joints, np.ones(shape))


TURN = Rotation.from_euler("yx", (70, 8), degrees=True).as_matrix()


def test_the_true_clocks_have_the_most_evidence(views: list[list[ViewTrack]]) -> None:
    for a, b in ((0, 1), (0, 2), (1, 2)):
        curve = clock_evidence(views[a], views[b], 200).curve
        assert (int(curve.argmax()) - 200) * STEP == pytest.approx(OFFSETS[b] - OFFSETS[a], abs=1.5 / RATE)
    (clocks, speaks), *others = likely_clocks(views, (0.0, 0.0, 0.0))
    assert clocks == pytest.approx(OFFSETS, abs=1.0 / RATE)
    assert all(less < speaks for _, less in others)


def test_expected_clocks_stay_if_others_are_hardly_likelier(views: list[list[ViewTrack]]) -> None:
    near = (0.0, OFFSETS[1] + 0.02, OFFSETS[2] - 0.01)
    assert likely_clocks(views, near)[0][0] == near


def test_who_stands_still_gives_no_clock(views: list[list[ViewTrack]]) -> None:
    still = [[replace(t, joints=np.tile(t.joints[:1], (len(t), 1, 1))) for t in tracks] for tracks in views]
    np.testing.assert_allclose(clock_evidence(still[0], still[1], 200).curve, 0, atol=1e-4)
    assert likely_clocks(still, (0.0, 0.0, 0.0))[0][0] == (0.0, 0.0, 0.0)


def test_a_recording_that_begins_75_seconds_late_is_found() -> None:
    times, joints = wandering(140)
    late = times >= 75
    second = track(times[late] - 75, joints[late] @ TURN.T, 1)
    assert likely_clocks([[track(times, joints, 0)], [second]], (0.0, 0.0))[0][0][1] == pytest.approx(-75, abs=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_two_who_move_independently_have_equal_clocks(seed: int) -> None:
    """Some difference of clocks always suits best, also that of slow movements."""
    for slow in (1.0, 4.0):
        (times, first), (_, second) = wandering(12, seed, slow), wandering(12, seed + 100, slow)
        assert likely_clocks([[track(times, first, 0)], [track(times, second, 1)]], (0.0, 0.0))[0][0] == (0.0, 0.0)


def test_joints_that_a_camera_does_not_see_give_no_clock() -> None:
    """The legs, which one camera guesses, move as the other's did two seconds before."""
    times, joints = wandering(8)
    legs = list(SMPL24.indices([f"{s}_{joint}" for s in ("left", "right") for joint in ("hip", "knee", "ankle")]))
    still = np.tile(joints[:1], (len(times), 1, 1))
    first, second = track(times, still.copy(), 0), track(times + 2, still @ TURN.T, 1)
    first.joints[:, legs], second.joints[:, legs] = joints[:, legs], (joints @ TURN.T)[:, legs]
    views = [[first], [second]]
    assert likely_clocks(views, (0.0, 0.0))[0][0][1] == pytest.approx(2, abs=0.01)
    second.seen[:, legs] = 0
    assert likely_clocks(views, (0.0, 0.0))[0][0] == (0.0, 0.0)
