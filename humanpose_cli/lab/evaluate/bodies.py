"""Evaluation of bodies as users get them: fits of `hpc fit`, or fit files of any origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.limb_rotations import neutral_rotations, upright_heading
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Affine2D, best_pairs
from humanpose_cli.core.errors import InputError, InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.detector import people_in_boxes
from humanpose_cli.detect.models import ModelPool, default_threads
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import DetectedPeople, PeopleSource
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.encoding import decode_png
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.evaluate.hands import HAND_TEXTS, hand_summaries
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise
from humanpose_cli.lab.evaluate.movement import MOVEMENT_TEXTS, BodyMotion, movement_summaries
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.predictions import (
    PredictedBody,
    bodies_in_rows,
    fits_from_files,
    match_by_tracks,
    overlap_within,
    predictions_facts,
)
from humanpose_cli.lab.evaluate.protocols import BodyProtocol, apply_protocol
from humanpose_cli.lab.evaluate.report import (
    PANELS,
    Cell,
    Report,
    Table,
    body_panel,
    error_sheets,
    interval_note,
    named_table,
    quartiles,
)
from humanpose_cli.lab.evaluate.weights import network_facts
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors
from humanpose_cli.lab.metrics.joints import RootName
from humanpose_cli.lab.recipes.people import people_of_images, with_labels

_VIEWS = 8  # further views of each labelled person, as in `hpc fit`
_MIN_OVERLAP = 0.3  # overlap of boxes that count as the same person


@dataclass(frozen=True)
class EvaluatedFits:
    """Fits of N people.

    Attributes:
        rows: (M,) indices of the people that were detected.
        errors: Errors of these, in that order.
        bodies: The M predicted bodies.
        rigs: Model of each predicted body.
        constant: Errors of `constant_pose` of the detected people.
        stand_in: The same of the missed people, with no joint correct.
        movement: Figures of sequences, see `movement_summaries`.
        hands: Figures of hands, see `hand_summaries`.
    """

    rows: NDArray[np.int64]
    errors: BodyErrors
    bodies: Bodies
    rigs: tuple[Body, ...]
    constant: BodyErrors
    stand_in: BodyErrors
    movement: Mapping[str, Summary] = field(default_factory=dict)
    hands: Mapping[str, Summary] = field(default_factory=dict)

    @property
    def of_all(self) -> BodyErrors:
        """Errors of the detected people, then of the missed people, with an upright stand-in."""
        return BodyErrors.joined([self.errors, self.stand_in])


def measure_fits(
    people: EvaluatedPeople,
    fit: Callable[[int], Sequence[PredictedBody]],
    body: Body,
    *,
    protocol: BodyProtocol | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedFits:
    """Measure what `fit` finds in each image.

    Args:
        people: People with their truth.
        fit: Row of an image → predicted people.
        body: Body of the predictions.
        protocol: Protocol that decides how errors of movements are measured; None for runs of frames, in the world as
            most public evaluators do.
        stop: Called before every image; True ends with InterruptedRun.
        progress: Called after every image.
    """
    images = np.unique(people.people.images)
    sizes = np.asarray(people.people.cache.images["size"][images])
    row_list = []
    bodies = []
    for count, (image, size) in enumerate(zip(images, sizes, strict=True), 1):
        if stop():
            raise InterruptedRun()
        predictions = fit(int(image))
        rows = np.flatnonzero(people.people.images == image)
        by_person = {prediction.person: prediction for prediction in predictions if prediction.person is not None}
        rows_by_index = [int(row) for row in rows if int(people.people.indices[row]) in by_person]
        row_list += rows_by_index
        bodies += [by_person[int(people.people.indices[row])] for row in rows_by_index]
        unmatched_rows = [int(row) for row in rows if row not in rows_by_index]
        unassigned = [prediction for prediction in predictions if prediction.person is None]
        for true, index in match_boxes(
            people.boxes[unmatched_rows], [prediction.box for prediction in unassigned], size
        ):
            row_list.append(unmatched_rows[true])
            bodies.append(unassigned[index])
        progress(count, len(images), "images")
    rows = np.array(row_list, np.int64)
    missing_rows = np.setdiff1d(np.arange(len(people)), rows)
    stacked_bodies, rigs = _stacked(bodies, body)
    constant = constant_pose(people, body)
    stand_in = constant.taken(missing_rows)
    points = _points(people, bodies)
    errors = people.errors(stacked_bodies, rows, rigs, points)
    movement: Mapping[str, Summary] = {}
    if people.people.cache.sequences and len(rows):
        motion = BodyMotion.of_bodies(people.joints, stacked_bodies, rigs)
        if points is not None:
            motion = motion._replace(points=np.where(np.isfinite(points), points, motion.points))
        options: dict[str, Any] = {}
        if protocol is not None:
            options = {"cut": protocol.cut, "root_path": protocol.root_path, "closed_up": protocol.closed_up}
            options["without_translation"] = "jitter_emdb_10m_s3" in protocol.metrics
        worlds = [np.full((4, 4), np.nan) if prediction.world is None else prediction.world for prediction in bodies]
        movement = movement_summaries(people, rows, motion, np.array(worlds, np.float64), **options)
    stand_in = stand_in._replace(pckh=np.zeros(len(missing_rows)))
    hands = hand_summaries(people, rows, stacked_bodies, bodies)
    return EvaluatedFits(rows, errors, stacked_bodies, rigs, constant.taken(rows), stand_in, movement, hands)


def constant_pose(people: EvaluatedPeople, body: Body) -> BodyErrors:
    """Measure people of the mean shape who stand with hanging arms and face the camera where the people are."""
    rotations = neutral_rotations().float()
    rotations[0] = upright_heading(0.0).float()
    shape = torch.zeros(len(people), body.shape_count)
    standing = Bodies(rotations.expand(len(people), -1, -1, -1), shape, people.roots())
    return people.errors(standing, np.arange(len(people)), body)


def _points(people: EvaluatedPeople, bodies: Sequence[PredictedBody]) -> NDArray[np.float64] | None:
    """Collect predicted joints (M, P, 3), NaN for predicted bodies; None if all are bodies."""
    if all(prediction.joints is None for prediction in bodies):
        return None
    points = np.full((len(bodies), len(people.joints.points), 3), np.nan)
    for row, prediction in enumerate(bodies):
        if prediction.joints is not None:
            points[row] = people.joints.select(prediction.joints[0], prediction.joints[1][None])[0]
    return points


def _stacked(predictions: Sequence[PredictedBody], body: Body) -> tuple[Bodies, tuple[Body, ...]]:
    """Stack the bodies as tensors, and list the model of each."""
    rigs = tuple(prediction.body or body for prediction in predictions)
    unit_scales = np.ones(len(SMPL24))
    rows = [(*fit[:3], unit_scales if fit.segment_scales is None else fit.segment_scales) for fit in predictions]
    shapes = ((len(SMPL24), 3), (body.shape_count,), (3,), (len(SMPL24),))
    poses, betas, root, scales = (
        torch.from_numpy(np.array([row[i] for row in rows], np.float32).reshape(-1, *shape))
        for i, shape in enumerate(shapes)
    )
    for rig in set(rigs):
        of_rig = torch.tensor([each is rig for each in rigs])
        root[of_rig] += rig.rest_pelvis(betas[of_rig])
    return Bodies(axis_angle_to_matrix(poses), betas, root, scales), rigs


def match_boxes(
    true: Sequence[NDArray[Any]] | NDArray[Any], predicted: Sequence[NDArray[Any]], size: ArrayLike
) -> list[tuple[int, int]]:
    """Match boxes of the same people by overlap, the largest first, each once.

    Args:
        true: (T, 4) x0, y0, x1, y1 pixels.
        predicted: (P, 4) pixels.
        size: (width, height) of the image, within which boxes are compared: some reach beyond it, others are clipped.

    Returns:
        Pairs of indices (true, predicted).
    """
    if not len(true) or not len(predicted):
        return []
    return best_pairs(overlap_within(np.asarray(true)[:, None], np.asarray(predicted), size), _MIN_OVERLAP)


Match = Literal["boxes", "tracks"]
Detections = Literal["stored", "boxes", "auto", "thorough", "fast"]


class StoredPeople(PeopleSource):
    """The detections that a cache stores, as a source of people.

    Args:
        cache: The cache.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Return the people who were detected when the cache was made, with the boxes of the labels."""
        row = self._cache.find(frame.name)
        people = people_of_images(self._cache, np.array([row]))
        needs = [*{"detected"} & {*self._cache.people}]
        sample = self._cache.sample(row)
        detections = [_detected(sample.people[index]) for index in with_labels(people, needs).indices.tolist()]
        return sorted((person for person in detections if person is not None), key=lambda person: -person.area)


class BoxedPeople(PeopleSource):
    """Our detector's output in the labelled boxes of a cache, as a source of people.

    Args:
        people: The people; frames are named after their images.
        threads: Threads of the detector; None for the default.
    """

    def __init__(self, people: EvaluatedPeople, threads: int | None = None) -> None:
        self._people = people
        self._pool = ModelPool(threads or default_threads())

    def rows(self, image: int) -> NDArray[np.int64]:
        """Return the rows of the evaluated people in an image whose box is known."""
        rows = np.flatnonzero(self._people.people.images == image)
        return rows[np.isfinite(self._people.people.column("box")[rows]).all(1)]

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Detect one person for each of `rows`, in that order."""
        rows = self.rows(self._people.people.cache.find(frame.name))
        boxes = np.asarray(self._people.people.column("box")[rows], np.float64)
        return people_in_boxes(self._pool, frame.pixels, boxes, _VIEWS) if len(rows) else []

    def __exit__(self, *problem: Any) -> None:
        self._pool.close()


