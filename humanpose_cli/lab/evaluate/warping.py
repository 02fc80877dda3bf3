"""Table 1 of the reposing paper, trained and evaluated anew.

Warping and target pose are in two or three dimensions, with everything else alike.
"""

from __future__ import annotations

from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.evaluate.ablations import PlannedStudy, VariantFigures, study_table
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.people import EvaluationRun
from humanpose_cli.lab.evaluate.protocols import agrees
from humanpose_cli.lab.evaluate.report import Report, figures_table
from humanpose_cli.lab.evaluate.repose import (
    FittedJoints,
    PairParts,
    measure_reposing,
    select_pairs,
    side_by_side,
    warp_method,
)
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings, Weights
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dRecipe, Warp3dTraining
from humanpose_cli.models.warp3d.generator import load_warp3d

WarpingShared = SharedTraining[Warp3dTraining]
_PRESETS = {name: SharedTraining(*preset) for name, preset in WARP3D_PRESETS.items()}
PRESETS = {"ablation": _PRESETS["tiny"], **_PRESETS}


def plan_warping(
    name: str, run: EvaluationRun, shared: WarpingShared, *, pose: bool = True, full_images: bool = False
) -> PlannedStudy:
    """Plan the study of generators that differ in `warping` and `pose` alone.

    Differences are paired over the pairs; intervals are over seeds and the pairs' people or garments.

    Args:
        name: Its name.
        run: The evaluation.
        shared: Options that the trainings share.
        pose: Measure the pose by fitting the new images.
        full_images: Compare complete images, as the paper does, with its figures next to ours.
    """
    study = STUDIES[name]
    size = shared.network.generator.size
    crops, numbers, facts = select_pairs(run.selection, size, full_images=full_images, usual=("random-pairs",))
    if not numbers:
        raise InputError(run.selection.data, "has no pairs to evaluate on")
    numbers = numbers[run.part[0] :: run.part[1]]
    incomplete = run.selection.limit or crops.pairs.missed or facts["pixels"] != 256 or run.part != (0, 1)
    split = "" if incomplete else facts["split"]
    published = full_images and agrees(crops.pairs.cache.header, split, "iper", ("random-pairs/test",))

    def report(trainings: Trainings, weights: Weights) -> Report:
        paths = [path for seeds in weights.values() for path in seeds]
        methods = {str(path): warp_method(load_warp3d(path, trainings.device)) for path in paths}
        parts = PairParts(run, [facts, pose, trainings.seeds, shared])
        options: Any = {"parts": parts, "stop": trainings.stop, "progress": trainings.evaluation}
        with FittedJoints(device=run.device) as joints:
            results = measure_reposing(crops, numbers, methods, joints=joints if pose else None, **options)
        measures: dict[str, VariantFigures] = {}
        figures: dict[tuple[str, str], Summary] = {}
        for label, seeds in weights.items():
            values = [results.values[str(path)] for path in seeds]
            measures[label] = result = VariantFigures.of_seeds(values, results.clusters)
            means = {metric: result.summary(metric) for metric in result.values}
            figures |= {(label, metric): summary for metric, summary in means.items()}
            figures |= {(f"{label}, of all", metric): summary for metric, summary in results.of_all(means).items()}
        ((best, plain),) = (tuple(measures[label] for label in pair) for pair in study.compared)
        notes = results.ceiling_note + [
            f"3d, 3d − 2d, 2d, {metric}: {best.difference(plain, metric).text('+.4f')}."
            for metric, *_ in study.quantities
            if metric in best.values
        ]
        table = study_table("warping", study, measures, notes, paper=tuple(study.paper) if published else ())
        rows = [", ".join(map(str, variant.cells)) for variant in study.variants]
        columns = ["input", "target", *(f"{row}, seed {seed}" for row in rows for seed in range(trainings.seeds))]
        text = "Columns: input; target; of each row of the table (warping, pose) what every seed drew"
        images = {"pairs.jpg": (side_by_side(results, columns), text)}
        lines = {**facts, "pairs": len(numbers), **trainings.facts(crops.pairs.cache, crops.pairs.images(numbers))}
        return Report("Ablation: warping", lines, {}, [table, figures_table(figures, digits=4)], images)

    plan = [PlannedTraining(each.name, Warp3dRecipe, each.of(shared.network), shared.loop) for each in study.variants]
    return PlannedStudy(plan, report)
