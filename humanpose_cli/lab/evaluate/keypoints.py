"""Evaluation of fits in the image: COCO's average precision by keypoint similarity, PCK and PCKh.

The 17 joints of COCO, projected from the bodies by the fit's camera, are compared with hand-labelled joints: no 3-D
truth is needed. For comparison, the detector's landmarks, to which the bodies were fitted, are evaluated as well.

All images of a split count, also images without people, as in pycocotools. If a dataset gives no area, it is 53 % of
the box, COCO's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import DetectedPeople
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.bodies import Detections, StoredPeople, fit_row
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise_figures
from humanpose_cli.lab.evaluate.people import EvaluationRun, image_clusters
from humanpose_cli.lab.evaluate.predictions import predictions_facts, records_from_files
from humanpose_cli.lab.evaluate.protocols import KeypointProtocol, add_published, apply_protocol
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
from humanpose_cli.lab.evaluate.weights import network_facts
from humanpose_cli.lab.metrics.keypoints import (
    THRESHOLDS,
    ImageMatches,
    average_precision,
    matched_predictions,
)

Floats = NDArray[np.float64]
_AREA_OF_BOX = 0.53
_RESAMPLES = 200


@dataclass(frozen=True)
class LabelledImage:
    """The people of one image.

    Attributes:
        keypoints: (T, 17, 3) pixels and visibility, 0 if not labelled.
        areas: (T,) square pixels.
        boxes: (T, 4) pixels.
        crowds: (T,) bool, regions of several people; None if there are none.
    """

    keypoints: Floats
    areas: Floats
    boxes: Floats
    crowds: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class PredictedImage:
    """The predicted people of one image.

    Attributes:
        joints: (P, 17, 2) pixels, NaN for joints that cannot be predicted.
        scores: (P,) scores.
    """

    joints: Floats
    scores: Floats


_AP = {
    "oks_ap": "average precision, OKS of .50 to .95",
    "oks_ap_50": "average precision at OKS .50",
    "oks_ap_75": "average precision at OKS .75",
    "oks_ar": "average recall, OKS of .50 to .95",
}


def _of_thresholds(name: str, precision: Floats, recall: Floats) -> float:
    if name == "oks_ar":
        return float(recall.mean())
    threshold = {"oks_ap_50": 0.5, "oks_ap_75": 0.75}.get(name)
    return float(precision.mean() if threshold is None else precision[np.argmin(np.abs(THRESHOLDS - threshold))])


def labelled_image(cache: Cache, row: int) -> LabelledImage:
    """Read the people and crowds of an image that have a box.

    Unknown areas are estimated. Boxes are in the pixels of keypoints, whose centres are half a pixel further than the
    owners', who do not add that half to boxes.

    Args:
        cache: The cache.
        row: Row of the image.
    """
    column = partial(image_column, cache, row)
    boxes = column("box", 4)
    keypoints = np.nan_to_num(column(f"keypoints/{COCO17.name}", len(COCO17), 3))
    usual = _AREA_OF_BOX * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    areas = column("area")
    areas = np.where(np.isfinite(areas), areas, usual)
    crowds = column("crowd") > 0
    has_box = np.isfinite(boxes).all(1)
    return LabelledImage(keypoints[has_box], areas[has_box], boxes[has_box] + 0.5, crowds[has_box])


def match_keypoints(labels: Sequence[LabelledImage], predictions: Sequence[PredictedImage]) -> list[ImageMatches]:
    """Match the predictions of images with their people.

    Args:
        labels: People of each image.
        predictions: Predictions of each image.
    """
    return [
        matched_predictions(fit.joints, fit.scores, truth.keypoints, truth.areas, truth.boxes, truth.crowds)
        for truth, fit in zip(labels, predictions, strict=True)
    ]


def keypoint_metrics(matches: Sequence[ImageMatches], clusters: Clusters | None = None) -> dict[str, Summary]:
    """Return the figures of _AP.

    Args:
        matches: Matches of each image.
        clusters: Clusters of the images; None if each is independent.
    """

    def precisions(rows: NDArray[np.int64]) -> dict[str, float]:
        curves = average_precision([matches[row] for row in rows])
        return {name: _of_thresholds(name, *curves) for name in _AP}

    return summarise_figures(precisions, clusters or Clusters.single("images", len(matches)), _RESAMPLES)


Records = Callable[[int], tuple[FitRecord, NDArray[np.integer]] | None]
"""Row of an image → its fit, and the rows of its people in it; None if no person was detected."""


@dataclass(frozen=True)
class ImageFits:
    """Fits of images.

    Attributes:
        records: Row of an image → its fit.
        body: Body of the fits.
        facts: Lines of a report about the fits.
    """

    records: Records
    body: Body
    facts: Mapping[str, Any]


@contextmanager
def fits_of_images(
    cache: Cache,
    rows: NDArray[np.integer],
    options: FitOptions,
    device: str,
    *,
    detections: Detections = "auto",
    predictions: Path | None = None,
    threads: int | None = None,
) -> Iterator[ImageFits]:
    """Open existing fits, or the fits that `hpc fit` makes on request.

    Args:
        cache: The cache.
        rows: (N,) rows of the images.
        options: Options of the fits.
        device: Device of the networks.
        detections: "stored" for the cache's detections, or a detector.
        predictions: Existing fits; None to make them.
        threads: Threads of the detector; None for the default.

    Raises:
        UsageError: If `detections` is "boxes".
    """
    if predictions is not None:
        body = load_body(options.body)
        yield ImageFits(records_from_files(predictions, cache, body), body, predictions_facts(predictions))
        return
    if detections == "boxes":  # average precision evaluates the detector, too
        raise UsageError("detector", "finds no people", expected="auto, thorough, fast or stored", got="boxes")
    source = (
        StoredPeople(cache)
        if detections == "stored"
        else DetectedPeople(detections, threads, device if device == "cpu" else "auto")
    )
    with Fitter(options, people_source=source, device=device) as fitter:

        def fit(row: int) -> tuple[FitRecord, NDArray[np.integer]]:
            record = fit_row(fitter, cache, row)
            return record, np.arange(len(record))

        facts = {"method": options.method, "detector": detections, **network_facts(fitter, cache, rows)}
        yield ImageFits(fit, fitter.body, facts)


@torch.no_grad()
def posed_rows(record: FitRecord, rows: NDArray[np.integer], body: Body) -> tuple[PosedBody, Tensor, list[Camera]]:
    """Pose the bodies in some rows of a fit, without meshes.

    Args:
        record: The fit.
        rows: Rows of the fit.
        body: Body of the fit.

    Returns:
        The posed bodies, their betas, and the camera of each.
    """
    rotations = axis_angle_to_matrix(torch.from_numpy(record.poses[rows]).float().unflatten(1, (len(SMPL24), 3)))
    betas, trans, scales = (
        torch.from_numpy(np.asarray(getattr(record, name)[rows], np.float32))
        for name in ("betas", "trans", "segment_scales")
    )
    frames = record.frame_index[rows]
    cameras = [
        Camera(float(focal), (float(x), float(y)))
        for focal, (x, y) in zip(record.focal[frames], record.principal_point[frames], strict=True)
    ]
    return body.pose(rotations, betas, trans, scales, vertices=False), betas, cameras


def image_column(cache: Cache, row: int, name: str, *shape: int) -> NDArray[np.float64]:
    """Read a column of the people in an image.

    Args:
        cache: The cache.
        row: Row of the image.
        name: Name of the column.
        *shape: Shape of a value.

    Returns:
        (T, *shape) values; NaN if the cache lacks the column.
    """
    people = cache.people_of(row)
    if name not in cache.people or not len(people):
        return np.full((len(people), *shape), np.nan)
    return np.asarray(cache.people[name][people.start : people.stop], np.float64)


@torch.no_grad()
def joints_of_fits(record: FitRecord, rows: NDArray[np.integer], body: Body) -> PredictedImage:
    """Project the joints of bodies by the fit's camera; scores are the confidences of people.

    Args:
        record: The fit.
        rows: Rows of the fit.
        body: Body of the fit.
    """
    if not len(rows):
        return PredictedImage(np.zeros((0, len(COCO17), 2)), np.zeros(0))
    bodies, betas, cameras = posed_rows(record, rows, body)
    points = body.pose_landmarks(COCO17.name, bodies, betas).double().numpy()
    pixels = [camera.project(joints) for joints, camera in zip(points, cameras, strict=True)]
    return PredictedImage(np.stack(pixels), np.asarray(record.confidence[rows], np.float64))


def joints_of_detections(record: FitRecord, rows: NDArray[np.integer]) -> PredictedImage:
    """Return the detector's landmarks; missing joints are NaN.

    Args:
        record: The fit.
        rows: Rows of the fit.
    """
    points = np.asarray(record.keypoints2d[rows], np.float64)[:, BLAZEPOSE33.indices(COCO17.joint_names), :2]
    return PredictedImage(points, np.asarray(record.confidence[rows], np.float64))


def evaluate_keypoints(
    run: EvaluationRun,
    options: FitOptions,
    *,
    detections: Detections = "auto",
    predictions: Path | None = None,
    threads: int | None = None,
) -> Report:
    """Compare fits with labelled keypoints.

    Args:
        run: The evaluation.
        options: Options of the fits.
        detections: See `fits_of_images`.
        predictions: See `fits_of_images`.
        threads: See `fits_of_images`.

    Raises:
        InputError: If the cache has no labelled keypoints.
    """
    selection, protocol = apply_protocol(run.selection, KeypointProtocol)
    cache = open_cache(selection.data)
    for column in (f"keypoints/{COCO17.name}", "box"):
        if not cache.labels.get(f"people/{column}", 0):
            remedy = "make it of labelled images, such as hpc preprocess coco"
            expected = f"labelled joints of {COCO17.name}"
            raise InputError(cache.path, f"lacks people/{column}", expected=expected, remedy=remedy)
    rows = selection.images(cache)
    facts: dict[str, Any] = {**selection.facts(), "joints": f"{COCO17.name}, in the image", "images": len(rows)}
    with fits_of_images(
        cache, rows, options, run.device, detections=detections, predictions=predictions, threads=threads
    ) as fits:
        facts |= fits.facts
        matches = _matches(cache, rows, fits, run.progress, run.stop)
    clusters = image_clusters(cache, rows)
    metrics = {name: keypoint_metrics(images, clusters) for name, images in matches.items()}
    facts["people"] = sum(image.people for image in matches["fits"])
    of_fits = metrics["fits"]
    of_detections = metrics["detections"]
    rows_of_table: list[list[Cell]] = [
        [text, name, of_fits[name].value, of_detections[name].value] for name, text in _AP.items()
    ]
    table = Table("keypoints", "Joints in the image", ("what", "name", *metrics), rows_of_table, 3)
    figures = figures_table({(of, name): s for of, row in metrics.items() for name, s in row.items()}, digits=3)
    named = {f"{name}_of_detections": summary for name, summary in of_detections.items()}
    report = Report("Fitted bodies in the image", facts, {**of_fits, **named}, [table, figures])
    prefix = "" if protocol is None else protocol.names
    complete = all(str(name).startswith(prefix) for name in cache.images["name"][rows])
    return add_published(report, protocol, metrics, cache.header, selection.full_split() if complete else "")


def _matches(
    cache: Cache, rows: NDArray[np.int64], fits: ImageFits, progress: Progress, stop: Callable[[], bool]
) -> dict[str, list[ImageMatches]]:
    """Match the fits of images, and the detections that they were made from."""
    labels: list[LabelledImage] = []
    predictions: dict[str, list[PredictedImage]] = {"fits": [], "detections": []}
    empty = PredictedImage(np.zeros((0, len(COCO17), 2)), np.zeros(0))
    for number, row in enumerate(rows.tolist()):
        if stop():
            raise InterruptedRun()
        labels.append(labelled_image(cache, row))
        fit = fits.records(row)
        if fit is None:
            images = empty, empty
        else:
            images = joints_of_fits(fit[0], fit[1], fits.body), joints_of_detections(fit[0], fit[1])
        for parts, image in zip(predictions.values(), images, strict=True):
            parts.append(image)
        progress(number + 1, len(rows), "images")
    return {name: match_keypoints(labels, images) for name, images in predictions.items()}
