"""Tables 1 to 4 and Figure 3 of Neural Body Fitting, trained and evaluated anew.

Variants are evaluated on the same held-out people; intervals are over people and seeds. The paper's figures stand
beside ours where data and split are the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.lab.evaluate.bodies import METRICS, CropSource, distance_to_mean
from humanpose_cli.lab.evaluate.intervals import paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, plot_curves, plot_quality
from humanpose_cli.lab.evaluate.segmenter import measure_segmenter
from humanpose_cli.lab.evaluate.variants import (
    VARIANTS,
    EvaluatedSeeds,
    SharedTraining,
    Trainings,
    Variant,
)
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS, NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SEGMENTER_PRESETS, SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.segmenter.network import Segmenter

_MILLIMETRES = {"error mm": 1, "median": 1, "95 % from": 1, "to": 1, "n": 0}
"""Columns that all tables have, and their digits."""
_UP3D = ("up3d", ("nbf/validation", "up3d/validation"), 1)
_H36M = ("h36m", ("nbf/validation",), 10)
"""Data of the paper: source, splits, and frames apart."""


@dataclass(frozen=True)
class NbfShared(SharedTraining[NbfTraining]):
    """What the trainings of a preset share.

    segmenters  name → training, the worst first
    segmenter_loop  of these; `loop` is of the networks
    weights     of L_lat, L_3D and L_2D where Tables 3 and 4 have them
    parts       source of the body parts of Tables 3 and 4: the labels, or the last of the segmenters, as in the paper
    """

    segmenters: Mapping[str, SegmenterTraining]
    segmenter_loop: TrainOptions
    weights: LossOptions = field(default_factory=lambda: LossOptions(1.0, 30.0, 30.0))
    parts: CropSource = "labels"


def nbf_shared(preset: str) -> NbfShared:
    """`ablation`: minutes a training on two cores; `paper`: settings and networks of the paper and its authors' code.

    UsageError for another name.
    """
    if preset not in ("ablation", "paper"):
        raise UsageError("preset", "is not known", expected="ablation or paper", got=preset)
    base, segmenter_loop = SEGMENTER_PRESETS[preset]
    segmenters = {str(variant.cells[0]): variant.of(base) for variant in VARIANTS[f"segmenters {preset}"]}
    network, loop = NBF_PRESETS[preset]
    if preset == "paper":
        return NbfShared(network, loop, segmenters, segmenter_loop, network.losses, "segmenter")
    return NbfShared(network, loop, segmenters, segmenter_loop)


class _Setup(NamedTuple):
    """The training that variants change, and where the body parts of its evaluation come from."""

    network: NbfTraining
    source: CropSource = "labels"
    segmenter: Segmenter | None = None


def _with_losses(trainings: Trainings, shared: NbfShared) -> _Setup:
    """Of Tables 3 and 4: all losses, and parts from the labels or from the best segmenter."""
    setup = _Setup(shared.network)
    if shared.parts == "segmenter":
        setup = _segmented(trainings, shared, list(shared.segmenters)[-1])
    return setup._replace(network=replace(setup.network, losses=shared.weights))


def _segmented(trainings: Trainings, shared: NbfShared, name: str) -> _Setup:
    """A body network's training through the parts of a trained segmenter."""
    path = trainings.segmenter(f"segmenter {name}", shared.segmenters[name], shared.segmenter_loop)
    segmenter = Segmenter.load(path, trainings.device)
    crop = segmenter.options.crop
    network = replace(shared.network, source="segmenter", segmenter=str(path), crop=crop)
    return _Setup(network, "segmenter", segmenter)


Evaluated = Mapping[str, EvaluatedSeeds]
"""Name of a variant → its networks on the held-out people."""


def _evaluated(
    trainings: Trainings, people: EvaluatedPeople, loop: TrainOptions, setup: _Setup, name: str, prefix: str = ""
) -> Evaluated:
    """Networks of each variant of an ablation. prefix  of the trainings' names"""
    found: dict[str, EvaluatedSeeds] = {}
    for variant in VARIANTS[name]:
        weights = trainings.networks(f"{prefix}{variant.name}", variant.of(setup.network), loop)
        found[variant.name] = trainings.evaluate(people, weights, setup.source, setup.segmenter)
    return found


