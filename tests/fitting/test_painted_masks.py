"""Masks of the user go to the people whose keypoints they cover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from PIL import Image

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.painted_masks import MaskedPeople, PaintedMasks
from humanpose_cli.fitting.people import PeopleSource
from humanpose_cli.io.inputs import Frame

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


def test_transparency_is_the_mask_of_a_cut_out(tmp_path):
    cutout = np.dstack((np.full((*SIZE, 3), 200, np.uint8), 255 * LEFT.astype(np.uint8)))
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    left, _ = PaintedMasks(tmp_path / "cutout.png").applied(PEOPLE, "a.jpg", SIZE)
    assert np.array_equal(left.mask.in_image(*SIZE) > 0.5, LEFT)


def test_a_folder_holds_the_masks_of_several_photographs_and_people(tmp_path):
    folder = tmp_path / "masks"
    painted(folder / "a.jpg.person0.mask.png", LEFT)
    painted(folder / "a.jpg.person1.mask.png", RIGHT)
    painted(folder / "b.png", RIGHT)
    masks = PaintedMasks(folder)
    both = masks.applied(PEOPLE, "photos/a.jpg", SIZE)
    assert all(each.mask is not None for each in both)
    assert [each.mask is None for each in masks.applied(PEOPLE, "b.jpg", SIZE)] == [True, False]
    assert masks.applied(PEOPLE, "c.jpg", SIZE) == PEOPLE


def test_masks_that_cannot_be_used_are_refused(tmp_path):
    with raises(InputError, subject="none.png"):
        PaintedMasks(tmp_path / "none.png")
    small = PaintedMasks(painted(tmp_path / "small.png", LEFT[:30]))
    with raises(InputError, subject="small.png", expected="100 × 60 pixels", got="100 × 30"):
        small.applied(PEOPLE, "a.jpg", SIZE)
    wall = PaintedMasks(painted(tmp_path / "wall.png", np.roll(LEFT, 30, 1)))
    with raises(InputError, subject="wall.png", problem="shows none of the people"):
        wall.applied(PEOPLE, "a.jpg", SIZE)


def test_sequences_have_no_painted_masks(tmp_path):
    class Nobody(PeopleSource):
        def in_image(self, frame: Frame) -> list[DetectedPerson]:
            return []

    source = MaskedPeople(Nobody(), PaintedMasks(painted(tmp_path / "m.png", LEFT)))
    with pytest.raises(UsageError):
        source.in_sequence([])
