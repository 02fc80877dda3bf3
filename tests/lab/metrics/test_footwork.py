"""Footwork on exact motions: feet that rest, slide, sink and fly, and accelerations that are known."""

import numpy as np
import pytest

from humanpose_cli.lab.metrics.footwork import footwork, joint_accelerations

TIME = np.arange(60) / 30
ALL = np.ones(59, bool)


def walk(slide: float = 0.0) -> np.ndarray:
    """(60, 2, 3): a foot steps for ten frames while the other one rests, or slides at `slide` m/s; y down."""
    feet = np.zeros((60, 2, 3))
    speed, lift = np.full((60, 2), slide), np.zeros((60, 2))
    for start in range(0, 60, 10):
        foot = start // 10 % 2
        speed[start : start + 10, foot] = 3.0
        lift[start : start + 10, foot] = 0.1 * np.sin(np.linspace(0, np.pi, 10))
    feet[1:, :, 0] = np.cumsum(speed[1:] / 30, axis=0)
    feet[..., 1] = 1.5 - lift
    return feet


def centre() -> np.ndarray:
    return np.stack((TIME, np.full(60, 0.6), np.zeros(60)), 1)


@pytest.mark.parametrize("slide", [0.0, 0.2])
def test_a_foot_that_should_rest_slides(slide):
    measured = footwork(walk(slide), centre(), TIME, ALL)
    assert len(measured.slides) == 59
    np.testing.assert_allclose(measured.slides, slide, atol=1e-9)
    np.testing.assert_allclose(measured.depths, 0, atol=1e-9)
    assert measured.falls.shape == (0,)


def test_frames_that_do_not_follow_are_no_slide():
    feet = walk()
    feet[30:, :, 0] += 5
    follows = np.arange(59) != 29
    measured = footwork(feet, centre(), TIME, follows)
    assert len(measured.slides) == 58
    np.testing.assert_allclose(measured.slides, 0, atol=1e-9)
    assert footwork(feet, centre(), TIME, ALL).slides.max() == pytest.approx(150)


def test_feet_sink_below_the_floor_on_which_they_rest_mostly():
    feet = walk()
    feet[:6, :, 1] += 0.04
    measured = footwork(feet, centre(), TIME, ALL)
    np.testing.assert_allclose(measured.depths, np.where(np.arange(60) < 6, 0.04, 0), atol=1e-9)


def test_a_flight_falls_as_the_centre_of_mass_does():
    feet, mass = walk(), centre()
    at = TIME[20:32] - TIME[20]
    feet[20:32, :, 1] -= 0.3
    mass[20:32, 1] += -2 * at + 0.5 * 7.5 * at**2
    measured = footwork(feet, mass, TIME, ALL)
    np.testing.assert_allclose(measured.falls, [7.5])
    np.testing.assert_allclose(measured.slides, 0, atol=1e-9)
    assert len(measured.slides) == 59 - 13
    # A cut within the flight leaves two, of which the one of four frames is too short.
    np.testing.assert_allclose(footwork(feet, mass, TIME, np.arange(59) != 23).falls, [7.5])


def test_accelerations_at_uneven_times():
    time = np.array([0.0, 0.1, 0.15, 0.3, 0.35])
    points = 0.5 * 4.0 * time[:, None, None] ** 2 * [[[0.6, 0, 0.8], [1, 0, 0]]]
    np.testing.assert_allclose(joint_accelerations(points, time, np.ones(4, bool)), 4)
    assert joint_accelerations(points, time, np.array([True, False, True, True])).shape == (1,)
