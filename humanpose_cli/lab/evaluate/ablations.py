"""An ablation: variants that are trained alike, measured on the same people, and compared in a table.

`registry.ABLATIONS` lists all of them, `variants.VARIANTS` what their variants change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluationRun
from humanpose_cli.lab.evaluate.report import Cell, Report, Table
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, Trainings
from humanpose_cli.lab.evaluate.variants import Variant
from humanpose_cli.lab.train.trainer import plan_training

Shared = TypeVar("Shared")


class Study(NamedTuple):
    """An ablation on the people of a cache.

    Attributes:
        planned: All trainings.
        report: Makes the report from the trainings.
        plan: Plan of their trainer, which checks them.
    """

    planned: Sequence[PlannedTraining]
    report: Callable[[Trainings], Report]
    plan: Callable[..., Any] = plan_training


@dataclass(frozen=True)
class Ablation(Generic[Shared]):
    """Variants of one training, which are compared on the same people.

    Attributes:
        presets: Name → options that the trainings share.
        study: Checks the people of an evaluation, whose body and protocol replace those of the trainings.
    """

    presets: Mapping[str, Shared]
    study: Callable[[EvaluationRun, Shared], Study]

    def evaluate(
        self,
        run: EvaluationRun,
        preset: str = "ablation",
        seeds: int = 1,
        tune: Callable[[Shared], Shared] = lambda shared: shared,
        runs: Path | None = None,
    ) -> Report:
        """Train and evaluate the ablation.

        Args:
            run: The evaluation.
            preset: Name of a preset.
            seeds: Number of trainings of each network.
            tune: Changes the options that the trainings share.
            runs: Folder that keeps the trainings, finished or not; None for "runs" in the folder of the evaluation.

        Raises:
            UsageError: If the preset is unknown.
        """
        if preset not in self.presets:
            raise UsageError("preset", "is not known", expected=", ".join(self.presets), got=preset)
        study = self.study(run, tune(self.presets[preset]))
        trainings = Trainings(
            run.selection.data,
            runs or run.folder / "runs",
            run.device,
            seeds,
            planned=sum(seeds if training.seeds else 1 for training in study.planned),
            progress=run.progress,
            stop=run.stop,
        )
        trainings.check(study.planned, study.plan)
        report = study.report(trainings)
        return replace(report, facts={**report.facts, "preset": preset, "seeds": seeds})


class VariantFigures(NamedTuple):
    """Figures of a variant's networks from S seeds, on the same N people or pairs for all variants.

    Attributes:
        values: Name → (S, N).
        clusters: Clusters of the N.
    """

    values: Mapping[str, NDArray[np.floating]]
    clusters: Clusters

    def mean(self, name: str) -> float:
        """Average a figure over seeds and people."""
        return float(self.values[name].mean(0).mean())

    def summary(self, name: str) -> Summary:
        """Summarise a figure over the values that are finite in all trainings."""
        return summarise(self.values[name], self.clusters)

    def difference(self, reference: VariantFigures, name: str) -> Summary:
        """Compare a figure with another variant's, person by person."""
        return paired_difference(self.values[name], reference.values[name], self.clusters)


class Columns(NamedTuple):
    """Adjacent columns of a table.

    Attributes:
        digits: Heading → number of digits.
        cells: Makes a variant's cells.
    """

    digits: Mapping[str, int]
    cells: Callable[[Variant, VariantFigures], Sequence[Cell]]


def variants_table(
    name: str,
    title: str,
    headings: Sequence[str],
    rows: Sequence[tuple[Variant, VariantFigures]],
    columns: Sequence[Columns],
    notes: Sequence[str],
) -> Table:
    """Make a table with a row for each variant.

    Args:
        name: Short name of the table.
        title: Its title.
        headings: Headings of the variants' cells.
        rows: Each variant and its figures.
        columns: Further columns.
        notes: Lines below the table.
    """
    digits = {heading: count for column in columns for heading, count in column.digits.items()}
    cells = [[*row[0].cells, *(cell for column in columns for cell in column.cells(*row))] for row in rows]
    return Table(name, title, (*headings, *digits), cells, (*[0] * len(headings), *digits.values()), notes)
