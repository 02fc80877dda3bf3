"""Refinement evaluated on a clip whose truth is known, with fitters and refiners whose errors are known."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clip_people import FOCAL, FRAMES, fit_of, true_params
from helpers.errors import raises

from humanpose_cli.avatar.frame_texture import texture_png
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.result import Fit
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate import protocols, refine, refine_clips
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.protocols import BodyProtocol, Evaluator
from humanpose_cli.lab.evaluate.refine import (
    RefinementErrors,
    RefineSelection,
    evaluate_refinement,
    evaluate_robustness,
    measure_clip,
)
from humanpose_cli.lab.evaluate.refine_clips import EvaluatedClip, match_rows, with_bodies
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.refining.refiner import TEXELS

CPU = "cpu"


def test_the_truth_has_no_errors(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    fit = fit_of(people)
    found = match_rows(people, clip, fit)
    assert found.clip.tolist() == found.fit.tolist() == [0, 1, 2, 3]
    errors = measure_clip(people, clip, fit, people.body, found)
    for name in ("mpjpe", "pa_mpjpe", "pve"):
        np.testing.assert_allclose(getattr(errors, name), 0, atol=1e-5)
    np.testing.assert_allclose(errors.reprojection, 0, atol=0.01)
    assert errors.silhouette.max() < 1e-3
    np.testing.assert_allclose(errors.acceleration, [np.nan, 0, 0, np.nan], atol=1e-5)


def test_a_body_moved_aside_errs_in_the_image_only(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    """Joints are compared pelvis on pelvis, so only what is drawn tells."""
    fit = fit_of(people, 0.1)
    errors = measure_clip(people, clip, fit, people.body, match_rows(people, clip, fit))
    np.testing.assert_allclose(errors.mpjpe, 0, atol=1e-5)
    np.testing.assert_allclose(errors.reprojection, FOCAL * 0.1 / 3.4, rtol=0.05)
    assert errors.silhouette.min() > 0.2


def test_acceleration_is_the_errors_second_difference(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    params = true_params()
    trans = params.trans.copy()
    trans[1, 1] += 0.01
    fit = with_bodies(fit_of(people), people.body, np.arange(FRAMES), replace(params, trans=trans))
    errors = measure_clip(people, clip, fit, people.body, match_rows(people, clip, fit))
    np.testing.assert_allclose(errors.acceleration, [np.nan, 0.02, 0.01, np.nan], atol=1e-5)


class TrueRefiner:
    """Gives the truth; `options` as asked for."""

    people: EvaluatedPeople

    def __init__(self, options: Any, **made_with: Any) -> None:
        self.options, self.made_with = options, made_with

    def __enter__(self) -> TrueRefiner:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check_compares(self, option: str) -> None:
        pass

    def textures(self, fit: Fit, frames: Any, **_: Any) -> dict[int, np.ndarray]:
        return {0: np.full((64, 64, 4), 128, np.uint8)}

    def refine(self, fit: Fit, frames: Any, **options: Any) -> Fit:
        textures = options.get("textures")
        noise = 0.0 if textures is None else float(np.std(textures[0][..., :3].astype(float))) / 255
        return with_bodies(fit, self.people.body, np.arange(FRAMES), true_params(noise))


class MovedFitter:
    """Everybody two decimetres aside."""

    people: EvaluatedPeople

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> MovedFitter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fit_sequence(self, frames: Any, **_: Any) -> Fit:
        assert sum(frame.focal == FOCAL for frame in frames) == FRAMES
        return fit_of(self.people, 0.05)


@pytest.fixture
def constructed_fits(monkeypatch: pytest.MonkeyPatch, people: EvaluatedPeople) -> None:
    TrueRefiner.people = MovedFitter.people = people
    monkeypatch.setattr(refine, "Refiner", TrueRefiner)
    monkeypatch.setattr(refine_clips, "Fitter", MovedFitter)


@pytest.mark.extensive
@pytest.mark.usefixtures("constructed_fits")
def test_tables_compare_every_setting_with_the_start(cache: Path, tmp_path: Path) -> None:
    report = evaluate_refinement(EvaluationRun(PeopleSelection(cache), tmp_path), RefineSelection())
    bases = ["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"]
    assert [table.name for table in report.tables] == [*(f"refine-{base}" for base in bases), "figures"]
    noise = report.tables[2]
    assert [row[0] for row in noise.rows] == [
        "before",
        "network + keypoints · prior none", "network + keypoints · prior pose",
        "network · prior none", "network · prior pose",
        "flow + keypoints · prior none", "flow + keypoints · prior pose", "flow · prior none", "flow · prior pose",
        "keypoints · prior none", "keypoints · prior pose",
    ]  # fmt: skip
    assert noise.rows[1][1] == pytest.approx(0, abs=0.01)
    assert noise.rows[1][-3] == "-100.0 %"  # two clips are too few for an interval
    assert str(noise.rows[1][-2]).startswith("-")
    assert [row[-1] for row in noise.rows] == [None, *["0 %"] * 10]
    assert "8 people in frames of 2 clips, 2 tracks; intervals are over clips. No setting" in noise.notes[0]
    assert report.facts["clips"] == 2
    assert report.metrics["mask_iou"].value > report.metrics["mask_iou_before"].value


@pytest.mark.usefixtures("constructed_fits")
def test_a_setting_that_harms_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: EvaluatedPeople
) -> None:
    def worse(self: TrueRefiner, fit: Fit, frames: Any, **_: Any) -> Fit:
        params = true_params()
        return with_bodies(fit, people.body, np.arange(FRAMES), replace(params, poses=params.poses + np.float32(0.1)))

    monkeypatch.setattr(TrueRefiner, "refine", worse)
    chosen = RefineSelection("keypoints", "flow", keypoints=False, prior="pose")
    report = evaluate_refinement(EvaluationRun(PeopleSelection(cache, limit=1), tmp_path), chosen)
    assert report.tables[0].notes[0].endswith("Above their start by more than 1 %: flow · prior pose.")
    assert report.tables[0].columns[-1] == "tracks worse by > 5 %"
    assert report.tables[0].rows[1][-1] == "100 %"
    (figure,) = (row for row in report.tables[1].rows if row[1] == "tracks worse by > 5 %")
    assert figure[:3] == ["keypoints: flow · prior pose", "tracks worse by > 5 %", 100]
    assert report.facts["clips"] == 1
    assert report.metrics["harmed"].value == 1


def test_a_track_is_harmed_by_more_than_a_twentieth_of_its_mean() -> None:
    before, after = np.array([10.0, 10, 10, np.nan]), np.array([10.4, 10.6, 5, 5])
    np.testing.assert_array_equal(refine.mark_harmed(before, after), [0, 1, 0, np.nan])
    columns = (np.array([1.0, 3, 5]), *[np.zeros(3)] * 5, np.array([4, 2, 4]))
    np.testing.assert_array_equal(refine.track_errors(RefinementErrors(*columns)), [3, 3])


def test_cells_name_what_pulls_and_the_prior_but_no_file() -> None:
    chosen = RefineSelection(correspondence="network", prior="gmm:/licensed/gmm_08.pkl")
    settings = chosen.settings()
    assert [*settings] == ["network + keypoints · prior gmm", "network · prior gmm"]
    assert [options.with_keypoints for options in settings.values()] == [True, False]
    assert {options.prior for options in settings.values()} == {"gmm:/licensed/gmm_08.pkl"}
    assert [*RefineSelection(correspondence="keypoints", keypoints=False, prior="pose").settings()] == [
        "keypoints · prior pose"
    ]


@pytest.mark.usefixtures("constructed_fits")
def test_surface_points_are_compared_where_they_are_labelled(
    cache: Path, people: EvaluatedPeople, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surface(*_: Any) -> tuple[Any, str]:
        return (lambda name, size: (np.zeros((0, 2)), np.zeros(0, int))), "a test"

    with ExitStack() as stack:
        made, facts = refine.make_refiners(people, RefineSelection(prior="pose"), stack, 1, CPU)
        assert not any("densepose" in name for name in made)
        assert set(facts) == {"weights", "checkpoint"}
        with raises(InputError, problem="has no surface points"):
            refine.make_refiners(people, RefineSelection(correspondence="densepose"), stack, 1, CPU)
        monkeypatch.setattr(refine, "surface_source", surface)
        made, facts = refine.make_refiners(people, RefineSelection(prior="pose"), stack, 1, CPU)
        assert [name for name in made if "densepose" in name] == [
            "densepose + keypoints · prior pose",
            "densepose · prior pose",
        ]
        assert facts["densepose"] == "a test"
        monkeypatch.setattr(refine, "find_weights", lambda name: find_weights("refiner" if name == "run" else name))
        made, _ = refine.make_refiners(people, RefineSelection(prior="pose", weights="run"), stack, 1, CPU)
        assert {name: each.made_with["weights"] for name, each in made.items()} == {
            name: "run" if name.startswith("network") else "" for name in made
        }
        assert {each.made_with["surface"] is None for name, each in made.items() if "densepose" not in name} == {True}


@pytest.mark.slow
@pytest.mark.usefixtures("constructed_fits")
@pytest.mark.parametrize("evaluate", [evaluate_refinement, evaluate_robustness])
def test_a_texture_takes_the_place_of_those_from_the_frames(cache: Path, tmp_path: Path, evaluate: Any) -> None:
    errors = []
    for name, contrast in (("flat", 0), ("checked", 255)):
        texture = np.full((TEXELS, TEXELS, 4), 255, np.uint8)
        texture[::2, :, :3] -= np.uint8(contrast)
        (tmp_path / name).with_suffix(".png").write_bytes(texture_png(texture, "default"))
        chosen = RefineSelection(
            "noise", "flow", keypoints=False, prior="pose", texture=(tmp_path / name).with_suffix(".png")
        )
        report = evaluate(EvaluationRun(PeopleSelection(cache), tmp_path), chosen)
        errors.append(report.tables[0].rows[1][4])  # reprojection
    assert errors[0] < 0.1 < errors[1]
    with raises(InputError, subject=".person0.texture.png"):
        evaluate(EvaluationRun(PeopleSelection(cache), tmp_path), replace(chosen, texture=tmp_path))


@pytest.mark.slow
@pytest.mark.usefixtures("constructed_fits")
def test_robustness_disturbs_textures_and_light(cache: Path) -> None:
    report = evaluate_robustness(EvaluationRun(PeopleSelection(cache)), RefineSelection(correspondence="flow"))
    table, figures = report.tables
    assert {len(row) for row in figures.rows} == {7}
    settings = [row[0] for row in table.rows]
    assert settings[:5] == ["before", "undisturbed", "texture noise 0.1", "texture noise 0.2", "texture noise 0.4"]
    assert len(settings) == 9
    reprojection = {row[0]: row[4] for row in table.rows}
    assert reprojection["undisturbed"] < reprojection["texture noise 0.1"] < reprojection["texture noise 0.4"]
    assert (report.title, table.title) == ("Robustness of refinement", "Refined by flow + keypoints · prior pose")


@pytest.mark.extensive
@pytest.mark.usefixtures("constructed_fits")
def test_a_protocol_decides_the_joints_and_stands_beside_published_figures(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = PeopleSelection(cache)
    protocol, split = selection.protocol_and_split()
    of_clips = BodyProtocol(
        "clips-lsp14",
        open_cache(cache).header.source,
        f"{protocol}/{split}",
        Evaluator("a test"),
        "lsp14",
        "hips",
        rows={"theirs": (40.0, 60.0, None)},
        rows_source="a paper",
    )
    monkeypatch.setitem(protocols.PROTOCOLS, of_clips.name, of_clips)
    refined = RefineSelection(base="truth+0.05", correspondence="keypoints", prior="pose")
    run = EvaluationRun(replace(selection, protocol=of_clips.name), tmp_path)
    report = evaluate_refinement(run, refined)
    table = next(table for table in report.tables if table.name == "published")
    names = ["theirs", "truth+0.05: before", "truth+0.05: keypoints · prior pose"]
    assert [row[0] for row in table.rows] == names
    assert table.rows[0][1:] == [40.0, 60.0, None]
    assert table.rows[2][1] == pytest.approx(0, abs=0.01)  # the constructed refiner gives the truth
    with_smpl24 = evaluate_refinement(EvaluationRun(selection, tmp_path), refined)
    before, other = (each.metrics["mpjpe_mm_before"].value for each in (report, with_smpl24))
    assert table.rows[1][2] == pytest.approx(before)
    assert before != pytest.approx(other, rel=0.01)
    assert report.facts["protocol"].startswith("clips-lsp14")
    assert "lsp14" in report.facts["joints"]
