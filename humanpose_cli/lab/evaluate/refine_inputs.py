"""What each rendering adds to the displacement network: the paper's ablation of inputs, trained and evaluated anew.

Short trainings do not converge from random weights; they show more if they continue from a network with all inputs
(`network.start`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.lab.evaluate.ablations import Ablation, Columns, Study, VariantFigures, variants_table
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.people import EvaluationRun, clusters_of
from humanpose_cli.lab.evaluate.report import Report, figures_table
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, SharedTraining, Trainings
from humanpose_cli.lab.evaluate.variants import VARIANTS
from humanpose_cli.lab.recipes.refiner.recipe import REFINER_PRESETS, RefinerRecipe, RefinerTraining

_COLUMNS: Mapping[str, str] = {
    "endpoint_percent": "endpoint error %",
    "sure_percent": "where it is sure %",
    "hidden_percent": "of hidden points %",
    "unmoved_percent": "without displacements %",
    "nearer": "people who come nearer",
}
"""Column of `RefinerRecipe.held_out_errors` → heading; errors are in per cent of the person's size."""


def _study(run: EvaluationRun, shared: SharedTraining[RefinerTraining]) -> Study:
    selection = run.selection
    body = shared.network.body if selection.body == "default" else (selection.body,)
    network = replace(shared.network, protocol=selection.protocol, people=selection.limit, body=body)
    shared = replace(shared, network=network)
    plan = [PlannedTraining(RefinerRecipe, each.of(network), shared.loop) for each in VARIANTS["refine"]]
    return Study(plan, lambda trainings: _report(trainings, shared))


def _report(trainings: Trainings, shared: SharedTraining[RefinerTraining]) -> Report:
    """Train a network for each variant, and compare their endpoint errors on held-out people."""
    loop = shared.loop
    variants = VARIANTS["refine"]
    measures: dict[str, VariantFigures] = {}
    for variant in variants:
        options = variant.of(shared.network)
        paths = trainings.each_seed(RefinerRecipe, variant.name, options, loop)
        results = [_held_out_errors(trainings, options, path, loop.batch_size) for path in paths]
        values = {column: np.stack([errors[column] for errors, _ in results]) for column in _COLUMNS}
        measures[variant.name] = VariantFigures(values, results[0][1])  # the same people for all
    first = measures[variants[0].name]
    figures = {
        (name, heading): result.summary(column)
        for name, result in measures.items()
        for column, heading in _COLUMNS.items()
    }
    means = Columns(
        {heading: 2 + (column == "nearer") for column, heading in _COLUMNS.items()},
        lambda variant, _: [figures[variant.name, heading].value for heading in _COLUMNS.values()],
    )
    change = Columns(
        {"endpoint error against all inputs": 0},
        lambda variant, result: [
            result.difference(first, "endpoint_percent").text("+.2f") if variant.changes else None
        ],
    )
    rows = [(variant, measures[variant.name]) for variant in variants]
    note = f"The last column compares the same people; its 95 % intervals are over seeds and {first.clusters.text}."
    title = "Inputs of the displacement network"
    table = variants_table("refine-inputs", title, ("inputs",), rows, (means, change), (note,))
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


REFINE_INPUTS = Ablation({name: SharedTraining(*preset) for name, preset in REFINER_PRESETS.items()}, _study)
