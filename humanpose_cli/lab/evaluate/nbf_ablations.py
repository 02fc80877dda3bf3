"""Tables 1 to 4 and Figures 3 to 6 of Neural Body Fitting, trained and evaluated anew.

Variants are evaluated on the same held-out people; intervals are over people and seeds. The paper's figures are shown
if data and split are the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import changed
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.evaluate.ablations import Ablation, Columns, Study, VariantFigures, variants_table
from humanpose_cli.lab.evaluate.bodies import METRICS, constant_pose
from humanpose_cli.lab.evaluate.crops import CropSource, NetworkOnCrops, crop_sheets, distance_to_mean, measure_crops
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, plot_curves, plot_quality
from humanpose_cli.lab.evaluate.segmenter import measure_segmenter
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings
from humanpose_cli.lab.evaluate.variants import VARIANTS, Variant
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
    segmenters = {str(variant.cells[0]): variant.of(base) for variant in VARIANTS[f"segmenters {preset}"]}
    network, loop = NBF_PRESETS[preset]
    if preset == "paper":
        return NbfShared(network, loop, segmenters, segmenter_loop, network.losses, "segmenter")
    return NbfShared(network, loop, segmenters, segmenter_loop)


def _is_up3d(people: EvaluatedPeople) -> bool:
    """Return whether the people are the paper's people of UP-3D."""
    return agrees(people.people.cache.header, people.split, "up3d", ("nbf/validation", "up3d/validation"))


class _Setup(NamedTuple):
    """The training that variants change, and the source of body parts in its evaluation."""

    network: NbfTraining
    source: CropSource = "labels"
    segmenter: Segmenter | None = None


def _with_losses(trainings: Trainings, shared: NbfShared) -> _Setup:
    """Return the setup of Tables 3 and 4: all losses, and parts from labels or the best segmenter."""
    setup = _Setup(shared.network)
    if shared.parts == "segmenter":
        setup = _segmented(trainings, shared, list(shared.segmenters)[-1])
    return setup._replace(network=replace(setup.network, losses=shared.weights))


def _segmented(trainings: Trainings, shared: NbfShared, name: str) -> _Setup:
    """Train a segmenter; return the setup of a body network that learns from its parts."""
    path = trainings.segmenter(f"segmenter {name}", shared.segmenters[name], shared.segmenter_loop)
    segmenter = Segmenter.load(path, trainings.device)
    network = replace(shared.network, source="segmenter", segmenter=str(path), crop=segmenter.options.crop)
    return _Setup(network, "segmenter", segmenter)


def measure_networks(
    trainings: Trainings, people: EvaluatedPeople, weights: Sequence[Path], setup: _Setup
) -> VariantFigures:
    """Measure body networks that were trained from several seeds.

    Args:
        trainings: Runs the trainings.
        people: The held-out people.
        weights: Weights of each seed.
        setup: Source of the body parts.

    Returns:
        The columns of BodyErrors, and `f1` of a segmenter's parts.
    """
    values: dict[str, list[NDArray[np.float64]]] = {}
    for path in weights:
        network = load_nbf(path, segmenter=setup.segmenter, body=people.body_name, device=trainings.device)
        errors, f1 = measure_crops(NetworkOnCrops(people, network, setup.source))
        for name, column in {**errors._asdict(), **({} if f1 is None else {"f1": f1})}.items():
            values.setdefault(name, []).append(column)
    return VariantFigures({name: np.stack(columns) for name, columns in values.items()}, people.clusters)


def _measured(
    trainings: Trainings, people: EvaluatedPeople, loop: TrainOptions, setup: _Setup, name: str, prefix: str = ""
) -> dict[str, VariantFigures]:
    """Train and measure the networks of each variant; `prefix` begins the trainings' names."""
    results = {}
    for variant in VARIANTS[name]:
        weights = trainings.networks(f"{prefix}{variant.name}", variant.of(setup.network), loop)
        results[variant.name] = measure_networks(trainings, people, weights, setup)
    return results


_ERRORS = Columns(
    {"error mm": 1, "median": 1, "95 % from": 1, "to": 1, "n": 0},
    lambda variant, results: results.summary("mpjpe").scaled(1e3).cells,
)
_PA = Columns({"PA mm": 1}, lambda variant, results: (1e3 * results.mean("pa_mpjpe"),))
_PCKH = Columns({"PCKh %": 1}, lambda variant, results: (100 * results.mean("pckh"),))
_ROTATIONS = Columns(
    {"err_quat rad": 3, "absolute err_quat rad": 3},
    lambda variant, results: (results.mean("rotation"), results.mean("absolute_rotation")),
)
"""The paper's is the absolute one (`use_absrot` in mohomran/neural_body_fitting@25308d38)."""


def _constant(people: EvaluatedPeople) -> VariantFigures:
    """Return the figures of the constant pose."""
    errors = constant_pose(people, people.body)
    return VariantFigures({name: values[None] for name, values in errors._asdict().items()}, people.clusters)


