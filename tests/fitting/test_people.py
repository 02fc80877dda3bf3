"""People from the user's own file: which of them an image shows, and what the user is told before the networks load."""

from __future__ import annotations

import json

import numpy as np
import pytest

from humanpose_cli.core.conventions import COCO17, COCO21
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.people import find_people, user_people, user_people_notes
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import Frame, InputItem

RANDOM = np.random.default_rng(2)
POINTS = RANDOM.uniform((40, 40), (100, 200), (len(COCO17), 2)).round(2)


def record(score: float, shift: float = 0.0, joints: int = len(COCO17)) -> dict:
    rows = np.column_stack((POINTS + np.array([shift, 0]), 0.8 * (np.arange(len(COCO17)) < joints)))
    return {"image_id": "a.png", "category_id": 1, "score": score, "keypoints": rows.ravel().tolist()}


@pytest.fixture
def file(tmp_path):
    records = [record(0.2, 500), record(0.5), record(0.6, 2), record(0.9, 100), record(0.9, 200, joints=1)]
    (tmp_path / "people.json").write_text(json.dumps(records))
    return user_people(keypoints=tmp_path / "people.json")


@pytest.fixture
def image(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((240, 320, 3), np.uint8))
    return InputItem("a", "image", tmp_path / "a.png", (tmp_path / "a.png",), tmp_path)


def test_notes_count_who_is_left_out(file, image):
    notes = user_people_notes(file, [image], 0.3)
    reasons = "1 of a score below 0.3 (`min_score`), 1 detected twice, 1 with fewer than 2 joints"
    assert notes == [f"3 of 5 people in people.json are left out: {reasons}"]


@pytest.mark.slow
@pytest.mark.parametrize(("min_score", "lefts"), [(0.3, [42, 140]), (0.55, [42, 140]), (0.7, [140])])
def test_an_image_shows_those_of_high_scores(file, image, min_score, lefts):
    with find_people("fast", 1, keypoints=file, min_score=min_score) as people:
        shown = people.in_image(Frame(0, "a.png", np.zeros((240, 320, 3), np.uint8)))
    expected = sorted(left + float(POINTS[:, 0].min()) - 40 for left in lefts)
    found = sorted(float(person.keypoints[:, 0].min()) for person in shown)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert [person.skeleton for person in shown] == [COCO17] * len(lefts)


@pytest.mark.slow
def test_feet_of_the_file_are_used(tmp_path):
    feet = RANDOM.uniform((40, 200), (100, 230), (9, 2)).round(2)
    halpe = np.column_stack((np.concatenate((POINTS, feet)), np.full(26, 0.8)))
    halpe[[17, 18, 19, 22, 23]] = 1  # head, neck, pelvis and small toes, which no body has
    path = tmp_path / "people.json"
    path.write_text(json.dumps([{"image_id": "a.png", "score": 1.0, "keypoints": halpe.ravel().tolist()}]))
    with find_people("fast", 1, keypoints=path) as people:
        (person,) = people.in_image(Frame(0, "a.png", np.zeros((240, 320, 3), np.uint8)))
    assert person.skeleton is COCO21
    rows = COCO21.indices(["left_heel", "right_heel", "left_foot_index", "right_foot_index"])
    np.testing.assert_allclose(person.keypoints[rows], halpe[[24, 25, 20, 21]], atol=1e-4)


def test_keypoints_without_a_person_are_doubtful(file, image):
    with Fitter(people_source=find_people("fast", 1, keypoints=file)) as fitter:
        fit = fitter.fit(image.path)
    assert fit.options.no_person == [0]
    assert "no person at the keypoints" in row_doubts(fit)[0]
