"""Table 1 of the reposing paper: warping and target pose in two or three dimensions, everything else alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from humanpose_cli.errors import InterruptedRun
from humanpose_cli.evaluation.ablations.arms import Trainings
from humanpose_cli.evaluation.published import WARP3D_ABLATION
from humanpose_cli.evaluation.reposing import JointEstimator, Method, judge_reposing, warping
from humanpose_cli.evaluation.statistics import paired_difference
from humanpose_cli.evaluation.tables import Cell, Table
from humanpose_cli.reposing.warp3d.inference import load_warp3d
from humanpose_cli.training.options import TrainOptions
from humanpose_cli.training.recipes.warp3d import Warp3dTraining
from humanpose_cli.training.recipes.warp3d_pairs import PairCrops

__all__ = ["WarpingArms", "warping_table"]

_SHOWN = ("ssim", "ssim_fg", "pose_auc")


@dataclass(frozen=True)
class WarpingArms:
    """What all trainings share; their generators differ in `warping` and `pose` alone."""

    training: Warp3dTraining
    loop: TrainOptions


def warping_table(
    trainings: Trainings, arms: WarpingArms, crops: PairCrops, numbers: list[int], joints: JointEstimator | None
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
    judged = judge_reposing(crops, numbers, methods, joints=joints, stop=trainings.stop)
    if judged is None:
        raise InterruptedRun()
    seeds = list(judged.values.values())
    return {name: np.mean([its[name] for its in seeds], 0) for name in seeds[0]}
