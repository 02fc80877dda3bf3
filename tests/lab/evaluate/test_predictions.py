"""Fits that are there already, ours and other programs', evaluated on a clip whose truth is known."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.clip_people import FOCAL, FRAMES, SIZE, ClipPeople, clip_cache, fit_of, truth
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import write_fit
from humanpose_cli.io.foreign_fits import _MHR70
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.samples import Group, Sample
from humanpose_cli.lab.evaluate.bodies import _detected, evaluate_fits, evaluate_predictions
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.report import Report


@pytest.fixture(scope="module")
def frames() -> list[list[dict[str, np.ndarray]]]:
    """The clip's person as SAM 3D Body would say."""
    body, (poses, betas, trans) = default_body(), truth()
    shape = torch.from_numpy(betas)[None]
    posed = body.pose(axis_angle_to_matrix(torch.from_numpy(poses).view(FRAMES, 24, 3)), shape)
    landmarks = body.pose_landmarks("blazepose33", posed, shape).numpy()
    points = np.zeros((FRAMES, 70, 3), np.float32)
    points[:, list(_MHR70.values())] = landmarks[:, BLAZEPOSE33.indices(_MHR70)]
    return [
        [{"pred_keypoints_3d": p, "pred_cam_t": t, "focal_length": np.float32(FOCAL)}]
        for p, t in zip(points, trans, strict=True)
    ]


def evaluated(cache: Path, path: Path) -> Report:
    return evaluate_predictions(EvaluationRun(PeopleSelection(cache)), path)


@pytest.mark.slow
def test_results_of_another_program_are_evaluated(cache: Path, frames: list, tmp_path: Path) -> None:
    """One clip's by the folder's name, the other's by the file's."""
    (tmp_path / "clip0").mkdir()
    (tmp_path / "clip0" / "out.pkl").write_bytes(pickle.dumps(frames))
    (tmp_path / "clip1.pkl").write_bytes(pickle.dumps(frames[:2]))
    report = evaluated(cache, tmp_path)
    assert report.facts["found"] == "6 (75.0 %)"
    assert report.metrics["mpjpe_mm"].value < 25
    alone = evaluated(cache, tmp_path / "clip1.pkl")
    assert alone.facts["found"] == "2 (25.0 %)"


@pytest.mark.extensive
@pytest.mark.parametrize("true", [1.0, 1.3])
def test_segments_of_fits_and_of_the_truth_have_their_lengths(
    people: EvaluatedPeople, tmp_path: Path, true: float
) -> None:
    """The truth of a cache may be such fits too (hpc preprocess images --fits)."""
    build_cache(LongPeople(1, scale=true), tmp_path / "cache")
    for found in (1.0, 1.3):
        fit = fit_of(people)
        write_fit(tmp_path / "fits" / "clip0.fit.npz", replace(fit, segment_scales=fit.segment_scales * found))
        metrics = evaluated(tmp_path / "cache", tmp_path / "fits").metrics
        assert metrics["mpjpe_mm"].n == FRAMES
        if found == true:
            assert metrics["mpjpe_mm"].value < 0.01
            assert metrics["pve_mm"].value < 0.01
        else:
            assert metrics["mpjpe_mm"].value > 80
            assert metrics["pve_mm"].value > 80
        assert (metrics["accel_mm"].value < 0.01) == (found == true)


@pytest.mark.extensive
def test_fits_of_a_video_named_after_a_sequence_are_of_its_images_in_order(
    cache: Path, people: EvaluatedPeople, tmp_path: Path
) -> None:
    fit = fit_of(people)
    names = np.array([f"{number:06d}" for number in range(FRAMES)])
    write_fit(tmp_path / "clip0.mp4.fit.npz", replace(fit, frame_names=names))
    report = evaluated(cache, tmp_path)
    assert report.metrics["mpjpe_mm"].n == FRAMES
    assert report.metrics["mpjpe_mm"].value < 0.01
    names = np.roll(names, 1)  # frames in another order are other people
    write_fit(tmp_path / "clip0.mp4.fit.npz", replace(fit, frame_names=names))
    assert evaluated(cache, tmp_path).metrics["mpjpe_mm"].value > 1


class LongPeople(ClipPeople):
    """People whose segments are all longer, or shorter, than their shape makes them."""

    def __init__(self, clips: int, scale: float) -> None:
        super().__init__(clips)
        self.scale = scale

    def read(self, group: Group) -> Iterator[Sample]:
        for sample in super().read(group):
            scales = np.full(24, self.scale, np.float32)
            yield replace(sample, people=[replace(person, segment_scales=scales) for person in sample.people])


@pytest.mark.extensive
@pytest.mark.parametrize("method", ["keypoints", "nbf"])
def test_crops_are_fitted_with_their_camera(tmp_path: Path, method: str) -> None:
    """The axis far off the middle, as in a crop of a person at the border of an image."""
    folder = clip_cache(tmp_path / "crop", centre=(SIZE / 2 - 80, SIZE / 2 + 20))
    options = FitOptions(method=method)  # type: ignore[arg-type]
    selection = PeopleSelection(folder, limit=1)
    report = evaluate_fits(EvaluationRun(selection), options, detections="stored")
    assert report.facts["found"] == "1 (100.0 %)"
    assert report.metrics["mpjpe_mm"].value < (60 if method == "keypoints" else 120)
    assert report.metrics["pckh"].value > 0.8


@pytest.mark.extensive
def test_labelled_boxes_are_passed_to_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is labelled is found, however little of them."""
    folder = clip_cache(tmp_path / "clip")
    cache, calls = open_cache(folder), []

    def perfect(pool: object, image: np.ndarray, boxes: np.ndarray, *more: object) -> list[DetectedPerson]:
        calls.append(boxes)
        found = _detected(cache.sample(len(calls) - 1).people[0])
        assert found is not None
        return [replace(found, box=np.array([0, 0, 1, 1.0]))]  # would not overlap

    monkeypatch.setattr("humanpose_cli.lab.evaluate.bodies.people_in_boxes", perfect)
    selection, options = PeopleSelection(folder), FitOptions(method="keypoints")
    report = evaluate_fits(EvaluationRun(selection), options, detections="boxes")
    assert report.facts["found"] == "4 (100.0 %)"
    assert report.metrics["mpjpe_mm"].value < 60
    np.testing.assert_allclose(np.concatenate(calls), cache.people["box"][:], rtol=1e-6)


def test_a_file_that_names_no_sequence_is_refused(cache: Path, frames: list, tmp_path: Path) -> None:
    (tmp_path / "out.pkl").write_bytes(pickle.dumps(frames))
    with raises(InputError, subject="out.pkl", problem="does not name its sequence", expected="clip0"):
        evaluated(cache, tmp_path / "out.pkl")
    with raises(InputError, problem="holds no fits"):
        evaluated(cache, cache)
