"""Ablations: the trainings that papers' tables compare, and Tables 1 to 4 and Figure 3 of Neural Body Fitting.

Each training runs once, can be resumed, and is evaluated on the same held-out people. Intervals are over people and
seeds alike. The paper's own figures stand beside ours where data and split are the paper's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.atomic import ensure_folder, write_json
from humanpose_cli.lab.evaluate.bodies import METRICS, CropSource, EvaluatedCrops, distance_to_mean, measure_crops
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, PeopleSelection
from humanpose_cli.lab.evaluate.published import agrees
from humanpose_cli.lab.evaluate.report import (
    Cell,
    Report,
    Table,
    difference_of_seeds,
    figures_table,
    plot_quality,
    plot_supervision,
    summarise_seeds,
)
from humanpose_cli.lab.evaluate.segmenter import measure_segmenter
from humanpose_cli.lab.metrics.bodies import BodyErrors
from humanpose_cli.lab.recipes.nbf.examples import Memory
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS, NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.refiner.recipe import RefinerRecipe, RefinerTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SEGMENTER_PRESETS, SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.recipes.warp3d.recipe import Warp3dRecipe, Warp3dTraining
from humanpose_cli.lab.train.recipe import Recipe, TrainOptions
from humanpose_cli.lab.train.trainer import BEST, train
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.segmenter.network import Segmenter

NBF_INPUTS: dict[str, tuple[float, float]] = {
    "rgb": (98.5, 48.9),
    "parts 1": (95.5, 43.0),
    "parts 3": (36.5, 37.5),
    "parts 6": (29.4, 36.2),
    "parts 12": (27.8, 33.5),
    "parts 24": (28.8, 31.8),
    "joints 14": (28.8, 33.4),
    "joints 24": (27.7, 33.4),
}
"""Table 1 of Neural Body Fitting: input → err_joints3D in millimetres on UP-3D and Human3.6M."""
NBF_SEGMENTER_IOU = {"VGG": 57.0, "ResNet": 53.2, "RefineNet": 67.1}
"""Section 4.3, in the order in which it names them: IoU on UP-3D's validation set, percent. Table 2 makes ResNet the
better of the DeepLabs; the sentence lists the figures 67.1, 57.0 and 53.2 for RefineNet, VGG and ResNet."""
NBF_SEGMENTERS: dict[str, tuple[float, float, float, float]] = {
    "VGG": (107.2, 119.9, 135.5, 140.7),
    "ResNet": (97.1, 96.3, 112.2, 115.6),
    "RefineNet": (89.6, 89.9, 82.0, 83.3),
    "GT": (62.3, 60.5, 35.7, 27.8),
}
"""Table 2: segmenter in validation → err_joints3D of networks trained with VGG, ResNet, RefineNet and true parts."""
NBF_LOSSES: dict[str, tuple[float, float, float]] = {
    "lat": (83.7, 93.1, 0.278),
    "lat + 3D": (82.3, 93.4, 0.280),
    "lat + 2D": (83.1, 93.5, 0.278),
    "lat + 3D + 2D": (82.0, 93.5, 0.279),
    "3D": (83.7, 93.5, 1.962),
    "2D": (198.0, 94.0, 1.971),
}
"""Table 3: losses → err_joints3D, PCKh, err_quat."""
NBF_SUPERVISION: dict[int, tuple[float, float]] = {
    100: (83.1, 0.28),
    50: (82.8, 0.28),
    20: (82.8, 0.27),
    10: (83.6, 0.28),
    5: (84.5, 0.29),
    2: (88.1, 0.30),
    1: (93.9, 0.33),
    0: (198.0, 1.97),
}
"""Table 4: percentage of samples with 3-D labels → err_joints3D, err_quat."""
_INPUTS: dict[str, dict[str, Any]] = {
    "rgb": {"kind": "rgb"},
    **{f"parts {count}": {"kind": "parts", "parts": count} for count in (1, 3, 6, 12, 24)},
    **{f"joints {count}": {"kind": "joints", "joints": count} for count in (14, 24)},
}
_LOSSES = {
    "lat": (True, False, False),
    "lat + 3D": (True, True, False),
    "lat + 2D": (True, False, True),
    "lat + 3D + 2D": (True, True, True),
    "3D": (False, True, False),
    "2D": (False, False, True),
}
_CONTROLS = (20, 5, 2)  # percent of 3-D labels, and nothing of the others
_DONE = "finished.json"
Floats = NDArray[np.float64]


class EvaluatedSeeds(NamedTuple):
    """Networks of several seeds on N people.

    each  of every seed; f1 (N,) of a segmenter's parts, None for true ones
    """

    each: Sequence[BodyErrors]
    f1: Floats | None

    @property
    def errors(self) -> BodyErrors:
        """The mean over the seeds of each person's."""
        return BodyErrors(*(np.mean(columns, 0) for columns in zip(*self.each, strict=True)))

    @property
    def seeds(self) -> Floats:
        """(seeds,) metres: mean joint error of each."""
        return np.array([errors.mpjpe.mean() for errors in self.each])

    def of(self, name: str) -> Floats:
        """A column of the errors (seeds, N)."""
        return np.stack([getattr(errors, name) for errors in self.each])