class _Column(NamedTuple):
    """A column of a table: heading, digits, and the value of a variant's row; or the paper's, of the data named."""

    heading: str
    digits: int
    value: Callable[[Variant, EvaluatedSeeds], Cell] = lambda variant, result: None
    data: tuple[str, tuple[str, ...], int] | None = None


_PA = _Column("PA mm", 1, lambda variant, result: 1e3 * float(result.errors.pa_mpjpe.mean()))
_PCKH = _Column("PCKh %", 1, lambda variant, result: 100 * float(result.errors.pckh.mean()))
_ROTATIONS = (
    _Column("err_quat rad", 3, lambda variant, result: float(result.errors.rotation.mean())),
    _Column("absolute err_quat rad", 3, lambda variant, result: float(result.errors.absolute_rotation.mean())),
)
"""The paper's is the absolute one (`use_absrot` in mohomran/neural_body_fitting@25308d38)."""


def _table(
    name: str,
    title: str,
    heading: str,
    people: EvaluatedPeople,
    evaluated: Evaluated,
    columns: Sequence[_Column],
    published: Sequence[_Column],
    notes: Sequence[str],
) -> list[Table]:
    """A row for each variant but controls, and the table of all figures.

    published  columns of the paper, which are shown beside results on the paper's data only
    """
    header = people.people.cache.header
    paper = [
        (column, number)
        for number, column in enumerate(published)
        if column.data is not None and agrees(header, people.split, *column.data)
    ]
    rows: list[list[Cell]] = []
    for variant in (variant for variant in VARIANTS[name] if variant.paper):
        result = evaluated[variant.name]
        summary = summarise(result.of("mpjpe"), result.clusters).scaled(1e3)
        millimetres = (summary.value, summary.median, summary.low, summary.high, summary.n)
        ours = [column.value(variant, result) for column in columns]
        rows.append([*variant.cells, *millimetres, *ours, *(variant.paper[number] for _, number in paper)])
    more = [*columns, *(column for column, _ in paper)]
    headings = (heading, *_MILLIMETRES, *(column.heading for column in more))
    digits = (0, *_MILLIMETRES.values(), *(column.digits for column in more))
    return [Table(name, title, headings, rows, digits, notes), _figures(evaluated)]


TablesAndPlots = tuple[list[Table], dict[str, str]]
"""Tables, and plots by file name with a line each."""


