"""Who is who over a whole sequence: gaps, crossings, re-entry, cuts, and what turns out to be nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.block_scenes import scene
from helpers.coloured_figures import BLUE, GREY, RED, frame_of, person_at

from humanpose_cli.detect.identity import body_colours
from humanpose_cli.detect.linking import TrackAssigner, TrackLinker, _Row


def test_people_keep_their_numbers_while_they_move_and_change_their_order_in_the_list() -> None:
    tracks = TrackAssigner()
    first = tracks.assign([person_at(0), person_at(300)])
    assert first.track_ids == (0, 1)
    for step in range(1, 20):
        left, right = person_at(6 * step), person_at(300 - 3 * step)
        people, expected = ([left, right], (0, 1)) if step % 2 else ([right, left], (1, 0))
        assert tracks.assign(people).track_ids == expected


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    tracks = TrackAssigner()
    tracks.assign([person_at(50)])
    for _ in range(10):
        assert tracks.assign([]).track_ids == ()
    assert tracks.assign([person_at(52)]).track_ids == (0,)
    for _ in range(11):
        tracks.assign([])
    assert tracks.assign([person_at(52)]).track_ids == (1,)


def test_somebody_elsewhere_is_somebody_else() -> None:
    tracks = TrackAssigner()
    tracks.assign([person_at(0)])
    assert tracks.assign([person_at(400)]).track_ids == (1,)


def test_the_best_total_match_is_taken_not_the_first() -> None:
    tracks = TrackAssigner()
    tracks.assign([person_at(0), person_at(20)])
    assert tracks.assign([person_at(21), person_at(1)]).track_ids == (1, 0)


def test_people_without_common_keypoints_are_matched_by_their_boxes() -> None:
    hidden = person_at(0)
    unsure = replace(hidden, keypoints=hidden.keypoints * np.array([1, 1, 0], np.float32))
    tracks = TrackAssigner()
    tracks.assign([hidden])
    assert tracks.assign([unsure]).track_ids == (0,)


def test_a_cut_starts_a_shot_and_ends_all_tracks() -> None:
    tracks = TrackAssigner()
    for frame in range(5):
        ids = tracks.assign([person_at(10)], scene(1, frame))
        assert (ids.shot_id, ids.track_ids) == (0, (0,))
    ids = tracks.assign([person_at(10)], scene(2))
    assert (ids.shot_id, ids.track_ids) == (1, (1,))


def numbers(frames: list[list[tuple[float, tuple[int, int, int]]]]) -> list[int | None]:
    linker = TrackLinker()
    for people in frames:
        linker.add([person_at(x) for x, _ in people], frame_of(*people))
    return linker.tracks()


@pytest.mark.slow
def test_people_who_cross_keep_their_numbers_though_the_follower_mixes_them_up() -> None:
    """Two pass each other; from frame to frame the nearest box is the other person's half-way through."""
    frames = [[(100 + 4 * t, RED), (340 - 4 * t, BLUE)] for t in range(60)]
    found = np.array(numbers(frames)).reshape(60, 2)
    assert (found[:22] == [0, 1]).all()
    assert (found[38:] == [0, 1]).all()
    assert numbers([people[: 1 if t in (29, 30) else 2] for t, people in enumerate(frames)])[-44:] == [0, 1] * 22


def test_who_turns_back_is_identified_by_the_clothes() -> None:
    """Both turn back where they meet; movement alone would exchange them."""
    way = [min(t, 60 - t) for t in range(61)]
    frames = [[(100 + 4 * w, RED), (320 - 4 * w, BLUE)] for w in way]
    found = np.array(numbers(frames)).reshape(61, 2)
    assert (found[:20] == [0, 1]).all()
    assert (found[41:] == [0, 1]).all()


def test_somebody_comes_back_after_a_long_gap() -> None:
    here = [[(100 + 2 * t, RED)] for t in range(20)]
    assert set(numbers(here + [[]] * 45 + [[(150 + 2 * t, RED)] for t in range(20)])) == {0}
    assert set(numbers(here + [[]] * 45 + [[(150 + 2 * t, BLUE)] for t in range(20)])) == {0, 1}


def test_no_person_is_followed_across_a_cut() -> None:
    linker = TrackLinker()
    for shot in (0, 1):
        for _ in range(20):
            linker.add([person_at(100)], frame_of((100, RED), seed=shot))
    assert linker.tracks() == [0] * 20 + [1] * 20


@pytest.mark.parametrize(("score", "reason"), [(0.9, "pose not certain"), (0.6, "")])
def test_who_was_never_confirmed_is_no_person(score: float, reason: str) -> None:
    """And is listed if they look like a person in most frames."""
    linker = TrackLinker()
    image = frame_of((100, RED), (300, GREY))
    for t in range(10):
        candidate = person_at(300, confirmed=False, score=1.0 if t < 4 else score)
        linker.add([candidate, person_at(100, confirmed=t == 5)], image)
    assert linker.tracks() == [None, 0] * 10
    assert linker.reasons(linker.tracks()) == [reason, ""] * 10


