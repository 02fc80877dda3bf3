"""The trainings of an ablation: each once, resumable, and judged on the same held-out people.

The ablations of Neural Body Fitting: Tables 1 to 4 and Figure 3 of the paper, trained and judged anew.

Table 1 of the reposing paper: warping and target pose in two or three dimensions, everything else alike.
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
from humanpose_cli.evaluate.bodies import CropSource, distance_to_mean, measure_crops
from humanpose_cli.evaluate.people import EvaluatedPeople
from humanpose_cli.evaluate.published import (
    NBF_INPUTS,
    NBF_LOSSES,
    NBF_SEGMENTER_IOU,
    NBF_SEGMENTERS,
    NBF_SUPERVISION,
    WARP3D_ABLATION,
)
from humanpose_cli.evaluate.report import (
    Cell,
    Summary,
    Table,
    paired_difference,
    plot_quality,
    plot_supervision,
    summarise,
)
from humanpose_cli.evaluate.reposing import JointEstimator, Method, measure_reposing, warping
from humanpose_cli.evaluate.segmenter import measure_segmenter
from humanpose_cli.metrics.bodies import BodyErrors
from humanpose_cli.models.nbf.examples import Memory
from humanpose_cli.models.nbf.losses import LossOptions
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.nbf.recipe import NBF_PRESETS, NbfRecipe, NbfTraining
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.models.segmenter.recipe import SEGMENTER_PRESETS, SegmenterRecipe, SegmenterTraining
from humanpose_cli.models.warp3d.generator import load_warp3d
from humanpose_cli.models.warp3d.pairs import PairCrops
from humanpose_cli.models.warp3d.recipe import Warp3dRecipe, Warp3dTraining
from humanpose_cli.train.recipe import Recipe, TrainOptions
from humanpose_cli.train.trainer import BEST, MACHINE_OPTIONS, train

__all__ = [
    "ABLATIONS",
    "Ablated",
    "Ablation",
    "EvaluatedSeeds",
    "NbfVariants",
    "Trainings",
    "WarpingVariants",
    "nbf_variants",
    "warping_table",
]


class EvaluatedSeeds(NamedTuple):
    """Networks of several seeds on N people.

    errors  the mean over the seeds of each person's; f1 (N,) of the parts that were seen, None for true ones
    seeds   (seeds,) metres: mean joint error of each
    """

    errors: BodyErrors
    f1: NDArray[np.float64] | None
    seeds: NDArray[np.float64]


@dataclass
class Trainings:
    """Trains what tables ask for; equal settings are trained once, and finished ones are found again.

    data      cache to learn from; folder where runs go; device
    seeds     of each network; its error is the mean over them
    planned   trainings that will be asked for, to tell how far it is
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
        self._memories: dict[str, Memory] = {}
        self._started = 0

    def segmenter(self, name: str, options: SegmenterTraining, loop: TrainOptions) -> Path:
        """Weights of a trained segmenter."""
        return self._train(name, options, loop, lambda seed: SegmenterRecipe(self.data, options, seed=seed))[0]

    def networks(self, name: str, options: NbfTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a body network trained from each seed."""
        memory = self._memory(options)
        paths = []
        for seed in range(self.seeds):
            seeded = replace(loop, seed=loop.seed + seed)
            paths += self._train(
                name, options, seeded, lambda seed: NbfRecipe(self.data, options, seed=seed, memory=memory)
            )
        return paths

    def reposing(self, name: str, options: Warp3dTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a reposing network trained from each seed."""
        paths = []
        for seed in range(self.seeds):
            seeded = replace(loop, seed=loop.seed + seed)
            paths += self._train(name, options, seeded, lambda seed: Warp3dRecipe(self.data, options, seed=seed))
        return paths

    def judged(
        self,
        people: EvaluatedPeople,
        weights: Sequence[Path],
        source: CropSource = "labels",
        segmenter: Segmenter | None = None,
    ) -> EvaluatedSeeds:
        """Errors of networks trained from several seeds."""
        parts = []
        for path in weights:
            network = load_nbf(path, segmenter=segmenter, body=people.body_name, device=self.device)
            parts.append(measure_crops(people, network, source))
        columns = [np.mean([part.errors[i] for part in parts], 0) for i in range(len(BodyErrors._fields))]
        seeds = np.array([part.errors.mpjpe.mean() for part in parts])
        return EvaluatedSeeds(BodyErrors(*columns), parts[0].f1, seeds)

    def _train(self, name: str, options: Any, loop: TrainOptions, make: Callable[[int], Recipe[Any]]) -> list[Path]:
        self._started += 1
        folder = self.folder / f"{name.replace(' ', '-')}-{_digest(self.data, options, loop)}"
        number = self._started
        if not _finished(folder):
            result = train(
                make(loop.seed),
                loop,
                folder,
                self.device,
                progress=lambda done, total, what: self.progress(
                    done, total, f"{name}, training {number} of {self.planned}: {what}"
                ),
                stop=self.stop,
            )
            if not result.finished:
                raise InterruptedRun()
            (folder / _DONE).write_text(json.dumps({"seconds": result.seconds, "steps": result.step}))
        return [folder / BEST]

    def _memory(self, options: NbfTraining) -> Memory:
        """Examples that trainings share which differ in losses and networks alone."""
        seen = {**asdict(options), "losses": None, "regressor": None, "learning_rate": None, "weight_decay": None}
        key = json.dumps(seen, sort_keys=True, default=str)
        if key not in self._memories:
            self._memories.clear()  # tables go from input to input: one set at a time is enough
            self._memories[key] = {}
        return self._memories[key]


_DONE = "finished.json"


def _finished(folder: Path) -> bool:
    return (folder / _DONE).is_file() and (folder / BEST).is_file()


def _digest(data: Path, options: Any, loop: TrainOptions) -> str:
    """Eight digits that differ where settings do; not where only the place of the data does."""
    settings = [asdict(options), {k: v for k, v in asdict(loop).items() if k not in MACHINE_OPTIONS}, data.name]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


Floats = NDArray[np.float64]
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


@dataclass(frozen=True)
class NbfVariants:
    """What the trainings of a preset share.

    network, loop            of body networks
    segmenters               the paper's name → its training and loop, the worst first
    points3d, points2d       weights of L_3D and L_2D where a table has them, beside 1 of L_lat
    """

    network: NbfTraining
    loop: TrainOptions
    segmenters: Mapping[str, tuple[SegmenterTraining, TrainOptions]]
    points3d: float = 30.0
    points2d: float = 30.0

    def losses(self, latent: bool, points3d: bool, points2d: bool, **more: Any) -> LossOptions:
        """Losses that are on, with the weights of this ablation."""
        return LossOptions(float(latent), self.points3d * points3d, self.points2d * points2d, **more)


def nbf_variants(preset: str) -> NbfVariants:
    """`ablation`: minutes a training on two cores; `paper`: the real thing. UsageError for another name."""
    if preset == "paper":
        network, loop = NBF_PRESETS["paper"]
        base, segmenting = SEGMENTER_PRESETS["paper"]
        names = {"VGG": "deeplab-vgg16", "ResNet": "deeplab-resnet101", "RefineNet": "refinenet-resnet101"}
        segmenters = {
            name: (replace(base, segmenter=replace(base.segmenter, network=kind)), segmenting)
            for name, kind in names.items()
        }
        return NbfVariants(network, loop, segmenters, 1.0, 1.0)
    if preset != "ablation":
        raise UsageError("--preset", "is not known", expected="ablation or paper", got=preset)
    network, loop = NBF_PRESETS["ablation"]
    base, segmenting = SEGMENTER_PRESETS["ablation"]
    kinds: dict[str, dict[str, Any]] = {
        "DeepLab": {"network": "tiny-deeplab"},
        "light": {"network": "tiny"},
        "guided": {"network": "tiny", "guided": True},
    }
    segmenters = {
        name: (replace(base, segmenter=replace(base.segmenter, **kind)), segmenting) for name, kind in kinds.items()
    }
    return NbfVariants(network, loop, segmenters)


@dataclass(frozen=True)
class Ablated:
    """What an ablation found: tables, and plots by file name with a line each."""

    tables: Sequence[Table]
    plots: Mapping[str, str] = field(default_factory=dict)


Run = Callable[[Trainings, EvaluatedPeople, NbfVariants, Path], Ablated]


@dataclass(frozen=True)
class Ablation:
    """One of the paper's tables.

    run        (trainings, held-out people, arms, folder for plots) → tables
    trainings  number of networks and of segmenters that it trains
    needs      labels of `people.LABELS` that the held-out people must have
    """

    run: Run
    trainings: tuple[int, int]
    needs: tuple[str, ...] = ("joints", "parts")


def inputs(trainings: Trainings, people: EvaluatedPeople, arms: NbfVariants, folder: Path) -> Ablated:
    """Table 1: what the network sees."""
    errors: dict[str, Floats] = {}
    pa: dict[str, Floats] = {}
    spread: dict[str, Floats] = {}
    for name, kind in _INPUTS.items():
        options = replace(arms.network, inputs=replace(arms.network.inputs, **kind))
        weights = trainings.networks(name, options, arms.loop)
        judged = trainings.judged(people, weights)
        errors[name], pa[name] = judged.errors.mpjpe, judged.errors.pa_mpjpe
        spread[name] = judged.seeds
    rows: list[list[Cell]] = [
        [name, *_millimetres(summarise(values)), 1e3 * float(pa[name].mean()), *NBF_INPUTS[name]]
        for name, values in errors.items()
    ]
    notes = [_compared("parts 12", other, errors) for other in ("rgb", "parts 1", "parts 6", "parts 24", "joints 24")]
    notes += _seed_notes(spread)
    columns = ("input", "error mm", "95 % from", "to", "PA mm", "paper UP-3D", "paper H36M")
    return Ablated([Table("inputs", "Table 1: input and 3-D error", columns, rows, notes=notes)])


def segmenters(trainings: Trainings, people: EvaluatedPeople, arms: NbfVariants, folder: Path) -> Ablated:
    """Table 2, the segmenter of training against that of validation, and Figure 3."""
    found, iou = {}, {}
    for name, (options, loop) in arms.segmenters.items():
        path = trainings.segmenter(f"segmenter {name}", options, loop)
        found[name] = path, Segmenter.load(path, trainings.device)
        judged = measure_segmenter(people.people, found[name][1], stop=trainings.stop)
        iou[name] = float(np.nanmean(judged.iou[1:])) if judged is not None else float("nan")
    networks = {}
    for name, (path, segmenter) in found.items():
        seen = replace(arms.network, source="segmenter", segmenter=str(path), crop=segmenter.options.crop)
        networks[name] = trainings.networks(f"with {name}", seen, arms.loop)
    networks["GT"] = trainings.networks("parts 12", arms.network, arms.loop)
    rows: list[list[Cell]] = []
    figure = None
    for name in (*found, "GT"):
        row: list[Cell] = [name, 100 * iou[name] if name in iou else 100.0]
        for weights in networks.values():
            source = "labels" if name == "GT" else "segmenter"
            judged_crops = trainings.judged(people, weights, source, None if name == "GT" else found[name][1])  # type: ignore[arg-type]
            row.append(1e3 * float(judged_crops.errors.mpjpe.mean()))
            if weights is networks.get(name) and judged_crops.f1 is not None:
                figure = judged_crops
        rows.append(row)
    columns = ("validated with", "IoU %", *(f"trained with {name}" for name in networks))
    table = Table("segmenters", "Table 2: segmenters of training and validation, error mm", columns, rows)
    plots = {}
    if figure is not None and figure.f1 is not None:
        plot_quality(folder / "f1-error.png", figure.f1, figure.errors.mpjpe, distance_to_mean(people))
        plots["f1-error.png"] = "Figure 3: F1 of the parts against the error of the joints, darker for harder poses"
    return Ablated([table, _published_segmenters()], plots)


def losses(trainings: Trainings, people: EvaluatedPeople, arms: NbfVariants, folder: Path) -> Ablated:
    """Table 3: which losses."""
    rows: list[list[Cell]] = []
    errors: dict[str, Floats] = {}
    rotation: dict[str, Floats] = {}
    for name, terms in _LOSSES.items():
        options = replace(arms.network, losses=arms.losses(*terms))
        judged = trainings.judged(people, trainings.networks(f"loss {name}", options, arms.loop)).errors
        errors[name], rotation[name] = judged.mpjpe, judged.rotation
        ours: list[Cell] = [*_millimetres(summarise(judged.mpjpe)), 100 * float(judged.pckh.mean())]
        rows.append([name, *ours, float(judged.rotation.mean()), *NBF_LOSSES[name]])
    turned = paired_difference(rotation["3D"], rotation["lat"])
    notes = [
        _compared("2D", "lat", errors),
        _compared("3D", "lat", errors),
        f"Rotations of 3D against lat: {turned.value:+.3f} rad ({turned.low:+.3f} to {turned.high:+.3f}).",
    ]
    columns = (
        "losses",
        "error mm",
        "95 % from",
        "to",
        "PCKh %",
        "err_quat rad",
        "paper mm",
        "paper PCKh",
        "paper quat",
    )
    digits = (0, 1, 1, 1, 1, 3, 1, 1, 3)
    return Ablated([Table("losses", "Table 3: losses", columns, rows, digits, notes)])


def supervision(trainings: Trainings, people: EvaluatedPeople, arms: NbfVariants, folder: Path) -> Ablated:
    """Table 4: how many 3-D labels beside 2-D ones, and its control, the same 3-D labels and nothing else."""
    shares = list(NBF_SUPERVISION)
    errors: dict[str, Floats] = {}
    controls: dict[int, float] = {}
    rows: list[list[Cell]] = []
    for share in shares:
        fraction = share / 100
        options = replace(arms.network, losses=arms.losses(share > 0, False, True, fraction_3d=fraction))
        judged = trainings.judged(people, trainings.networks(f"labels {share}", options, arms.loop)).errors
        errors[str(share)] = judged.mpjpe
        control: Cell = None
        if share in _CONTROLS:
            alone = replace(arms.network, losses=arms.losses(True, False, True, fraction_3d=fraction, extra_2d=False))
            without = trainings.judged(people, trainings.networks(f"only {share}", alone, arms.loop)).errors
            control = controls[share] = 1e3 * float(without.mpjpe.mean())
        ours: list[Cell] = [*_millimetres(summarise(judged.mpjpe)), float(judged.rotation.mean()), control]
        rows.append([share, *ours, *NBF_SUPERVISION[share]])
    notes = [_compared(str(share), "100", errors, unit=" %") for share in shares[1:]]
    means = [1e3 * float(values.mean()) for values in errors.values()]
    curves = {"with 2-D labels of all": means, "no other labels": [controls.get(share, np.nan) for share in shares]}
    plot_supervision(folder / "supervision.png", shares, curves)
    columns = ("3-D labels %", "error mm", "95 % from", "to", "err_quat rad", "no 2-D mm", "paper mm", "paper quat")
    table = Table("supervision", "Table 4: share of 3-D labels", columns, rows, (0, 1, 1, 1, 3, 1, 1, 2), notes)
    return Ablated([table], {"supervision.png": "Table 4 as curves"})


ABLATIONS: dict[str, Ablation] = {
    "inputs": Ablation(inputs, (len(_INPUTS), 0)),
    "segmenters": Ablation(segmenters, (4, 3)),
    "losses": Ablation(losses, (len(_LOSSES), 0)),
    "supervision": Ablation(supervision, (len(NBF_SUPERVISION) + len(_CONTROLS), 0)),
}
"""Name → table."""


def _millimetres(summary: Summary) -> tuple[float, float, float]:
    told = summary.scaled(1e3)
    return told.value, told.low, told.high


def _compared(name: str, other: str, errors: Mapping[str, Floats], unit: str = "") -> str:
    """A sentence on a paired difference."""
    apart = paired_difference(errors[name], errors[other]).scaled(1e3)
    relative = 100 * apart.value / (1e3 * float(errors[other].mean()))
    interval = f"{apart.low:+.1f} to {apart.high:+.1f}"
    return f"{name}{unit} against {other}{unit}: {apart.value:+.1f} mm ({interval}), {relative:+.1f} %."


def _seed_notes(spread: Mapping[str, Floats]) -> list[str]:
    return [
        f"{name}: seeds {', '.join(f'{1e3 * value:.1f}' for value in values)} mm."
        for name, values in spread.items()
        if len(values) > 1
    ]


def _published_segmenters() -> Table:
    columns = ("validated with", "IoU %", *(f"trained with {name}" for name in NBF_SEGMENTERS))
    rows: list[list[Cell]] = [
        [name, NBF_SEGMENTER_IOU.get(name, 100.0), *values] for name, values in NBF_SEGMENTERS.items()
    ]
    return Table("segmenters-paper", "Table 2 as the paper has it", columns, rows)


_SHOWN = ("ssim", "ssim_fg", "pose_auc")


@dataclass(frozen=True)
class WarpingVariants:
    """What all trainings share; their generators differ in `warping` and `pose` alone."""

    training: Warp3dTraining
    loop: TrainOptions


def warping_table(
    trainings: Trainings, arms: WarpingVariants, crops: PairCrops, numbers: list[int], joints: JointEstimator | None
) -> Table:
    """Trains the four, judges them on the same pairs, and puts our figures beside the paper's.

    A pair's figure is the mean over the seeds; differences are paired over the pairs.
    """
    found: dict[tuple[str, str], Mapping[str, np.ndarray]] = {}
    for warp, pose in WARP3D_ABLATION:
        generator = replace(arms.training.generator, warping=warp, pose=pose)  # type: ignore[arg-type]
        options = replace(arms.training, generator=generator)
        paths = trainings.reposing(f"warp {warp} pose {pose}", options, arms.loop)
        found[warp, pose] = _judged(paths, crops, numbers, joints, trainings)
    rows: list[list[Cell]] = []
    for key, published in WARP3D_ABLATION.items():
        ours = [float(np.nanmean(found[key][name])) if name in found[key] else None for name in _SHOWN]
        rows.append([key[0], key[1], *ours, *published])
    notes = []
    best, plain = found["3d", "3d"], found["2d", "2d"]
    for name in _SHOWN:
        if name in best:
            apart = paired_difference(best[name], plain[name])
            notes.append(f"3d, 3d − 2d, 2d, {name}: {apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f}).")
    columns = ("warping", "pose", "SSIM", "SSIM_fg", "pose AUC", "paper SSIM", "paper SSIM_fg", "paper AUC")
    return Table("warping", "Table 1: two and three dimensions", columns, rows, 3, notes)


def _judged(
    paths: list[Path], crops: PairCrops, numbers: list[int], joints: JointEstimator | None, trainings: Trainings
) -> dict[str, np.ndarray]:
    """Means over the seeds of each pair's figures."""
    methods: dict[str, Method] = {str(path): warping(load_warp3d(path, trainings.device)) for path in paths}
    judged = measure_reposing(crops, numbers, methods, joints=joints, stop=trainings.stop)
    seeds = list(judged.values.values())
    return {name: np.mean([its[name] for its in seeds], 0) for name in seeds[0]}
