"""Fits against labelled joints in the image: truth is right, a known offset is what it costs, missed people count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.keypoint_people import people, shifted

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.images import encode_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.lab.evaluate import keypoints as module
from humanpose_cli.lab.evaluate.keypoints import (
    LabelledImage,
    PredictedImage,
    evaluate_keypoints,
    joints_of_detections,
    joints_of_fits,
    keypoint_metrics,
    labelled_image,
    match_keypoints,
)
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection

FOCAL = 100.0


def image_of(count: int, seed: int = 0) -> LabelledImage:
    return LabelledImage(*people(count, seed))


@pytest.mark.slow
def test_truth_scores_one_and_an_offset_what_it_costs() -> None:
    labels = [image_of(2, seed) for seed in range(6)]
    right = [PredictedImage(image.keypoints[..., :2], np.ones(2)) for image in labels]
    metrics = keypoint_metrics(match_keypoints(labels, right))
    assert {name: summary.value for name, summary in metrics.items()} == dict.fromkeys(metrics, 1.0)
    assert metrics["oks_ap"].n == 6
    off = [PredictedImage(shifted(image.keypoints, 0.72), np.ones(2)) for image in labels]
    found = keypoint_metrics(match_keypoints(labels, off))
    assert (found["oks_ap"].value, found["oks_ap_50"].value, found["oks_ap_75"].value) == pytest.approx((0.5, 1, 0))


def test_whoever_is_missed_counts() -> None:
    labels = 3 * [image_of(2), image_of(1, 1)]
    empty = PredictedImage(np.zeros((0, 17, 2)), np.zeros(0))
    one = PredictedImage(labels[0].keypoints[1:, :, :2], np.ones(1))
    metrics = keypoint_metrics(match_keypoints(labels, 3 * [one, empty]))
    assert metrics["oks_ar"].value == pytest.approx(1 / 3)
    assert metrics["oks_ap"].low < metrics["oks_ap"].value < metrics["oks_ap"].high
    few = keypoint_metrics(match_keypoints(labels[:4], 2 * [one, empty]))["oks_ap"]
    assert np.isnan([few.low, few.high]).all()


def fit_of(rows: int = 2) -> tuple[Any, np.ndarray]:
    """A stand-in for a fit file of one image, and the bodies' joints of coco17 in its pixels."""
    random = np.random.default_rng(0)
    poses = random.normal(0, 0.2, (rows, 72)).astype(np.float32)
    poses[:, :3] = (np.pi, 0, 0)
    trans = np.array([[0.7 * i, 0.0, 4.0] for i in range(rows)], np.float32)
    landmarks = random.uniform(0, 90, (rows, 33, 3)).astype(np.float32)
    record = SimpleNamespace(
        poses=poses,
        betas=np.zeros((rows, 10), np.float32),
        trans=trans,
        segment_scales=np.ones((rows, 24), np.float32),
        frame_index=np.zeros(rows, np.int64),
        focal=np.array([FOCAL]),
        principal_point=np.array([[48.0, 40.0]]),
        confidence=np.linspace(0.5, 0.9, rows),
        keypoints2d=landmarks,
    )
    return record, joints_of_fits(record, np.arange(rows), default_body()).joints


def test_joints_are_projected_by_the_fits_camera() -> None:
    record, joints = fit_of()
    assert joints.shape == (2, 17, 2)
    apart = joints[1] - joints[0]  # 0.7 m at 4 m, whatever their poses are
    np.testing.assert_allclose(apart.mean(0), [FOCAL * 0.7 / 4, 0], atol=4)
    shoulders, hips = (joints[0, COCO17.indices((f"left_{n}", f"right_{n}"))] for n in ("shoulder", "hip"))
    assert shoulders[0, 0] > shoulders[1, 0]  # the person's left is on the image's right
    assert shoulders[:, 1].max() < hips[:, 1].min()
    found = joints_of_detections(record, np.array([1]))
    nose = found.joints[0, COCO17.index("nose")]
    np.testing.assert_array_equal(nose, record.keypoints2d[1, BLAZEPOSE33.index("nose"), :2])
    assert found.scores == record.confidence[1:]


