"""Frames of a sequence: people are followed, found again, lost, and numbered."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.tracking import TrackAssigner

BODY = BLAZEPOSE33.indices(["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee"])


@pytest.fixture
def sequence(fast: PersonDetector) -> Iterator[PersonDetector]:
    fast.reset()
    yield fast
    fast.reset()


def frames(rendered, steps: list[int]) -> Iterator[np.ndarray]:
    """The rendered person's image slid sideways by so many pixels, edges repeated."""
    for step in steps:
        wide = np.pad(rendered.image[::2, ::2], ((0, 0), (200, 200), (0, 0)), mode="edge")
        yield np.ascontiguousarray(wide[:, 150 - step : 150 - step + 460])


def test_a_moving_person_is_followed(sequence: PersonDetector, rendered) -> None:
    steps = list(range(0, 60, 6))
    tracks = TrackAssigner()
    for step, image in zip(steps, frames(rendered, steps), strict=True):
        people = sequence.track(image)
        assert len(people) == 1
        assert tracks.assign(people, image).track_ids == (0,)
        truth = rendered.points[BODY] / 2 + [50 + step, 0]
        apart = np.linalg.norm(people[0].keypoints[BODY, :2] - truth, axis=1)
        assert apart.mean() < 0.04 * np.ptp(rendered.points[:, 1]) / 2


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_following_costs_fewer_passes_than_searching(
    sequence: PersonDetector, rendered, monkeypatch, scale: float
) -> None:
    """Also into a frame of another size."""
    passes = []
    usual = ModelPool.map

    def counted(pool, work, items):
        passes.extend(items)
        return usual(pool, work, items)

    monkeypatch.setattr(ModelPool, "map", counted)
    (first, second) = frames(rendered, [0, 3])
    sequence.track(first)
    searching = len(passes)
    assert len(sequence.track(cv2.resize(second, None, fx=scale, fy=scale))) == 1
    # Two crops of BlazePose full, one of heavy, two of Thunder; MultiPose looks in every fourth frame.
    assert len(passes) - searching == 5 < searching / 4


def test_somebody_who_leaves_is_gone_and_somebody_new_is_found(sequence: PersonDetector, rendered) -> None:
    (image,) = frames(rendered, [0])
    empty = np.repeat(image[:, :1], image.shape[1], axis=1)
    assert len(sequence.track(image)) == 1
    for _ in range(6):
        assert sequence.track(empty) == []
    found = [len(sequence.track(image)) for _ in range(8)]
    assert 1 in found
    assert found[-1] == 1


def test_a_second_person_who_enters_joins_the_first(sequence: PersonDetector, rendered, astronaut: np.ndarray) -> None:
    small = np.pad(rendered.image[::2, ::2], ((96, 96), (0, 0), (0, 0)), mode="edge")
    alone = np.concatenate([small, np.repeat(small[:, -1:], 512, axis=1)], axis=1)
    both = np.concatenate([small, astronaut], axis=1)
    tracks = TrackAssigner()
    assert tracks.assign(sequence.track(alone)).track_ids == (0,)
    numbers: set[int] = set()
    for _ in range(8):
        numbers = set(tracks.assign(sequence.track(both)).track_ids)
    assert numbers == {0, 1}


def test_reset_forgets(sequence: PersonDetector, rendered, astronaut: np.ndarray) -> None:
    (image,) = frames(rendered, [0])
    fresh = sequence.track(image)
    sequence.track(astronaut)
    sequence.reset()
    again = sequence.track(image)
    np.testing.assert_array_equal(fresh[0].keypoints, again[0].keypoints)


def test_tiny_frames_have_nobody(sequence: PersonDetector) -> None:
    assert sequence.track(np.zeros((8, 8, 3), np.uint8)) == []
