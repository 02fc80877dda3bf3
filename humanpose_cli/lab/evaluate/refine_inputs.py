"""What each rendering adds to the displacement network: the paper's ablation of inputs, trained and evaluated anew.

Short trainings do not converge from random weights; they show more if they continue from a network with all inputs
(`network.start`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.lab.evaluate.ablations import PlannedStudy, VariantFigures, study_table
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.people import EvaluationRun, clusters_of
from humanpose_cli.lab.evaluate.report import Report, figures_table
from humanpose_cli.lab.evaluate.studies import STUDIES, Study
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings, Weights
from humanpose_cli.lab.recipes.refiner.recipe import REFINER_PRESETS, RefinerRecipe, RefinerTraining

PRESETS = {name: SharedTraining(*preset) for name, preset in REFINER_PRESETS.items()}


def plan_refine_inputs(name: str, run: EvaluationRun, shared: SharedTraining[RefinerTraining]) -> PlannedStudy:
    """Plan the study; see `registry.evaluate_study`."""
    selection = run.selection
    body = shared.network.body if selection.body == "default" else (selection.body,)
    network = replace(shared.network, protocol=selection.protocol, people=selection.limit, body=body)
    shared = replace(shared, network=network)
    study = STUDIES[name]
    plan = [PlannedTraining(each.name, RefinerRecipe, each.of(network), shared.loop) for each in study.variants]
    return PlannedStudy(plan, partial(_report, study, shared))


def _report(study: Study, shared: SharedTraining[RefinerTraining], trainings: Trainings, weights: Weights) -> Report:
    """Compare the endpoint errors of the variants on held-out people."""
    loop = shared.loop
    measures: dict[str, VariantFigures] = {}
    for variant in study.variants:
        options = variant.of(shared.network)
        results = [_held_out_errors(trainings, options, path, loop.batch_size) for path in weights[variant.name]]
        measures[variant.name] = VariantFigures.of_seeds([errors for errors, _ in results], results[0][1])
    first = measures[study.variants[0].name]
    figures = {
        (name, heading): result.summary(quantity.figure)
        for name, result in measures.items()
        for quantity in study.quantities
        for heading in quantity.digits
    }
    changes = {name: result.difference(first, "endpoint_percent").text("+.2f") for name, result in measures.items()}
    note = f"The last column compares the same people; its 95 % intervals are over seeds and {first.clusters.text}."
    heading = "endpoint error against all inputs"
    column = (heading, 0, lambda variant: changes[variant.name] if variant.changes else None)
    table = study_table("refine-inputs", study, measures, [note], column=column)
    facts = {"data": trainings.data.name, "steps": loop.steps, "people": len(first.clusters), **trainings.facts()}
    if shared.network.start:
        facts["start"] = shared.network.start
    return Report("Ablation: inputs of refinement", facts, {}, [table, figures_table(figures, digits=2)])


def _held_out_errors(
    trainings: Trainings, options: RefinerTraining, path: Path, batch_size: int
) -> tuple[Mapping[str, NDArray[np.float32]], Clusters]:
    """Measure a trained network: errors (N,) of the held-out people, and their clusters."""
    recipe = RefinerRecipe(trainings.data, replace(options, start=str(path), encoder=""))
    recipe.model.to(trainings.device).eval()
    errors = {name: values.numpy() for name, values in recipe.held_out_errors(batch_size).items()}
    return errors, clusters_of(recipe.measured)
