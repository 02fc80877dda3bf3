"""What each rendering tells the displacement network: the paper's ablation of inputs, trained and evaluated anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.io.atomic import ensure_folder
from humanpose_cli.lab.evaluate.ablations import Trainings
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.report import (
    Cell,
    Report,
    Summary,
    Table,
    difference_of_seeds,
    figures_table,
    summarise_seeds,
)
from humanpose_cli.lab.recipes.refiner.recipe import REFINER_PRESETS, RefinerRecipe, RefinerTraining
from humanpose_cli.lab.train.recipe import TrainOptions

_INPUTS: Mapping[str, str] = {
    "all inputs": "",
    "without texture": "texture",
    "without depth": "depth",
    "without normals": "normals",
    "without vertex colours": "colours",
}
"""Variant → the field of `DisplacementOptions` that is False."""
_COLUMNS: Mapping[str, str] = {
    "endpoint_percent": "endpoint error %",
    "sure_percent": "where it is sure %",
    "hidden_percent": "of hidden points %",
    "unmoved_percent": "without displacements %",
    "nearer": "people who come nearer",
}
"""Column of `RefinerRecipe.held_out_errors` → heading; errors are in per cent of the person's size."""


@dataclass(frozen=True)
class RefinerVariants:
    """What the trainings of displacement networks share, but for the inputs."""

    network: RefinerTraining
    loop: TrainOptions


def evaluate_inputs(
    selection: PeopleSelection,
    preset: str,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int = 1,
    tune: Callable[[RefinerVariants], RefinerVariants] = lambda variants: variants,
) -> Report:
    """Trains a network for each variant and compares their endpoint errors on the cache's held-out people.

    Trainings too short to end well from random weights say more from a whole network's (`network.start`), of which each
    leaves out an input. `folder/runs` keeps the trainings, finished or not; the means of the table stand with medians
    and intervals, over people and seeds, in the table of figures.

    tune  changes what the preset's trainings share
    """
    if preset not in REFINER_PRESETS:
        raise UsageError("preset", "is not known", expected=", ".join(REFINER_PRESETS), got=preset)
    variants = tune(RefinerVariants(*REFINER_PRESETS[preset]))
    loop = variants.loop
    options = replace(variants.network, protocol=selection.protocol, people=selection.limit)
    runs = ensure_folder(folder / "runs")
    trainings = Trainings(selection.data, runs, torch.device(device), seeds, len(_INPUTS) * seeds, progress, stop)
    rows: list[list[Cell]] = []
    figures: dict[tuple[str, str], Summary] = {}
    whole: list[NDArray[np.float32]] = []
    for name, left_out in _INPUTS.items():
        network = replace(options.network, **{left_out: False}) if left_out else options.network
        variant = replace(options, network=network)
        found = [
            _held_out_errors(trainings, variant, path, loop.batch_size)
            for path in trainings.refiners(name, variant, loop)
        ]
        errors = [one["endpoint_percent"] for one in found]
        whole = whole or errors
        told = {column: summarise_seeds([one[column] for one in found]) for column in _COLUMNS}
        change = difference_of_seeds(errors, whole)
        text = f"{change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f})"
        rows.append([name, *(summary.value for summary in told.values()), text if left_out else None])
        figures |= {(name, heading): told[column] for column, heading in _COLUMNS.items()}
    columns = ("inputs", *_COLUMNS.values(), "endpoint error against all inputs")
    title = "Inputs of the displacement network"
    text = "The last column compares the same people; its 95 % intervals are over people and seeds."
    table = Table("refine-inputs", title, columns, rows, (0, 2, 2, 2, 2, 3, 0), (text,))
    facts = {"data": selection.data.name, "preset": preset, "steps": loop.steps, "seeds": seeds}
    if options.start:
        facts["start"] = options.start
    return Report("Ablation: inputs of refinement", facts, {}, [table, figures_table(figures, digits=2)])


def _held_out_errors(
    trainings: Trainings, options: RefinerTraining, path: Path, batch_size: int
) -> Mapping[str, NDArray[np.float32]]:
    """Of a trained network, (N,) for the held-out people."""
    recipe = RefinerRecipe(trainings.data, replace(options, start=str(path), encoder=""))
    recipe.model.to(trainings.device).eval()
    return {name: values.numpy() for name, values in recipe.held_out_errors(batch_size).items()}
