"""The ablations of Neural Body Fitting: Tables 1 to 4 and Figure 3 of the paper, trained and judged anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import UsageError
from humanpose_cli.evaluation.ablations.arms import Trainings
from humanpose_cli.evaluation.crops import distance_to_mean
from humanpose_cli.evaluation.people import JudgedPeople
from humanpose_cli.evaluation.plots import plot_quality, plot_supervision
from humanpose_cli.evaluation.published import (
    NBF_INPUTS,
    NBF_LOSSES,
    NBF_SEGMENTER_IOU,
    NBF_SEGMENTERS,
    NBF_SUPERVISION,
)
from humanpose_cli.evaluation.segmenters import judge_segmenter
from humanpose_cli.evaluation.statistics import Summary, paired_difference, summarise
from humanpose_cli.evaluation.tables import Cell, Table
from humanpose_cli.fitting.nbf.losses import LossOptions
from humanpose_cli.fitting.nbf.segmenter import Segmenter
from humanpose_cli.training.options import TrainOptions
from humanpose_cli.training.recipes.nbf_options import NbfTraining, nbf_preset
from humanpose_cli.training.recipes.segmenter import SEGMENTER_PRESETS, SegmenterTraining

__all__ = ["ABLATIONS", "Ablated", "Ablation", "NbfArms", "nbf_arms"]

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
class NbfArms:
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


def nbf_arms(preset: str) -> NbfArms:
    """`ablation`: minutes a training on two cores; `paper`: the real thing. UsageError for another name."""
    if preset == "paper":
        network, loop = nbf_preset("paper")
        base, segmenting = SEGMENTER_PRESETS["paper"]
        names = {"VGG": "deeplab-vgg16", "ResNet": "deeplab-resnet101", "RefineNet": "refinenet-resnet101"}
        segmenters = {
            name: (replace(base, segmenter=replace(base.segmenter, network=kind)), segmenting)
            for name, kind in names.items()
        }
        return NbfArms(network, loop, segmenters, 1.0, 1.0)
    if preset != "ablation":
        raise UsageError("--preset", "is not known", expected="ablation or paper", got=preset)
    network, loop = nbf_preset("ablation")
    base, segmenting = SEGMENTER_PRESETS["ablation"]
    kinds: dict[str, dict[str, Any]] = {
        "DeepLab": {"network": "tiny-deeplab"},
        "light": {"network": "tiny"},
        "guided": {"network": "tiny", "guided": True},
    }
    segmenters = {
        name: (replace(base, segmenter=replace(base.segmenter, **kind)), segmenting) for name, kind in kinds.items()
    }
    return NbfArms(network, loop, segmenters)


@dataclass(frozen=True)
class Ablated:
    """What an ablation found: tables, and plots by file name with a line each."""

    tables: Sequence[Table]
    plots: Mapping[str, str] = field(default_factory=dict)


Run = Callable[[Trainings, JudgedPeople, NbfArms, Path], Ablated]


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


def inputs(trainings: Trainings, people: JudgedPeople, arms: NbfArms, folder: Path) -> Ablated:
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


def segmenters(trainings: Trainings, people: JudgedPeople, arms: NbfArms, folder: Path) -> Ablated:
    """Table 2, the segmenter of training against that of validation, and Figure 3."""
    found, iou = {}, {}
    for name, (options, loop) in arms.segmenters.items():
        path = trainings.segmenter(f"segmenter {name}", options, loop)
        found[name] = path, Segmenter.load(path, trainings.device)
        judged = judge_segmenter(people.people, found[name][1], stop=trainings.stop)
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


def losses(trainings: Trainings, people: JudgedPeople, arms: NbfArms, folder: Path) -> Ablated:
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


def supervision(trainings: Trainings, people: JudgedPeople, arms: NbfArms, folder: Path) -> Ablated:
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