def _detected(person: Person) -> DetectedPerson | None:
    points = person.detected
    world = person.detected_world
    if points is None or person.box is None or not np.isfinite(points).all():
        return None
    pixels = None if person.detected_mask is None else decode_png(person.detected_mask)
    mask = None
    if pixels is not None:  # the complete image's mask as a square crop
        height, width = pixels.shape
        side = max(height, width)
        square = cv2.copyMakeBorder(
            np.asarray(pixels, np.uint8), 0, side - height, 0, side - width, cv2.BORDER_CONSTANT, value=0
        )
        mask = PersonMask(np.asarray(square, np.uint8), Affine2D.identity())
    has_world = world is not None and bool(np.isfinite(world).all())
    return DetectedPerson(
        box=np.asarray(person.box, np.float64),
        keypoints=np.asarray(points, np.float64),
        world=np.asarray(world, np.float64)[:, :3] if has_world else None,
        spread=np.zeros(len(points)),
        world_spread=np.zeros(len(points)) if has_world else None,
        mask=mask,
        score=1.0,
    )


def has_detections(selection: PeopleSelection) -> bool:
    """Return whether a cache stores detections of its people."""
    return open_cache(selection.data).labels.get("people/detected", 0) > 0


def fit_row(fitter: Fitter, cache: Cache, row: int) -> Fit:
    """Fit a cache's image, with its camera if it is known."""
    sample = cache.sample(row)
    image = cache.image(row)
    axis = sample.principal_point
    return fitter.fit_image(image, name=sample.name, focal=sample.focal, principal_point=axis)


