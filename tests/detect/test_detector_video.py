"""Frames of a sequence: people are followed, found again, lost, and numbered."""

from __future__ import annotations

import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect import detector, tracking
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.linking import TrackAssigner
from humanpose_cli.detect.models import ModelPool

BODY = BLAZEPOSE33.indices(["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee"])


def frames(rendered, steps: list[int]) -> Iterator[np.ndarray]:
    """The rendered person's image slid sideways by so many pixels, edges repeated."""
    for step in steps:
        wide = np.pad(rendered.image[::2, ::2], ((0, 0), (200, 200), (0, 0)), mode="edge")
        yield np.ascontiguousarray(wide[:, 150 - step : 150 - step + 460])


@pytest.mark.slow
def test_a_moving_person_is_followed(fast: PersonDetector, rendered) -> None:
    steps = list(range(0, 60, 6))
    tracks = TrackAssigner()
    found = fast.track(frames(rendered, steps))
    for step, image, people in zip(steps, frames(rendered, steps), found, strict=True):
        assert len(people) == 1
        assert tracks.assign(people, image).track_ids == (0,)
        truth = rendered.points[BODY] / 2 + [50 + step, 0]
        apart = np.linalg.norm(people[0].keypoints[BODY, :2] - truth, axis=1)
        assert apart.mean() < 0.04 * np.ptp(rendered.points[:, 1]) / 2


@pytest.mark.extensive
@pytest.mark.parametrize("masks", [False, True])
def test_masks_come_where_they_are_wanted(fast: PersonDetector, rendered, masks: bool) -> None:
    for people in fast.track(frames(rendered, [0, 3]), masks=masks):
        assert [person.mask is not None for person in people] == [masks]


@pytest.mark.extensive
def test_following_costs_fewer_passes_than_searching(fast: PersonDetector, rendered, monkeypatch) -> None:
    passes = []
    usual = ModelPool.map

    def counted(pool, work, items):
        passes.extend(items)
        return usual(pool, work, items)

    monkeypatch.setattr(ModelPool, "map", counted)
    (first, second) = frames(rendered, [0, 3])
    assert [len(people) for people in fast.track([first])] == [1]
    searching = len(passes)
    passes.clear()
    assert [len(people) for people in fast.track([first, second])] == [1, 1]
    # A crop of BlazePose full and one of heavy, and in every other frame one of Thunder. No look of MultiPose.
    assert len(passes) - searching == 2 < searching / 4


@pytest.mark.extensive
def test_newcomers_are_looked_for_where_the_image_changed(fast: PersonDetector, rendered, monkeypatch) -> None:
    looks = []
    look = tracking.propose_by_multipose
    monkeypatch.setattr(
        tracking, "propose_by_multipose", lambda *arguments: looks.append(arguments[2]) or look(*arguments)
    )
    (image,) = frames(rendered, [0])
    # Frames 0, 6 and 12 are those of a look.
    darker = image.copy()
    darker[:60, :60] //= 2
    for last, expected in ((image, 1), (darker, 2), (next(frames(rendered, [3])), 1)):
        looks.clear()
        assert [len(people) for people in fast.track([*12 * [image], last])] == 13 * [1]
        assert len(looks) == expected


@pytest.mark.extensive
@pytest.mark.parametrize("threads", [1, 2])
def test_what_begins_ahead_of_its_frame_changes_nothing(rendered, monkeypatch, threads: int) -> None:
    """Over missing frames and other sizes, with searches and looks in many frames."""
    (image,) = frames(rendered, [0])
    empty = np.repeat(image[:, :1], image.shape[1], axis=1)
    moving = list(frames(rendered, list(range(0, 36, 6))))
    sequence = [empty, empty, *moving, None, *moving[::-1], *(cv2.resize(m, None, fx=0.7, fy=0.7) for m in moving)]
    found = []
    monkeypatch.setattr(tracking, "KEY_EVERY", 5)
    monkeypatch.setattr(tracking, "LOOK_EVERY", 2)
    for ahead in (1, 3):
        monkeypatch.setattr(tracking, "_AHEAD", ahead)
        with PersonDetector("fast", threads) as follower:
            found.append(list(follower.track(sequence)))
    assert {len(people) for people in found[0]} == {0, 1}
    for one_by_one, early in zip(*found, strict=True):
        assert [person.keypoints.tobytes() for person in one_by_one] == [p.keypoints.tobytes() for p in early]


