"""Joints that two people claim belong to the one who is more confident of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from helpers.landmark_passes import disc_mask, moved, observed, standing

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.detector import hide_shared_joints
from humanpose_cli.detect.person import DetectedPerson, PersonMask, combine
from humanpose_cli.detect.regions import Region

WRIST, KNEE = BLAZEPOSE33.index("left_wrist"), BLAZEPOSE33.index("right_knee")
HAND = BLAZEPOSE33.indices(["left_wrist", "left_pinky", "left_index", "left_thumb"])


def person(points: np.ndarray, **confidence: float) -> DetectedPerson:
    """Sure of all joints but those named."""
    confidences = np.full(33, 0.9)
    for name, value in confidence.items():
        confidences[BLAZEPOSE33.index(name)] = value
    return combine([observed(points, confidence=confidences)], (1200, 600), 0.9, with_mask=False)


def hidden(people: list[DetectedPerson]) -> list[set[int]]:
    after = hide_shared_joints(people)
    return [
        set(np.flatnonzero(new.keypoints[:, 2] != old.keypoints[:, 2])) for old, new in zip(people, after, strict=True)
    ]


def beside(distance: float, joint: int = WRIST, of: int = WRIST) -> np.ndarray:
    """Somebody 500 pixels to the right whose joint is so far from the other's."""
    points = moved(standing(), 500, 0)
    points[joint] = standing()[of] + [distance, 0]
    return points


def test_a_joint_belongs_to_the_person_who_is_more_confident() -> None:
    owner, borrower = person(standing()), person(beside(4), left_wrist=0.6)
    assert hidden([owner, borrower]) == [set(), set(HAND)]
    assert hidden([borrower, owner]) == [set(HAND), set()]
    unsure = person(standing(), left_wrist=0.5)
    assert hidden([unsure, borrower]) == [set(HAND), set()]
    changed = hide_shared_joints([owner, borrower])[1]
    np.testing.assert_array_equal(changed.keypoints[:, :2], borrower.keypoints[:, :2])
    assert (changed.keypoints[HAND, 2] == 0).all()


def test_a_joint_on_the_mask_belongs_to_them_and_not_to_somebody_more_confident() -> None:
    owner, borrower = person(standing(), left_wrist=0.6), person(beside(4))
    region = Region(300.0, 300.0, 512.0)
    shown, elsewhere = (
        PersonMask((255 * disc_mask(region, centre, 30)).astype(np.uint8), region.to_image(256))
        for centre in (tuple(standing()[WRIST]), (100.0, 100.0))
    )
    assert hidden([owner, borrower]) == [set(HAND), set()]
    owner, borrower = replace(owner, mask=shown), replace(borrower, mask=elsewhere)
    assert hidden([owner, borrower]) == [set(), set(HAND)]
    np.testing.assert_array_equal(shown.values_at(np.array([standing()[WRIST], [100, 100], [9999, 0]])), [1, 0, 0])


def test_swapped_sides_share_and_other_joints_do_not() -> None:
    owner = person(standing())
    left = BLAZEPOSE33.index("left_knee")
    assert hidden([owner, person(beside(4, left, KNEE), left_knee=0.6)]) == [set(), {left}]
    ear = BLAZEPOSE33.index("right_ear")
    assert hidden([owner, person(beside(0, ear, ear), right_ear=0.6)]) == [set(), set()]
    elbow = BLAZEPOSE33.index("right_elbow")
    assert hidden([owner, person(beside(4, elbow, KNEE), right_elbow=0.6)]) == [set(), set()]


def test_distant_joints_and_those_that_no_person_claims_are_left() -> None:
    owner = person(standing())
    size = np.ptp(standing(), axis=0).max()
    assert hidden([owner, person(beside(0.049 * size), left_wrist=0.6)])[1]
    assert hidden([owner, person(beside(0.051 * size), left_wrist=0.6)]) == [set(), set()]
    assert hidden([owner, person(beside(4), left_wrist=0.2)]) == [set(), set()]
    assert hidden([owner]) == [set()]
    assert hidden([]) == []
