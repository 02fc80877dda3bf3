"""Runs the ablations of `hpc evaluate`, which `studies.STUDIES` lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.evaluate import deform_and_learn_ablations, nbf_ablations, refine_inputs, warping
from humanpose_cli.lab.evaluate.ablations import PlannedStudy
from humanpose_cli.lab.evaluate.people import EvaluationRun
from humanpose_cli.lab.evaluate.report import Report
from humanpose_cli.lab.evaluate.trainings import Trainings, Weights
from humanpose_cli.lab.train.comparison import CURVES, compare_runs, read_run
from humanpose_cli.lab.train.history import HISTORY, pixels_of

_FAMILIES: Mapping[str, tuple[Mapping[str, Any], Callable[..., PlannedStudy]]] = {
    "fit deform-": (deform_and_learn_ablations.PRESETS, deform_and_learn_ablations.plan_deform),
    "fit": (nbf_ablations.PRESETS, nbf_ablations.plan_nbf),
    "repose": (warping.PRESETS, warping.plan_warping),
    "refine": (refine_inputs.PRESETS, refine_inputs.plan_refine_inputs),
}
"""First words of a study's name, of which the first that fits counts → options that its trainings share, and the check
of the people of an evaluation, whose body and protocol replace those of the trainings."""


def evaluate_study(
    name: str,
    run: EvaluationRun,
    preset: str = "ablation",
    seeds: int = 1,
    tune: Callable[[Any], Any] = lambda shared: shared,
    runs: Path | None = None,
    **measures: Any,
) -> Report:
    """Train and evaluate the variants of a study.

    Args:
        name: Name in `STUDIES`.
        run: The evaluation.
        preset: Name of a preset.
        seeds: Number of trainings of each network.
        tune: Changes the options that the trainings share.
        runs: Folder that keeps the trainings, finished or not; None for "runs" in the folder of the evaluation.
        **measures: Further arguments of the check.

    Raises:
        UsageError: If the preset is unknown.
    """
    presets, plan = next(family for words, family in _FAMILIES.items() if name.startswith(words))
    if preset not in presets:
        raise UsageError("preset", "is not known", expected=", ".join(presets), got=preset)
    study = plan(name, run, tune(presets[preset]), **measures)
    trainings = Trainings(
        run.selection.data,
        runs or run.folder / "runs",
        run.device,
        study.planned,
        seeds,
        run.progress,
        run.stop,
    )
    trainings.check(study.plan)
    weights = trainings.run(study.trainer)
    report = study.report(trainings, weights)
    images = {**report.images, **_curves(weights)}
    return replace(report, facts={**report.facts, "preset": preset, "seeds": seeds}, images=images)


def _curves(weights: Weights) -> dict[str, tuple[NDArray[np.uint8], str]]:
    """Draw the curves of the trainings of some weights; those of deform-and-learn have their own plots."""
    runs = {
        name if len(paths) == 1 else f"{name} {number}": path.parent
        for name, paths in weights.items()
        for number, path in enumerate(paths, 1)
        if (path.parent / HISTORY).exists()
    }
    if not runs:
        return {}
    figure = compare_runs({name: read_run(run) for name, run in runs.items()})
    return {CURVES: (pixels_of(figure), "Losses and held-out metrics of the trainings")}
