"""Evaluation of fits in the image: COCO's average precision by keypoint similarity, and PCK.

The bodies' joints of coco17, projected by the camera of the fit, against people whose joints were labelled by hand: no
3-D truth is needed, so that COCO is enough for it. Beside them stand the detector's own landmarks, to which
the bodies were fitted.

Differences to COCO's server: crowds are not in a cache, so who is found in one counts as wrong; images without labelled
people are not either, so who is found there is not counted. Areas that a data set does not give are 53 % of the box,
COCO's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import DetectedPeople
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.evaluate.bodies import Detections, StoredPeople, fit_row
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, drawn_rows, expanded_interval, summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection, image_clusters
from humanpose_cli.lab.evaluate.predictions import records_from_files
from humanpose_cli.lab.evaluate.report import Report, Table, figures_table
from humanpose_cli.lab.metrics.keypoints import (
    THRESHOLDS,
    ImageMatches,
    average_precision,
    matched_predictions,
    oks,
    pck,
    torso_length,
)

Floats = NDArray[np.float64]
PCK_SHARES = (0.1, 0.2)
_MIN_OKS = 0.1  # to be taken for a person's, where PCK is counted
_AREA_OF_BOX = 0.53
_RESAMPLES = 200
_COLUMN = f"keypoints/{COCO17.name}"


@dataclass(frozen=True)
class LabelledImage:
    """The people of one image: keypoints (T, 17, 3) with 0 where not labelled, areas (T,), boxes (T, 4)."""

    keypoints: Floats
    areas: Floats
    boxes: Floats


@dataclass(frozen=True)
class PredictedImage:
    """Found people: joints (P, 17, 2) pixels, scores (P,)."""

    joints: Floats
    scores: Floats


@dataclass(frozen=True)
class EvaluatedKeypoints:
    """Predictions of all images.

    matches   of each image
    right     for each share of PCK_SHARES, (T, 17) of all people with labelled joints: 1, 0, or NaN
    clusters  of the images; of_people (T,) the image of each person
    """

    matches: Sequence[ImageMatches]
    right: Mapping[float, Floats]
    clusters: Clusters
    of_people: NDArray[np.int64]

    def metrics(self) -> dict[str, Summary]:
        """oks_ap, oks_ap_50, oks_ap_75, oks_ar, pck_10 and pck_20."""
        precision, recall = average_precision(self.matches)
        rows = {name: _of_thresholds(name, precision, recall) for name in _AP}
        resampled = self._resampled()
        found = {}
        for name, value in rows.items():
            count = self.clusters.count
            low, high = expanded_interval(np.array(resampled[name]), count)
            found[name] = Summary(value, len(self.matches), np.nan, low, high, count, self.clusters.unit)
        for share, right in self.right.items():
            with np.errstate(invalid="ignore"):
                counts = np.isfinite(right).sum(1)
                shares = np.nansum(right, 1) / counts
            found[f"pck_{round(100 * share)}"] = summarise(shares, self.clusters.taken(self.of_people))
        return found

    def _resampled(self) -> dict[str, list[float]]:
        """AP and AR of images drawn with replacement."""
        values: dict[str, list[float]] = {name: [] for name in _AP}
        for rows in drawn_rows(self.clusters, _RESAMPLES):
            chosen = [self.matches[row] for row in rows]
            curves = average_precision(chosen)
            for name, column in values.items():
                column.append(_of_thresholds(name, *curves))
        return values


_AP = {
    "oks_ap": "average precision, OKS of .50 to .95",
    "oks_ap_50": "average precision at OKS .50",
    "oks_ap_75": "average precision at OKS .75",
    "oks_ar": "average recall, OKS of .50 to .95",
}
_PCK = {f"pck_{round(100 * s)}": f"share of joints within {100 * s:.0f} % of the torso" for s in PCK_SHARES}


def _of_thresholds(name: str, precision: Floats, recall: Floats) -> float:
    if name == "oks_ar":
        return float(recall.mean())
    wanted = {"oks_ap_50": 0.5, "oks_ap_75": 0.75}.get(name)
    return float(precision.mean() if wanted is None else precision[np.argmin(np.abs(THRESHOLDS - wanted))])


def labelled_image(cache: Cache, row: int) -> LabelledImage:
    """The people of an image who have a box; areas that are not known are estimated."""
    span = cache.people_of(row)
    columns = cache.people
    part = slice(span.start, span.stop)
    boxes = np.asarray(columns["box"][part], np.float64)
    keypoints = np.nan_to_num(np.asarray(columns[_COLUMN][part], np.float64))
    areas = np.full(len(boxes), np.nan)
    if "area" in columns:
        areas = np.asarray(columns["area"][part], np.float64)
    usual = _AREA_OF_BOX * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    boxed = np.isfinite(boxes).all(1)
    return LabelledImage(keypoints[boxed], np.where(np.isfinite(areas), areas, usual)[boxed], boxes[boxed])


def measure_keypoints(
    labels: Sequence[LabelledImage], predicted: Sequence[PredictedImage], clusters: Clusters | None = None
) -> EvaluatedKeypoints:
    """Predictions of images against their people, in one order.

    clusters  of the images; None: each is independent
    """
    matches: list[ImageMatches] = []
    right: dict[float, list[Floats]] = {share: [] for share in PCK_SHARES}
    people_of = []
    for number, (truth, found) in enumerate(zip(labels, predicted, strict=True)):
        matches.append(matched_predictions(found.joints, found.scores, truth.keypoints, truth.areas, truth.boxes))
        counts = (truth.keypoints[..., 2] > 0).any(1)
        people = truth.keypoints[counts]
        people_of += [number] * len(people)
        joints = _nearest(found, people, truth.areas[counts], truth.boxes[counts])
        for share, rows in right.items():
            rows.append(pck(joints, people, torso_length(people), share))
    joined = {share: np.concatenate(rows) for share, rows in right.items()}
    of_people = np.array(people_of, np.int64)
    return EvaluatedKeypoints(matches, joined, clusters or Clusters.single("images", len(matches)), of_people)


def _nearest(found: PredictedImage, people: Floats, areas: Floats, boxes: Floats) -> Floats:
    """The prediction (T, 17, 2) that is taken for each person's, each once, the most similar pairs first; else NaN."""
    joints = np.full((len(people), len(COCO17), 2), np.nan)
    if not len(people) or not len(found.scores):
        return joints
    similarity = oks(found.joints, people, areas, boxes)
    while similarity.max() >= _MIN_OKS:
        prediction, person = np.unravel_index(int(similarity.argmax()), similarity.shape)
        joints[person] = found.joints[prediction]
        similarity[prediction], similarity[:, person] = -1, -1
    return joints


