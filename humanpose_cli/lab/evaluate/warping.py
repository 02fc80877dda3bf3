"""Table 1 of the reposing paper, trained and evaluated anew.

Warping and target pose are in two or three dimensions, with everything else alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.evaluate.ablations import Ablation, Columns, Study, VariantFigures, variants_table
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.pair_parts import PairParts
from humanpose_cli.lab.evaluate.people import EvaluationRun
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Report, Table, figures_table
from humanpose_cli.lab.evaluate.repose import (
    EvaluatedReposing,
    FittedJoints,
    JointEstimator,
    measure_reposing,
    select_pairs,
    side_by_side,
    warp_method,
)
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings
from humanpose_cli.lab.evaluate.variants import VARIANTS
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dRecipe, Warp3dTraining
from humanpose_cli.models.warp3d.generator import load_warp3d

# Heading → metric; the first three are the paper's.
_METRICS = {
    "SSIM 7 × 7": "ssim_uniform",
    "SSIM_fg of capsules": "ssim_fg_capsules",
    "pose AUC": "pose_auc",
    "SSIM_fg of true mask": "ssim_fg_uniform",
}
WarpingShared = SharedTraining[Warp3dTraining]


def warping_ablation(*, pose: bool = True, full_images: bool = False) -> Ablation[WarpingShared]:
    """Make the ablation.

    Args:
        pose: Measure the pose by fitting the new images.
        full_images: Compare complete images, as the paper does, with its figures next to ours.
    """
    presets = {name: SharedTraining(*preset) for name, preset in WARP3D_PRESETS.items()}
    return Ablation({"ablation": presets["tiny"], **presets}, partial(_study, pose, full_images))


def _study(pose: bool, full_images: bool, run: EvaluationRun, shared: WarpingShared) -> Study:
    size = shared.network.generator.size
    crops, numbers, facts = select_pairs(run.selection, size, full_images=full_images, usual=("random-pairs",))
    if not numbers:
        raise InputError(run.selection.data, "has no pairs to evaluate on")
    numbers = numbers[run.part[0] :: run.part[1]]
    incomplete = run.selection.limit or crops.pairs.missed or facts["pixels"] != 256 or run.part != (0, 1)
    split = "" if incomplete else facts["split"]
    published = full_images and agrees(crops.pairs.cache.header, split, "iper", ("random-pairs/test",))

    def report(trainings: Trainings) -> Report:
        with FittedJoints(device=run.device) as joints:
            tables, results = warping_table(
                trainings,
                shared,
                crops,
                numbers,
                joints if pose else None,
                published=published,
                parts=PairParts(run, [facts, pose, trainings.seeds, shared]),
            )
        weights = trainings.facts(crops.pairs.cache, crops.pairs.images(numbers))
        rows = [", ".join(map(str, variant.cells)) for variant in VARIANTS["warping"]]
        columns = ["input", "target", *(f"{row}, seed {seed}" for row in rows for seed in range(trainings.seeds))]
        text = "Columns: input; target; of each row of the table (warping, pose) what every seed drew"
        images = {"pairs.jpg": (side_by_side(results, columns), text)}
        return Report("Ablation: warping", {**facts, "pairs": len(numbers), **weights}, {}, tables, images)

    plan = [PlannedTraining(Warp3dRecipe, each.of(shared.network), shared.loop) for each in VARIANTS["warping"]]
    return Study(plan, report)


def warping_table(
    trainings: Trainings,
    shared: WarpingShared,
    crops: PairCrops,
    numbers: Sequence[int],
    joints: JointEstimator | None,
    *,
    published: bool = False,
    parts: PairParts | None = None,
) -> tuple[list[Table], EvaluatedReposing]:
    """Train generators that differ in `warping` and `pose` alone, and evaluate them on the same pairs.

    Differences are paired over the pairs; intervals are over seeds and the pairs' people or garments.

    Args:
        trainings: Runs the trainings.
        shared: Options that the trainings share.
        crops: The pairs.
        numbers: Numbers of the pairs to evaluate.
        joints: Estimator of poses; None measures no poses.
        published: Whether the pairs are the paper's, so that its figures are added.
        parts: See `measure_reposing`.

    Returns:
        The table, the table of all figures, and the evaluation of all trainings.
    """
    variants = VARIANTS["warping"]
    paths = {
        variant.name: trainings.each_seed(Warp3dRecipe, variant.name, variant.of(shared.network), shared.loop)
        for variant in variants
    }
    methods = {
        str(path): warp_method(load_warp3d(path, trainings.device)) for seeds in paths.values() for path in seeds
    }
    results = measure_reposing(
        crops, numbers, methods, joints=joints, parts=parts, stop=trainings.stop, progress=trainings.evaluation
    )
    measures: dict[str, VariantFigures] = {}
    summaries: dict[str, Mapping[str, Summary]] = {}
    figures: dict[tuple[str, str], Summary] = {}
    for variant in variants:
        seeds = [results.values[str(path)] for path in paths[variant.name]]
        result = VariantFigures({name: np.stack([seed[name] for seed in seeds]) for name in seeds[0]}, results.clusters)
        measures[variant.name] = result
        summaries[variant.name] = means = {name: result.summary(name) for name in result.values}
        figures |= {(variant.name, name): summary for name, summary in means.items()}
        figures |= {(f"{variant.name}, of all", name): summary for name, summary in results.of_all(means).items()}
    notes = results.ceiling_note
    best = measures["warp 3d pose 3d"]
    plain = measures["warp 2d pose 2d"]
    for name in _METRICS.values():
        if name in best.values:
            notes.append(f"3d, 3d − 2d, 2d, {name}: {best.difference(plain, name).text('+.4f')}.")
    figures_columns = Columns(
        dict.fromkeys(_METRICS, 3),
        lambda variant, _: [
            summaries[variant.name][name].value if name in summaries[variant.name] else None
            for name in _METRICS.values()
        ],
    )
    paper = Columns(dict.fromkeys(("paper SSIM", "paper SSIM_fg", "paper AUC"), 3), lambda variant, _: variant.paper)
    rows = [(variant, measures[variant.name]) for variant in variants]
    columns = (figures_columns, paper) if published else (figures_columns,)
    title = "Table 1: two and three dimensions"
    table = variants_table("warping", title, ("warping", "pose"), rows, columns, notes)
    return [table, figures_table(figures, digits=4)], results
