"""Calibrations whose unit the people show, and those that contradict the videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.filmed_people import SIZE, calibrated, calibration_of, camera_at, film
from scipy.spatial.transform import Rotation

import humanpose_cli.views.take
from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError
from humanpose_cli.views.calibrated import CalibratedViews, calibrated_views
from humanpose_cli.views.take import Take, solve_take

THREE = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
FACING = [camera_at(45), camera_at(-45)]
TWO_PEOPLE = ((0, (-0.6, 0.0)), (3, (0.7, 0.3)))
NAMES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def no_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solve no bodies: cameras are what these tests are about."""
    monkeypatch.setattr(humanpose_cli.views.take, "_bodies", lambda body, evidence, fits, cameras, *_: (cameras, []))


def take_of(cameras: CalibratedViews, filmed: list) -> Take:
    return solve_take(filmed, NAMES[: len(filmed)], default_body(), calibrated=cameras)


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("factor", "height", "unit"),
    [
        (1, None, "m"),
        (0.6, None, "m"),  # a child
        (100, None, "cm"),
        (1000, None, "mm"),
        (1 / 0.0254, None, None),  # inches: not small children in centimetres
        (40, None, None),  # squares of 2.5 cm
        (40, 0.7, "cm"),  # a child
        (40, 1.7, None),
        (5, None, None),  # squares of 20 cm
        (5, 1.7, None),
        (1, 0.9, None),
    ],
)
def test_the_unit_is_that_in_which_people_have_the_height_of_people(factor, height, unit):
    views = calibrated(THREE, factor=factor)
    take = take_of(replace(views, height=height), film(THREE, TWO_PEOPLE).fits)
    found = take.calibration
    assert found is not None
    assert found.unit == unit
    metres = {"m": 1.0, "cm": 0.01, "mm": 0.001, None: 1 / factor}[unit]
    tolerance = 0.08 if unit is None else 1e-6  # without a unit, the size of the single fits
    for view, before, camera in zip(found.views, views.views, take.cameras, strict=True):
        np.testing.assert_allclose(view.translation, before.translation * metres, rtol=tolerance)
        np.testing.assert_allclose(camera.centre, view.centre, atol=1e-6)
    assert found.to_first is not None
    np.testing.assert_array_equal(found.to_first[3], (0, 0, 0, 1))
    np.testing.assert_allclose(found.to_first[:3, 3], THREE[0].translation * factor * metres, rtol=tolerance)
    assert f"which are {unit or 'no'}" in found.notes[0]


def test_centimetres_that_the_file_names_may_be_those_of_a_small_child():
    calibration = calibration_of(THREE, NAMES, factor=0.4)
    views = calibrated_views(replace(calibration, unit="cm"), NAMES, [SIZE] * 3)
    found = take_of(views, film(THREE).fits).calibration
    assert found is not None
    assert (found.unit, found.notes) == ("cm", ())


@pytest.mark.extensive
@pytest.mark.parametrize(("lean", "noise"), [(20.0, 0.5), (6.0, 6.0)])
def test_right_calibrations_are_believed_where_bodies_lean_and_landmarks_are_noisy(lean, noise):
    take_of(calibrated(THREE), film(THREE, TWO_PEOPLE, lean=lean, noise=noise, offsets=(0, 0.4, -0.3)).fits)


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("cameras", "people", "names", "expected"),
    [
        (THREE, TWO_PEOPLE, "bac", "a shows what camera b does, b shows what camera a does"),
        (THREE, TWO_PEOPLE[:1], "acb", "b shows what camera c does, c shows what camera b does"),
        (
            THREE,
            TWO_PEOPLE,
            "cab",
            "a shows what camera c does, b shows what camera a does, c shows what camera b does",
        ),
        (FACING, TWO_PEOPLE, "ba", "a shows what camera b does, b shows what camera a does"),
        (FACING, TWO_PEOPLE[:1], "ba", "a shows what camera b does, b shows what camera a does"),
        (THREE, TWO_PEOPLE, "abx", "c shows what camera x does"),  # another camera of the calibration has its name
    ],
)
@pytest.mark.parametrize("factor", [1.0, 25.0])
def test_cameras_with_exchanged_names_are_named(cameras, people, names, expected, factor):
    filmed = film(cameras, people)
    rig = [*cameras, camera_at(160)] if "x" in names else cameras
    with raises(InputError, subject="calibration", problem=expected):
        take_of(calibrated(rig, f"{names}c" if "x" in names else names, factor=factor), filmed.fits)


def test_photographs_of_one_moment_show_exchanged_names():
    with raises(InputError, subject="calibration", problem="a shows what camera b does"):
        take_of(calibrated(FACING, "ba"), film(FACING, frames=1).fits)


@pytest.mark.parametrize("people", [*extensive((TWO_PEOPLE,)), TWO_PEOPLE[:1]])
def test_cameras_of_another_rig_contradict_the_videos(people):
    other = [camera_at(20), camera_at(-60, 4.0, 1000.0), camera_at(170, 5.0, 1100.0)]
    with raises(InputError, subject="calibration", problem="contradicts c"):
        take_of(calibrated(other), film(THREE, people).fits)


@pytest.mark.parametrize("view", [*extensive(0), 2])
def test_a_camera_that_was_turned_is_named_with_the_distance_in_pixels(view):
    turned = list(THREE)
    turn = Rotation.from_euler("y", 10, degrees=True).as_matrix()
    turned[view] = replace(
        THREE[view], rotation=turn @ THREE[view].rotation, translation=turn @ THREE[view].translation
    )
    with raises(InputError, subject="calibration", problem=f"contradicts {NAMES[view]}", got="turned by 1"):
        take_of(calibrated(turned), film(THREE, TWO_PEOPLE).fits)


@pytest.mark.parametrize(("factor", "height", "doubted"), [(1.0, None, False), (0.75, None, True), (0.75, 1.28, False)])
def test_a_person_of_another_size_than_expected_is_a_doubt(factor, height, doubted):
    views = replace(calibrated(THREE, factor=factor), height=height)
    doubts = take_of(views, film(THREE).fits).doubts
    assert bool(doubts) == doubted
    assert all("the calibration may be wrong: a person is" in doubt for doubt in doubts)