def _tables(
    name: str,
    title: str,
    heading: str,
    people: EvaluatedPeople,
    results: Mapping[str, VariantFigures],
    columns: Sequence[Columns],
    paper_digits: Mapping[str, int],
    notes: Sequence[str],
) -> list[Table]:
    """Make a table of the variants without controls, and a table of all figures."""
    # The paper's columns appear next to results on the paper's data only.
    is_h36m = agrees(
        people.people.cache.header, people.split, "h36m", ("nbf/validation",), every=40
    )  # of all four cameras
    paper_columns = {
        name: index
        for index, name in enumerate(paper_digits)
        if (is_h36m if name == "paper H36M" else _is_up3d(people))
    }
    paper = Columns(
        {name: paper_digits[name] for name in paper_columns},
        lambda variant, _: [variant.paper[index] if variant.paper else None for index in paper_columns.values()],
    )
    rows = [(Variant("constant pose", ("constant pose",), {}), _constant(people))]
    rows += [(variant, results[variant.name]) for variant in VARIANTS[name] if variant.paper]
    table = variants_table(name, title, (heading,), rows, (_ERRORS, *columns, paper), notes)
    return [table, _figures(results)]


TablesAndPlots = tuple[list[Table], dict[str, str]]
"""Tables, and plots by file name with a line about each."""