@pytest.mark.extensive
def test_the_last_looks_belong_to_the_state(fast: PersonDetector, rendered, monkeypatch) -> None:
    monkeypatch.setattr(detector, "_STATE_EVERY", 6)
    (image,) = frames(rendered, [0])
    states: list[str] = []
    list(fast.track(6 * [image], save_state=lambda state: states.append(json.dumps(state))))
    looks = []
    monkeypatch.setattr(tracking, "propose_by_multipose", lambda *arguments: looks.append(arguments[2]) or [])
    list(fast.track([image], state=json.loads(states[0])))
    assert not looks


@pytest.mark.extensive
def test_somebody_who_leaves_is_gone_and_somebody_new_is_found(fast: PersonDetector, rendered) -> None:
    (image,) = frames(rendered, [0])
    empty = np.repeat(image[:, :1], image.shape[1], axis=1)
    found = [len(people) for people in fast.track([image, *6 * [empty], *8 * [image]])]
    assert found[:7] == [1, 0, 0, 0, 0, 0, 0]
    assert found[-1] == 1


@pytest.mark.extensive
def test_a_person_who_was_hidden_is_found_at_once_where_their_motion_leads_in_any_orientation(
    fast: PersonDetector, rendered
) -> None:
    steps = range(0, 150, 10)
    images = list(frames(rendered, list(steps)))
    hidden = [np.repeat(image[:, :1], image.shape[1], axis=1) for image in images[4:10]]
    turned = [np.ascontiguousarray(image[::-1, ::-1]) for image in reversed(images[:5])]
    found = fast.track([*images[:4], *hidden, *images[10:12]])
    assert [len(people) for people in found] == [*4 * [1], *6 * [0], 1, 1]
    # Turned upside down, the image shows the person mirrored about its middle.
    middle = [np.mean([people[0].box[0], people[0].box[2]]) for people in fast.track(turned)]
    found = list(fast.track([images[0], images[0], *3 * hidden[:1], turned[-1]]))
    assert [len(people) for people in found[:-1]] == [1, 1, 0, 0, 0]
    assert np.mean(found[-1][0].box[[0, 2]]) == pytest.approx(middle[-1], abs=4)
    nose, hip = found[-1][0].keypoints[BLAZEPOSE33.indices(["nose", "left_hip"])]
    assert nose[1] > hip[1]


@pytest.mark.extensive
def test_a_second_person_who_enters_joins_the_first(fast: PersonDetector, rendered, astronaut: np.ndarray) -> None:
    small = np.pad(rendered.image[::2, ::2], ((96, 96), (0, 0), (0, 0)), mode="edge")
    alone = np.concatenate([small, np.repeat(small[:, -1:], 512, axis=1)], axis=1)
    both = np.concatenate([small, astronaut], axis=1)
    tracks = TrackAssigner()
    numbers = [set(tracks.assign(people).track_ids) for people in fast.track([alone, *13 * [both]])]
    assert numbers[0] == {0}
    assert numbers[-1] == {0, 1}


@pytest.mark.extensive
def test_sequences_know_nothing_of_each_other(fast: PersonDetector, rendered, astronaut: np.ndarray) -> None:
    (image,) = frames(rendered, [0])
    (fresh,) = fast.track([image])
    list(fast.track([astronaut]))
    (again,) = fast.track([image])
    np.testing.assert_array_equal(fresh[0].keypoints, again[0].keypoints)


def test_tiny_and_missing_frames_have_no_people(fast: PersonDetector) -> None:
    assert list(fast.track([np.zeros((8, 8, 3), np.uint8), None])) == [[], []]
