"""Options of detection: declared, set by key, recorded only where they are not the defaults, and obeyed."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from helpers.landmark_passes import candidate, moved, observed, standing

from humanpose_cli.cli.settings import apply_settings, field_names
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import infos
from humanpose_cli.detect.options import DetectOptions, LinkOptions, SamePersonOptions, SearchOptions
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.search import SCHEMES, accepted, distinct_people
from humanpose_cli.detect.track_numbers import TrackAssigner, distinct_rows
from humanpose_cli.fitting.options import FitOptions


def test_every_field_is_an_option_with_a_meaning() -> None:
    for part in fields(DetectOptions):
        kind = type(part.default)
        if not is_dataclass(kind):
            continue
        assert set(infos(kind)) == {field.name for field in fields(kind)}
        assert all(info.text.endswith(".") for info in infos(kind).values())


def test_a_key_sets_one_option_and_keeps_the_others() -> None:
    options = apply_settings(FitOptions(), {"detect.search.first_presence": "0.4", "detect.follow.turns": "4"})
    assert options.detect.search == SearchOptions(first_presence=0.4)
    assert options.detect.follow.turns == 4
    assert replace(options, detect=DetectOptions()) == FitOptions()
    views = apply_settings(DetectOptions(), {"second_look.wide_view": "1.5,256"}).second_look
    assert (views.wide_view, views.close_view) == ((1.5, 256), (0.6, 384))


@pytest.mark.parametrize(("key", "value"), [("search.on_mask", "1.1"), ("follow.key_every", "0"), ("links.step", "0")])
def test_values_out_of_range_are_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError) as error:
        apply_settings(FitOptions(), {f"detect.{key}": value})
    assert (error.value.subject, error.value.problem) == (f"detect.{key}", "is out of range")


def test_options_are_recorded_where_they_are_not_the_defaults() -> None:
    assert "detect" not in FitOptions().document()
    changed = FitOptions(detect=DetectOptions(links=LinkOptions(brief=3)))
    assert changed.document()["detect"]["links"]["brief"] == 3
    assert changed.identity({}) != FitOptions().identity({})
    assert "detect" not in FitOptions().identity({})


def with_same_person(**thresholds: float) -> DetectOptions:
    return DetectOptions(same_person=SamePersonOptions(**thresholds))


def test_the_threshold_of_refined_candidates_joins_them() -> None:
    points = standing()
    pair = [(candidate(observed(points)), 2.0), (candidate(observed(moved(points, 30, 0))), 1.5)]
    assert len(distinct_people(pair, DetectOptions())) == 1  # their similarity is exp(-(30 / 28)² / 2) = 0.56
    strict = with_same_person(candidates=0.6)
    assert len(distinct_people(pair, strict)) == 2
    assert len(accepted(replace(SCHEMES["thorough"], options=strict), pair)) == 2


def detected(shift: float) -> DetectedPerson:
    points = moved(standing(), shift, 0)
    box = np.concatenate([points.min(0), points.max(0)])
    keypoints = np.concatenate([points, np.ones((33, 1))], axis=1)
    return DetectedPerson(box, keypoints, None, np.zeros(33), None, None, 0.9)


def test_the_thresholds_of_detections_and_frames_distinguish_people() -> None:
    pair = [detected(0), detected(15)]
    assert distinct_rows(pair) == [0]
    assert distinct_rows(pair, with_same_person(detections=0.9)) == [0, 1]
    for threshold, ids in ((0.3, (0,)), (0.95, (1,))):
        tracks = TrackAssigner(with_same_person(frames=threshold))
        tracks.assign(pair[:1])
        assert tracks.assign(pair[1:]).track_ids == ids


def test_keys_of_detection_are_settings_of_a_fit() -> None:
    keys = {name for name in field_names(FitOptions()) if name.startswith("detect.")}
    assert {"detect.same_person.passes", "detect.second_look.rounds", "detect.tracks.max_gap"} <= keys
