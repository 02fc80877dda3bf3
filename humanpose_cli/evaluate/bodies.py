"""Judging a body network alone, on crops made from labels: the setting of Neural Body Fitting's analysis (section 4.3).

The crop is the one in which the true body stands before the fixed camera, so nothing but the input and the network is
judged; `evaluation.fits` judges what a user gets.

Judging bodies that were fitted to images: `hpc fit`'s own methods, or fit files of any origin.

Reports on bodies: of fits to images, and of a network alone on crops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.data.loader import BatchLoader, LoaderOptions
from humanpose_cli.evaluate.contact_sheets import body_panel, quartile_contact_sheet, worst_contact_sheet
from humanpose_cli.evaluate.people import EvaluatedPeople
from humanpose_cli.evaluate.published import NBF_H36M, NBF_HUMANEVA
from humanpose_cli.evaluate.report import Cell, Report, Summary, Table, plot_quality, quartiles, summarise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from humanpose_cli.io.atomic import ensure_folder
from humanpose_cli.metrics.bodies import Bodies, BodyErrors, body_errors, class_f1, confusion, mean_of_visible
from humanpose_cli.models.nbf.body import BodyParameters
from humanpose_cli.models.nbf.examples import BodyExamples, needed_labels
from humanpose_cli.models.nbf.losses import LossOptions
from humanpose_cli.models.nbf.network import BodyNetwork, segmented_input
from humanpose_cli.models.nbf.recipe import Batch, crop_errors

__all__ = [
    "METRICS",
    "CropSource",
    "EvaluatedCrops",
    "EvaluatedFits",
    "FoundBody",
    "body_metrics",
    "crop_needs",
    "crops_report",
    "distance_to_mean",
    "fits_report",
    "matched",
    "measure_crops",
    "measure_fits",
]


CropSource = Literal["labels", "segmenter"]
"""Where body parts come from: the true ones, or a segmenter's. Other inputs know no difference."""


@dataclass(frozen=True)
class EvaluatedCrops:
    """N people.

    errors  of the bodies; f1 (N,) mean over the parts of what the network saw, None where it saw no segmenter's
    """

    errors: BodyErrors
    f1: NDArray[np.float64] | None


def crop_needs(network: BodyNetwork, source: CropSource) -> tuple[str, ...]:
    """Labels of `people.LABELS` that judging needs."""
    inputs = network.config.inputs
    framing: Literal["labels", "detector"] = "detector" if inputs.kind == "proxy" else "labels"
    needs = needed_labels(inputs, LossOptions(), segmented=False, framing=framing)
    return tuple(need for need in needs if need != "poses")


def measure_crops(
    people: EvaluatedPeople, network: BodyNetwork, source: CropSource = "labels", *, batch_size: int = 32
) -> EvaluatedCrops:
    """Errors of a network on those people; UsageError where its parts cannot come from there."""
    inputs = network.config.inputs
    segmenter = network.segmenter if source == "segmenter" else None
    if source == "segmenter" and (segmenter is None or not inputs.segmented):
        raise UsageError("segmenter", "has nothing to do", got=f"a network that sees {inputs.kind}", remedy="labels")
    examples = BodyExamples(
        people.people,
        inputs,
        LossOptions(),
        crop=network.config.crop,
        body=people.body_name,
        framing="detector" if inputs.kind == "proxy" else "labels",
        segmenter=None if segmenter is None else segmenter.options,
        truth=segmenter is not None,
    )
    loading = LoaderOptions(min(batch_size, len(people)), shuffle=False, drop_last=False)
    batches = BatchLoader(range(len(people)), examples, loading)
    quality: list[NDArray[np.float64]] = []
    predict = _predictor(network, quality)
    with torch.no_grad():
        errors = crop_errors(predict, batches, network.layer)
    return EvaluatedCrops(errors, np.concatenate(quality) if quality else None)


def _predictor(network: BodyNetwork, quality: list[NDArray[np.float64]]) -> Callable[[Batch], BodyParameters]:
    """What the network says of a batch; the F1 of each person's parts is added to `quality`."""

    def predict(batch: Batch) -> BodyParameters:
        if "segmenter_input" not in batch:
            return network.regressor(batch)
        assert network.segmenter is not None
        probabilities = network.segmenter.probabilities(batch["segmenter_input"]).float()
        classes = probabilities.shape[1]
        counts = confusion(probabilities.argmax(1).cpu().numpy(), batch["parts"].long().cpu().numpy(), classes)
        quality.append(np.asarray(mean_of_visible(class_f1(counts))))
        return network.regressor({**batch, "image": segmented_input(probabilities, network.config.inputs)})

    return predict


