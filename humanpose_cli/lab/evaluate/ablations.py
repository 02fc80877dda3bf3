"""An ablation: the variants of a study are trained alike, measured on the same people, and compared in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.report import Cell, Report, Table
from humanpose_cli.lab.evaluate.studies import Study, Variant
from humanpose_cli.lab.evaluate.trainings import PlannedTraining, Trainings, Weights
from humanpose_cli.lab.train.trainer import TrainResult, plan_training, train


class PlannedStudy(NamedTuple):
    """A study on the people of a cache.

    Attributes:
        planned: All trainings.
        report: Makes the report from the trainings and their weights.
        plan: Plan of their trainer, which checks them.
        trainer: Their trainer.
    """

    planned: Sequence[PlannedTraining]
    report: Callable[[Trainings, Weights], Report]
    plan: Callable[..., Any] = plan_training
    trainer: Callable[..., TrainResult] = train


class VariantFigures(NamedTuple):
    """Figures of a variant's networks from S seeds, on the same N people or pairs for all variants.

    Attributes:
        values: Name → (S, N).
        clusters: Clusters of the N.
    """

    values: Mapping[str, NDArray[np.floating]]
    clusters: Clusters

    @classmethod
    def of_seeds(cls, seeds: Sequence[Mapping[str, NDArray[np.floating]]], clusters: Clusters) -> VariantFigures:
        """Stack the figures (N,) of each seed."""
        return cls({name: np.stack([values[name] for values in seeds]) for name in seeds[0]}, clusters)

    def mean(self, name: str) -> float:
        """Average a figure over seeds and people."""
        return float(self.values[name].mean(0).mean())

    def summary(self, name: str) -> Summary:
        """Summarise a figure over the values that are finite in all trainings."""
        return summarise(self.values[name], self.clusters)

    def difference(self, reference: VariantFigures, name: str) -> Summary:
        """Compare a figure with another variant's, person by person."""
        return paired_difference(self.values[name], reference.values[name], self.clusters)


Column = tuple[str, int, Callable[[Variant], Cell]]
"""Heading, digits and cells."""


def study_table(
    name: str,
    study: Study,
    figures: Mapping[str, VariantFigures],
    notes: Sequence[str],
    *,
    shown: Sequence[Variant] | None = None,
    paper: Sequence[str] = (),
    column: Column | None = None,
) -> Table:
    """Make a table with a row for each variant.

    Args:
        name: Short name of the table.
        study: The study.
        figures: Name of a variant → its figures.
        notes: Lines below the table.
        shown: Variants to show; None for all of the study.
        paper: Headings of `Study.paper` to show.
        column: A further column before the paper's.
    """
    digits = dict.fromkeys(study.headings, 0)
    for quantity in study.quantities:
        digits |= quantity.digits
    if column is not None:
        digits[column[0]] = column[1]
    digits |= {heading: study.paper[heading] for heading in paper}
    rows: list[list[Cell]] = []
    for variant in study.variants if shown is None else shown:
        result = figures[variant.name]
        row: list[Cell] = [*variant.cells]
        for figure, headings, factor in study.quantities:
            known = figure in result.values
            row += result.summary(figure).scaled(factor).cells[: len(headings)] if known else [None] * len(headings)
        row += [] if column is None else [column[2](variant)]
        row += [variant.paper[[*study.paper].index(heading)] if variant.paper else None for heading in paper]
        rows.append(row)
    return Table(name, study.title, tuple(digits), rows, tuple(digits.values()), notes)
