"""Who of the user's own detector is taken: scores, doubles, people without joints, small boxes; numbers of tracks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.detect.detector import person_from_keypoints
from humanpose_cli.detect.person import without_body
from humanpose_cli.detect.user_people import (
    select_people,
    selection_notes,
    unfitted_reason,
    user_tracks,
)
from humanpose_cli.io.detections import UserDetection

POINTS = np.random.default_rng(4).uniform(0, 100, (len(BLAZEPOSE33), 2))


def person(score: float, shift: float = 0.0, joints: int = len(BLAZEPOSE33), rows=slice(None)) -> UserDetection:
    """A person of one pose, `shift` pixels to the right, with the first joints only."""
    keypoints = np.column_stack((POINTS[rows] + [shift, 0], np.arange(len(BLAZEPOSE33)) < joints))
    return UserDetection(None, keypoints.astype(np.float32), score)


def boxed(score: float, *box: float) -> UserDetection:
    return UserDetection(np.array(box, np.float32), None, score)


def test_the_highest_scores_come_first_and_the_threshold_itself_counts():
    entries = [person(0.3, 0), person(0.29, 300), person(2.9, 600), person(0.5, 900)]
    selection = select_people(entries, 0.3)
    assert selection.people == (entries[2], entries[3], entries[0])
    assert (selection.low_scores, selection.doubles, selection.few_joints) == (1, 0, 0)


def test_of_doubles_the_best_is_taken_also_if_left_and_right_are_swapped():
    mirror = list(BLAZEPOSE33.mirror)
    entries = [person(0.5, 1), person(0.9), person(0.7, rows=mirror), person(0.8, 300)]
    selection = select_people(entries, 0.0)
    assert selection.people == (entries[1], entries[3])
    assert (selection.low_scores, selection.doubles, selection.few_joints) == (0, 2, 0)


def test_three_common_joints_are_too_few_for_a_double():
    entries = [person(0.9), person(0.8, joints=3), person(0.7, joints=4)]
    assert select_people(entries, 0.0).people == (entries[0], entries[1])


def test_people_with_one_joint_or_none_are_counted_whatever_their_score():
    entries = [person(0.9, joints=2), person(0.9, 300, joints=1), person(0.1, 600, joints=0)]
    selection = select_people(entries, 0.3)
    assert selection.people == (entries[0],)
    assert (selection.low_scores, selection.doubles, selection.few_joints) == (0, 0, 2)


@pytest.mark.parametrize(("width", "is_double"), [(71, True), (69, False)])
def test_boxes_are_doubles_by_their_overlap(width, is_double):
    """More than 0.7 of both together."""
    selection = select_people([boxed(0.9, 0, 0, 100, 100), boxed(0.8, 0, 0, width, 100)], 0.0)
    assert selection.doubles == is_double


def test_the_note_gives_every_reason_and_no_reason_gives_no_note():
    entries = [person(0.9), person(0.8), person(0.1, 300), person(0.9, joints=0)]
    selections = [select_people(entries, 0.25), select_people(entries[:1], 0.25)]
    assert selection_notes("a.json", selections, 0.25) == [
        "3 of 5 people in a.json are left out: 1 of a score below 0.25 (`min_score`), 1 detected twice, "
        "1 with fewer than 2 joints"
    ]
    assert selection_notes("a.json", selections[1:], 0.25) == []


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 20, 26), ""),
        ((10, 10, 20, 25.9), "too small"),
        ((-30, 10, 15, 20), "too small"),  # what the image shows of it counts
        ((100, 10, 200, 90), "outside the image"),
    ],
)
def test_a_box_shows_too_little(box, reason):
    assert unfitted_reason(np.array(box, np.float32), 100, 80, 16.0) == reason


def test_a_person_without_a_body_has_a_box_a_probability_and_a_number():
    box = np.array([1, 2, 3, 4], np.float32)
    listed = without_body(box, 2.9, "too small", 7)
    assert (listed.not_fitted, listed.score, listed.number, listed.world) == ("too small", 1.0, 7, None)
    np.testing.assert_array_equal(listed.box, box)
    assert not listed.keypoints.any()


TRACKS = {  # (frame, number of the track) of the rows → what they become
    "two people": ([(0, 4), (0, 9), (1, 9), (1, 4)], [4, 9, 9, 4]),
    "one person, all of number 0": ([(0, 0), (1, 0)], []),
    "0 and 1": ([(0, 0), (0, 1)], [0, 1]),
    "a row without a number": ([(0, 4), (1, None)], []),
    "one number for everyone": ([(0, 4), (0, 4)], []),
    "a number on both sides of a cut": ([(1, 4), (2, 4)], []),
    "other numbers behind the cut": ([(1, 4), (2, 5)], [4, 5]),
}


@pytest.mark.parametrize("case", TRACKS)
def test_numbers_of_tracks(case):
    rows, expected = TRACKS[case]
    keypoints = np.column_stack((POINTS[:17], np.ones(17)))
    anyone = person_from_keypoints(keypoints, COCO17, 100, 100)
    people = [replace(anyone, frame=frame, number=number) for frame, number in rows]
    assert user_tracks(people, shots=[0, 0, 1]) == expected