def evaluate_fits(
    run: EvaluationRun,
    options: FitOptions,
    *,
    detections: Detections,
    threads: int | None = None,
) -> Report:
    """Evaluate the fits that `hpc fit` makes of the images, with their cameras.

    Args:
        run: The evaluation.
        options: Options of the fits.
        detections: "stored" for the cache's detections, "boxes" to detect in labelled boxes, or a detector.
        threads: Threads of the detector; None for the default.

    Raises:
        InputError: If stored detections are requested and the cache has none.
    """
    selection, protocol = apply_protocol(run.selection, BodyProtocol)
    cache = open_cache(selection.data)
    if detections == "stored" and not has_detections(selection):
        raise InputError(
            cache.path, "holds no detections", remedy="make it with hpc preprocess … --detections, or --detector auto"
        )
    needs = ("box",) if detections == "boxes" else ()
    people = selection.people(*needs, joints=selection.joint_set())
    boxed_people: BoxedPeople | None = None
    source: PeopleSource
    if detections == "stored":
        source = StoredPeople(cache)
    elif detections == "boxes":
        source = boxed_people = BoxedPeople(people, threads)
    else:
        source = DetectedPeople(detections, threads, run.device if run.device == "cpu" else "auto")
    with Fitter(options, people_source=source, device=run.device) as fitter:

        def fit(row: int) -> list[PredictedBody]:
            record = fit_row(fitter, cache, row)
            bodies = bodies_in_rows(record, range(len(record)))
            if boxed_people is None:
                return bodies
            indices = people.people.indices[boxed_people.rows(row)]
            return [
                predicted_body._replace(person=int(person))
                for predicted_body, person in zip(bodies, indices, strict=True)
            ]

        def facts() -> dict[str, Any]:
            lines = {**selection.facts(), "method": options.method, "detector": detections}
            return {**lines, **network_facts(fitter, cache, people.people.images)}

        errors = measure_fits(people, fit, fitter.body, protocol=protocol, stop=run.stop, progress=run.progress)
        return fits_report(people, errors, facts(), protocol)


