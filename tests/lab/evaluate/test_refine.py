"""Refinement evaluated on a clip whose truth is known, with fitters and refiners whose errors are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clip_people import FOCAL, FRAMES, SIZE, clip_cache, truth

from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.lab.evaluate import refine
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.refine import (
    EvaluatedClip,
    RefineSelection,
    clips_of,
    evaluate_refinement,
    evaluate_robustness,
    measure_clip,
    with_bodies,
)

CPU = "cpu"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_cache(tmp_path_factory.mktemp("clips") / "cache", clips=2)


@pytest.fixture(scope="module")
def people(cache: Path) -> EvaluatedPeople:
    return PeopleSelection(cache).people("joints")


@pytest.fixture(scope="module")
def clip(people: EvaluatedPeople) -> EvaluatedClip:
    return next(clips_of(people))


def true_params(shift: float = 0.0) -> BodyParams:
    poses, betas, trans = truth()
    return BodyParams(poses, np.tile(betas, (FRAMES, 1)), trans + np.float32([shift, 0, 0]))


def fit_of(people: EvaluatedPeople, shift: float = 0.0) -> Fit:
    """The truth, moved aside by `shift` metres, as a fit of the clip."""
    frames = [f"{number:06d}" for number in range(FRAMES)]
    joints = people.joints2d[:FRAMES]
    boxes = np.concatenate((joints.min(1), joints.max(1)), 1)
    rows = {
        "track_id": np.zeros(FRAMES),
        "frame_index": np.arange(FRAMES),
        "interpolated": np.zeros(FRAMES, bool),
        "poses": np.zeros((FRAMES, 72)),
        "betas": np.zeros((FRAMES, 10)),
        "trans": np.zeros((FRAMES, 3)),
        "segment_scales": np.ones((FRAMES, 24)),
        "joints3d": np.zeros((FRAMES, 24, 3)),
        "joints2d": np.zeros((FRAMES, 24, 2)),
        "keypoints2d": np.zeros((FRAMES, 33, 3)),
        "boxes": boxes,
        "confidence": np.ones(FRAMES),
        "joint_confidence": np.ones((FRAMES, 24)),
        "reprojection_error": np.zeros(FRAMES),
    }
    empty = Fit.empty(frames, [(SIZE, SIZE)] * FRAMES, [FOCAL] * FRAMES)
    whole = {name: getattr(empty, name) for name in ("shot_id", "image_size", "focal", "principal_point")}
    made = Fit.build(frame_names=frames, world_to_camera=empty.world_to_camera, **whole, **rows)
    return replace(with_bodies(made, people.body, np.arange(FRAMES), true_params(shift)), model=people.body)


def test_the_truth_has_no_errors(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    fit = fit_of(people)
    found = refine._match(people, clip, fit)
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
    errors = measure_clip(people, clip, fit, people.body, refine._match(people, clip, fit))
    np.testing.assert_allclose(errors.mpjpe, 0, atol=1e-5)
    np.testing.assert_allclose(errors.reprojection, FOCAL * 0.1 / 3.4, rtol=0.05)
    assert errors.silhouette.min() > 0.2


def test_acceleration_is_the_errors_second_difference(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    params = true_params()
    trans = params.trans.copy()
    trans[1, 1] += 0.01
    fit = with_bodies(fit_of(people), people.body, np.arange(FRAMES), replace(params, trans=trans))
    errors = measure_clip(people, clip, fit, people.body, refine._match(people, clip, fit))
    np.testing.assert_allclose(errors.acceleration, [np.nan, 0.02, 0.01, np.nan], atol=1e-5)


def test_noise_is_of_the_matched_people_and_always_the_same(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    fit = fit_of(people)
    found = refine._match(people, clip, fit)
    first, again, other = (refine._disturbed_truth(people, clip, fit, found, "noise", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.poses, again.poses)
    assert np.abs(first.poses - other.poses).max() > 0.01
    errors = measure_clip(people, clip, first, people.body, found)
    assert 0.005 < errors.mpjpe.mean() < 0.3
    np.testing.assert_array_equal(first.keypoints2d, fit.keypoints2d)
    near, far = (
        measure_clip(people, clip, refine._disturbed_truth(people, clip, fit, found, base, 1), people.body, found)
        for base in ("truth+0.02", "truth+0.08")
    )
    assert 0.002 < near.mpjpe.mean() < 0.04
    np.testing.assert_allclose(far.mpjpe / near.mpjpe, 4, rtol=0.2)
    np.testing.assert_allclose(near.acceleration[1:3], 0, atol=2e-3)


class TrueRefiner:
    """Gives the truth; `options` as asked for."""

    people: EvaluatedPeople

    def __init__(self, options: Any, **_: Any) -> None:
        self.options = options

    def __enter__(self) -> TrueRefiner:
        return self

    def __exit__(self, *_: object) -> None:
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
def known(monkeypatch: pytest.MonkeyPatch, people: EvaluatedPeople) -> None:
    TrueRefiner.people = MovedFitter.people = people
    monkeypatch.setattr(refine, "Refiner", TrueRefiner)
    monkeypatch.setattr(refine, "Fitter", MovedFitter)


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_tables_compare_every_setting_with_the_start(cache: Path) -> None:
    report = evaluate_refinement(PeopleSelection(cache), RefineSelection(), CPU)
    bases = ["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"]
    assert [table.name for table in report.tables] == [*(f"refine-{base}" for base in bases), "figures"]
    noise = report.tables[2]
    assert [row[0] for row in noise.rows] == [
        "before", "network · prior none", "network · prior pose", "flow · prior none", "flow · prior pose",
        "keypoints · prior none", "keypoints · prior pose",
    ]  # fmt: skip
    assert noise.rows[1][1] == pytest.approx(0, abs=0.01)
    assert str(noise.rows[1][-2]).startswith("-100.0 % (-")
    assert str(noise.rows[1][-1]).startswith("-")
    assert "8 people in frames of 2 clips; intervals are over clips. No setting lies above" in noise.notes[0]
    assert report.facts["clips"] == 2
    assert report.metrics["mask_iou"].value > report.metrics["mask_iou_before"].value


@pytest.mark.usefixtures("known")
def test_a_setting_that_harms_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch, people: EvaluatedPeople) -> None:
    def worse(self: TrueRefiner, fit: Fit, frames: Any, **_: Any) -> Fit:
        params = true_params()
        return with_bodies(fit, people.body, np.arange(FRAMES), replace(params, poses=params.poses + np.float32(0.1)))

    monkeypatch.setattr(TrueRefiner, "refine", worse)
    report = evaluate_refinement(PeopleSelection(cache, limit=1), RefineSelection("keypoints", "flow", "pose"), CPU)
    assert report.tables[0].notes[0].endswith("Above their start by more than 1 %: flow · prior pose.")
    assert report.facts["clips"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_robustness_disturbs_textures_and_light(cache: Path) -> None:
    report = evaluate_robustness(PeopleSelection(cache), RefineSelection(correspondence="flow"), CPU)
    table, figures = report.tables
    assert {len(row) for row in figures.rows} == {7}
    settings = [row[0] for row in table.rows]
    assert settings[:5] == ["before", "undisturbed", "texture noise 0.1", "texture noise 0.2", "texture noise 0.4"]
    assert len(settings) == 9
    reprojection = {row[0]: row[4] for row in table.rows}
    assert reprojection["undisturbed"] < reprojection["texture noise 0.1"] < reprojection["texture noise 0.4"]
    assert report.title == "Robustness of refinement"


def test_a_cache_without_sequences_says_so(tmp_path: Path) -> None:
    folder = clip_cache(tmp_path / "cache", sequences=False)
    with pytest.raises(InputError, match="holds no sequences, expected clips"):
        next(clips_of(PeopleSelection(folder).people("joints")))
