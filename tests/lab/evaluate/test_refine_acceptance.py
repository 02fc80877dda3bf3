"""The acceptance study on tracks whose overlaps and errors are made up, and on a clip whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clip_people import FRAMES, clip_cache, fit_of, true_params

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.evaluate import refine, refine_clips
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.refine import RefineSelection
from humanpose_cli.lab.evaluate.refine_acceptance import (
    SHARES,
    StudiedTrack,
    calibrated,
    evaluate_acceptance,
    mean_change,
    outcome,
    risk_coverage,
)
from humanpose_cli.lab.evaluate.refine_clips import with_bodies
from humanpose_cli.refining.options import AcceptanceOptions
from humanpose_cli.refining.refiner import Alignment

RULE = AcceptanceOptions()


def track(gain: float, errors: tuple[float, float], cell: str = "noise: flow", clip: str = "a") -> StudiedTrack:
    """Four frames whose overlap grows evenly from 0.5 by `gain` of what it lacks, and whose error changes evenly."""
    overlaps = np.tile(0.5 + 0.5 * gain * np.array([0, 0.5, 1]), (4, 1))
    values = np.tile(np.interp(SHARES, (0, 1), errors), (3, 1))
    return StudiedTrack(cell, clip, np.arange(4), overlaps, np.array([0, 1, 3]), values)


def test_a_rule_keeps_what_gains_enough_and_errors_follow() -> None:
    tracks = [track(0.3, (0.1, 0.05)), track(0.05, (0.1, 0.2))]
    result = outcome(tracks, RULE)
    np.testing.assert_allclose(result.kept, [1, 0])
    np.testing.assert_allclose(result.before, [0.1, 0.1])
    np.testing.assert_allclose(result.after, [0.05, 0.1])
    np.testing.assert_allclose(outcome(tracks, None).after, [0.05, 0.2])
    assert len(outcome([], RULE).before) == 0


def test_errors_between_the_measured_shares_are_interpolated() -> None:
    """The overlap is largest 0.55 of the way; the rule goes 0.7 of that."""
    way = np.array([0, 0.5, 1]) / 0.55
    one = replace(track(0.0, (0.1, 0.2)), overlaps=np.tile(0.5 + 0.2 * (2 * way - way**2), (4, 1)))
    result = outcome([one], RULE)
    np.testing.assert_allclose(result.kept, 0.385)
    np.testing.assert_allclose(result.after, 0.1 + 0.385 * 0.1)


def test_initial_fits_count_alike_in_the_mean_change() -> None:
    tracks = [*[track(0.3, (0.1, 0.05), "noise: flow")] * 9, track(0.3, (0.2, 0.2), "nbf: flow")]
    assert mean_change(tracks, outcome(tracks, RULE)) == pytest.approx(-0.25)


@pytest.mark.slow
def test_calibration_finds_the_gain_above_which_nothing_is_harmed() -> None:
    """Tracks that gain more than 0.25 come nearer, those below go away."""
    tracks = [track(gain, (0.1, 0.05 if gain > 0.25 else 0.2)) for gain in np.arange(0.015, 0.6, 0.05)]
    rule = calibrated(tracks, RULE)
    assert 0.215 <= rule.min_gain <= 0.265
    assert (rule.neighbours, rule.fade) == (RULE.neighbours, RULE.fade)
    result = outcome(tracks, rule)
    assert not (result.after > result.before).any()
    assert (result.after < result.before).sum() == sum(gain > 0.25 for gain in np.arange(0.015, 0.6, 0.05))


@pytest.mark.slow
def test_a_mean_that_gains_does_not_excuse_harm() -> None:
    """One track in three, whose silhouette gains as the others', is harmed: all are left alone."""
    tracks = [track(0.3, (0.1, 0.02)), track(0.3, (0.1, 0.02)), track(0.3, (0.1, 0.2))]
    assert outcome(tracks, RULE).after.mean() < 0.1
    assert not outcome(tracks, calibrated(tracks, RULE)).kept.any()


@pytest.mark.slow
def test_the_curve_falls_in_coverage_and_counts_the_harmed_among_the_moved() -> None:
    tracks = [
        track(0.3, (0.1, 0.05)),
        track(0.1, (0.1, 0.2)),
        track(0.5, (0.1, 0.05), "nbf: flow"),
        track(-0.1, (1, 2)),
    ]
    curves = risk_coverage(tracks, RULE)
    assert [*curves] == ["all", "noise", "nbf"]
    points = {round(point.min_gain, 2): point for point in curves["all"]}
    assert [points[gain].coverage for gain in (0.0, 0.2, 0.4, 0.9)] == [0.75, 0.5, 0.25, 0]
    assert points[0.0].risk == pytest.approx(1 / 3)
    assert points[0.2].risk == 0
    assert np.isnan(points[0.9].risk)
    assert points[0.9].change == 0
    assert curves["nbf"][0].change == pytest.approx(-0.5)


class HalfwayRefiner:
    """Moves people aside, whose silhouettes gain; a half of the way is the truth."""

    people: Any

    def __init__(self, options: Any, **_: Any) -> None:
        self.options = options

    def __enter__(self) -> HalfwayRefiner:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def align(self, fit: Any, frames: Any, **_: Any) -> Alignment:
        params = true_params()
        poses = 2 * params.poses - fit.poses
        moved = with_bodies(fit, self.people.body, np.arange(FRAMES), replace(params, poses=poses))
        return Alignment(fit, moved, np.tile([0.5, 0.7, 0.5], (FRAMES, 1)))


class BentFitter:
    """People with a spine bent a little."""

    people: Any

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> BentFitter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fit_sequence(self, frames: Any, **_: Any) -> Any:
        params = true_params()
        poses = params.poses.copy()
        poses[:, 9] += 0.2
        return with_bodies(fit_of(self.people), self.people.body, np.arange(FRAMES), replace(params, poses=poses))


@pytest.mark.slow
def test_a_report_has_both_rules_the_curve_and_a_table_for_each_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [clip_cache(tmp_path / name, clips=clips) for name, clips in (("data", 2), ("other", 1))]
    HalfwayRefiner.people = BentFitter.people = PeopleSelection(caches[0]).people("joints")
    monkeypatch.setattr(refine, "Refiner", HalfwayRefiner)
    monkeypatch.setattr(refine_clips, "Fitter", BentFitter)
    data, other = map(PeopleSelection, caches)
    chosen = RefineSelection("keypoints", "flow")
    report = evaluate_acceptance(data, other, chosen, "cpu", tmp_path / "report")
    assert [table.name for table in report.tables] == [
        "acceptance", "calibration", "risk-coverage", "acceptance-keypoints--flow---keypoints---prior-pose",
    ]  # fmt: skip
    rules = {row[0]: row for row in report.tables[0].rows}
    assert [*rules] == ["all moved", "present rule", "calibrated rule"]
    assert rules["calibrated rule"][2] == "1.0"  # all of the way to where the overlap is largest
    assert rules["calibrated rule"][5] == pytest.approx(0, abs=0.5)
    assert rules["all moved"][4] == pytest.approx(rules["all moved"][5], rel=0.01)
    assert rules["present rule"][5] == pytest.approx(0.3 * rules["present rule"][4], rel=0.01)
    assert report.facts["clips"] == "2 clips, 2 tracks of 1 cells"
    assert (tmp_path / "report" / "acceptance.png").stat().st_size > 10_000
    assert report.metrics["calibrated_rule"].value == pytest.approx(-100, abs=1)
    with pytest.raises(UsageError, match="calibration: has the clips that are evaluated"):
        evaluate_acceptance(data, data, chosen, "cpu", tmp_path)