def inputs(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Table 1: the input of the network."""
    evaluated = _evaluated(trainings, people, shared.loop, _Setup(shared.network), "inputs")
    others = ("rgb", "parts 1", "parts 6", "parts 24", "joints 24")
    notes = [_compared(evaluated, "parts 12", other) for other in others]
    for name, result in evaluated.items():
        if len(result.seeds) > 1:
            notes.append(f"{name}: seeds {', '.join(f'{1e3 * value:.1f}' for value in result.seeds)} mm.")
    published = (_Column("paper UP-3D", 1, data=_UP3D), _Column("paper H36M", 1, data=_H36M))
    title = "Table 1: input and 3-D error"
    return _table("inputs", title, "input", people, evaluated, (_PA,), published, notes), {}


def losses(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Table 3: which losses."""
    evaluated = _evaluated(trainings, people, shared.loop, _with_losses(trainings, shared), "losses", "loss ")
    lat = evaluated["lat"]
    turns = [result.of("absolute_rotation") for result in (evaluated["3D"], lat)]
    apart = paired_difference(turns[0], turns[1], lat.clusters)
    notes = [
        _compared(evaluated, "2D", "lat"),
        _compared(evaluated, "3D", "lat"),
        f"Absolute rotations of 3D against lat: {apart.text('+.3f', ' rad')}.",
    ]
    digits = {"paper mm": 1, "paper PCKh": 1, "paper absolute err_quat": 3}
    published = [_Column(heading, count, data=_UP3D) for heading, count in digits.items()]
    title, columns = "Table 3: losses", (_PCKH, *_ROTATIONS)
    return _table("losses", title, "losses", people, evaluated, columns, published, notes), {}


def supervision(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Table 4: how many 3-D labels beside 2-D ones, and its control, the same 3-D labels and nothing else."""
    evaluated = _evaluated(trainings, people, shared.loop, _with_losses(trainings, shared), "supervision")
    shares = [int(str(variant.cells[0])) for variant in VARIANTS["supervision"] if variant.paper]
    controls = {
        share: 1e3 * float(evaluated[f"only {share}"].of("mpjpe").mean())
        for share in shares
        if f"only {share}" in evaluated
    }
    notes = [_compared(evaluated, f"labels {share}", "labels 100", " %") for share in shares[1:]]
    means = [1e3 * float(evaluated[f"labels {share}"].of("mpjpe").mean()) for share in shares]
    curves = {"with 2-D labels of all": means, "no other labels": [controls.get(share, np.nan) for share in shares]}
    plot_curves(folder / "supervision.png", shares, curves, "samples with 3-D labels [%]")
    control = _Column("no 2-D mm", 1, lambda variant, result: controls.get(int(str(variant.cells[0]))))
    published = [_Column("paper mm", 1, data=_UP3D), _Column("paper absolute err_quat", 2, data=_UP3D)]
    title, heading = "Table 4: share of 3-D labels", "3-D labels %"
    tables = _table("supervision", title, heading, people, evaluated, (*_ROTATIONS, control), published, notes)
    return tables, {"supervision.png": "Table 4 as curves"}


def segmenters(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Table 2, the segmenter of training against that of validation, and Figure 3."""
    setups = {name: _segmented(trainings, shared, name) for name in shared.segmenters}
    setups["GT"] = _Setup(shared.network)
    iou = {"GT": 1.0}
    for name, setup in setups.items():
        if setup.segmenter is not None:
            measured = measure_segmenter(people.people, setup.segmenter, stop=trainings.stop)
            iou[name] = float(np.nanmean(measured.iou[1:]))
    paths = {
        name: trainings.networks("parts 12" if name == "GT" else f"with {name}", setup.network, shared.loop)
        for name, setup in setups.items()
    }
    rows: list[list[Cell]] = []
    plots: dict[str, str] = {}
    every: dict[str, EvaluatedSeeds] = {}
    for name, setup in setups.items():
        evaluated = {
            trained: trainings.evaluate(people, weights, setup.source, setup.segmenter)
            for trained, weights in paths.items()
        }
        every |= {f"{trained}, validated with {name}": result for trained, result in evaluated.items()}
        errors = [1e3 * float(result.errors.mpjpe.mean()) for result in evaluated.values()]
        rows.append([name, 100 * iou[name], *errors])
        f1 = evaluated[name].f1
        if f1 is not None:  # the best segmenter comes last and stays
            plot_quality(folder / "f1-error.png", f1, evaluated[name].errors.mpjpe, distance_to_mean(people))
            plots["f1-error.png"] = "Figure 3: F1 of the parts against the error of the joints, darker for harder poses"
    tables = [_segmenter_table("segmenters", "Table 2: segmenters of training and validation, error mm", paths, rows)]
    if agrees(people.people.cache.header, people.split, *_UP3D):
        published = [*VARIANTS["segmenters paper"], *VARIANTS["true parts"]]
        names = [str(variant.cells[0]) for variant in published]
        rows = [[*variant.cells, *variant.paper] for variant in published]
        tables.append(_segmenter_table("segmenters-paper", "Table 2 as the paper has it", names, rows))
    return [*tables, _figures(every)], plots


def _segmenter_table(name: str, title: str, trained: Iterable[str], rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(name, title, ("validated with", "IoU %", *(f"trained with {one}" for one in trained)), rows)


ABLATION_LABELS = ("joints", "unscaled", "parts")
"""Labels of `people.LABELS` that the held-out people must have."""
ABLATIONS: dict[str, Callable[[Trainings, EvaluatedPeople, NbfShared, Path], TablesAndPlots]] = {
    "inputs": inputs,
    "segmenters": segmenters,
    "losses": losses,
    "supervision": supervision,
}
"""Name → what makes its table, with its plots in a folder."""


def _figures(evaluated: Evaluated) -> Table:
    return figures_table(
        {
            (variant, name): summarise(result.of(column), result.clusters).scaled(factor)
            for variant, result in evaluated.items()
            for name, (column, _, factor) in METRICS.items()
        },
        digits=3,
    )


def _compared(evaluated: Evaluated, name: str, other: str, unit: str = "") -> str:
    """A sentence on a paired difference of the joints' errors."""
    values, others = (evaluated[one].of("mpjpe") for one in (name, other))
    clusters = evaluated[name].clusters
    name, other = (one.removeprefix("labels ") + unit for one in (name, other))
    apart = paired_difference(values, others, clusters).scaled(1e3)
    relative = 100 * apart.value / (1e3 * float(others.mean()))
    return f"{name} against {other}: {apart.text('+.1f', ' mm')}, {relative:+.1f} %."


def planned_trainings(name: str, shared: NbfShared) -> list[tuple[Callable[..., Any], Any, TrainOptions]]:
    """Recipe, options and loop of what an ablation trains, networks from true parts: there are no segmenters yet.

    UsageError where segmenters have other parts than the networks.
    """
    used, network = (list(shared.segmenters) if name == "segmenters" else []), shared.network
    if name in ("losses", "supervision"):
        network = replace(network, losses=shared.weights)
        used = list(shared.segmenters)[-1:] if shared.parts == "segmenter" else []
    if any(shared.segmenters[one].segmenter.parts != network.inputs.parts for one in used):
        raise UsageError("segmenters", "predict other parts", expected=f"{network.inputs.parts}, as the networks take")
    variants = VARIANTS.get(name) or (1 + len(used)) * [*VARIANTS["true parts"]]
    networks = [(NbfRecipe, variant.of(network), shared.loop) for variant in variants]
    return [*networks, *((SegmenterRecipe, shared.segmenters[one], shared.segmenter_loop) for one in used)]


def evaluate_ablation(
    name: str,
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 1,
    tune: Callable[[NbfShared], NbfShared] = lambda shared: shared,
) -> Report:
    """One of the paper's tables, trained and evaluated anew; `folder/runs` keeps the trainings, finished or not.

    tune  changes what the preset's trainings share; their body and protocol are those of `selection`, if it has others
    """
    if name not in ABLATIONS:
        raise UsageError("ablation", "is not known", expected=", ".join(ABLATIONS), got=name)
    shared = tune(nbf_shared(preset))
    body = shared.network.body if selection.body == "default" else selection.body
    chosen: dict[str, Any] = {"protocol": selection.protocol} if selection.protocol else {}
    segmenters = {name: replace(training, **chosen) for name, training in shared.segmenters.items()}
    shared = replace(shared, network=replace(shared.network, body=body, **chosen), segmenters=segmenters)
    selection = replace(selection, body=body)
    # The paper evaluates Tables 1 to 4 on UP-3D's validation set.
    selection = replace(selection, usual_splits=("validation", "test"))
    people = selection.people(*ABLATION_LABELS)
    people.require_one_model()
    each = planned_trainings(name, shared)
    planned = sum(seeds if recipe is NbfRecipe else 1 for recipe, *_ in each)
    trainings = Trainings(selection.data, folder / "runs", device, seeds, planned, progress, stop)
    trainings.check(each)
    tables, plots = ABLATIONS[name](trainings, people, shared, folder)
    facts = {
        **selection.facts(),
        **people.facts,
        "preset": preset,
        "seeds": seeds,
        **trainings.facts(people.people.cache, people.people.images),
    }
    return Report(f"Ablation: {name}", facts, {}, tables, plots=plots)
