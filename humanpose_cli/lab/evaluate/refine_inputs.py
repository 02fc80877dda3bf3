"""What each rendering adds to the displacement network: the paper's ablation of inputs, trained and evaluated anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import PeopleSelection, clusters_of
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
from humanpose_cli.lab.evaluate.variants import VARIANTS, SharedTraining, Trainings
from humanpose_cli.lab.recipes.refiner.recipe import REFINER_PRESETS, RefinerRecipe, RefinerTraining

_COLUMNS: Mapping[str, str] = {
    "endpoint_percent": "endpoint error %",
    "sure_percent": "where it is sure %",
    "hidden_percent": "of hidden points %",
    "unmoved_percent": "without displacements %",
    "nearer": "people who come nearer",
}
"""Column of `RefinerRecipe.held_out_errors` → heading; errors are in per cent of the person's size."""


RefinerShared = SharedTraining[RefinerTraining]


def evaluate_inputs(
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 1,
    tune: Callable[[RefinerShared], RefinerShared] = lambda shared: shared,
) -> Report:
    """Trains a network for each variant and compares their endpoint errors on the cache's held-out people.

    Trainings too short to end well from random weights measure more if they continue those of a network with all inputs
    (`network.start`). `folder/runs` keeps the trainings, finished or not; the table of figures has medians and
    intervals, over `clusters_of` the people and over seeds, beside the means.

    tune  changes what the preset's trainings share
    """
    if preset not in REFINER_PRESETS:
        raise UsageError("preset", "is not known", expected=", ".join(REFINER_PRESETS), got=preset)
    shared = tune(SharedTraining(*REFINER_PRESETS[preset]))
    loop = shared.loop
    body = shared.network.body if selection.body == "default" else (selection.body,)
    options = replace(shared.network, protocol=selection.protocol, people=selection.limit, body=body)
    planned = len(VARIANTS["refine"]) * seeds
    trainings = Trainings(selection.data, folder / "runs", device, seeds, planned, progress, stop)
    trainings.check((RefinerRecipe, variant.of(options), loop) for variant in VARIANTS["refine"])
    rows: list[list[Cell]] = []
    figures: dict[tuple[str, str], Summary] = {}
    with_all: list[NDArray[np.float32]] = []  # errors of the first variant, one array a seed
    for variant in VARIANTS["refine"]:
        changed = variant.of(options)
        paths = trainings.each_seed(RefinerRecipe, variant.name, changed, loop)
        measured = [_held_out_errors(trainings, changed, path, loop.batch_size) for path in paths]
        found, clusters = [errors for errors, _ in measured], measured[0][1]  # the same people for all
        errors = [one["endpoint_percent"] for one in found]
        with_all = with_all or errors
        summaries = {column: summarise([one[column] for one in found], clusters) for column in _COLUMNS}
        change = paired_difference(errors, with_all, clusters)
        means = [summary.value for summary in summaries.values()]
        rows.append([*variant.cells, *means, change.text("+.2f") if variant.changes else None])
        figures |= {(variant.name, heading): summaries[column] for column, heading in _COLUMNS.items()}
    columns = ("inputs", *_COLUMNS.values(), "endpoint error against all inputs")
    title = "Inputs of the displacement network"
    text = f"The last column compares the same people; its 95 % intervals are over seeds and {clusters.text}."
    table = Table("refine-inputs", title, columns, rows, (0, 2, 2, 2, 2, 3, 0), (text,))
    facts = {"data": selection.data.name, "preset": preset, "steps": loop.steps, "seeds": seeds}
    facts |= {"people": len(with_all[0]), **trainings.facts()}
    if options.start:
        facts["start"] = options.start
    return Report("Ablation: inputs of refinement", facts, {}, [table, figures_table(figures, digits=2)])


def _held_out_errors(
    trainings: Trainings, options: RefinerTraining, path: Path, batch_size: int
) -> tuple[Mapping[str, NDArray[np.float32]], Clusters]:
    """Of a trained network, (N,) for the held-out people, and their clusters."""
    recipe = RefinerRecipe(trainings.data, replace(options, start=str(path), encoder=""))
    recipe.model.to(trainings.device).eval()
    errors = {name: values.numpy() for name, values in recipe.held_out_errors(batch_size).items()}
    return errors, clusters_of(recipe.measured)
