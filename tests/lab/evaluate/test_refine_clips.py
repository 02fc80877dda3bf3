"""Initial fits of a clip whose truth is known: disturbed truth, fits that are there already, and surface points."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.clip_people import FOCAL, FRAMES, SIZE, clip_cache, fit_of
from helpers.errors import raises

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.fit_files import ROW_COLUMNS, write_fit
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.predictions import records_from_files
from humanpose_cli.lab.evaluate.refine import measure_clip
from humanpose_cli.lab.evaluate.refine_clips import (
    EvaluatedClip,
    InitialFits,
    clips_of,
    disturbed_truth,
    match_rows,
    predicted_fit,
    surface_source,
)
from humanpose_cli.models.deform_and_learn.correspondences import texture_charts


def test_noise_is_of_the_matched_people_and_always_the_same(people: EvaluatedPeople, clip: EvaluatedClip) -> None:
    fit = fit_of(people)
    found = match_rows(people, clip, fit)
    first, again, other = (disturbed_truth(people, clip, fit, found, "noise", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.poses, again.poses)
    assert np.abs(first.poses - other.poses).max() > 0.01
    errors = measure_clip(people, clip, first, people.body, found)
    assert 0.005 < errors.mpjpe.mean() < 0.3
    np.testing.assert_array_equal(first.keypoints2d, fit.keypoints2d)
    near, far = (
        measure_clip(people, clip, disturbed_truth(people, clip, fit, found, base, 1), people.body, found)
        for base in ("truth+0.02", "truth+0.08")
    )
    assert 0.002 < near.mpjpe.mean() < 0.04
    np.testing.assert_allclose(far.mpjpe / near.mpjpe, 4, rtol=0.2)
    np.testing.assert_allclose(near.acceleration[1:3], 0, atol=2e-3)


def test_scaled_segments_are_measured_and_disturbed_truth_has_others(
    people: EvaluatedPeople, clip: EvaluatedClip
) -> None:
    fit = fit_of(people)
    fit = replace(fit, segment_scales=fit.segment_scales * 1.3)
    found = match_rows(people, clip, fit)
    assert measure_clip(people, clip, fit, people.body, found).mpjpe.min() > 0.08
    made = disturbed_truth(people, clip, fit, found, "truth+0.02", 1)
    np.testing.assert_array_equal(made.segment_scales, 1)
    assert measure_clip(people, clip, made, people.body, found).mpjpe.max() < 0.04
    bodies = people.bodies._replace(segment_scales=torch.full((len(people), 24), 1.3))
    longer = disturbed_truth(replace(people, bodies=bodies), clip, fit, found, "truth+0.02", 1)
    np.testing.assert_allclose(longer.segment_scales, 1.3)
    assert np.linalg.norm(longer.joints3d - made.joints3d, axis=-1).mean() > 0.08


def test_a_cache_without_sequences_is_an_error(tmp_path: Path) -> None:
    folder = clip_cache(tmp_path / "cache", sequences=False)
    with raises(InputError, problem="holds no sequences", expected="clips"):
        next(clips_of(PeopleSelection(folder).people("joints")))


def test_frames_are_named_as_in_the_cache(clip: EvaluatedClip) -> None:
    assert [frame.name for frame in clip.frames()] == [f"clip0/{number:04d}" for number in range(FRAMES)]
    assert clip.rows.tolist() == [0, 1, 2, 3]


def test_fit_files_are_an_initial_fit_with_their_cameras(
    people: EvaluatedPeople, clip: EvaluatedClip, tmp_path: Path
) -> None:
    fit = fit_of(people, 0.1)
    hands = np.random.default_rng(0).random((len(fit), 2, 15, 3), np.float32)
    fit = replace(fit, focal=fit.focal * 2, frame_rate=12.0, hand_poses=hands, hand_confidence=hands[:, :, 0, 0])
    write_fit(tmp_path / "clip0.fit.npz", fit)
    made = predicted_fit(clip, people.body, records_from_files(tmp_path, people.people.cache, people.body), tmp_path)
    assert made.model is people.body
    assert made.frame_rate == 12
    for name in ("poses", "trans", "betas", "boxes", "joints2d", "track_id", "frame_index", "focal", "hand_poses"):
        np.testing.assert_array_equal(getattr(made, name), getattr(fit, name))
    initial = InitialFits.of(people, None, tmp_path, 1)
    ((_, base, found, matches),) = initial.each("cpu", 1, lambda *_: None, lambda: False)
    assert (base, len(matches.fit)) == ("predictions", FRAMES)
    np.testing.assert_array_equal(found.poses, fit.poses)


def test_people_of_single_images_have_a_track_each(
    people: EvaluatedPeople, clip: EvaluatedClip, tmp_path: Path
) -> None:
    fit = fit_of(people)
    for frame in (0, 1, 3):
        rows = {name: getattr(fit, name)[frame : frame + 1] for name in ROW_COLUMNS}
        empty = fit.empty([fit.frame_names[frame]], [(SIZE, SIZE)], [FOCAL])
        one = replace(empty, **rows | {"frame_index": np.zeros(1, np.int32)})
        (tmp_path / "clip0").mkdir(exist_ok=True)
        write_fit(tmp_path / "clip0" / f"{frame:04d}.png.fit.npz", one)
    made = predicted_fit(clip, people.body, records_from_files(tmp_path, people.people.cache, people.body), tmp_path)
    assert made.frame_index.tolist() == [0, 1, 3]
    assert made.track_id.tolist() == [0, 1, 2]
    assert made.frame_count == FRAMES


def test_predictions_of_another_size_are_refused(people: EvaluatedPeople, clip: EvaluatedClip, tmp_path: Path) -> None:
    fit = fit_of(people)
    write_fit(tmp_path / "clip0.fit.npz", replace(fit, image_size=fit.image_size * 2))
    about = records_from_files(tmp_path, people.people.cache, people.body)
    with raises(InputError, problem="has another size of clip0/0000", expected="96 × 96", got="192 × 192"):
        predicted_fit(clip, people.body, about, tmp_path)


def test_bases_go_with_predictions_or_without(people: EvaluatedPeople, tmp_path: Path) -> None:
    assert InitialFits.of(people, None, None, 0).bases[:3] == ("keypoints", "nbf", "noise")
    assert "predictions" not in InitialFits.of(people, None, None, 0).bases
    assert InitialFits.of(people, None, tmp_path, 0).bases == ("predictions",)
    assert "nbf" not in InitialFits.of(replace(people, body_name="smpl:x"), None, None, 0).bases
    for base, predictions in (("noise", tmp_path), ("predictions", None)):
        with raises(UsageError, subject="base"):
            InitialFits.of(people, base, predictions, 0)


class MappedCache:
    """A cache whose images have one map, in which pixel (x 3, y 2) shows something."""

    path = Path("clips")

    def __init__(self, name: str, value: tuple[int, int, int]) -> None:
        self.name, self.value = name, value
        self.labels = {f"pictures/maps/{name}": FRAMES}

    def find(self, name: str) -> int:
        return {"a": 0, "b": 1}[name]

    def map(self, row: int, name: str) -> Any:
        if row == 1:
            return None
        values = np.zeros((5, 6, 3), int)
        values[2, 3] = self.value
        return values if name == self.name else None


def test_rendered_people_show_their_true_vertices(people: EvaluatedPeople) -> None:
    mapped_people = replace(people, people=replace(people.people, cache=MappedCache("correspondence", (1 + 77, 5, 6))))
    source, fact = surface_source(mapped_people, None, None)
    pixels, vertices = source("a", (6, 5))
    assert (pixels.tolist(), vertices.tolist()) == ([[3.5, 2.5]], [77])
    assert [len(values) for values in source("b", (6, 5))] == [0, 0]
    assert "more exact than any estimate" in fact
    other = copy.copy(people.body)
    other.name = "smpl-neutral"
    with raises(InputError, problem="has no surface points", expected="DensePose's output"):
        surface_source(replace(mapped_people, body=other), None, None)


def test_maps_of_densepose_are_looked_up_in_the_charts(people: EvaluatedPeople) -> None:
    body, row = people.body, 100
    charts = texture_charts(body)
    value = (int(charts.charts[row]), *(255 * charts.uv[row]).round().int().tolist())
    mapped_people = replace(people, people=replace(people.people, cache=MappedCache("densepose", value)))
    source, fact = surface_source(mapped_people, None, None)
    pixels, vertices = source("a", (6, 5))
    assert pixels.tolist() == [[3.5, 2.5]]
    apart = np.linalg.norm(body.template[vertices[0]] - body.template[charts.vertices[row]])
    assert apart < 0.03
    assert fact == "DensePose's maps in the cache"
