"""Evaluation of surfaces in the image: DensePose's average precision by geodesic point similarity.

Fitted bodies, drawn by the camera of the fit, say which chart, U and V each pixel shows; DensePose's own output says it
by itself. At annotated pixels both are compared with the annotation, by the distance on the surface.

Each person is drawn alone, also where another one is in front. The box of a prediction is that of its pixels.
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

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.crop import best_pairs, box_overlap
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.registering import surface_charts
from humanpose_cli.io.densepose_files import DensePoseDump, DensePosePerson
from humanpose_cli.io.digests import file_digest
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.images import IMAGE_SUFFIXES
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.bodies import Detections
from humanpose_cli.lab.evaluate.image_fits import fits_of_images, image_column, image_report, posed_rows
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise, summarise_figures
from humanpose_cli.lab.evaluate.people import EvaluationRun, image_clusters
from humanpose_cli.lab.evaluate.protocols import DensePoseProtocol, beside_published, under_protocol
from humanpose_cli.lab.evaluate.report import Report
from humanpose_cli.lab.evaluate.surface_distances import MeshDistances, SurfaceDistances, read_subdivided_distances
from humanpose_cli.lab.metrics.keypoints import THRESHOLDS, ImageMatches, average_precision
from humanpose_cli.lab.metrics.surface_points import matched_surfaces, point_similarity
from humanpose_cli.models.deform_and_learn.correspondences import SurfaceCharts
from humanpose_cli.rendering.boxes import NEAR

Floats = NDArray[np.float64]
_AREA_OF_BOX = 0.53  # of outlines that are not known, as for keypoints
_RESAMPLES = 200
_SOURCES = ("densepose", "densepose-posetrack")  # whose charts are DensePose's
_RANGES = {"": (0.0, 1e10), "_medium": (32.0**2, 96.0**2), "_large": (96.0**2, 1e10)}
"""End of a figure's name → areas that count, square pixels."""
_TEXTS = {
    "gps_ap": "average precision, GPS of .50 to .95",
    "gps_ap_50": "average precision at GPS .50",
    "gps_ap_75": "average precision at GPS .75",
    "gps_ap_medium": "average precision, people of 32² to 96² pixels",
    "gps_ap_large": "average precision, people of 96² pixels and more",
    "gps_ar": "average recall, GPS of .50 to .95",
    "gps": "GPS of the most similar prediction, 0 for a person who is missed",
}


@dataclass(frozen=True)
class AnnotatedSurfaces:
    """The people of one image: points of each (M, 5) x, y, chart, U, V; areas (T,), boxes (T, 4), crowds (T,)."""

    points: Sequence[Floats]
    areas: Floats
    boxes: Floats
    crowds: NDArray[np.bool_]

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """(T,) who has points."""
        return np.array([len(one) > 0 for one in self.points], bool) & ~self.crowds


@dataclass(frozen=True)
class FoundSurface:
    """One prediction: the corner x0, y0 of its box, charts (h, w, 3) of the box's pixels with chart, U and V, chart 0
    where there is no surface, and the confidence.
    """

    corner: tuple[float, float]
    charts: NDArray[np.float32]
    score: float

    @property
    def box(self) -> Floats:
        """(4,) x0 y0 x1 y1."""
        height, width = self.charts.shape[:2]
        return np.array((*self.corner, self.corner[0] + width, self.corner[1] + height))

    def at(self, pixels: Floats) -> NDArray[np.float32]:
        """Return chart, U and V (M, 3) at pixels (M, 2), 0 outside of the box."""
        height, width = self.charts.shape[:2]
        # Towards zero, so that the box reaches a pixel further to the left and top, as in the evaluator.
        x, y = np.trunc(pixels - self.corner).astype(np.int64).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        values = np.zeros((len(pixels), 3), np.float32)
        values[inside] = self.charts[y[inside], x[inside]]
        return values