def evaluate_predictions(run: EvaluationRun, predictions: Path, *, match: Match = "boxes") -> Report:
    """Evaluate existing fits, ours or other programs'.

    Args:
        run: The evaluation.
        predictions: A folder or file.
        match: "boxes" of each image by itself, or "tracks", each of which is one person in all of a sequence.
    """
    selection, protocol = apply_protocol(run.selection, BodyProtocol)
    cache = open_cache(selection.data)
    body = load_body(selection.body, mean_hands=selection.mean_hands)
    people = selection.people(joints=selection.joint_set())
    fit = fits_from_files(predictions, cache, body, selection.models, mean_hands=selection.mean_hands)
    facts = {**selection.facts(), **predictions_facts(predictions), "matched by": match}
    fit = match_by_tracks(people, fit) if match == "tracks" else fit
    errors = measure_fits(people, fit, body, protocol=protocol, stop=run.stop, progress=run.progress)
    return fits_report(people, errors, facts, protocol)


METRICS: Mapping[str, tuple[str, str, float]] = {
    "mpjpe_mm": ("mpjpe", "joints, {root}", 1e3),
    "pa_mpjpe_mm": ("pa_mpjpe", "joints after Procrustes", 1e3),
    "pve_mm": ("pve", "vertices, {root}", 1e3),
    "pa_pve_mm": ("pa_pve", "vertices after Procrustes of the joints", 1e3),
    "pckh": ("pckh", "share of joints within half a head", 1.0),
    "err_quat_rad": ("rotation", "relative rotations of parts, radians", 1.0),
    "err_quat_absolute_rad": ("absolute_rotation", "absolute rotations of parts, radians", 1.0),
    "mpjae_deg": ("angle", "absolute rotations of nine joints, degrees", 180 / np.pi),
    "pa_mpjae_deg": ("pa_angle", "the same after Procrustes, degrees", 180 / np.pi),
}
"""Name in the JSON result → column of BodyErrors, text ({root}: alignment of the roots), and factor."""
_PLACED: Mapping[RootName, str] = {"pelvis": "pelvis on pelvis", "hips": "hips on hips", "none": "where they are"}


def body_metrics(errors: BodyErrors, clusters: Clusters) -> dict[str, Summary]:
    """Summarise errors by name of METRICS.

    Args:
        errors: The errors.
        clusters: Clusters of the people.
    """
    return {
        name: summarise(getattr(errors, column), clusters).scaled(factor)
        for name, (column, _, factor) in METRICS.items()
    }


