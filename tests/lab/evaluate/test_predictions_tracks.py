"""Tracks are one person throughout a sequence, even where boxes of single frames say otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.evaluate.predictions import PredictedBody, match_by_tracks

LEFT, RIGHT = np.array([0, 0, 40, 100.0]), np.array([55, 0, 95, 100.0])


class Sequence:
    """Two people in four frames; in the third they stand before each other."""

    def __init__(self, names: tuple[str, ...] = ("video",)) -> None:
        self.path, self.sequences = Path("cache"), names
        self.images = {"size": np.tile([100, 100], (4, 1))}
        self.people = {"identity": np.array(["Ann", "Bob"] * 4)}

    def sequence(self, name: str) -> np.ndarray:
        return np.arange(4)


def people(names: tuple[str, ...] = ("video",)) -> Any:
    cache = Sequence(names)
    table = SimpleNamespace(
        cache=cache,
        images=np.repeat(np.arange(4), 2),
        indices=np.tile([0, 1], 4),
        column=lambda name: cache.people[name],
    )
    boxes = np.array([[LEFT, RIGHT], [LEFT, RIGHT], [RIGHT, LEFT], [LEFT, RIGHT]]).reshape(8, 4)
    return SimpleNamespace(people=table, boxes=boxes)


def fit(image: int) -> list[PredictedBody]:
    """b follows Bob but for the third frame, where boxes are swapped; c is nobody."""
    boxes = {"b": RIGHT, "a": LEFT, "c": np.array([45, 90, 60, 100.0])}
    nothing = np.zeros(72), np.zeros(10), np.zeros(3)
    return [PredictedBody(*nothing, box, track=name) for name, box in boxes.items()]


def test_a_track_is_one_person_in_all_frames() -> None:
    match_image = match_by_tracks(people(), fit)
    for image in range(4):
        assert {found.track: found.person for found in match_image(image)} == {"a": 0, "b": 1, "c": -1}


def test_without_sequences_there_are_no_tracks() -> None:
    with raises(InputError, problem="holds no sequences", expected="videos"):
        match_by_tracks(people(()), fit)
    with raises(InputError, problem="do not say whose tracks they are"):
        match_by_tracks(people(), lambda image: [found._replace(track="") for found in fit(image)])
    with raises(InputError, problem="do not say whose tracks they are"):
        match_by_tracks(people(("video", "other")), lambda image: [])
