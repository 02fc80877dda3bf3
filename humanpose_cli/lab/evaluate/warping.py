"""Table 1 of the reposing paper, trained and evaluated anew: warping and target pose in two or three dimensions,
everything else alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.io.atomic import ensure_folder
from humanpose_cli.lab.evaluate.ablations import Trainings
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.published import agrees
from humanpose_cli.lab.evaluate.report import (
    Cell,
    Report,
    Summary,
    Table,
    difference_of_seeds,
    figures_table,
    summarise_seeds,
)
from humanpose_cli.lab.evaluate.repose import (
    EvaluatedReposing,
    FittedJoints,
    JointEstimator,
    Method,
    evaluated_pairs,
    measure_reposing,
    side_by_side,
    warping,
)
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.warp3d.config import Space
from humanpose_cli.models.warp3d.generator import load_warp3d

WARP3D_ABLATION: dict[tuple[str, str], tuple[float, float, float]] = {
    ("2d", "2d"): (0.872, 0.566, 0.698),
    ("2d", "3d"): (0.875, 0.578, 0.749),
    ("3d", "2d"): (0.877, 0.607, 0.749),
    ("3d", "3d"): (0.883, 0.626, 0.777),
}
"""Table 1 of the reposing paper: (warping, target pose) → SSIM, SSIM_fg, pose AUC on iPER."""
_DIMENSIONS: tuple[Space, ...] = ("2d", "3d")
_WARPING_METRICS = ("ssim_uniform", "ssim_fg_uniform", "pose_auc")  # with the windows of the paper


@dataclass(frozen=True)
class WarpingVariants:
    """What the trainings of generators share, but for `warping` and `pose`."""

    network: Warp3dTraining
    loop: TrainOptions


def evaluate_warping(
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 2,
    pose: bool = True,
    whole: bool = False,
    tune: Callable[[WarpingVariants], WarpingVariants] = lambda variants: variants,
) -> Report:
    """Table 1, trained and evaluated anew; `folder/runs` keeps the trainings, finished or not.

    tune   changes what the preset's trainings share
    whole  compare whole images, as the paper does, and show its figures beside ours
    """
    name = "tiny" if preset == "ablation" else preset
    if name not in WARP3D_PRESETS:
        raise UsageError("preset", "is not known", expected=f"ablation, {', '.join(WARP3D_PRESETS)}", got=preset)
    variants = tune(WarpingVariants(*WARP3D_PRESETS[name]))
    crops, numbers, facts = evaluated_pairs(
        selection, variants.network.generator.size, whole=whole, usual=("random-pairs",)
    )
    if not numbers:
        raise InputError(selection.data, "has no pairs to evaluate on")
    runs = ensure_folder(folder / "runs")
    trainings = Trainings(selection.data, runs, torch.device(device), seeds, 4 * seeds, progress, stop)
    with FittedJoints(device=device) as joints:
        split = "" if selection.limit else facts["split"]
        published = whole and agrees(crops.pairs.cache.header, split, "iper", ("random-pairs/validation",))
        tables, evaluated = warping_table(
            trainings, variants, crops, numbers, joints if pose else None, published=published
        )
    facts |= {"pairs": len(numbers), "preset": name, "seeds": seeds}
    rows = product(_DIMENSIONS, _DIMENSIONS)
    drawn = [f"{warp}, {pose}, seed {seed}" for warp, pose in rows for seed in range(seeds)]
    shown = "Columns: input; target; of each row of the table (warping, pose) what every seed drew"
    images = {"pairs.jpg": (side_by_side(evaluated, ["input", "target", *drawn]), shown)}
    return Report("Ablation: warping", facts, {}, tables, images)


def warping_table(
    trainings: Trainings,
    variants: WarpingVariants,
    crops: PairCrops,
    numbers: list[int],
    joints: JointEstimator | None,
    *,
    published: bool = False,
) -> tuple[list[Table], EvaluatedReposing]:
    """Trains four generators that differ in `warping` and `pose` alone and evaluates them on the same pairs; what all
    trainings drew comes second.

    published  whether the pairs are the paper's, whose figures then stand beside ours

    Differences are paired over the pairs, and intervals over pairs and seeds alike.
    """
    paths: dict[tuple[Space, Space], list[Path]] = {}
    for warp, pose in product(_DIMENSIONS, _DIMENSIONS):
        generator = replace(variants.network.generator, warping=warp, pose=pose)
        variant = replace(variants.network, generator=generator)
        paths[warp, pose] = trainings.reposing(f"warp {warp} pose {pose}", variant, variants.loop)
    methods: dict[str, Method] = {
        str(path): warping(load_warp3d(path, trainings.device)) for seeds in paths.values() for path in seeds
    }
    evaluated = measure_reposing(
        crops, numbers, methods, joints=joints, stop=trainings.stop, progress=trainings.progress
    )
    by_variant: dict[tuple[str, str], Mapping[str, NDArray[np.float64]]] = {}
    figures: dict[tuple[str, str], Summary] = {}
    rows: list[list[Cell]] = []
    for (warp, pose), seeds in paths.items():
        each = [evaluated.values[str(path)] for path in seeds]
        by_variant[warp, pose] = values = {name: np.stack([one[name] for one in each]) for name in each[0]}
        found = {name: summarise_seeds(value) for name, value in values.items()}
        figures |= {(f"warp {warp} pose {pose}", name): summary for name, summary in found.items()}
        ours = [found[name].value if name in found else None for name in _WARPING_METRICS]
        rows.append([warp, pose, *ours, *(WARP3D_ABLATION[warp, pose] if published else ())])
    notes = evaluated.ceiling_note
    best, plain = by_variant["3d", "3d"], by_variant["2d", "2d"]
    for name in _WARPING_METRICS:
        if name in best:
            apart = difference_of_seeds(best[name], plain[name])
            notes.append(f"3d, 3d − 2d, 2d, {name}: {apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f}).")
    theirs = ("paper SSIM", "paper SSIM_fg", "paper AUC") if published else ()
    columns = ("warping", "pose", "SSIM 7 × 7", "SSIM_fg 7 × 7", "pose AUC", *theirs)
    table = Table("warping", "Table 1: two and three dimensions", columns, rows, 3, notes)
    return [table, figures_table(figures, digits=4)], evaluated