@torch.no_grad()
def joints_of_fits(record: FitRecord, rows: NDArray[np.integer], body: Body) -> PredictedImage:
    """The bodies' joints of coco17 in the image, by the fit's camera, and how sure the fit is of each person."""
    if not len(rows):
        return PredictedImage(np.zeros((0, len(COCO17), 2)), np.zeros(0))
    rotations = axis_angle_to_matrix(torch.from_numpy(record.poses[rows]).float().unflatten(1, (len(SMPL24), 3)))
    betas, trans, scales = (
        torch.from_numpy(np.asarray(getattr(record, name)[rows], np.float32))
        for name in ("betas", "trans", "segment_scales")
    )
    posed = body.pose(rotations, betas, trans, scales, vertices=False)
    points = body.pose_landmarks(COCO17.name, posed, betas).double().numpy()
    frames = record.frame_index[rows]
    pixels = []
    for joints, frame in zip(points, frames, strict=True):
        x, y = record.principal_point[frame]
        pixels.append(Camera(float(record.focal[frame]), (float(x), float(y))).project(joints))
    return PredictedImage(np.stack(pixels), np.asarray(record.confidence[rows], np.float64))


def joints_of_detections(record: FitRecord, rows: NDArray[np.integer]) -> PredictedImage:
    """The detector's landmarks that coco17 has."""
    landmarks = np.asarray(record.keypoints2d[rows], np.float64)
    points = landmarks[:, BLAZEPOSE33.indices(COCO17.joint_names), :2]
    return PredictedImage(points, np.asarray(record.confidence[rows], np.float64))


