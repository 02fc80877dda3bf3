"""The acceptance study on tracks whose overlaps and errors are made up, and on a clip whose truth is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clip_people import FRAMES, clip_cache, fit_of, true_params
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.evaluate import refine, refine_clips
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.refine import HARM, RefineSelection, mark_harmed
from humanpose_cli.lab.evaluate.refine_clips import with_bodies
from humanpose_cli.refining.options import AcceptanceOptions
from humanpose_cli.refining.refiner import Alignment

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from measure_acceptance import (
    NOISES,
    SHARES,
    StudiedTrack,
    calibrated,
    evaluate_acceptance,
    mean_change,
    outcome,
    risk_coverage,
)

RULE = AcceptanceOptions()


def track(gain: float, errors: tuple[float, float], cell: str = "noise: flow", clip: str = "a") -> StudiedTrack:
    """Four frames whose overlap grows evenly from 0.5 by `gain` of what it lacks, and whose error changes evenly.

    The overlap is largest beyond the moved bodies: more than the noise of the gain, and all is kept.
    """
    overlaps = np.tile(0.5 + 0.5 * gain * np.array([0, 0.5, 1]), (4, 1))
    values = np.tile(np.interp(SHARES, (0, 1), errors), (3, 1))
    return StudiedTrack(cell, clip, np.arange(4), overlaps, np.array([0, 1, 3]), values)


def bent(gain: float, highest: float, errors: tuple[float, float], cell: str = "noise: flow") -> StudiedTrack:
    """Likewise with an overlap that is largest at a share of the way, where it has gained `gain` of what it lacks."""
    way = np.array([0, 0.5, 1]) / highest
    overlaps = np.tile(0.5 + 0.5 * gain * (2 * way - way**2), (4, 1))
    return replace(track(0.0, errors, cell), overlaps=overlaps)


def test_a_rule_keeps_what_gains_and_errors_follow() -> None:
    tracks = [track(0.3, (0.1, 0.05)), track(-0.05, (0.1, 0.2))]
    result = outcome(tracks, RULE)
    np.testing.assert_allclose(result.kept, [1, 0])
    np.testing.assert_allclose(result.before, [0.1, 0.1])
    np.testing.assert_allclose(result.after, [0.05, 0.1])
    np.testing.assert_allclose(outcome(tracks, 1.0).after, [0.05, 0.2])
    np.testing.assert_allclose(outcome(tracks, 0.5).after, [0.075, 0.15])
    assert len(outcome([], RULE).before) == 0


def test_errors_between_the_measured_shares_are_interpolated() -> None:
    """The overlap is largest 0.55 of the way; its gain is as large as its noise, so that the rule goes half of that."""
    result = outcome([bent(RULE.gain_noise, 0.55, (0.1, 0.2))], RULE)
    np.testing.assert_allclose(result.kept, 0.275)
    np.testing.assert_allclose(result.after, 0.1 + 0.275 * 0.1)


def test_initial_fits_count_alike_in_the_mean_change() -> None:
    tracks = [*[track(0.3, (0.1, 0.05), "noise: flow")] * 9, track(0.3, (0.2, 0.2), "nbf: flow")]
    assert mean_change(tracks, outcome(tracks, RULE)) == pytest.approx(-0.25)


@pytest.mark.slow
def test_calibration_shrinks_until_few_are_harmed_and_no_further() -> None:
    """Large gains are true; one track in five gains little, and is harmed by more than 0.3 of its way."""
    true = [bent(0.6, 1.0, (0.1, 0.05))] * 8
    tracks = [*true, *[bent(0.1, 1.0, (0.1, 0.1 * (1 + HARM / 0.3)))] * 2]
    rule = calibrated(tracks, RULE)
    noises = [noise for noise in NOISES if 0.1 / (0.1 + noise) <= 0.3]
    assert rule == replace(RULE, gain_noise=noises[0])
    assert calibrated(true, RULE).gain_noise == NOISES[0]


@pytest.mark.slow
def test_where_no_noise_saves_enough_the_fewest_are_harmed() -> None:
    """Both kinds gain alike; the steeper one is harmed at any share, the other one only at large ones."""
    tracks = [bent(0.2, 1.0, (0.1, 5.0)), bent(0.2, 1.0, (0.1, 0.11)), bent(0.5, 1.0, (0.1, 0.01))]
    rule = calibrated(tracks, RULE)
    assert mark_harmed(*outcome(tracks, rule)[:2]).tolist() == [1, 0, 0]
    assert mark_harmed(*outcome(tracks, replace(rule, gain_noise=NOISES[0]))[:2]).tolist() == [1, 1, 0]


@pytest.mark.slow
def test_the_curve_keeps_less_with_more_noise_and_stands_beside_equal_shares() -> None:
    tracks = [bent(0.3, 1.0, (0.1, 0.05)), bent(0.1, 1.0, (0.1, 0.2)), bent(0.5, 1.0, (0.1, 0.05), "nbf: flow")]
    curves = risk_coverage(tracks)
    assert [*curves] == ["all", "noise", "nbf", "same share of every track"]
    coverage = [point.coverage for point in curves["all"]]
    assert (np.diff(coverage) < 0).all()
    first = curves["all"][0]
    assert first.coverage == pytest.approx(np.mean([g / (g + NOISES[0]) for g in (0.3, 0.1, 0.5)]))
    assert first.risk == pytest.approx(1 / 3)
    assert curves["noise"][0].risk == pytest.approx(1 / 2)
    assert curves["nbf"][0].change == pytest.approx(-0.5 * 0.5 / (0.5 + NOISES[0]))
    last = curves["same share of every track"][-1]
    assert (last.coverage, last.risk) == (1, pytest.approx(1 / 3))
    assert last.change == pytest.approx((0.25 - 0.5) / 2)


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


@pytest.mark.extensive
def test_a_report_has_both_rules_the_curve_and_a_table_for_each_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [clip_cache(tmp_path / name, clips=clips) for name, clips in (("data", 2), ("other", 1))]
    HalfwayRefiner.people = BentFitter.people = PeopleSelection(caches[0]).people("joints")
    monkeypatch.setattr(refine, "Refiner", HalfwayRefiner)
    monkeypatch.setattr(refine_clips, "Fitter", BentFitter)
    data, other = map(PeopleSelection, caches)
    chosen = RefineSelection("keypoints", "flow")
    report = evaluate_acceptance(EvaluationRun(data, tmp_path / "report"), other, chosen)
    assert [table.name for table in report.tables] == [
        "acceptance", "calibration", "risk-coverage", "acceptance-keypoints--flow---keypoints---prior-pose",
    ]  # fmt: skip
    rules = {row[0]: row for row in report.tables[0].rows}
    assert [*rules] == ["everything kept", "present rule", "calibrated rule"]
    assert rules["calibrated rule"][1] == NOISES[0]  # nearly all of the way to where the overlap is largest
    shares = [0.4 / (0.4 + noise) for noise in (RULE.gain_noise, NOISES[0])]
    assert [rules[f"{name} rule"][2] for name in ("present", "calibrated")] == pytest.approx([s / 2 for s in shares])
    assert rules["everything kept"][3] == pytest.approx(rules["everything kept"][4], rel=0.01)
    for name, share in zip(("present", "calibrated"), shares, strict=True):
        row = rules[f"{name} rule"]
        assert row[4] == pytest.approx((1 - share) * row[3], rel=0.02, abs=0.3)
    assert report.facts["clips"] == "2 clips, 2 tracks of 1 cells"
    assert (tmp_path / "report" / "acceptance.png").stat().st_size > 10_000
    names = [f"{name}{suffix}" for suffix in ("_everything", "", "_calibrated") for name in ("mpjpe_mm", "harmed")]
    assert {*report.metrics} == {*names, "mpjpe_mm_before"}
    assert report.metrics["harmed_everything"].value == 0
    assert report.metrics["mpjpe_mm_calibrated"].value == pytest.approx(rules["calibrated rule"][4])
    with raises(UsageError, subject="calibration", problem="has the clips that are evaluated"):
        evaluate_acceptance(EvaluationRun(data, tmp_path), data, chosen)