@dataclass
class Trainings:
    """The trainings that tables need. Equal settings are trained once, and finished trainings are reused.

    data      cache to learn from; folder where runs go; device
    seeds     of each network; its error is the mean over them
    planned   number of trainings that tables will need, for the progress
    progress  called after every step of a training
    stop      asked after every step; True ends with InterruptedRun, and the same call goes on later
    """

    data: Path
    folder: Path
    device: torch.device
    seeds: int = 1
    planned: int = 0
    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._started = 0
        # Examples that trainings share which differ in losses and networks alone: tables go from input to input, so
        # one set at a time is enough.
        self._memory: tuple[str, Memory] = ("", {})

    def segmenter(self, name: str, options: SegmenterTraining, loop: TrainOptions) -> Path:
        """Weights of a trained segmenter."""
        return self._train(name, options, loop, lambda seed: SegmenterRecipe(self.data, options, seed=seed))

    def networks(self, name: str, options: NbfTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a body network trained from each seed."""
        shared = {**asdict(options), "losses": None, "regressor": None, "learning_rate": None, "weight_decay": None}
        key = json.dumps(shared, sort_keys=True, default=str)
        if key != self._memory[0]:
            self._memory = key, {}
        return self._of_each_seed(
            name, options, loop, lambda seed: NbfRecipe(self.data, options, seed=seed, memory=self._memory[1])
        )

    def reposing(self, name: str, options: Warp3dTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a reposing network trained from each seed."""
        return self._of_each_seed(name, options, loop, lambda seed: Warp3dRecipe(self.data, options, seed=seed))

    def refiners(self, name: str, options: RefinerTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a displacement network trained from each seed."""
        return self._of_each_seed(name, options, loop, lambda seed: RefinerRecipe(self.data, options, seed=seed))

    def evaluate(
        self,
        people: EvaluatedPeople,
        weights: Sequence[Path],
        source: CropSource = "labels",
        segmenter: Segmenter | None = None,
    ) -> EvaluatedSeeds:
        """Errors of body networks trained from several seeds."""
        parts: list[EvaluatedCrops] = []
        for path in weights:
            network = load_nbf(path, segmenter=segmenter, body=people.body_name, device=self.device)
            parts.append(measure_crops(people, network, source))
        return EvaluatedSeeds([part.errors for part in parts], parts[0].f1)

    def _of_each_seed(
        self, name: str, options: Any, loop: TrainOptions, make: Callable[[int], Recipe[Any]]
    ) -> list[Path]:
        loops = [replace(loop, seed=loop.seed + number) for number in range(self.seeds)]
        return [self._train(name, options, one, make) for one in loops]

    def _train(self, name: str, options: Any, loop: TrainOptions, make: Callable[[int], Recipe[Any]]) -> Path:
        """The best weights of one training; `make` turns its seed into a recipe where it has not finished before."""
        self._started += 1
        # A moved cache is the same data.
        text = json.dumps([asdict(options), loop.result_settings, self.data.name], sort_keys=True, default=str)
        folder = self.folder / f"{name.replace(' ', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        if not (folder / _DONE).is_file() or not (folder / BEST).is_file():

            def progress(done: int, total: int | None, what: str) -> None:
                self.progress(done, total, f"{name}, training {self._started} of {self.planned}: {what}")

            result = train(make(loop.seed), loop, folder, self.device, progress=progress, stop=self.stop)
            if not result.finished:
                raise InterruptedRun()
            write_json(folder / _DONE, {"steps": result.step})
        return folder / BEST


@dataclass(frozen=True)
class NbfVariants:
    """What the trainings of a preset share.

    network, loop            of body networks
    segmenters               the paper's name → its training and loop, the worst first
    weights                  of L_lat, L_3D and L_2D where Tables 3 and 4 have them
    parts                    where the networks of Tables 3 and 4 take body parts from: the labels, or the last of the
                             segmenters, as in the paper
    """

    network: NbfTraining
    loop: TrainOptions
    segmenters: Mapping[str, tuple[SegmenterTraining, TrainOptions]]
    weights: LossOptions = field(default_factory=lambda: LossOptions(1.0, 30.0, 30.0))
    parts: CropSource = "labels"


def nbf_variants(preset: str) -> NbfVariants:
    """`ablation`: minutes a training on two cores; `paper`: settings and networks of the paper and its authors' code.

    UsageError for another name.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = {
        "paper": {
            "VGG": {"network": "deeplab-vgg16"},
            "ResNet": {"network": "deeplab-resnet101"},
            "RefineNet": {"network": "refinenet-resnet101"},
        },
        "ablation": {
            "DeepLab": {"network": "tiny-deeplab"},
            "light": {"network": "tiny"},
            "guided": {"network": "tiny", "guided": True},
        },
    }
    if preset not in kinds:
        raise UsageError("preset", "is not known", expected="ablation or paper", got=preset)
    base, loop = SEGMENTER_PRESETS[preset]
    segmenters = {
        name: (replace(base, segmenter=replace(base.segmenter, **kind)), loop) for name, kind in kinds[preset].items()
    }
    network, loop = NBF_PRESETS[preset]
    if preset == "paper":
        return NbfVariants(network, loop, segmenters, network.losses, "segmenter")
    return NbfVariants(network, loop, segmenters)


class _LossTable(NamedTuple):
    """What the networks of Tables 3 and 4 have in common: where their body parts come from, and what they weigh."""

    network: NbfTraining
    source: CropSource
    segmenter: Segmenter | None
    weights: LossOptions

    def network_with(self, latent: bool, points3d: bool, points2d: bool, **more: Any) -> NbfTraining:
        """A network with some of the losses."""
        w = self.weights
        losses = LossOptions(w.latent * latent, w.points3d * points3d, w.points2d * points2d, **more)
        return replace(self.network, losses=losses)


def _loss_table(trainings: Trainings, variants: NbfVariants) -> _LossTable:
    if variants.parts == "labels":
        return _LossTable(variants.network, "labels", None, variants.weights)
    name = list(variants.segmenters)[-1]
    network, segmenter = _segmented(trainings, variants, name)
    return _LossTable(network, "segmenter", segmenter, variants.weights)


def _segmented(trainings: Trainings, variants: NbfVariants, name: str) -> tuple[NbfTraining, Segmenter]:
    """A body network's training through the parts of a trained segmenter, and this."""
    path = trainings.segmenter(f"segmenter {name}", *variants.segmenters[name])
    segmenter = Segmenter.load(path, trainings.device)
    crop = segmenter.options.crop
    return replace(variants.network, source="segmenter", segmenter=str(path), crop=crop), segmenter


TablesAndPlots = tuple[list[Table], dict[str, str]]
"""Tables, and plots by file name with a line each."""


def inputs(trainings: Trainings, people: EvaluatedPeople, variants: NbfVariants, folder: Path) -> TablesAndPlots:
    """Table 1: the input of the network."""
    evaluated: dict[str, EvaluatedSeeds] = {}
    for name, kind in _INPUTS.items():
        options = replace(variants.network, inputs=replace(variants.network.inputs, **kind))
        evaluated[name] = trainings.evaluate(people, trainings.networks(name, options, variants.loop))
    errors = {name: result.of("mpjpe") for name, result in evaluated.items()}
    published = _agreeing(people, {"paper UP-3D": _UP3D, "paper H36M": _H36M})
    rows: list[list[Cell]] = [
        [
            name,
            *_millimetres(errors[name]),
            1e3 * float(result.errors.pa_mpjpe.mean()),
            *(NBF_INPUTS[name][column] for column in published.values()),
        ]
        for name, result in evaluated.items()
    ]
    notes = [_compared("parts 12", other, errors) for other in ("rgb", "parts 1", "parts 6", "parts 24", "joints 24")]
    for name, result in evaluated.items():
        if len(result.seeds) > 1:
            notes.append(f"{name}: seeds {', '.join(f'{1e3 * value:.1f}' for value in result.seeds)} mm.")
    columns = ("input", *_MILLIMETRES, "PA mm", *published)
    figures = _figures(evaluated)
    return [Table("inputs", "Table 1: input and 3-D error", columns, rows, notes=notes), figures], {}


def segmenters(trainings: Trainings, people: EvaluatedPeople, variants: NbfVariants, folder: Path) -> TablesAndPlots:
    """Table 2, the segmenter of training against that of validation, and Figure 3."""
    validators: dict[str, tuple[CropSource, Segmenter | None, float]] = {}
    networks = {}
    for name in variants.segmenters:
        networks[name], segmenter = _segmented(trainings, variants, name)
        iou = float(np.nanmean(measure_segmenter(people.people, segmenter, stop=trainings.stop).iou[1:]))
        validators[name] = "segmenter", segmenter, iou
    paths = {name: trainings.networks(f"with {name}", options, variants.loop) for name, options in networks.items()}
    paths["GT"] = trainings.networks("parts 12", variants.network, variants.loop)
    validators["GT"] = "labels", None, 1.0
    rows: list[list[Cell]] = []
    plots: dict[str, str] = {}
    every: dict[str, EvaluatedSeeds] = {}
    for name, (source, validator, iou) in validators.items():
        evaluated = {
            trained: trainings.evaluate(people, weights, source, validator) for trained, weights in paths.items()
        }
        every |= {f"{trained}, validated with {name}": result for trained, result in evaluated.items()}
        rows.append([name, 100 * iou, *(1e3 * float(result.errors.mpjpe.mean()) for result in evaluated.values())])
        f1 = evaluated[name].f1
        if f1 is not None:  # the best segmenter comes last and stays
            plot_quality(folder / "f1-error.png", f1, evaluated[name].errors.mpjpe, distance_to_mean(people))
            plots["f1-error.png"] = "Figure 3: F1 of the parts against the error of the joints, darker for harder poses"
    columns = ("validated with", "IoU %", *(f"trained with {name}" for name in paths))
    table = Table("segmenters", "Table 2: segmenters of training and validation, error mm", columns, rows)
    if not _agreeing(people, {"paper": _UP3D}):
        return [table, _figures(every)], plots
    columns = ("validated with", "IoU %", *(f"trained with {name}" for name in NBF_SEGMENTERS))
    rows = [[name, NBF_SEGMENTER_IOU.get(name, 100.0), *values] for name, values in NBF_SEGMENTERS.items()]
    return [table, Table("segmenters-paper", "Table 2 as the paper has it", columns, rows), _figures(every)], plots


def losses(trainings: Trainings, people: EvaluatedPeople, variants: NbfVariants, folder: Path) -> TablesAndPlots:
    """Table 3: which losses."""
    rows: list[list[Cell]] = []
    errors: dict[str, Floats] = {}
    rotation: dict[str, Floats] = {}
    table = _loss_table(trainings, variants)
    published = _agreeing(people, dict.fromkeys(("paper mm", "paper PCKh", "paper quat"), _UP3D))
    evaluated: dict[str, EvaluatedSeeds] = {}
    for name, terms in _LOSSES.items():
        weights = trainings.networks(f"loss {name}", table.network_with(*terms), variants.loop)
        evaluated[name] = trainings.evaluate(people, weights, table.source, table.segmenter)
        error = evaluated[name].errors
        errors[name], rotation[name] = (evaluated[name].of(column) for column in ("mpjpe", "rotation"))
        pckh, quaternion = 100 * float(error.pckh.mean()), float(error.rotation.mean())
        ours: list[Cell] = [*_millimetres(errors[name]), pckh, quaternion]
        rows.append([name, *ours, *(NBF_LOSSES[name][column] for column in published.values())])
    apart = difference_of_seeds(rotation["3D"], rotation["lat"])
    notes = [
        _compared("2D", "lat", errors),
        _compared("3D", "lat", errors),
        f"Rotations of 3D against lat: {apart.value:+.3f} rad ({apart.low:+.3f} to {apart.high:+.3f}).",
    ]
    columns = ("losses", *_MILLIMETRES, "PCKh %", "err_quat rad", *published)
    digits = (0, 1, 1, 1, 1, 0, 1, 3, *(1, 1, 3)[: len(published)])
    return [Table("losses", "Table 3: losses", columns, rows, digits, notes), _figures(evaluated)], {}


def supervision(trainings: Trainings, people: EvaluatedPeople, variants: NbfVariants, folder: Path) -> TablesAndPlots:
    """Table 4: how many 3-D labels beside 2-D ones, and its control, the same 3-D labels and nothing else."""
    shares = list(NBF_SUPERVISION)
    errors: dict[str, Floats] = {}
    controls: dict[int, float] = {}
    rows: list[list[Cell]] = []
    common = _loss_table(trainings, variants)
    published = _agreeing(people, dict.fromkeys(("paper mm", "paper quat"), _UP3D))
    evaluated: dict[str, EvaluatedSeeds] = {}

    def measure(name: str, options: NbfTraining) -> EvaluatedSeeds:
        weights = trainings.networks(name, options, variants.loop)
        evaluated[name] = trainings.evaluate(people, weights, common.source, common.segmenter)
        return evaluated[name]

    for share in shares:
        fraction = share / 100
        measured = measure(f"labels {share}", common.network_with(share > 0, False, True, fraction_3d=fraction))
        errors[str(share)] = measured.of("mpjpe")
        if share in _CONTROLS:
            options = common.network_with(True, False, True, fraction_3d=fraction, extra_2d=False)
            controls[share] = 1e3 * float(measure(f"only {share}", options).of("mpjpe").mean())
        ours: list[Cell] = [*_millimetres(errors[str(share)]), float(measured.of("rotation").mean())]
        theirs = (NBF_SUPERVISION[share][column] for column in published.values())
        rows.append([share, *ours, controls.get(share), *theirs])
    notes = [_compared(str(share), "100", errors, unit=" %") for share in shares[1:]]
    means = [1e3 * float(values.mean()) for values in errors.values()]
    curves = {"with 2-D labels of all": means, "no other labels": [controls.get(share, np.nan) for share in shares]}
    plot_supervision(folder / "supervision.png", shares, curves)
    columns = ("3-D labels %", *_MILLIMETRES, "err_quat rad", "no 2-D mm", *published)
    digits = (0, 1, 1, 1, 1, 0, 3, 1, *(1, 2)[: len(published)])
    table = Table("supervision", "Table 4: share of 3-D labels", columns, rows, digits, notes)
    return [table, _figures(evaluated)], {"supervision.png": "Table 4 as curves"}


class Ablation(NamedTuple):
    """One of the paper's tables.

    run         (trainings, held-out people, variants, folder for plots) → tables and plots
    networks, segmenters  number that it trains; of `losses`, one segmenter more where variants take parts from it
    losses      whether it compares losses
    """

    run: Callable[[Trainings, EvaluatedPeople, NbfVariants, Path], TablesAndPlots]
    networks: int
    segmenters: int = 0
    losses: bool = False


ABLATION_LABELS = ("joints", "parts")
"""Labels of `people.LABELS` that the held-out people must have."""
ABLATIONS = {
    "inputs": Ablation(inputs, len(_INPUTS)),
    "segmenters": Ablation(segmenters, 4, 3),
    "losses": Ablation(losses, len(_LOSSES), losses=True),
    "supervision": Ablation(supervision, len(NBF_SUPERVISION) + len(_CONTROLS), losses=True),
}
"""Name → table."""


_MILLIMETRES = ("error mm", "median", "95 % from", "to", "n")
_UP3D = ("up3d", ("nbf/validation", "up3d/validation"), 1)
_H36M = ("h36m", ("nbf/validation",), 10)


def _millimetres(errors: Floats) -> tuple[float, float, float, float, int]:
    """Of errors (seeds, N) in metres: `_MILLIMETRES`."""
    summary = summarise_seeds(errors).scaled(1e3)
    return summary.value, summary.median, summary.low, summary.high, summary.n


def _agreeing(people: EvaluatedPeople, columns: Mapping[str, tuple[str, tuple[str, ...], int]]) -> dict[str, int]:
    """Those of the paper's columns that are of the same data and split, which alone stand beside ours, and their rows.

    columns  heading → source, splits, and frames apart
    """
    header = people.people.cache.header
    return {
        heading: number
        for number, (heading, (source, splits, every)) in enumerate(columns.items())
        if agrees(header, people.split, source, splits, every)
    }


def _figures(evaluated: Mapping[str, EvaluatedSeeds]) -> Table:
    return figures_table(
        {
            (variant, name): summarise_seeds(result.of(column)).scaled(factor)
            for variant, result in evaluated.items()
            for name, (column, _, factor) in METRICS.items()
        },
        digits=3,
    )


def _compared(name: str, other: str, errors: Mapping[str, Floats], unit: str = "") -> str:
    """A sentence on a paired difference."""
    apart = difference_of_seeds(errors[name], errors[other]).scaled(1e3)
    relative = 100 * apart.value / (1e3 * float(errors[other].mean()))
    interval = f"{apart.low:+.1f} to {apart.high:+.1f}"
    return f"{name}{unit} against {other}{unit}: {apart.value:+.1f} mm ({interval}), {relative:+.1f} %."


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
    tune: Callable[[NbfVariants], NbfVariants] = lambda variants: variants,
) -> Report:
    """One of the paper's tables, trained and evaluated anew; `folder/runs` keeps the trainings, finished or not.

    tune  changes what the preset's trainings share
    """
    if name not in ABLATIONS:
        raise UsageError("ablation", "is not known", expected=", ".join(ABLATIONS), got=name)
    ablation, variants = ABLATIONS[name], tune(nbf_variants(preset))
    # As the paper, which judges Tables 1 to 4 on UP-3D's validation set.
    selection = replace(selection, usual_splits=("validation", "test"))
    people = selection.people(*ABLATION_LABELS)
    planned = ablation.networks * seeds + ablation.segmenters
    planned += ablation.losses and variants.parts == "segmenter"
    runs = ensure_folder(folder / "runs")
    trainings = Trainings(selection.data, runs, torch.device(device), seeds, planned, progress, stop)
    tables, plots = ablation.run(trainings, people, variants, folder)
    facts = {**selection.facts(), "joints": people.joints.text, "truth": people.truth, "people": len(people)}
    facts |= {"preset": preset, "seeds": seeds}
    return Report(f"Ablation: {name}", facts, {}, tables, plots=plots)