class LabelledPeople:
    """Images whose people's joints are those of `fit_of`, without any body."""

    info = SourceInfo("labelled")

    def __init__(self, area: bool = True) -> None:
        self.area = area

    def groups(self) -> list[Group]:
        return [Group(f"{number}", 1, key=number) for number in range(3)]

    def read(self, group: Group) -> Any:
        _, joints = fit_of()
        points = np.concatenate((joints, np.ones((2, 17, 1))), -1)
        found = [
            Person(
                box=np.concatenate((joint.min(0), joint.max(0))),
                area=500.0 if self.area else None,
                keypoints={"coco17": point} if group.key or number else {},
            )
            for number, (joint, point) in enumerate(zip(joints, points, strict=True))
        ]
        pixels = encode_image(np.full((80, 96, 3), 90, np.uint8), ".png")
        yield Sample(group.name, pixels, (96, 80), FOCAL, (48.0, 40.0), found, splits={"coco": "validation"})


@pytest.mark.extensive
def test_a_cache_of_labelled_joints_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not build_cache(LabelledPeople(), tmp_path / "cache").failures
    record, _ = fit_of()
    monkeypatch.setattr(module, "records_from_files", lambda *_: lambda row: (record, np.arange(2)))
    selection = PeopleSelection(tmp_path / "cache")
    report = evaluate_keypoints(EvaluationRun(selection), FitOptions(), predictions=tmp_path)
    assert report.facts["people"] == 5
    assert report.metrics["oks_ap"].value == 1
    assert report.metrics["oks_ap_of_detections"].value < 0.1
    figures = {(row[0], row[1]): row[2:] for row in report.tables[1].rows}
    *means, low, high, count = figures["fits", "oks_ar"]
    assert (means[0], count) == (1, 3)
    assert np.isnan([low, high]).all()  # of three images
    assert ("detections", "oks_ar") in figures
    assert len(report.tables[0].rows) == 4
    named = evaluate_keypoints(
        EvaluationRun(replace(selection, protocol="coco-keypoints")), FitOptions(), predictions=tmp_path
    )
    assert named.facts["protocol"] == "coco-keypoints, version 1, after cocodataset/cocoapi@8c9bcc3c"
    assert named.facts["predictions"].startswith(f"{tmp_path.name}, digest ")
    assert named.tables[2].rows[0] == ["fits", 1, 1, 1, 1]
    assert "Not comparable" in named.tables[2].notes[1]
    monkeypatch.setattr(module, "records_from_files", lambda *_: lambda row: None)
    report = evaluate_keypoints(EvaluationRun(selection), FitOptions(), predictions=tmp_path)
    assert report.metrics["oks_ap"].value == 0
    with raises(UsageError, problem="finds no people"):
        evaluate_keypoints(EvaluationRun(selection), FitOptions(), detections="boxes")
    one = replace(selection, limit=1)
    for method, named in (("nbf", {"network", "weights", "checkpoint"}), ("keypoints", set())):
        report = evaluate_keypoints(EvaluationRun(one), FitOptions(method=method), detections="fast")
        assert {"network", "weights", "checkpoint"}.intersection(report.facts) == named


def test_missing_areas_are_those_of_the_median_person(tmp_path: Path) -> None:
    build_cache(LabelledPeople(area=False), tmp_path)
    image = labelled_image(open_cache(tmp_path), 1)
    extent = image.boxes[:, 2:] - image.boxes[:, :2]
    np.testing.assert_allclose(image.areas, 0.53 * extent.prod(1), rtol=1e-6)


def test_caches_without_labelled_joints_are_refused(tmp_path: Path) -> None:
    class Bare(LabelledPeople):
        def read(self, group: Group) -> Any:
            for sample in super().read(group):
                bare = [Person(box=person.box) for person in sample.people]
                yield Sample(sample.name, sample.image, sample.size, people=bare, splits=sample.splits)

    build_cache(Bare(), tmp_path)
    with raises(InputError, problem="lacks people/keypoints/coco17", remedy="hpc preprocess coco"):
        evaluate_keypoints(EvaluationRun(PeopleSelection(tmp_path)), FitOptions())