def inputs(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Make Table 1: inputs of the network."""
    results = _measured(trainings, people, shared.loop, _Setup(shared.network), "inputs")
    notes = [_compared(results, "parts 12", other) for other in ("rgb", "parts 1", "parts 6", "parts 24", "joints 24")]
    for name, result in results.items():
        seeds = result.values["mpjpe"].mean(1)
        if len(seeds) > 1:
            notes.append(f"{name}: seeds {', '.join(f'{1e3 * value:.1f}' for value in seeds)} mm.")
    paper = {"paper UP-3D": 1, "paper H36M": 1}
    title = "Table 1: input and 3-D error"
    return _tables("inputs", title, "input", people, results, (_PA,), paper, notes), {}


def losses(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Make Table 3: losses."""
    results = _measured(trainings, people, shared.loop, _with_losses(trainings, shared), "losses", "loss ")
    rotations = results["3D"].difference(results["lat"], "absolute_rotation")
    notes = [
        _compared(results, "2D", "lat"),
        _compared(results, "3D", "lat"),
        f"Absolute rotations of 3D against lat: {rotations.text('+.3f', ' rad')}.",
    ]
    paper = {"paper mm": 1, "paper PCKh": 1, "paper absolute err_quat": 3}
    title = "Table 3: losses"
    columns = (_PCKH, _ROTATIONS)
    return _tables("losses", title, "losses", people, results, columns, paper, notes), {}


def supervision(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Make Table 4: share of 3-D labels in addition to 2-D labels, and its control, the same 3-D labels alone."""
    results = _measured(trainings, people, shared.loop, _with_losses(trainings, shared), "supervision")
    shares = [int(str(variant.cells[0])) for variant in VARIANTS["supervision"] if variant.paper]
    millimetres = {name: 1e3 * float(result.values["mpjpe"].mean()) for name, result in results.items()}
    controls = {str(share): millimetres.get(f"only {share}") for share in shares}
    notes = [_compared(results, f"labels {share}", "labels 100", " %") for share in shares[1:]]
    curves = {
        "with 2-D labels of all": [millimetres[f"labels {share}"] for share in shares],
        "no other labels": [millimetres.get(f"only {share}", np.nan) for share in shares],
    }
    plot_curves(folder / "supervision.png", shares, curves, "samples with 3-D labels [%]")
    control = Columns({"no 2-D mm": 1}, lambda variant, _: (controls.get(str(variant.cells[0])),))
    paper = {"paper mm": 1, "paper absolute err_quat": 2}
    title = "Table 4: share of 3-D labels"
    heading = "3-D labels %"
    columns = (_ROTATIONS, control)
    tables = _tables("supervision", title, heading, people, results, columns, paper, notes)
    return tables, {"supervision.png": "Table 4 as curves"}


def segmenters(trainings: Trainings, people: EvaluatedPeople, shared: NbfShared, folder: Path) -> TablesAndPlots:
    """Make Table 2, segmenters of training against segmenters of validation, and Figures 3 to 6."""
    setups = {name: _segmented(trainings, shared, name) for name in shared.segmenters}
    setups["GT"] = _Setup(shared.network)
    weights = {
        name: trainings.networks("parts 12" if name == "GT" else f"with {name}", setup.network, shared.loop)
        for name, setup in setups.items()
    }
    rows: list[list[Cell]] = [["constant pose", None, *[1e3 * _constant(people).mean("mpjpe")] * len(weights)]]
    plots: dict[str, str] = {}
    figures: dict[str, VariantFigures] = {}
    for name, setup in setups.items():
        iou = 1.0
        if setup.segmenter is not None:
            iou = float(np.nanmean(measure_segmenter(people.people, setup.segmenter, stop=trainings.stop).iou[1:]))
        networks = {
            name_of_training: measure_networks(trainings, people, paths, setup)
            for name_of_training, paths in weights.items()
        }
        figures |= {f"{training}, validated with {name}": network for training, network in networks.items()}
        rows.append([name, 100 * iou, *(1e3 * network.mean("mpjpe") for network in networks.values())])
        values = networks[name].values
        if "f1" in values:  # the best segmenter comes last and stays
            plot_quality(folder / "f1-error.png", values["f1"][0], values["mpjpe"].mean(0), distance_to_mean(people))
            plots["f1-error.png"] = "Figure 3: F1 of the parts against the error of the joints, darker for harder poses"
    for name, figure in ((list(shared.segmenters)[-1], "Figures 4 and 5"), ("GT", "Figure 6")):
        setup = setups[name]
        values = figures[f"{name}, validated with {name}"].values
        mpjpe, pa_mpjpe = (np.asarray(values[column][0], np.float64) for column in ("mpjpe", "pa_mpjpe"))
        network = load_nbf(weights[name][0], segmenter=setup.segmenter, body=people.body_name, device=trainings.device)
        crops = NetworkOnCrops(people, network, setup.source)
        for file, (image, text) in crop_sheets(crops, mpjpe, pa_mpjpe).items():
            write_image(folder / f"{name}-{file}", image)
            plots[f"{name}-{file}"] = f"{figure}, parts of {name}: {text}"
    tables = [_segmenter_table("segmenters", "Table 2: segmenters of training and validation, error mm", weights, rows)]
    if _is_up3d(people):
        paper_variants = [*VARIANTS["segmenters paper"], *VARIANTS["true parts"]]
        names = [str(variant.cells[0]) for variant in paper_variants]
        rows = [[*variant.cells, *variant.paper] for variant in paper_variants]
        tables.append(_segmenter_table("segmenters-paper", "Table 2 as the paper has it", names, rows))
    return [*tables, _figures(figures)], plots


def _segmenter_table(name: str, title: str, trainings: Iterable[str], rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(name, title, ("validated with", "IoU %", *(f"trained with {each}" for each in trainings)), rows)


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


_TABLES: Mapping[str, Callable[[Trainings, EvaluatedPeople, NbfShared, Path], TablesAndPlots]] = {
    "inputs": inputs,
    "segmenters": segmenters,
    "losses": losses,
    "supervision": supervision,
}


def planned_trainings(name: str, shared: NbfShared) -> list[PlannedTraining]:
    """List the trainings of an ablation; networks learn from true parts, since there are no segmenters yet.

    Args:
        name: Name of the ablation.
        shared: Options that the trainings share.

    Raises:
        UsageError: If segmenters predict other parts than the networks take.
    """
    network = shared.network
    names = list(shared.segmenters) if name == "segmenters" else []
    if name in ("losses", "supervision"):
        network = replace(network, losses=shared.weights)
        names = list(shared.segmenters)[-1:] if shared.parts == "segmenter" else []  # the best
    if any(shared.segmenters[one].segmenter.parts != network.inputs.parts for one in names):
        raise UsageError("segmenters", "predict other parts", expected=f"{network.inputs.parts}, as the networks take")
    variants = VARIANTS.get(name) or (1 + len(names)) * [*VARIANTS["true parts"]]
    networks = (PlannedTraining(NbfRecipe, variant.of(network), shared.loop) for variant in variants)
    segmenters = (
        PlannedTraining(SegmenterRecipe, shared.segmenters[one], shared.segmenter_loop, False) for one in names
    )
    return [*networks, *segmenters]


def _study(name: str, run: EvaluationRun, shared: NbfShared) -> Study:
    selection = run.selection
    body = shared.network.body if selection.body == "default" else selection.body
    changes = {"protocol": selection.protocol} if selection.protocol else {}
    segmenter_trainings = {key: changed(training, changes) for key, training in shared.segmenters.items()}
    shared = replace(shared, network=changed(shared.network, {"body": body, **changes}), segmenters=segmenter_trainings)
    # The paper evaluates Tables 1 to 4 on UP-3D's validation set.
    selection = replace(selection, body=body, usual_splits=("validation", "test"))
    people = selection.people(*ABLATION_LABELS)
    people.require_one_model()

    def report(trainings: Trainings) -> Report:
        tables, plots = _TABLES[name](trainings, people, shared, run.folder)
        facts = {**selection.facts(), **people.facts}
        facts |= trainings.facts(people.people.cache, people.people.images)
        return Report(f"Ablation: {name}", facts, {}, tables, plots=plots)

    return Study(planned_trainings(name, shared), report)


NBF_ABLATIONS = {
    f"fit {name}": Ablation({preset: nbf_shared(preset) for preset in ("ablation", "paper")}, partial(_study, name))
    for name in _TABLES
}
