"""Surfaces against annotated points: truth scores one, known distances what they cost, damaged files are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dataset_files import write_dump
from helpers.surface_people import SIZE, fit_of, surface_cache, write_eval_data, write_fits
from scipy.io import savemat

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.densepose_files import DensePosePerson
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.evaluate.densepose import (
    AnnotatedSurfaces,
    FoundSurface,
    SurfaceInputs,
    annotated_surfaces,
    evaluate_densepose,
    measure_surfaces,
    surfaces_of_output,
)
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection

KAPPA = 0.351  # metres, of DensePose's torso: charts 1 and 2


class AlongU:
    """Charts whose U is in metres; distances are along it."""

    text = "along U"

    def __call__(self, points: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.where(points[:, 0] == others[:, 0], np.abs(points[:, 1] - others[:, 1]), np.inf)


def person(corner: float = 10.0, side: int = 40, area: float = 1500.0) -> AnnotatedSurfaces:
    """Points on all pixels of a square, of chart 2 with U 0.5 and V 0."""
    x, y = np.meshgrid(np.arange(side) + corner + 0.5, np.arange(side) + corner + 0.5)
    points = np.stack((x.ravel(), y.ravel(), *(np.full(side * side, value) for value in (2.0, 0.5, 0.0))), 1)
    box = np.array([[corner, corner, corner + side, corner + side]])
    return AnnotatedSurfaces([points], np.array([area]), box, np.zeros(1, bool))


def found(u: float = 0.5, columns: int = 40, corner: float = 10.0, score: float = 0.9) -> FoundSurface:
    """The square of `person` with that U, in some of its columns."""
    charts = np.zeros((40, 40, 3), np.float32)
    charts[:, :columns] = (2, u, 0)
    return FoundSurface((corner, corner), charts, score)


def values(labels: list[AnnotatedSurfaces], predicted: list[list[FoundSurface]]) -> dict[str, float]:
    return {name: one.value for name, one in measure_surfaces(labels, predicted, AlongU()).metrics().items()}


def test_truth_scores_one_and_a_distance_what_it_costs() -> None:
    right = values([person()], [[found()]])
    names = ("gps_ap", "gps_ap_50", "gps_ap_75", "gps_ap_medium", "gps_ar", "gps")
    assert right == pytest.approx(dict.fromkeys(names, 1.0))
    gps = np.exp(-(0.15**2) / (2 * KAPPA**2))  # 0.913: right at 9 of 10 thresholds
    moved = values([person()], [[found(0.65)]])
    assert moved["gps"] == pytest.approx(gps, abs=1e-6)
    assert (moved["gps_ap"], moved["gps_ap_75"]) == pytest.approx((0.9, 1))
    half = values([person()], [[found(columns=22)]])  # no surface is predicted at the others
    assert half["gps"] == pytest.approx(22 / 40)
    assert (half["gps_ap"], half["gps_ap_50"], half["gps_ap_75"]) == pytest.approx((0.2, 1, 0))
    missed = values([person(), person()], [[found()], []])
    assert (missed["gps"], missed["gps_ar"]) == pytest.approx((0.5, 0.5))
    other = replace(found(), charts=np.where(found().charts == 2, 3, found().charts).astype(np.float32))
    assert values([person()], [[other]])["gps"] == 0


def test_figures_of_ranges_are_of_people_of_that_size() -> None:
    labels = [person(), person(area=1e4)]
    figures = values(labels, [[found()], [found(5.0)]])
    assert (figures["gps_ap_medium"], figures["gps_ap_large"]) == pytest.approx((1, 0))
    assert values(labels, [[found(5.0)], [found()]])["gps_ap_large"] == pytest.approx(1)
    assert "gps_ap_large" not in values([person()], [[found()]])
    assert "gps_ap" not in values(
        [AnnotatedSurfaces([], np.zeros(0), np.zeros((0, 4)), np.zeros(0, bool))], [[found()]]
    )


def test_predictions_of_crowds_and_of_people_without_points_are_no_errors() -> None:
    truth = person()
    box = np.array([100.0, 100, 140, 140])
    crowd = np.array([90.0, 90, 190, 190])  # holds the box, but overlaps it little
    labels = AnnotatedSurfaces(
        [*truth.points, np.zeros((0, 5))], np.full(2, 1500.0), np.stack((truth.boxes[0], box)), np.zeros(2, bool)
    )
    beside = found(corner=100, score=1.0)
    assert values([labels], [[found(), beside]])["gps_ap"] == pytest.approx(1)
    crowded = replace(labels, boxes=np.stack((truth.boxes[0], crowd)), crowds=np.array([False, True]))
    assert values([crowded], [[found(), beside]])["gps_ap"] == pytest.approx(1)
    assert values([replace(crowded, crowds=np.zeros(2, bool))], [[found(), beside]])["gps_ap"] == pytest.approx(0.5)


def test_pixels_are_those_of_the_evaluator() -> None:
    """int(position − corner), which is 0 from −1 on; nothing is known beyond the box."""
    charts = np.zeros((3, 4, 3), np.float32)
    charts[..., 0], charts[..., 1] = 1, np.arange(12).reshape(3, 4)
    surface = FoundSurface((10.5, 20.0), charts, 1.0)
    at = surface.at(np.array([[10.6, 20.9], [14.4, 22.9], [9.6, 19.1], [9.4, 20], [14.6, 20], [11, 23.0]]))
    assert at[:, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert at[:3, 1].tolist() == [0, 11, 0]
    assert surface.box.tolist() == [10.5, 20, 14.5, 23]


def test_the_evaluator_s_scale_of_points() -> None:
    """densepose_cocoeval.py puts a point at dp_x / 255 of the box, which the cache has at dp_x / 256."""
    truth = person(side=255)
    charts = np.zeros((256, 256, 3), np.float32)
    charts[:, 254:] = (2, 0.5, 0)
    surface = [[FoundSurface((10.0, 10.0), charts, 0.9)]]
    assert measure_surfaces([truth], surface, AlongU()).gps[0] == pytest.approx(1 / 255)
    # Column 253.5 comes to 254.49, column 254.5 to 255.50.
    assert measure_surfaces([truth], surface, AlongU(), point_scale=256 / 255).gps[0] == pytest.approx(2 / 255)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return surface_cache(tmp_path_factory.mktemp("surfaces") / "cache", source="densepose")


@pytest.fixture(scope="module")
def surface_cache_of_painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return surface_cache(tmp_path_factory.mktemp("surfaces") / "cache")


@pytest.mark.extensive
def test_a_fit_that_is_the_truth_is_right_and_a_moved_one_is_not(
    surface_cache_of_painted: Path, tmp_path: Path
) -> None:
    truth = annotated_surfaces(open_cache(surface_cache_of_painted), 1)
    assert truth.annotated.tolist() == [True, False]
    assert truth.areas.tolist() == [5000, 10000]

    def report_of(name: str, **changes: float):
        fits = SurfaceInputs(predictions=write_fits(tmp_path / name, fit_of(**changes)))
        return evaluate_densepose(EvaluationRun(PeopleSelection(surface_cache_of_painted)), FitOptions(), fits)

    right, moved, far = (report_of(f"{shift}", shift=shift) for shift in (0.0, 0.05, 1.6))
    precisions = ("gps_ap", "gps_ap_50", "gps_ap_75", "gps_ap_medium", "gps_ap_large", "gps_ar")
    assert [right.metrics[name].value for name in precisions] == pytest.approx([1.0] * 6)
    assert right.metrics["gps"].value > 0.99
    assert (right.facts["people"], right.metrics["gps"].n) == (3, 3)
    assert right.facts["distances"] == "along the mesh of default, which are not DensePose's"
    assert "not DensePose's" in right.tables[0].notes[0]
    assert right.facts["predictions"].startswith("0.0, digest ")
    assert 0.4 < moved.metrics["gps"].value < 0.8
    assert (far.metrics["gps"].value, far.metrics["gps_ap"].value) == pytest.approx((0, 0), abs=1e-6)


def dump_of(path: Path, names: tuple[str, ...] = ("a.jpg", "b.jpg"), u: float = 0.0) -> Path:
    """Surfaces over the complete image, of chart 1 at one U, 0.5 V."""
    width, height = SIZE
    labels = torch.ones(height, width, dtype=torch.int64)
    uv = torch.stack((torch.full((height, width), u), torch.full((height, width), 0.5)))
    boxes = torch.tensor([[0.0, 0.0, width, height]])
    entries = [
        {"file_name": name, "scores": torch.tensor([0.9]), "pred_boxes_XYXY": boxes, "results": [(labels, uv)]}
        for name in names
    ]
    return write_dump(path, entries)


def eval_data(folder: Path) -> Path:
    """A vertex for each chart; distances of i and j are (i + j) / 100 metres."""
    parts = np.arange(1, 25)
    high, low = np.tril_indices(24, -1)
    return write_eval_data(folder, parts, np.full((24, 2), 0.5), np.arange(1, 25), (high + low) / 100)


@pytest.mark.slow
def test_the_output_of_densepose_under_its_protocol(cache: Path, tmp_path: Path) -> None:
    inputs = SurfaceInputs(densepose=dump_of(tmp_path / "results.pkl"), distances=eval_data(tmp_path / "eval_data"))
    selection = PeopleSelection(cache, protocol="densepose-coco")
    report = evaluate_densepose(EvaluationRun(selection), FitOptions(), inputs)
    kappa = np.array(
        [0.351] * 2 + [0.107] * 2 + [0.126] * 2 + [0.237] * 4 + [0.173] * 4 + [0.142] * 4 + [0.128] * 4 + [0.150] * 2
    )
    opened, derived = open_cache(cache), []
    for row, people in ((0, 2), (1, 1)):
        points = [
            opened.surface_points(person)[:, 2].astype(int) - 1 for person in list(opened.people_of(row))[:people]
        ]
        means = [np.exp(-((of / 100 * (of > 0)) ** 2) / (2 * kappa[of] ** 2)).mean() for of in points]
        derived += [max(means)]  # one prediction an image
    assert report.metrics["gps"].value == pytest.approx(sum(derived) / 3, abs=1e-6)
    assert report.facts["protocol"] == "densepose-coco, version 1, after facebookresearch/DensePose@51fb9f11"
    assert report.facts["distances"] == "DensePose's Pdist_matrix.mat of 24 vertices"
    assert report.tables[2].rows[0] == ["DensePose-RCNN, ResNet50_FPN_s1x", 0.4748, 0.8368, 0.4820, 0.4262, 0.4948]
    assert report.tables[2].rows[-1][0] == "DensePose"
    part = evaluate_densepose(EvaluationRun(replace(selection, limit=1)), FitOptions(), inputs)
    assert len(part.tables[2].rows) == 1


@pytest.mark.slow
def test_the_protocol_puts_points_where_the_evaluator_does(cache: Path, tmp_path: Path) -> None:
    """Surface at the evaluator's pixels alone: of the two people of an image, one prediction finds one."""
    opened, (width, height) = open_cache(cache), SIZE
    labels = torch.zeros(height, width, dtype=torch.int64)
    truth = annotated_surfaces(opened, 0)
    for points, box in zip(truth.points, truth.boxes, strict=True):
        x, y = (box[:2] + (points[:, :2] - box[:2]) * 256 / 255).astype(int).T
        labels[y.clip(0, height - 1), x.clip(0, width - 1)] = torch.from_numpy(points[:, 2].astype(np.int64))
    uv, boxes = torch.full((2, height, width), 0.5), torch.tensor([[0.0, 0.0, width, height]])
    entry = {"scores": torch.tensor([0.9]), "pred_boxes_XYXY": boxes, "results": [(labels, uv)]}
    dump = write_dump(tmp_path / "d.pkl", [{"file_name": f"{name}.jpg", **entry} for name in "ab"])
    far = np.full(24 * 23 // 2, 9.0)
    folder = write_eval_data(tmp_path / "data", np.arange(1, 25), np.full((24, 2), 0.5), np.arange(1, 25), far)
    inputs = SurfaceInputs(densepose=dump, distances=folder)
    named, plain = (
        evaluate_densepose(EvaluationRun(PeopleSelection(cache, protocol=protocol)), FitOptions(), inputs)
        for protocol in ("densepose-coco", "")
    )
    assert named.metrics["gps"].value > 0.63  # points may share a pixel
    assert plain.metrics["gps"].value < 0.55


def test_output_of_densepose_keeps_its_box_and_charts() -> None:
    labels = np.array([[0, 3], [4, 0]], np.uint8)
    uv = np.arange(8.0).reshape(2, 2, 2) / 10
    (surface,) = surfaces_of_output([DensePosePerson(np.array([1.5, 2.5, 3.7, 4.6]), 0.4, labels, uv)])
    assert (surface.corner, surface.score) == ((1.5, 2.5), 0.4)
    np.testing.assert_allclose(surface.charts[0, 1], [3, 0.1, 0.5], atol=1e-6)


def test_what_is_missing_is_named(cache: Path, surface_cache_of_painted: Path, tmp_path: Path) -> None:
    dump, fits = dump_of(tmp_path / "results.pkl"), write_fits(tmp_path / "fits", fit_of())
    folder, body = eval_data(tmp_path / "eval_data"), default_body()
    charts = tmp_path / "UV_Processed.mat"
    one_face = {"All_vertices": body.faces[0] + 1, "All_Faces": np.array([[1, 2, 3]]), "All_FaceIndices": np.array([1])}
    savemat(charts, {**one_face, "All_U_norm": np.zeros(3), "All_V_norm": np.zeros(3)})

    def refused(kind: type[Exception], message: str, data: Path = cache, protocol: str = "", **inputs: Path) -> None:
        run = EvaluationRun(PeopleSelection(data, protocol=protocol))
        with pytest.raises(kind, match=message):
            evaluate_densepose(run, FitOptions(), SurfaceInputs(**inputs))

    refused(UsageError, "distances: are missing, expected those of densepose-coco", protocol="densepose-coco")
    refused(UsageError, "charts: are missing, expected UV_Processed.mat", predictions=fits)
    refused(UsageError, "charts: are missing", surface_cache_of_painted, densepose=dump)
    refused(UsageError, "charts: are missing", surface_cache_of_painted, predictions=fits, distances=folder)
    missing = f"has no charts of {len(body.faces) - 1} of the body's faces"
    refused(InputError, rf"UV_Processed\.mat: {missing}", predictions=fits, charts=charts)
    refused(UsageError, "is not of this evaluation.*hpc evaluate keypoints takes it", protocol="coco-keypoints")
    other = dump_of(tmp_path / "other.pkl", ("c.jpg",))
    refused(InputError, r"other\.pkl: holds no image of the split, expected a\.jpg", densepose=other, distances=folder)
    bare = surface_cache(tmp_path / "bare", points=False)
    refused(InputError, "lacks people/surface_points, .*hpc preprocess densepose", bare, predictions=fits)