Records = Callable[[int], tuple[FitRecord, NDArray[np.integer]] | None]
"""Row of an image → the fit file that is about it, and the rows of its people; None: no person was found."""


def evaluate_keypoints(
    selection: PeopleSelection,
    options: FitOptions,
    device: str,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    *,
    detections: Detections = "auto",
    predictions: Path | None = None,
    threads: int | None = None,
) -> Report:
    """Fits that `hpc fit` makes of the images, or that are there already, against labelled keypoints."""
    cache = open_cache(selection.data)
    for column in (_COLUMN, "box"):
        if not cache.labels.get(f"people/{column}", 0):
            remedy = "make it of labelled images, such as hpc preprocess coco"
            raise InputError(cache.path, f"lacks people/{column}", expected="labelled joints of coco17", remedy=remedy)
    rows = cache.rows(*selection.protocol_and_split())
    rows = rows[spread_evenly(len(rows), selection.limit)] if selection.limit else rows
    facts: dict[str, Any] = {**selection.facts(), "images": len(rows)}
    if predictions is not None:
        body = load_body(options.body)
        facts["predictions"] = predictions.name
        return _report(cache, rows, records_from_files(predictions, cache, body), body, facts, progress, stop)
    if detections == "boxes":  # AP is about whom one finds
        raise UsageError("detector", "finds no people", expected="auto, thorough, fast or stored", got="boxes")
    source = (
        StoredPeople(cache)
        if detections == "stored"
        else DetectedPeople(detections, threads, device if device == "cpu" else "auto")
    )
    facts |= {"method": options.method, "detector": detections}
    with Fitter(options, people_source=source, device=device) as fitter:

        def fit(row: int) -> tuple[FitRecord, NDArray[np.integer]]:
            record = fit_row(fitter, cache, row)
            return record, np.arange(len(record))

        return _report(cache, rows, fit, fitter.body, facts, progress, stop)


def _report(
    cache: Cache,
    rows: NDArray[np.int64],
    fits: Records,
    body: Body,
    facts: Mapping[str, Any],
    progress: Progress,
    stop: Callable[[], bool],
) -> Report:
    labels: list[LabelledImage] = []
    found: dict[str, list[PredictedImage]] = {"fits": [], "detections": []}
    empty = PredictedImage(np.zeros((0, len(COCO17), 2)), np.zeros(0))
    for number, row in enumerate(rows.tolist()):
        if stop():
            raise InterruptedRun()
        labels.append(labelled_image(cache, row))
        fit = fits(row)
        found["fits"].append(empty if fit is None else joints_of_fits(*fit, body))
        found["detections"].append(empty if fit is None else joints_of_detections(*fit))
        progress(number + 1, len(rows), "images")
    clusters = image_clusters(cache, rows)
    metrics = {name: measure_keypoints(labels, images, clusters).metrics() for name, images in found.items()}
    people = sum(image.people for image in measure_keypoints(labels, [empty] * len(labels)).matches)
    lines = {**_AP, **_PCK}
    table = Table(
        "keypoints",
        "Joints in the image",
        ("what", "name", *metrics),
        [[text, name, *(figures[name].value for figures in metrics.values())] for name, text in lines.items()],
        3,
        ["A person who is missed has no right joint."],
    )
    figures = figures_table({(of, name): s for of, found in metrics.items() for name, s in found.items()}, digits=3)
    named = metrics["fits"] | {f"{name}_of_detections": summary for name, summary in metrics["detections"].items()}
    return Report("Fitted bodies in the image", {**facts, "people": people}, named, [table, figures])
