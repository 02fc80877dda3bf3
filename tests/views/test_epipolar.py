"""Two tracks as one person, strangers, and one camera given twice, from films with shown truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import camera_at, film

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.views.epipolar import evidence_of_views, is_one_camera, pair_evidence
from humanpose_cli.views.tracks import ViewTrack, tracks_of

CAMERAS = [camera_at(0), camera_at(70, 5.0, 900.0), camera_at(-110, 4.0, 1300.0, 2.2)]
LEGS = [
    row for row, name in enumerate(BLAZEPOSE33.joint_names) if name.endswith(("knee", "ankle", "heel", "foot_index"))
]


def tracks(clip: int, **options) -> list[ViewTrack]:
    fits = film(CAMERAS, ((clip, (0.0, 0.0)),), **options).fits
    return [tracks_of(fit, view, default_body())[0] for view, fit in enumerate(fits)]


WALKER, OTHER = tracks(0), tracks(3)


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_views_of_one_person_beat_their_mirrored_and_reversed_ones(noise: float) -> None:
    first, second, _ = tracks(0, noise=noise)
    assert pair_evidence(first, second, CAMERAS[:2]) < -1


def test_views_of_strangers_do_not() -> None:
    for view in (1, 2):
        assert pair_evidence(WALKER[0], OTHER[view], (CAMERAS[0], CAMERAS[view])) > -0.25


def test_legs_that_nobody_sees_have_no_voice() -> None:
    hidden = [np.array(track.keypoints) for track in WALKER]
    for keypoints in hidden:
        keypoints[:, list(LEGS), 2] = 0
    halves = [replace(track, keypoints=points) for track, points in zip(WALKER, hidden, strict=True)]
    before = pair_evidence(halves[0], halves[1], CAMERAS[:2])
    for keypoints in hidden:
        keypoints[:, list(LEGS), :2] = 0  # wherever they are guessed
    assert pair_evidence(halves[0], halves[1], CAMERAS[:2]) == before
    assert before < -1


def test_evidence_needs_landmarks_that_both_see() -> None:
    blind = replace(WALKER[1], keypoints=WALKER[1].keypoints * (1, 1, 0.1))
    assert pair_evidence(WALKER[0], blind, CAMERAS[:2]) is None
    assert np.isnan(evidence_of_views([[WALKER[0], blind]], CAMERAS)).all()


def test_a_view_of_another_person_has_no_evidence() -> None:
    evidence = evidence_of_views([[WALKER[0], WALKER[1], OTHER[2]]], CAMERAS)
    assert evidence[2] > -0.25
    assert max(evidence[:2]) < -0.25


def cropped(track: ViewTrack) -> ViewTrack:
    keypoints = track.keypoints * (0.5, 0.5, 1) + (30, -20, 0)
    return replace(track, view=1, keypoints=keypoints, stature=track.stature / 2)


def mirrored(track: ViewTrack) -> ViewTrack:
    keypoints = (track.keypoints * (-1, 1, 1) + (1280, 0, 0))[:, list(BLAZEPOSE33.mirror)]
    return replace(track, view=1, keypoints=keypoints)


def reversed_in_time(track: ViewTrack) -> ViewTrack:
    return replace(track, view=1, keypoints=track.keypoints[::-1])


@pytest.mark.parametrize("change", [cropped, mirrored, reversed_in_time])
def test_one_camera_is_recognised(change) -> None:
    assert is_one_camera(WALKER[0], change(WALKER[0]), CAMERAS[0])


def test_two_cameras_are_not_one() -> None:
    assert not is_one_camera(WALKER[0], WALKER[1], CAMERAS[1])
    assert not is_one_camera(WALKER[0], OTHER[0], CAMERAS[0])
