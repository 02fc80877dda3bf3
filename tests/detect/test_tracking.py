"""People who are followed from frame to frame: newcomers, lost people, and frames that are not searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.block_scenes import scene
from helpers.landmark_passes import candidate, observed, standing

from humanpose_cli.detect import tracking
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.regions import Pyramid, Region
from humanpose_cli.detect.search import SCHEMES
from humanpose_cli.detect.tracking import Follower


@pytest.mark.parametrize("in_front", [True, False])
def test_frames_that_are_searched_are_looked_at_behind_the_people_in_them(monkeypatch, in_front: bool) -> None:
    """No networks: each region shows a pose in its middle."""
    front, behind = (replace(candidate(observed(standing(x))), probability=0.9) for x in (300.0, 500.0))
    looks: list[tuple[int, int]] = []

    def look_behind(pool, pyramid, people):
        looks.append((follower.state["frame"], len(people)))
        return [behind]

    def passes(pool, pyramid, regions, *_, **__):
        return [[observed(standing(region.x, region.y), Region(region.x, region.y, 400.0))] for region in regions]

    monkeypatch.setattr(tracking, "look_behind", look_behind)
    monkeypatch.setattr(tracking, "observe_jittered", passes)
    monkeypatch.setattr(tracking, "propose_everywhere", lambda *_: [])
    monkeypatch.setattr(tracking, "search_proposed", lambda *_: [front] if in_front else [])
    monkeypatch.setattr(tracking, "search_in", lambda *_: [])
    monkeypatch.setattr(tracking, "propose_by_multipose", lambda *_: [])
    follower, every = Follower(ModelPool(1), SCHEMES["fast"]), tracking.KEY_EVERY
    for _ in range(every + 1):
        people = follower.next_frame(Pyramid(np.zeros((600, 800, 3), np.uint8)))
        assert len(people) == (2 if in_front else 0)
    # The one behind is followed from then on.
    assert looks == ([(0, 1), (every, 2)] if in_front else [])


@pytest.mark.parametrize("hidden", [False, True])
def test_who_slides_onto_another_person_is_followed_with_that_person_painted_over(monkeypatch, hidden: bool) -> None:
    """In three frames, every pass shows the person in front; a hidden one is lost meanwhile, not given up."""
    people = [replace(candidate(observed(standing(x))), probability=0.9) for x in (300.0, 380.0)]
    image, painted = (Pyramid(np.zeros((600, 800, 3), np.uint8)) for _ in range(2))

    def passes(pool, pyramid, regions, *_, **__):
        slides = pyramid is image and follower.state["frame"] in (2, 3, 4)
        regions = [Region(300.0, 300.0, 400.0) if slides else region for region in regions]
        return [[observed(standing(r.x), r, 0.0 if hidden and pyramid is painted else 1.0)] for r in regions]

    monkeypatch.setattr(tracking, "observe_jittered", passes)
    monkeypatch.setattr(tracking, "painted_over", lambda *_: painted)
    monkeypatch.setattr(tracking, "search_proposed", lambda *_: people)
    for name in ("look_behind", "propose_everywhere", "search_in", "propose_by_multipose"):
        monkeypatch.setattr(tracking, name, lambda *_: [])
    follower = Follower(ModelPool(1), SCHEMES["fast"])
    visible = [sorted(round(p.passes[0].region.x, -1) for p in follower.next_frame(image) or []) for _ in range(6)]
    assert visible == 2 * [[300, 380]] + 3 * [[300] if hidden else [300, 380]] + [[300, 380]]


@pytest.fixture
def follow_movements(monkeypatch):
    """Follows a person whose hips are at given positions (x, y) of T images, without networks; the numbers of the
    frames that are searched, at most three apart.
    """

    def follow(positions: list[tuple[float, float]], images: list[np.ndarray], rate: float = 60.0) -> list[int]:
        def passes(pool, pyramid, regions, *_, **__):
            x, y = positions[follower.state["frame"]]
            return [[observed(standing(x, y), Region(x, y, 400.0))] for _ in regions]

        person = replace(candidate(observed(standing(*positions[0]))), probability=0.9)
        monkeypatch.setattr(tracking, "observe_jittered", passes)
        monkeypatch.setattr(tracking, "search_proposed", lambda *_: [person])
        for name in ("look_behind", "propose_everywhere", "search_in", "propose_by_multipose"):
            monkeypatch.setattr(tracking, name, lambda *_: [])
        follower = Follower(ModelPool(1), SCHEMES["fast"], frame_rate=rate)
        followed = list(follower.follow(Pyramid(image) for image in images))
        searched = [frame for frame, result in enumerate(followed) if result.candidates is not None]
        assert [followed[frame].number for frame in searched] == list(range(len(searched)))
        return searched

    return follow


def test_people_who_move_evenly_are_searched_for_in_every_third_frame_and_fast_ones_in_all(follow_movements) -> None:
    """A new person in the first two frames; the last frame always. The limit is 0.1 sides of the region, 40 pixels."""
    images = 14 * [np.zeros((600, 800, 3), np.uint8)]
    assert follow_movements([(300, 300)] * 14, images) == [0, 1, 3, 6, 9, 12, 13]
    # Faster from the seventh frame on, which the next search notices.
    positions = [(300 + 30 * max(frame - 6, 0), 300) for frame in range(14)]
    assert follow_movements(positions, images) == [0, 1, 3, 6, 9, 10, 11, 12, 13]


def test_people_who_have_been_slow_are_searched_for_in_every_second_frame_at_30_hz(follow_movements) -> None:
    images = 24 * [np.zeros((600, 800, 3), np.uint8)]
    assert follow_movements([(300, 300)] * 24, images, 30.0) == [*range(17), 18, 20, 22, 23]
    assert follow_movements([(300 + 30 * (frame > 11), 300) for frame in range(24)], images, 30.0) == [*range(24)]


def test_a_cut_between_searched_frames_is_searched(follow_movements) -> None:
    images = 7 * [scene(1, 0)] + 6 * [scene(2)]
    assert follow_movements([(300, 300)] * 13, images) == [0, 1, 3, 6, 7, 9, 12]


def test_multipose_looks_at_all_windows_of_the_first_frame_and_at_one_of_later_frames(monkeypatch) -> None:
    looks: dict[int, list[Region]] = {}

    def propose(pool, pyramid, views):
        looks[follower.state["frame"]] = [window for window, _ in views]
        return []

    monkeypatch.setattr(tracking, "propose_everywhere", lambda *_: [])
    monkeypatch.setattr(tracking, "propose_by_multipose", propose)
    follower = Follower(ModelPool(1), SCHEMES["fast"])
    for frame in range(13):  # brightness changes, so that every due window is looked at
        follower.next_frame(Pyramid(np.full((600, 800, 3), 15 * frame, np.uint8)))
    assert list(looks) == [0, 6, 12]
    full, *parts = looks[0]
    assert full.side == 800
    assert {part.side for part in parts} == {400}
    assert len(set(parts)) == len(parts) > 4
    assert looks[6][0] in parts
    assert looks[12] == [full]


@pytest.mark.parametrize(("score", "is_person"), [(0.5, True), (0.4, False)])
def test_a_clear_look_confirms_a_candidate_of_the_first_frame(monkeypatch, score: float, is_person: bool) -> None:
    """One that the search itself is unsure of."""
    unsure = replace(candidate(observed(standing(300.0))), probability=0.4, multipose=score)
    monkeypatch.setattr(tracking, "search_proposed", lambda *_: [unsure])
    monkeypatch.setattr(tracking, "observe_jittered", lambda *_, **__: [])
    for name in ("propose_everywhere", "propose_by_multipose", "look_behind"):
        monkeypatch.setattr(tracking, name, lambda *_: [])
    (person,) = Follower(ModelPool(1), SCHEMES["fast"]).next_frame(Pyramid(np.zeros((600, 800, 3), np.uint8)))
    assert person.confirmed == is_person
