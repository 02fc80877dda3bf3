"""Tables 1 to 4 and Figures 3 to 6 of Neural Body Fitting, trained and evaluated anew.

Variants are evaluated on the same held-out people; intervals are over people and seeds. The paper's figures are shown
if data and split are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import changed
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.evaluate.ablations import Column, PlannedStudy, VariantFigures, study_table
from humanpose_cli.lab.evaluate.bodies import METRICS, constant_pose
from humanpose_cli.lab.evaluate.crops import CropSource, NetworkOnCrops, crop_sheets, distance_to_mean, measure_crops
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, plot_curves, plot_quality
from humanpose_cli.lab.evaluate.segmenter import measure_segmenter
from humanpose_cli.lab.evaluate.studies import SEGMENTERS, STUDIES, TRUE_PARTS, Variant
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings, Weights
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS, NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SEGMENTER_PRESETS, SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.segmenter.network import Segmenter

ABLATION_LABELS = ("joints", "unscaled", "parts")
"""Labels of `people.LABELS` that the held-out people must have."""


@dataclass(frozen=True)
class NbfShared(SharedTraining[NbfTraining]):
    """Options that the trainings of a preset share.

    Attributes:
        segmenters: Name → training, the worst first.
        segmenter_loop: Loop of the segmenters' trainings; `loop` belongs to the networks.
        weights: Weights of L_lat, L_3D and L_2D in Tables 3 and 4.
        parts: Source of the body parts of Tables 3 and 4: the labels, or the last segmenter, as in the paper.
    """

    segmenters: Mapping[str, SegmenterTraining]
    segmenter_loop: TrainOptions
    weights: LossOptions = field(default_factory=lambda: LossOptions(1.0, 30.0, 30.0))
    parts: CropSource = "labels"


def nbf_shared(preset: str) -> NbfShared:
    """Return the options that a preset's trainings share.

    Args:
        preset: "ablation" for minutes per training on two cores; "paper" for settings and networks of the paper and its
            authors' code.
    """
    base, segmenter_loop = SEGMENTER_PRESETS[preset]
    segmenters = {str(variant.cells[0]): variant.of(base) for variant in SEGMENTERS[preset]}
    network, loop = NBF_PRESETS[preset]
    if preset == "paper":
        return NbfShared(network, loop, segmenters, segmenter_loop, network.losses, "segmenter")
    return NbfShared(network, loop, segmenters, segmenter_loop)


PRESETS = {preset: nbf_shared(preset) for preset in ("ablation", "paper")}


def plan_nbf(name: str, run: EvaluationRun, shared: NbfShared) -> PlannedStudy:
    """Plan the study; see `registry.evaluate_study`."""
    selection = run.selection
    body = shared.network.body if selection.body == "default" else selection.body
    changes = {"protocol": selection.protocol} if selection.protocol else {}
    segmenter_trainings = {key: changed(training, changes) for key, training in shared.segmenters.items()}
    shared = replace(shared, network=changed(shared.network, {"body": body, **changes}), segmenters=segmenter_trainings)
    # The paper evaluates Tables 1 to 4 on UP-3D's validation set.
    selection = replace(selection, body=body, usual_splits=("validation", "test"))
    people = selection.people(*ABLATION_LABELS)
    people.require_one_model()

    def report(trainings: Trainings, weights: Weights) -> Report:
        make = segmenters if name == "fit segmenters" else partial(compare, name)
        tables, plots = make(trainings, weights, people, shared, run.folder)
        facts = {**selection.facts(), **people.facts}
        facts |= trainings.facts(people.people.cache, people.people.images)
        return Report(f"Ablation: {name.removeprefix('fit ')}", facts, {}, tables, plots=plots)

    return PlannedStudy(planned_trainings(name, shared), report)


def _segmenters_of(name: str, shared: NbfShared) -> list[str]:
    """List the segmenters whose parts the networks of a study learn from: all, the best, or none."""
    if name == "fit segmenters":
        return [*shared.segmenters]
    return [*shared.segmenters][-1:] if name != "fit inputs" and shared.parts == "segmenter" else []


def planned_trainings(name: str, shared: NbfShared) -> list[PlannedTraining]:
    """List the trainings of a study, segmenters first; until these are trained, networks learn from true parts.

    Args:
        name: Name of the study.
        shared: Options that the trainings share.

    Raises:
        UsageError: If segmenters predict other parts than the networks take.
    """
    names = _segmenters_of(name, shared)
    of_losses = name in ("fit losses", "fit supervision")
    network = replace(shared.network, losses=shared.weights) if of_losses else shared.network
    if any(shared.segmenters[one].segmenter.parts != network.inputs.parts for one in names):
        raise UsageError("segmenters", "predict other parts", expected=f"{network.inputs.parts}, as the networks take")

    def learned(segmenter: str, weights: Weights) -> Mapping[str, Any]:
        path = weights[f"segmenter {segmenter}"][0]
        return {"source": "segmenter", "segmenter": str(path), "crop": shared.segmenters[segmenter].segmenter.crop}

    trainings = [
        PlannedTraining(f"segmenter {one}", SegmenterRecipe, shared.segmenters[one], shared.segmenter_loop, False)
        for one in names
    ]
    networks = {each.name: (each, names[-1:]) for each in STUDIES[name].variants}
    if name == "fit segmenters":
        networks = {**{f"with {one}": (TRUE_PARTS, [one]) for one in names}, TRUE_PARTS.name: (TRUE_PARTS, [])}
    for label, (variant, segmenter) in networks.items():
        label = f"loss {label}" if name == "fit losses" else label
        training = PlannedTraining(label, NbfRecipe, variant.of(network), shared.loop)
        trainings.append(training._replace(after=partial(learned, segmenter[0])) if segmenter else training)
    return trainings


def measure_networks(
    people: EvaluatedPeople, weights: Sequence[Path], device: torch.device | str, segmenter: Segmenter | None = None
) -> VariantFigures:
    """Measure body networks that were trained from several seeds.

    Args:
        people: The held-out people.
        weights: Weights of each seed.
        device: Device of the networks.
        segmenter: Source of the body parts; None for the labels.

    Returns:
        The columns of BodyErrors, and `f1` of a segmenter's parts.
    """
    seeds = []
    for path in weights:
        errors, f1 = measure_crops(_on_crops(people, path, device, segmenter))
        seeds.append(errors._asdict() if f1 is None else {**errors._asdict(), "f1": f1})
    return VariantFigures.of_seeds(seeds, people.clusters)


def _on_crops(
    people: EvaluatedPeople, path: Path, device: torch.device | str, segmenter: Segmenter | None
) -> NetworkOnCrops:
    network = load_nbf(path, segmenter=segmenter, body=people.body_name, device=device)
    return NetworkOnCrops(people, network, "labels" if segmenter is None else "segmenter")


TablesAndPlots = tuple[list[Table], dict[str, str]]
"""Tables, and plots by file name with a line about each."""


def compare(
    name: str, trainings: Trainings, weights: Weights, people: EvaluatedPeople, shared: NbfShared, folder: Path
) -> TablesAndPlots:
    """Make a table of the variants under the constant pose, without controls, and a table of all figures.

    Args:
        name: "fit inputs" (Table 1), "fit losses" (3) or "fit supervision" (4), also as curves.
        trainings: The trainings.
        weights: Their weights.
        people: The held-out people.
        shared: Options that the trainings share.
        folder: Folder of the plots.
    """
    study = STUDIES[name]
    device = trainings.device
    segmenter = next((Segmenter.load(weights[f"segmenter {s}"][0], device) for s in _segmenters_of(name, shared)), None)
    networks = [*weights.values()][-len(study.variants) :]
    results = {
        variant.name: measure_networks(people, paths, device, segmenter)
        for variant, paths in zip(study.variants, networks, strict=True)
    }
    unit = " %" if name == "fit supervision" else ""
    notes = [_compared(results, *pair, unit) for pair in study.compared if results.keys() >= {*pair}]
    shown = [variant for variant in study.variants if variant.paper]
    column: Column | None = None
    plots = {}
    if name == "fit inputs" and trainings.seeds > 1:
        for label, result in results.items():
            seeds = ", ".join(f"{1e3 * value:.1f}" for value in result.values["mpjpe"].mean(1))
            notes.append(f"{label}: seeds {seeds} mm.")
    elif name == "fit losses":
        rotations = results["3D"].difference(results["lat"], "absolute_rotation")
        notes.append(f"Absolute rotations of 3D against lat: {rotations.text('+.3f', ' rad')}.")
    elif name == "fit supervision":
        shares = [int(str(variant.cells[0])) for variant in shown]
        errors = {label: 1e3 * float(result.values["mpjpe"].mean()) for label, result in results.items()}
        curves = {
            "with 2-D labels of all": [errors[f"labels {share}"] for share in shares],
            "no other labels": [errors.get(f"only {share}", np.nan) for share in shares],
        }
        plot_curves(folder / "supervision.png", shares, curves, "samples with 3-D labels [%]")
        plots = {"supervision.png": "Table 4 as curves"}
        column = "no 2-D mm", 1, lambda variant: errors.get(f"only {variant.cells[0]}")
    # The paper's columns appear next to results on the paper's data only; of Human3.6M it has all four cameras.
    is_h36m = agrees(people.people.cache.header, people.split, "h36m", ("nbf/validation",), every=40)
    paper = [head for head in study.paper if (is_h36m if head == "paper H36M" else _is_up3d(people))]
    constant = Variant("constant pose", ("constant pose",), {})
    figures = {constant.name: _constant(people), **results}
    table = study_table(
        name.removeprefix("fit "), study, figures, notes, shown=[constant, *shown], paper=paper, column=column
    )
    return [table, _figures(results)], plots


def segmenters(
    trainings: Trainings, weights: Weights, people: EvaluatedPeople, shared: NbfShared, folder: Path
) -> TablesAndPlots:
    """Make Table 2, segmenters of training against segmenters of validation, and Figures 3 to 6."""
    device = trainings.device
    loaded: dict[str, Segmenter | None] = {
        name: Segmenter.load(weights[f"segmenter {name}"][0], device) for name in shared.segmenters
    }
    loaded["GT"] = None
    networks = dict(zip(loaded, [*weights.values()][-len(loaded) :], strict=True))
    rows: list[list[Cell]] = [["constant pose", None, *[1e3 * _constant(people).mean("mpjpe")] * len(networks)]]
    plots: dict[str, str] = {}
    figures: dict[str, VariantFigures] = {}
    for name, segmenter in loaded.items():
        iou = 1.0
        if segmenter is not None:
            iou = float(np.nanmean(measure_segmenter(people.people, segmenter, stop=trainings.stop).iou[1:]))
        results = {of: measure_networks(people, paths, device, segmenter) for of, paths in networks.items()}
        figures |= {f"{training}, validated with {name}": result for training, result in results.items()}
        rows.append([name, 100 * iou, *(1e3 * result.mean("mpjpe") for result in results.values())])
        values = results[name].values
        if "f1" in values:  # the best segmenter comes last and stays
            plot_quality(folder / "f1-error.png", values["f1"][0], values["mpjpe"].mean(0), distance_to_mean(people))
            plots["f1-error.png"] = "Figure 3: F1 of the parts against the error of the joints, darker for harder poses"
    for name, figure in (([*shared.segmenters][-1], "Figures 4 and 5"), ("GT", "Figure 6")):
        values = figures[f"{name}, validated with {name}"].values
        mpjpe, pa_mpjpe = (np.asarray(values[column][0], np.float64) for column in ("mpjpe", "pa_mpjpe"))
        crops = _on_crops(people, networks[name][0], device, loaded[name])
        for file, (image, text) in crop_sheets(crops, mpjpe, pa_mpjpe).items():
            write_image(folder / f"{name}-{file}", image)
            plots[f"{name}-{file}"] = f"{figure}, parts of {name}: {text}"
    study = STUDIES["fit segmenters"]

    def table(name: str, title: str, names: Iterable[str], rows: Sequence[Sequence[Cell]]) -> Table:
        return Table(name, title, (*study.headings, *(f"trained with {each}" for each in names)), rows)

    tables = [table("segmenters", study.title, networks, rows)]
    if _is_up3d(people):
        paper = {str(variant.cells[0]): variant.paper for variant in (*SEGMENTERS["paper"], TRUE_PARTS)}
        published: list[list[Cell]] = [[name, *values] for name, values in paper.items()]
        tables.append(table("segmenters-paper", "Table 2 as the paper has it", paper, published))
    return [*tables, _figures(figures)], plots


def _is_up3d(people: EvaluatedPeople) -> bool:
    """Return whether the people are the paper's people of UP-3D."""
    return agrees(people.people.cache.header, people.split, "up3d", ("nbf/validation", "up3d/validation"))


def _constant(people: EvaluatedPeople) -> VariantFigures:
    """Return the figures of the constant pose."""
    return VariantFigures.of_seeds([constant_pose(people, people.body)._asdict()], people.clusters)


def _figures(results: Mapping[str, VariantFigures]) -> Table:
    return figures_table(
        {
            (variant, name): result.summary(column).scaled(factor)
            for variant, result in results.items()
            for name, (column, _, factor) in METRICS.items()
        },
        digits=3,
    )


def _compared(results: Mapping[str, VariantFigures], name: str, reference_name: str, unit: str = "") -> str:
    """Describe a paired difference of joint errors in a sentence."""
    difference = results[name].difference(results[reference_name], "mpjpe").scaled(1e3)
    relative = 100 * difference.value / (1e3 * float(results[reference_name].values["mpjpe"].mean()))
    variant, reference = (label.removeprefix("labels ") + unit for label in (name, reference_name))
    return f"{variant} against {reference}: {difference.text('+.1f', ' mm')}, {relative:+.1f} %."
