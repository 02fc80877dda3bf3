"""Canvases: which rectangle is drawn, what stands on it, and how far people are moved inwards."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.repose_stage import STANDING, pose

from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.person import DressedPerson, TargetPose
from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.reposing.canvas import (
    Shift,
    _bound,
    canvas_of,
    continue_background,
    put_on_canvas,
    shift_inwards,
)
from humanpose_cli.reposing.options import ReposeOptions

PHOTO = (200, 100)


@pytest.mark.parametrize(
    ("choice", "person", "expected"),
    [
        ("fit", Box(20, 10, 60, 90), Box(0, 0, 200, 100)),
        ("fit", Box(-30, -20, 60, 130), Box(-30, -20, 200, 130)),
        ("fit", Box(-900, 0, 60, 90), Box(-300, 0, 200, 100)),  # grown by 1.5 longer sides at most
        ((100, 100), Box(20, 10, 60, 90), Box(20, 0, 120, 100)),  # the person inside, else the middle
        ((100, 100), Box(150, 10, 220, 90), Box(120, 0, 220, 100)),
        ((300, 200), Box(20, 10, 60, 90), Box(-50, -50, 250, 150)),
        ((100, 50), Box(20, 10, 60, 90), Box(20, 10, 120, 60)),  # too tall: the head
        ((100, 50), Box(0, 0, 0, 0), Box(0, 0, 200, 100)),  # no person
    ],
)
def test_the_canvas_holds_the_person(choice, person, expected):
    assert canvas_of(choice, PHOTO, person) == expected


def test_a_point_stays_at_its_pixel_of_the_scene():
    camera, canvas = Camera(300.0, (100.0, 50.0), PHOTO), Box(-30, -20, 210, 130)
    view, points = camera.part(canvas), np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 5), (9, 3))
    assert view.size == (240, 150)
    np.testing.assert_allclose(view.project(points), camera.project(points) + np.array((30, 20)))


@pytest.mark.extensive
def test_the_photograph_stands_unchanged_on_its_canvas():
    photo = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    # As far as copies reach, and beyond, where the mirror image takes over.
    for canvas in (Box(-20, -10, 90, 80), Box(-70, -10, 170, 150), Box(10, 5, 60, 90)):
        image = continue_background(photo, canvas, np.zeros((60, 80), bool))
        assert image.shape == (*canvas.shape, 3)
        common = Box(1, 1, 79, 59).intersect(canvas)  # seams are mended in the pixels at its edge
        np.testing.assert_array_equal(image[common.slices_in(canvas)], photo[common.slices])
    np.testing.assert_array_equal(put_on_canvas(photo, Box(-5, 0, 3, 60))[:, 5:], photo[:, :3])
    assert not put_on_canvas(photo, Box(-5, 0, 3, 60))[:, :5].any()


def test_a_moved_point_reaches_the_line():
    """Moving along the ground by the bound puts the outermost point onto the line, by less beyond it."""
    view = Camera(300.0, (100.0, 50.0), PHOTO)
    points = np.random.default_rng(2).uniform((-2, -1, 3), (1, 1, 5), (50, 3)).astype(np.float32)
    right = np.array((1.0, 0.0, 0.0))
    shift = _bound(points, right, view, 0, 10.0, 1)
    assert view.project(points + shift * right)[:, 0].min() == pytest.approx(10.0, abs=1e-3)
    away = np.array((0.0, 0.0, 1.0))
    back = _bound(points, away, view, 1, 90.0, -1)
    assert view.project(points + back * away)[:, 1].max() == pytest.approx(90.0, abs=1e-3)


def standing_at(x: float) -> DressedPerson:
    """Somebody upright, 2.4 m away and `x` metres to the right, in a photograph of 270 × 360 pixels."""
    return SimpleNamespace(  # type: ignore[return-value]
        body=DressedBody.of(default_body(), torch.zeros(10), None),
        pose=TargetPose(pose(**STANDING), torch.tensor([x, 0.0, 2.4])),
        view=Camera(420.0, (135.0, 180.0), (270, 360)),
        down=torch.tensor([0.0, 1.0, 0.0]),
        avatar=SimpleNamespace(dressed=SimpleNamespace(garment_points=lambda pose: [])),
    )


def stretched(person: DressedPerson) -> BodyParams:
    """The person's arms stretched aside, where they stand."""
    return BodyParams.from_rotations(pose()[None], torch.zeros(1, 10), person.pose.trans[None])


@pytest.mark.slow
def test_a_person_cut_by_the_photograph_is_not_pushed_out_of_it():
    assert shift_inwards(standing_at(0.0), stretched(standing_at(0.0))) == Shift()  # wider than the image
    inside = standing_at(0.0)
    close = BodyParams.from_rotations(pose(**STANDING)[None], torch.zeros(1, 10), torch.tensor([[-0.6, 0.0, 2.4]]))
    assert shift_inwards(inside, close).right > 0.1
    for x in (-0.7, 0.7):
        assert shift_inwards(standing_at(x), stretched(standing_at(x))) == Shift()


def test_shifts_are_sentences():
    assert str(Shift(-0.312)) == "0.31 m to the left"
    assert str(Shift(0.2, 0.5)) == "0.20 m to the right, 0.50 m back"
    assert str(Shift()) == ""


@pytest.mark.parametrize(
    ("text", "choice"),
    [("keep", "keep"), ("fit", "fit"), ("640x480", (640, 480)), ("64×48", (64, 48))],
)
def test_canvases_are_named(text, choice):
    assert ReposeOptions(canvas=text).canvas_choice == choice


@pytest.mark.parametrize("text", ["", "auto", "640", "0x10", "8x8", "99999x10"])
def test_other_canvases_are_refused(text):
    with raises(
        UsageError, subject="canvas", problem="is not known", expected="keep, fit, or W×H of 16 to 16384 pixels"
    ):
        ReposeOptions(canvas=text)


def test_canvases_of_gigabytes_are_refused():
    assert ReposeOptions(canvas="8192x8192").canvas_choice == (8192, 8192)
    with raises(
        UsageError, subject="canvas", problem="is too large", expected="at most 68 million pixels", got="16384"
    ):
        ReposeOptions(canvas="16384x16384")
    with raises(UsageError, expected="at most 34 million pixels with `layers`", got="8192 × 8192"):
        ReposeOptions(canvas="8192x8192", layers=True)