def annotated_surfaces(cache: Cache, row: int) -> AnnotatedSurfaces:
    """Read the people and crowds of an image that have a box; areas that are not known are estimated."""
    people, column = np.array(cache.people_of(row), np.int64), partial(image_column, cache, row)
    boxes = column("box", 4)
    areas, crowds, mask = column("area"), column("crowd") > 0, np.isfinite(boxes).all(1)
    areas = np.where(np.isfinite(areas), areas, _AREA_OF_BOX * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    points = [np.asarray(cache.surface_points(person), np.float64) for person in people[mask].tolist()]
    return AnnotatedSurfaces(points, areas[mask], boxes[mask], crowds[mask])


def surfaces_of_fits(
    record: FitRecord, rows: NDArray[np.integer], body: Body, charts: SurfaceCharts, size: tuple[int, int]
) -> list[FoundSurface]:
    """Draw the bodies in some rows of a fit as surfaces in an image of `size` (width, height); bodies outside are left
    out.

    charts  of the body, with all of its faces
    """
    if not len(rows):
        return []
    bodies, _, cameras = posed_rows(record, rows, body, vertices=True)
    assert bodies.vertices is not None
    view = Camera.stack(cameras).tensors(device=bodies.vertices.device)
    surfaces = []
    for index, row in enumerate(rows):  # one by one: images of crowds are large
        one = slice(index, index + 1)
        vertices = bodies.vertices[one].contiguous()
        raster = rasterise(vertices, body.faces, view.focal[one], view.principal_point[one], size[::-1], near=NEAR)
        face = raster.face[0].cpu()
        y, x = torch.nonzero(face >= 0, as_tuple=True)
        if not len(x):
            continue
        corners, weights = charts.faces[face[y, x].long()], raster.barycentrics[0].cpu()[y, x]
        of_face = charts.charts[corners[:, :1]]  # a face of a texture that joins two charts lies beside both
        uv = (charts.uv[corners].float() * weights[..., None]).sum(1)
        x0, y0 = int(x.min()), int(y.min())
        values = np.zeros((int(y.max()) + 1 - y0, int(x.max()) + 1 - x0, 3), np.float32)
        values[y.numpy() - y0, x.numpy() - x0] = torch.cat((of_face.float(), uv), 1).numpy()
        surfaces.append(FoundSurface((x0, y0), values, float(record.confidence[row])))
    return surfaces


def surfaces_of_output(people: Sequence[DensePosePerson]) -> list[FoundSurface]:
    """Convert DensePose's own predictions of an image."""
    return [
        FoundSurface(
            (float(person.box[0]), float(person.box[1])),
            np.concatenate((person.labels[..., None], np.moveaxis(person.uv, 0, -1)), -1).astype(np.float32),
            person.score,
        )
        for person in people
    ]


@dataclass(frozen=True)
class EvaluatedSurfaces:
    """Predictions of all images.

    matches  by end of a figure's name, those of each image within its range of areas
    gps      (T,) of all annotated people; of_people (T,) the image of each
    clusters of the images
    """

    matches: Mapping[str, Sequence[ImageMatches]]
    gps: Floats
    of_people: NDArray[np.int64]
    clusters: Clusters

    def metrics(self) -> dict[str, Summary]:
        """Return the figures of _TEXTS, of ranges of areas only if there are people of such areas."""
        figures: dict[str, Summary] = {}
        for end, matches in self.matches.items():
            if any(image.people for image in matches):
                figures |= summarise_figures(partial(self._precisions, end), self.clusters, _RESAMPLES)
        figures["gps"] = summarise(self.gps, self.clusters.taken(self.of_people))
        return {name: figures[name] for name in _TEXTS if name in figures}

    def _precisions(self, end: str, rows: NDArray[np.int64]) -> dict[str, float]:
        precision, recall = average_precision([self.matches[end][row] for row in rows])
        if end:
            return {f"gps_ap{end}": float(precision.mean())}
        half, three_quarters = (float(precision[np.argmin(np.abs(THRESHOLDS - x))]) for x in (0.5, 0.75))
        ap, ar = float(precision.mean()), float(recall.mean())
        return {"gps_ap": ap, "gps_ap_50": half, "gps_ap_75": three_quarters, "gps_ar": ar}


def measure_surfaces(
    labels: Sequence[AnnotatedSurfaces],
    predictions: Sequence[Sequence[FoundSurface]],
    distances: SurfaceDistances,
    clusters: Clusters | None = None,
    point_scale: float = 1.0,
) -> EvaluatedSurfaces:
    """Compare predictions of images with their people, in one order.

    clusters     of the images; None: each is independent
    point_scale  see `DensePoseProtocol`
    """
    matches: dict[str, list[ImageMatches]] = {end: [] for end in _RANGES}
    gps: list[Floats] = []
    of_people: list[int] = []
    for number, (truth, surfaces) in enumerate(zip(labels, predictions, strict=True)):
        similarity = np.array(
            [
                [
                    _similarity(one, points, box, distances, point_scale)
                    for points, box in zip(truth.points, truth.boxes, strict=True)
                ]
                for one in surfaces
            ]
        ).reshape(len(surfaces), len(truth.points))
        boxes = np.array([one.box for one in surfaces]).reshape(-1, 4)
        scores, annotation_mask = np.array([one.score for one in surfaces]), truth.annotated
        overlaps = _overlaps(boxes, truth)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        for end, (low, high) in _RANGES.items():
            in_range = [(some >= low) & (some <= high) for some in (areas, truth.areas)]
            image = matched_surfaces(
                similarity, overlaps, scores, annotation_mask, truth.crowds, (in_range[0], in_range[1])
            )
            matches[end].append(image)
        best = np.zeros(len(truth.points))
        for prediction, person in best_pairs(similarity * annotation_mask, 1e-12):
            best[person] = similarity[prediction, person]
        gps.append(best[annotation_mask])
        of_people += [number] * int(annotation_mask.sum())
    clusters = clusters or Clusters.single("images", len(labels))
    return EvaluatedSurfaces(matches, np.concatenate(gps), np.array(of_people, np.int64), clusters)


def _similarity(
    surface: FoundSurface, points: Floats, box: Floats, distances: SurfaceDistances, point_scale: float
) -> float:
    """Return the GPS of a prediction to a person's points."""
    if not len(points):
        return 0.0
    values = surface.at(box[:2] + (points[:, :2] - box[:2]) * point_scale)
    if not values[:, 0].any():
        return 0.0
    return point_similarity(distances(values, points[:, 2:]), points[:, 2])


def _overlaps(boxes: Floats, truth: AnnotatedSurfaces) -> Floats:
    """Return the intersection over union (P, T) of the boxes; of crowds over the prediction's box, as pycocotools."""
    overlaps = box_overlap(boxes[:, None], truth.boxes[None])
    sides = np.minimum(boxes[:, None, 2:], truth.boxes[:, 2:]) - np.maximum(boxes[:, None, :2], truth.boxes[:, :2])
    inside = np.prod(np.maximum(sides, 0), axis=-1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
    return np.where(truth.crowds, inside, overlaps)


@dataclass(frozen=True)
class SurfaceInputs:
    """What is compared, and by what.

    detections, predictions, threads  see `fits_of_images`
    densepose  a dump of detectron2's apply_net.py, in place of fits
    charts     DensePose's UV_Processed.mat, for SMPL; None: the charts are those of the body's own texture
    distances  folder of DensePose's eval_data, see `read_subdivided_distances`; None: distances along the body's mesh
    """

    detections: Detections = "auto"
    predictions: Path | None = None
    threads: int | None = None
    densepose: Path | None = None
    charts: Path | None = None
    distances: Path | None = None


def evaluate_densepose(run: EvaluationRun, options: FitOptions, inputs: SurfaceInputs = SurfaceInputs()) -> Report:
    """Compare fits, or DensePose's own output, with annotated points of the surface.

    Raises UsageError if charts or distances are missing, InputError if the cache has no surface points.
    """
    selection, protocol = under_protocol(run.selection, DensePoseProtocol)
    cache = open_cache(selection.data)
    for column in ("surface_points", "box"):
        if not cache.labels.get(f"people/{column}", 0):
            remedy = "make it of annotated images, such as hpc preprocess densepose"
            raise InputError(cache.path, f"lacks people/{column}", expected="surface points", remedy=remedy)
    if protocol is not None and inputs.distances is None:
        remedy = "DensePose's get_eval_data.sh fetches them"
        raise UsageError("distances", "are missing", expected=f"those of {protocol.name}", remedy=remedy)
    rows = selection.images(cache)
    body = load_body(options.body)
    charts = _charts(body, inputs, cache)
    if inputs.distances is None:
        assert charts is not None
        distances: SurfaceDistances = MeshDistances(body, charts)
    else:
        distances = read_subdivided_distances(inputs.distances)
    facts: dict[str, Any] = {**selection.facts(), "images": len(rows), "distances": distances.text}
    if inputs.charts is not None:
        facts["charts"] = f"{inputs.charts.name}, digest {file_digest(inputs.charts)[:16]}"
    labels: list[AnnotatedSurfaces] = []
    predictions: list[list[FoundSurface]] = []
    with _predictions(cache, rows, options, run.device, inputs, body, charts) as (surfaces, lines):
        facts |= lines
        for number, row in enumerate(rows.tolist()):
            if run.stop():
                raise InterruptedRun()
            labels.append(annotated_surfaces(cache, row))
            predictions.append(surfaces(row))
            run.progress(number + 1, len(rows), "images")
    scale = 1.0 if protocol is None else protocol.point_scale
    errors = measure_surfaces(labels, predictions, distances, image_clusters(cache, rows), scale)
    facts["people"] = len(errors.gps)
    metrics = {"fits" if inputs.densepose is None else "DensePose": errors.metrics()}
    table = "surfaces", "Points of the surface in the image", f"Distances are {distances.text}."
    report = image_report("Surfaces in the image", facts, metrics, _TEXTS, table)
    return beside_published(report, protocol, metrics, cache.header, selection.full_split())


def _charts(body: Body, inputs: SurfaceInputs, cache: Cache) -> SurfaceCharts | None:
    """Read the charts of all faces of the body; None if neither predictions nor distances need them."""
    if inputs.densepose is not None and inputs.distances is not None:
        return None
    if inputs.charts is None and (inputs.densepose or inputs.distances or cache.header.source in _SOURCES):
        expected = "UV_Processed.mat, and a body of SMPL, on which DensePose's charts lie"
        raise UsageError("charts", "are missing", expected=expected)
    charts = surface_charts(body, inputs.charts)
    missing = int((charts.faces < 0).any(1).sum())
    if missing:
        assert inputs.charts is not None
        problem, got = f"has no charts of {missing} of the body's faces", f"{len(charts.faces)} faces of {body.name}"
        raise InputError(inputs.charts, problem, expected="SMPL's faces", got=got)
    return charts


@contextmanager
def _predictions(
    cache: Cache,
    rows: NDArray[np.int64],
    options: FitOptions,
    device: str,
    inputs: SurfaceInputs,
    body: Body,
    charts: SurfaceCharts | None,
) -> Iterator[tuple[Callable[[int], list[FoundSurface]], Mapping[str, Any]]]:
    """Open the predictions: row of an image → its surfaces; and the lines of a report about them."""
    if inputs.densepose is not None:
        facts = {"predictions": f"{inputs.densepose.name}, digest {file_digest(inputs.densepose)[:16]}"}
        yield _surfaces_of_dump(inputs.densepose, cache, rows), facts
        return
    with fits_of_images(
        cache,
        rows,
        options,
        device,
        detections=inputs.detections,
        predictions=inputs.predictions,
        threads=inputs.threads,
    ) as fits:

        def surfaces(row: int) -> list[FoundSurface]:
            fit, (width, height) = fits.of(row), cache.images["size"][row]
            assert charts is not None
            if fit is None:
                return []
            record, fit_rows = fit
            return surfaces_of_fits(record, fit_rows, body, charts, (int(width), int(height)))

        yield surfaces, fits.facts


def _surfaces_of_dump(path: Path, cache: Cache, rows: NDArray[np.int64]) -> Callable[[int], list[FoundSurface]]:
    """Read a dump: row of an image → its people. Raises InputError if it is about none of the images."""
    dump = DensePoseDump(path)

    def index_of(row: int) -> int | None:
        name = str(cache.images["name"][row]).rpartition("/")[2]
        indices_of_names = (dump.find(f"{name}{suffix}") for suffix in ("", *sorted(IMAGE_SUFFIXES)))
        return next((number for number in indices_of_names if number is not None), None)

    indices = {row: index for row in rows.tolist() if (index := index_of(row)) is not None}
    if not indices:
        expected = f"{str(cache.images['name'][rows[0]]).rpartition('/')[2]}.jpg and others" if len(rows) else "images"
        raise InputError(path, "holds no image of the split", expected=expected)
    return lambda row: surfaces_of_output(dump.people(indices[row])) if row in indices else []
