"""Table 1 of the reposing paper, trained and evaluated anew: warping and target pose in two or three dimensions,
everything else alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.lab.evaluate.intervals import Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
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
from humanpose_cli.lab.evaluate.variants import VARIANTS, SharedTraining, Trainings
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dRecipe, Warp3dTraining
from humanpose_cli.models.warp3d.generator import load_warp3d

_WARPING_METRICS = ("ssim_uniform", "ssim_fg_uniform", "pose_auc")  # with the windows of the paper
WarpingShared = SharedTraining[Warp3dTraining]


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
    full_images: bool = False,
    tune: Callable[[WarpingShared], WarpingShared] = lambda shared: shared,
) -> Report:
    """Table 1, trained and evaluated anew; `folder/runs` keeps the trainings, finished or not.

    tune   changes what the preset's trainings share
    full_images  compare complete images, as the paper does, and show its figures beside ours
    """
    name = "tiny" if preset == "ablation" else preset
    if name not in WARP3D_PRESETS:
        raise UsageError("preset", "is not known", expected=f"ablation, {', '.join(WARP3D_PRESETS)}", got=preset)
    shared = tune(SharedTraining(*WARP3D_PRESETS[name]))
    crops, numbers, facts = evaluated_pairs(
        selection, shared.network.generator.size, full_images=full_images, usual=("random-pairs",)
    )
    if not numbers:
        raise InputError(selection.data, "has no pairs to evaluate on")
    planned = len(VARIANTS["warping"]) * seeds
    trainings = Trainings(selection.data, folder / "runs", device, seeds, planned, progress, stop)
    trainings.check((Warp3dRecipe, variant.of(shared.network), shared.loop) for variant in VARIANTS["warping"])
    with FittedJoints(device=device) as joints:
        incomplete = selection.limit or crops.pairs.missed or facts["pixels"] != 256
        split = "" if incomplete else facts["split"]
        published = full_images and agrees(crops.pairs.cache.header, split, "iper", ("random-pairs/test",))
        tables, evaluated = warping_table(
            trainings, shared, crops, numbers, joints if pose else None, published=published
        )
    facts |= {
        "pairs": len(numbers),
        "preset": name,
        "seeds": seeds,
        **trainings.facts(crops.pairs.cache, crops.pairs.images(numbers)),
    }
    rows = [", ".join(map(str, variant.cells)) for variant in VARIANTS["warping"]]
    drawn = [f"{row}, seed {seed}" for row in rows for seed in range(seeds)]
    shown = "Columns: input; target; of each row of the table (warping, pose) what every seed drew"
    images = {"pairs.jpg": (side_by_side(evaluated, ["input", "target", *drawn]), shown)}
    return Report("Ablation: warping", facts, {}, tables, images)


def warping_table(
    trainings: Trainings,
    shared: WarpingShared,
    crops: PairCrops,
    numbers: list[int],
    joints: JointEstimator | None,
    *,
    published: bool = False,
) -> tuple[list[Table], EvaluatedReposing]:
    """Trains generators that differ in `warping` and `pose` only and evaluates them on the same pairs.

    published  whether the pairs are the paper's, so that its figures stand beside ours

    Returns the table with that of all figures, and what all trainings drew. Differences are paired over the pairs,
    intervals are over the pairs' people or garments, and seeds.
    """
    paths = {
        variant.name: trainings.each_seed(Warp3dRecipe, variant.name, variant.of(shared.network), shared.loop)
        for variant in VARIANTS["warping"]
    }
    methods: dict[str, Method] = {
        str(path): warping(load_warp3d(path, trainings.device)) for seeds in paths.values() for path in seeds
    }
    evaluated = measure_reposing(
        crops, numbers, methods, joints=joints, stop=trainings.stop, progress=trainings.evaluation
    )
    clusters = evaluated.clusters
    by_variant: dict[str, Mapping[str, NDArray[np.float64]]] = {}
    figures: dict[tuple[str, str], Summary] = {}
    rows: list[list[Cell]] = []
    for variant in VARIANTS["warping"]:
        each = [evaluated.values[str(path)] for path in paths[variant.name]]
        by_variant[variant.name] = values = {name: np.stack([one[name] for one in each]) for name in each[0]}
        found = {name: summarise(value, clusters) for name, value in values.items()}
        figures |= {(variant.name, name): summary for name, summary in found.items()}
        figures |= {(f"{variant.name}, of all", name): summary for name, summary in evaluated.of_all(found).items()}
        ours = [found[name].value if name in found else None for name in _WARPING_METRICS]
        rows.append([*variant.cells, *ours, *(variant.paper if published else ())])
    notes = evaluated.ceiling_note
    best, plain = by_variant["warp 3d pose 3d"], by_variant["warp 2d pose 2d"]
    for name in _WARPING_METRICS:
        if name in best:
            apart = paired_difference(best[name], plain[name], clusters)
            notes.append(f"3d, 3d − 2d, 2d, {name}: {apart.text('+.4f')}.")
    theirs = ("paper SSIM", "paper SSIM_fg", "paper AUC") if published else ()
    columns = ("warping", "pose", "SSIM 7 × 7", "SSIM_fg 7 × 7", "pose AUC", *theirs)
    table = Table("warping", "Table 1: two and three dimensions", columns, rows, 3, notes)
    return [table, figures_table(figures, digits=4)], evaluated