def fits_report(
    people: EvaluatedPeople, fits: EvaluatedFits, facts: Mapping[str, Any], protocol: BodyProtocol | None = None
) -> Report:
    """Report on bodies fitted to images.

    Args:
        people: People with their truth.
        fits: Their fits.
        facts: Lines of the report about the fits.
        protocol: Protocol whose published figures are added.
    """
    errors = fits.errors
    share = len(fits.rows) / max(len(people), 1)
    facts = {**facts, **people.facts, "found": f"{len(fits.rows)} ({100 * share:.1f} %)"}
    missing_rows = np.setdiff1d(np.arange(len(people)), fits.rows)
    metrics, constant = (body_metrics(e, people.clusters.taken(fits.rows)) for e in (errors, fits.constant))
    of_all = body_metrics(fits.of_all, people.clusters.taken(np.concatenate((fits.rows, missing_rows))))
    tables = error_tables(errors, metrics, people.joints.root_name, constant, of_all)
    if protocol is not None:
        facts = {**facts, **protocol.facts}
        figures = {"constant pose": constant, "this evaluation, of those found": {**metrics, **fits.movement}}
        tables.insert(1, protocol.table(figures, people.people.cache.header, people.split))
    metrics |= {f"{name}_of_all": summary for name, summary in of_all.items()}
    metrics |= {f"{name}_constant": summary for name, summary in constant.items()}
    metrics |= {**fits.movement, **fits.hands}
    if fits.hands:
        tables.insert(1, named_table("hands", "Hands", HAND_TEXTS, fits.hands))
    if fits.movement:
        tables.insert(1, named_table("movement", "Movement", MOVEMENT_TEXTS, fits.movement))
    return Report("Fitted bodies", facts, metrics, tables, _contact_sheets(people, fits))


def error_tables(
    errors: BodyErrors,
    metrics: Mapping[str, Summary],
    root: RootName,
    constant: Mapping[str, Summary],
    of_all: Mapping[str, Summary] | None = None,
) -> list[Table]:
    """Make the tables of errors and their quartiles.

    Args:
        errors: The errors.
        metrics: Summaries of the errors.
        root: Root on which predictions were placed.
        constant: Summaries of `constant_pose` of the same people.
        of_all: Means that count missed people.
    """
    rows: list[list[Cell]] = []
    for name, summary in metrics.items():
        digits = 1 if name.endswith("_mm") else 3
        values = [summary.value, summary.median, summary.low, summary.high, constant[name].value]
        if of_all is not None:
            values.append(of_all[name].value)
        cells = [f"{value:.{digits}f}" if np.isfinite(value) else None for value in values]
        rows.append([METRICS[name][1].format(root=_PLACED[root]), name, *cells, summary.n])
    columns: tuple[str, ...] = ("what", "name", "mean", "median", "95 % from", "to", "constant pose", "n")
    notes = [
        interval_note(metrics.values()),
        "Constant pose: every person stands with hanging arms, facing the camera.",
    ]
    if of_all is not None:
        columns = (*columns[:-1], "mean of all", "n")
        notes.append("Mean of all: a person who was missed counts as an upright person there, with no joint correct.")
    tables = [Table("metrics", "Errors", columns, rows, notes=notes)]
    rows = []
    for number, part in enumerate(quartiles(errors.mpjpe), 1):
        if len(part):
            mpjpe, pa, vertices, rotation, pckh, *_ = (float(column[part].mean()) for column in errors)
            rows.append([f"{number}", 1e3 * mpjpe, 1e3 * pa, 1e3 * vertices, 100 * pckh, rotation])
    units = ("mpjpe mm", "PA mm", "vertices mm", "PCKh %", "err_quat rad")
    tables.append(Table("quartiles", "Quartiles", ("quartile of mpjpe", *units), rows, (0, 1, 1, 1, 1, 3)))
    return tables


def _contact_sheets(people: EvaluatedPeople, fits: EvaluatedFits) -> dict[str, Any]:
    """Draw people of each quartile and the worst."""
    errors = fits.errors

    def panel(index: int) -> np.ndarray:
        return body_panel(people, int(fits.rows[index]), fits.rigs[index], fits.bodies, index)

    def title(index: int) -> str:
        mpjpe = 1e3 * errors.mpjpe[index]
        pa = 1e3 * errors.pa_mpjpe[index]
        pckh = 100 * errors.pckh[index]
        return f"{mpjpe:.0f} mm, PA {pa:.0f} mm, PCKh {pckh:.0f} %, {errors.rotation[index]:.2f} rad"

    if not len(fits.rows) or not bool(torch.isfinite(fits.bodies.rotations).all()):
        return {}  # nothing to draw of joints alone
    worst = {
        "worst-mpjpe.jpg": (errors.mpjpe, "Largest errors of the joints"),
        "worst-pckh.jpg": (-errors.pckh, "Fewest joints right in the image"),
        "worst-rotation.jpg": (errors.rotation, "Largest errors of the rotations"),
    }
    return error_sheets(panel, title, f"from left to right {', '.join(PANELS)}", errors.mpjpe, worst)