def test_a_track_of_one_frame_of_a_longer_sequence_is_no_person() -> None:
    """In a short one it may be somebody who comes in."""
    for count, last in ((15, 1), (16, None)):
        linker = TrackLinker()
        for t in range(count):
            people = [(100, RED), (300, BLUE)] if t == count - 1 else [(100, RED)]
            linker.add([person_at(x) for x, _ in people], frame_of(*people))
        assert linker.tracks() == [0] * count + [last]
        assert linker.reasons(linker.tracks()) == [""] * count + ["" if last else "in one frame alone"]


@pytest.mark.parametrize("first", [0, 1])
def test_a_track_that_jumps_onto_anothers_person_ends_there(first: int) -> None:
    """The follower of a bystander slides onto the man beside them, whose own is lost later: one body a frame."""
    linker = TrackLinker()
    image = frame_of((200, RED), (180, BLUE))
    man, bystander, jumped = person_at(200), person_at(180), person_at(202, score=0.8)
    frames = [[man, bystander]] * 20 + [[man, jumped]] * 24 + [[jumped]] * 12
    for people in frames:
        linker.add(people[:: -1 if first else 1], image)
    numbers = linker.tracks()
    reasons = linker.reasons(numbers)
    rows = iter(zip(numbers, reasons, strict=True))
    found = [[next(rows) for _ in people][:: -1 if first else 1] for people in frames]
    assert [row[0] for row in found] == [(first, "")] * 56
    assert [row[1] for row in found[:44]] == [(1 - first, "")] * 20 + [(None, "detected twice")] * 24


def test_a_brief_track_in_front_of_a_bystander_is_somebody() -> None:
    """A man lost in a jump is found again for twelve frames; the small box of a bystander lies within his."""
    linker = TrackLinker()
    image = frame_of((100, RED), (110, BLUE))
    small = person_at(110)
    small = replace(small, box=np.array([110, 60, 122, 90], np.float32))
    for t in range(60):
        people = [person_at(100 if t < 20 else 130)] if t < 20 or 40 <= t < 52 else []
        if people and t >= 40:
            people = [replace(people[0], box=np.array([90, 40, 160, 120], np.float32))]
        linker.add([*people, small], image)
    numbers = linker.tracks()
    assert None not in numbers
    assert linker.reasons(numbers) == [""] * len(numbers)


@pytest.mark.slow
def test_a_moment_within_anothers_box_is_no_person() -> None:
    """Detectors mix people up where they cross; who stays for longer, or stands apart, is somebody."""

    def beside(frames: int, x: float) -> set[int | None]:
        found = numbers([[(100, RED), (x, BLUE)] if 20 <= t < 20 + frames else [(100, RED)] for t in range(60)])
        return set(found)

    assert beside(4, 110) == {0, None}
    assert beside(30, 110) == {0, 1}
    assert beside(4, 300) == {0, 1}


def test_a_mixture_at_a_crossing_does_not_keep_the_pieces_of_a_person_apart() -> None:
    """The person behind is lost half-way; the last boxes before that run away with the one in front."""
    linker = TrackLinker()

    def walk(track: int, frames: range, begin: tuple[float, float], end: tuple[float, float], light: float) -> None:
        colours = np.tile(np.float32([light, 0, 0, 1]), (6, 1))
        for frame in frames:
            left, right = np.array(begin) + (np.array(end) - begin) * (frame - frames[0]) / (len(frames) - 1)
            box = np.array([left, 100, right, 680], np.float32)
            if (track, frame) != (0, 36):  # the mixture in its place
                linker._rows.append(_Row(frame, 0, track, box, True, colours))

    walk(0, range(32), (844, 1196), (360, 1093), 50)
    walk(0, range(32, 100), (458, 1087), (31, 420), 50)
    walk(1, range(32), (123, 369), (340, 635), 50)
    walk(1, range(32, 37), (344, 645), (366, 1037), 50)
    walk(2, range(72, 100), (673, 935), (798, 1155), 66)
    assert linker.tracks() == [0] * 99 + [1] * (32 + 5 + 28)


def test_the_clothes_of_a_person_are_those_of_rows_that_no_other_person_covers() -> None:
    """Of two who meet, where one hides the other."""
    linker = TrackLinker()
    for t in range(40):
        people = [(100 + 5 * t, RED), (300 - 5 * t, BLUE)]
        linker.add([person_at(x) for x, _ in people], frame_of(*people))
    clothes = linker.clothes(linker.tracks())
    for number, colour in enumerate((RED, BLUE)):
        alone = body_colours(person_at(100), frame_of((100, colour)))
        assert np.allclose(clothes[number][:5, :3], alone[:5, :3], atol=0.5)