def distance_to_mean(people: EvaluatedPeople) -> NDArray[np.float64]:
    """(N,) radians: mean angle of the parts' relative rotations, the pelvis left out, from those of an upright person
    with the arms by the sides, as Figure 3 measures how hard a pose is.
    """
    from humanpose_cli.body.limb_rotations import neutral_rotations

    neutral = neutral_rotations().float()
    return (
        geodesic_angle(people.bodies.rotations[:, 1:], neutral[1:].expand_as(people.bodies.rotations[:, 1:]))
        .mean(1)
        .double()
        .numpy()
    )


_LEAST_OVERLAP = 0.3  # of the boxes, to be taken for the same person


class FoundBody(NamedTuple):
    """One fitted person: poses (72,), betas (S,), trans (3,) as in a fit file, and the box (4,) it was found in."""

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    box: NDArray[Any]


@dataclass(frozen=True)
class EvaluatedFits:
    """What became of N people.

    found   numbers of those who were found, M; errors of these, in that order; bodies what was found
    missed  N − M
    """

    found: NDArray[np.int64]
    errors: BodyErrors
    bodies: Bodies
    missed: int


def measure_fits(
    people: EvaluatedPeople,
    fit: Callable[[int], Sequence[FoundBody]],
    body: Body,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedFits:
    """Errors of what `fit` finds in each image.

    fit   row of an image → the people found there
    body  that they are of
    stop  asked after every image; True ends with InterruptedRun
    """
    images = np.unique(people.people.images)
    truth, found, bodies = people.joints2d, [], []
    for done, image in enumerate(images, 1):
        told = fit(int(image))
        numbers = np.flatnonzero(people.people.images == image)
        for number, place in matched([_box_of(truth[n]) for n in numbers], [one.box for one in told]):
            found.append(int(numbers[number]))
            bodies.append(told[place])
        progress(done, len(images), "images")
        if stop():
            raise InterruptedRun()
    rows = np.array(found, np.int64)
    predicted = _stacked(bodies, body)
    true = Bodies(*(values[rows] for values in people.bodies))
    errors = body_errors(body, predicted, true, people.focal[rows], people.centre[rows], true_body=people.body)
    return EvaluatedFits(rows, errors, predicted, len(people) - len(rows))


def _stacked(found: Sequence[FoundBody], body: Body) -> Bodies:
    if not found:
        return Bodies(torch.zeros(0, len(SMPL24), 3, 3), torch.zeros(0, body.shape_count), torch.zeros(0, 3))
    poses, betas, trans = (
        torch.from_numpy(np.stack([getattr(one, name) for one in found])).float()
        for name in ("poses", "betas", "trans")
    )
    root = body.rest_joints(betas)[:, SMPL24.index("pelvis")] + trans
    return Bodies(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, root)


def _box_of(points: NDArray[Any]) -> NDArray[Any]:
    """Round the joints that are known."""
    known = points[np.isfinite(points).all(1)]
    return np.concatenate((known.min(0), known.max(0)))


def matched(true: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> list[tuple[int, int]]:
    """Pairs (true, found) of boxes x0 y0 x1 y1 that show the same people: by overlap, the largest first, each once."""
    if not true or not found:
        return []
    table = np.array([[_overlap(a, b) for b in found] for a in true])
    pairs = []
    while table.max() >= _LEAST_OVERLAP:
        row, column = np.unravel_index(int(table.argmax()), table.shape)
        pairs.append((int(row), int(column)))
        table[row], table[:, column] = -1, -1
    return pairs


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(inner / max(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner, 1e-9))


METRICS: Mapping[str, tuple[str, str, float]] = {
    "mpjpe_mm": ("mpjpe", "joints, pelvis on pelvis", 1e3),
    "pa_mpjpe_mm": ("pa_mpjpe", "joints after Procrustes", 1e3),
    "pve_mm": ("pve", "vertices, pelvis on pelvis", 1e3),
    "pckh": ("pckh", "share of joints within half a head", 1.0),
    "err_quat_rad": ("rotation", "rotations of parts, radians", 1.0),
}
"""Name in the JSON result → column of BodyErrors, words, and factor."""

_PUBLISHED = {
    "humaneva": ("Table 5: Procrustes-aligned error on HumanEva-I, mm", NBF_HUMANEVA),
    "h36m": ("Table 6: Procrustes-aligned error on Human3.6M, mm", NBF_H36M),
}


def body_metrics(errors: BodyErrors) -> dict[str, Summary]:
    """By name of METRICS."""
    return {name: summarise(getattr(errors, column)).scaled(factor) for name, (column, _, factor) in METRICS.items()}


def fits_report(
    people: EvaluatedPeople, judged: EvaluatedFits, body: Body, facts: Mapping[str, Any], *, images: bool = True
) -> Report:
    """Of bodies fitted to images."""
    share = len(judged.found) / max(len(people), 1)
    told = {**facts, "people": len(people), "found": f"{len(judged.found)} ({100 * share:.1f} %)"}
    tables = [_metrics_table(judged.errors), _quartile_table(judged.errors)]
    return Report(
        "Fitted bodies",
        told,
        body_metrics(judged.errors),
        [*tables, *_published(people, judged.errors)],
        _sheets(people, judged.found, judged.errors, body, judged.bodies) if images else {},
    )


def crops_report(people: EvaluatedPeople, judged: EvaluatedCrops, facts: Mapping[str, Any], folder: Path) -> Report:
    """Of a network alone; with a segmenter's parts Figure 3 is drawn into the folder."""
    tables = [_metrics_table(judged.errors), _quartile_table(judged.errors)]
    metrics, plots = body_metrics(judged.errors), {}
    if judged.f1 is not None:
        metrics["f1"] = summarise(judged.f1)
        plot_quality(ensure_folder(folder) / "f1-error.png", judged.f1, judged.errors.mpjpe, distance_to_mean(people))
        plots["f1-error.png"] = "F1 of the parts against the error of the joints, darker for harder poses (Figure 3)"
    facts = {**facts, "people": len(people)}
    return Report("Body network on crops", facts, metrics, [*tables, *_published(people, judged.errors)], plots=plots)


def _metrics_table(errors: BodyErrors) -> Table:
    rows: list[list[Cell]] = []
    for name, summary in body_metrics(errors).items():
        told: list[Cell] = [summary.value, summary.median, summary.low, summary.high]
        places = 1 if name.endswith("_mm") else 3
        numbers = [f"{cell:.{places}f}" if isinstance(cell, float) and np.isfinite(cell) else None for cell in told]
        rows.append([METRICS[name][1], name, *numbers, summary.n])
    columns = ("what", "name", "mean", "median", "95 % from", "to", "n")
    return Table("metrics", "Errors", columns, rows)


def _quartile_table(errors: BodyErrors) -> Table:
    rows: list[list[Cell]] = []
    for number, part in enumerate(quartiles(errors.mpjpe), 1):
        if len(part):
            means = [1e3 * float(getattr(errors, name)[part].mean()) for name in ("mpjpe", "pa_mpjpe", "pve")]
            rows.append(
                [f"{number}", *means, 100 * float(errors.pckh[part].mean()), float(errors.rotation[part].mean())]
            )
    columns = ("quartile of mpjpe", "mpjpe mm", "PA mm", "vertices mm", "PCKh %", "err_quat rad")
    return Table("quartiles", "Quartiles", columns, rows, (0, 1, 1, 1, 1, 3))


def _published(people: EvaluatedPeople, errors: BodyErrors) -> list[Table]:
    """The paper's table for this data set, with our line under it."""
    if people.people.cache.header.source not in _PUBLISHED:
        return []
    title, table = _PUBLISHED[people.people.cache.header.source]
    rows: list[list[Cell]] = [[name, *values] for name, values in table.items()]
    rows.append(["ours", 1e3 * float(errors.pa_mpjpe.mean()), 1e3 * float(np.median(errors.pa_mpjpe))])
    return [Table("published", title, ("method", "mean", "median"), rows)]


def _sheets(
    people: EvaluatedPeople, found: np.ndarray, errors: BodyErrors, body: Body, bodies: Bodies
) -> dict[str, Any]:
    def panel(place: int) -> np.ndarray:
        return body_panel(people, int(found[place]), body, bodies, place)

    def words(place: int) -> str:
        mpjpe, pa, pckh = 1e3 * errors.mpjpe[place], 1e3 * errors.pa_mpjpe[place], 100 * errors.pckh[place]
        return f"{mpjpe:.0f} mm, PA {pa:.0f} mm, PCKh {pckh:.0f} %, {errors.rotation[place]:.2f} rad"

    if not len(found):
        return {}
    shown = "person, true body, found body"
    sheets: dict[str, Any] = {
        "quartiles.jpg": (quartile_contact_sheet(errors.mpjpe, panel, words), f"Quartiles: {shown}")
    }
    worst: dict[str, tuple[np.ndarray, str]] = {
        "worst-mpjpe.jpg": (errors.mpjpe, "Largest errors of the joints"),
        "worst-pckh.jpg": (-errors.pckh, "Fewest joints right in the image"),
        "worst-rotation.jpg": (errors.rotation, "Largest errors of the rotations"),
    }
    for name, (values, title) in worst.items():
        sheets[name] = worst_contact_sheet(values, panel, words), f"{title}: {shown}"
    return sheets
