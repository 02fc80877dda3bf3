"""Masks of the user go to the people whose keypoints they cover."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.reference_people import ReferencePeople
from PIL import Image

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.painted_masks import PaintedMasks
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs

SIZE = (60, 100)
LEFT, RIGHT = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
LEFT[10:50, 10:30], RIGHT[10:50, 60:90] = True, True


def person(x: float) -> DetectedPerson:
    keypoints = np.column_stack((np.full(33, x), np.linspace(12, 48, 33), np.ones(33))).astype(np.float32)
    box = np.array([x - 5, 10, x + 5, 50], np.float32)
    return DetectedPerson(box, keypoints, None, np.ones(33, np.float32), None, None, 0.9)


PEOPLE = [person(20), person(75)]


def painted(path: Path, mask: np.ndarray, **options: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((255 * mask).astype(np.uint8)).save(path, **options)
    return path


def test_a_mask_is_that_of_the_person_in_it(tmp_path):
    left, right = PaintedMasks(painted(tmp_path / "m.png", RIGHT)).applied(PEOPLE, "a.jpg", SIZE)
    assert left.mask is None
    assert right.mask.exact
    assert np.array_equal(right.mask.in_image(*SIZE) > 0.5, RIGHT)


def test_a_mask_in_linear_light_gets_no_exposure(tmp_path, caplog):
    write_image(tmp_path / "m.exr", (255 * RIGHT).astype(np.uint8))
    with caplog.at_level(logging.INFO, "humanpose_cli"):
        _, right = PaintedMasks(tmp_path / "m.exr").applied(PEOPLE, "a.jpg", SIZE)
    assert np.array_equal(right.mask.in_image(*SIZE) > 0.5, RIGHT)
    assert not caplog.records


def test_transparency_is_the_mask_of_a_cut_out(tmp_path):
    cutout = np.dstack((np.full((*SIZE, 3), 200, np.uint8), 255 * LEFT.astype(np.uint8)))
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    left, _ = PaintedMasks(tmp_path / "cutout.png").applied(PEOPLE, "a.jpg", SIZE)
    assert np.array_equal(left.mask.in_image(*SIZE) > 0.5, LEFT)


def test_a_folder_holds_the_masks_of_several_photographs_and_people(tmp_path):
    folder = tmp_path / "masks"
    painted(folder / "a.jpg.person0.mask.png", LEFT)
    painted(folder / "a.jpg.person1.mask.png", RIGHT)
    painted(folder / "a.jpg.person2.mask.png", np.zeros(SIZE, bool))  # of a hidden person
    painted(folder / "a.jpg.overlay.png", RIGHT)
    painted(folder / "a.person0.mask.png", LEFT)
    masks = PaintedMasks(folder)
    assert len(masks.files("photos/a.jpg")) == 4
    (folder / "a.person0.mask.png").unlink()
    masks = PaintedMasks(folder)
    both = masks.applied(PEOPLE, "photos/a.jpg", SIZE)
    assert all(each.mask is not None for each in both)
    assert masks.applied(PEOPLE, "c.jpg", SIZE) == PEOPLE


def test_a_person_gets_one_mask(tmp_path):
    """The one that covers most; another one is nobody else's."""
    folder = tmp_path / "masks"
    painted(folder / "a.png.person0.mask.png", LEFT)
    painted(folder / "a.png.person1.mask.png", LEFT & (np.arange(SIZE[0]) < 30)[:, None])
    left, right = PaintedMasks(folder).applied(PEOPLE, "a.png", SIZE)
    assert np.array_equal(left.mask.in_image(*SIZE) > 0.5, LEFT)
    assert right.mask is None


def test_masks_of_zeros_and_ones_are_masks_and_photographs_are_not(tmp_path):
    Image.fromarray(RIGHT.astype(np.uint8)).save(tmp_path / "sam.png")
    _, right = PaintedMasks(tmp_path / "sam.png").applied(PEOPLE, "a.jpg", SIZE)
    assert np.array_equal(right.mask.in_image(*SIZE) > 0.5, RIGHT)
    white = np.full(SIZE, 255, np.uint8)
    white[:5] = 0
    for image in (np.random.default_rng(0).integers(0, 256, SIZE, np.uint8), white):
        Image.fromarray(image).save(tmp_path / "photo.png")
        with raises(InputError, subject="photo.png", problem="is no mask"):
            PaintedMasks(tmp_path / "photo.png").applied(PEOPLE, "a.jpg", SIZE)


@pytest.mark.parametrize("person_of_two", [0, 1])
def test_labels_are_one_person_each_or_parts_of_one(tmp_path, person_of_two):
    """In a folder whose names have letters of two characters, as macOS writes them."""
    (tmp_path / "masks").mkdir()
    other = RIGHT if person_of_two else LEFT & (np.arange(SIZE[0]) > 30)[:, None]
    labels = np.where(other, 7, LEFT.astype(np.uint8)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "masks" / "a\u0308.png")
    left, right = PaintedMasks(tmp_path / "masks").applied(PEOPLE, "ä.jpg", SIZE)
    assert np.array_equal(left.mask.in_image(*SIZE) > 0.5, LEFT)
    assert (right.mask is not None) == person_of_two


def test_masks_belong_to_photographs(tmp_path):
    photos = [painted(tmp_path / "photos" / f"{name}.png", LEFT) for name in "ab"]
    two = list(open_inputs(photos, sequence=False))
    one_mask = PaintedMasks(painted(tmp_path / "m.png", LEFT))
    one_mask.check(two[:1])
    with raises(UsageError, subject="mask", got="2 inputs"):
        one_mask.check(two)
    with raises(UsageError, subject="mask", remedy="leave it out"):
        one_mask.check(list(open_inputs([tmp_path / "photos"], sequence=True)))
    other = PaintedMasks(painted(tmp_path / "masks" / "c.png", LEFT).parent)
    with raises(InputError, subject="masks", problem="has no mask of these photographs"):
        other.check(two)
    painted(tmp_path / "masks" / "b.png", LEFT)
    masks = PaintedMasks(tmp_path / "masks")
    masks.check(two)
    assert masks.digest != other.digest


def test_masks_that_cannot_be_used_are_refused(tmp_path):
    with raises(InputError, subject="none.png"):
        PaintedMasks(tmp_path / "none.png")
    small = PaintedMasks(painted(tmp_path / "small.png", LEFT[:30]))
    with raises(InputError, subject="small.png", expected="100 × 60 pixels", got="100 × 30"):
        small.applied(PEOPLE, "a.jpg", SIZE)
    wall = PaintedMasks(painted(tmp_path / "wall.png", np.roll(LEFT, 30, 1)))
    with raises(InputError, subject="wall.png", problem="shows none of the people"):
        wall.applied(PEOPLE, "a.jpg", SIZE)
    left = PaintedMasks(painted(tmp_path / "left.png", LEFT))
    with raises(InputError, subject="left.png", problem="shows none of the people who are fitted in a.jpg"):
        left.applied([replace(PEOPLE[0], not_fitted="detected twice"), PEOPLE[1]], "a.jpg", SIZE)


def test_sequences_have_no_painted_masks(tmp_path):
    mask = painted(tmp_path / "m.png", LEFT)
    with Fitter(people_source=ReferencePeople({}), mask=mask) as fitter, pytest.raises(UsageError):
        fitter.fit_sequence([])
