"""Several methods on the same people: `hpc evaluate compare`.

Methods differ by less than people do, so their means are compared person by person: the interval of the mean difference
is over sequences or people (`lab.evaluate.intervals`), for the people that all methods detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import part_of
from humanpose_cli.lab.evaluate.bodies import METRICS, EvaluatedFits, Match, measure_fits
from humanpose_cli.lab.evaluate.intervals import Summary, paired_difference, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun
from humanpose_cli.lab.evaluate.predictions import fits_from_files, match_by_tracks, predictions_digest
from humanpose_cli.lab.evaluate.protocols import BodyProtocol, apply_protocol
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table, save_plot
from humanpose_cli.lab.metrics.bodies import BodyErrors
from humanpose_cli.lab.metrics.counts import FEW
from humanpose_cli.outputs.atomic import ensure_folder

PLOT = "differences.png"


def compare_predictions(run: EvaluationRun, predictions: Sequence[Path], *, match: Match = "boxes") -> Report:
    """Compare two or more sets of predictions on the same people: their errors, and how each differs from the first.

    Args:
        run: The evaluation.
        predictions: Folders or files, as `evaluate_predictions` takes them.
        match: See `evaluate_predictions`.

    Raises:
        UsageError: If there are fewer than two.
    """
    names = method_names(predictions)
    if len(names) < 2:
        raise UsageError("predictions", "are of one method", expected="two or more", remedy="hpc evaluate fit")
    selection, protocol = apply_protocol(run.selection, BodyProtocol)
    people = selection.people(joints=selection.joint_set())
    hands = {"mean_hands": selection.mean_hands}
    cache = people.people.cache
    body = load_body(selection.body, **hands)
    fits = [fits_from_files(path, cache, body, selection.models, **hands) for path in predictions]
    fits_by_name: dict[str, EvaluatedFits] = {}
    for number, (name, fit) in enumerate(zip(names, fits, strict=True)):
        fit = match_by_tracks(people, fit) if match == "tracks" else fit
        part = part_of(run.progress, number / len(names), (number + 1) / len(names))
        fits_by_name[name] = measure_fits(people, fit, body, protocol=protocol, stop=run.stop, progress=part)
    digests = {
        f"predictions {name}": f"digest {predictions_digest(path)[:16]}"
        for name, path in zip(names, predictions, strict=True)
    }
    facts = {**selection.facts(), **people.facts, "matched by": match, **digests}
    return comparison_report(people, fits_by_name, facts, run.folder, protocol)


def comparison_report(
    people: EvaluatedPeople,
    fits: Mapping[str, EvaluatedFits],
    facts: Mapping[str, Any],
    folder: Path,
    protocol: BodyProtocol | None = None,
) -> Report:
    """Report on methods, the first of which the others are compared with.

    Args:
        people: People with their truth.
        fits: Name of a method → its fits.
        facts: Lines of the report.
        folder: Folder of the report.
        protocol: Protocol of published figures.
    """
    common = reduce(np.intersect1d, [method.rows for method in fits.values()])
    clusters = people.clusters.taken(common)
    errors = {name: _of_people(method, common) for name, method in fits.items()}
    first = next(iter(errors))
    means: dict[tuple[str, str], Summary] = {}
    differences: dict[tuple[str, str], Summary] = {}
    for name, columns in errors.items():
        for metric, (column, _, factor) in METRICS.items():
            values, first_values = (getattr(part, column) for part in (columns, errors[first]))
            means[name, metric] = summarise(values, clusters).scaled(factor)
            if name != first:
                differences[name, metric] = paired_difference(values, first_values, clusters).scaled(factor)
    rows: list[list[Cell]] = []
    for name, method in fits.items():
        figures = [means[name, metric].value for metric in METRICS]
        rows.append([name, 100 * len(method.rows) / max(len(people), 1), *figures])
    note = f"Means over the {len(common)} people that every method found, of {len(people)}."
    methods = Table("methods", "Methods", ("method", "found %", *METRICS), rows, (0, 1, *[2] * len(METRICS)), [note])
    facts = dict(facts) if protocol is None else {**facts, **protocol.facts}
    metrics = {f"{metric}_{name}": summary for (name, metric), summary in differences.items()}
    tables = [methods, _differences(differences, first, clusters.text), figures_table(means, digits=3)]
    plot_differences(ensure_folder(folder) / PLOT, differences, means, first)
    text = f"Mean differences from {first} in per cent of its mean, with 95 % intervals over {clusters.text}"
    return Report("Comparison of fits", facts, metrics, tables, plots={PLOT: text})


def _of_people(fits: EvaluatedFits, rows: NDArray[np.int64]) -> BodyErrors:
    """Select the errors of the people in some rows, who were all detected, in their order."""
    order = np.argsort(fits.rows, kind="stable")
    return fits.errors.taken(order[np.searchsorted(fits.rows[order], rows)])


def _differences(differences: Mapping[tuple[str, str], Summary], first: str, over: str) -> Table:
    rows: list[list[Cell]] = []
    for (name, metric), summary in differences.items():
        more_is_better = metric == "pckh"
        lower = summary.high < 0
        higher = summary.low > 0
        better, worse = (higher, lower) if more_is_better else (lower, higher)
        verdict = "better" if better else "worse" if worse else "no difference shown"
        verdict += ", of few" if summary.clusters < FEW else ""
        figures: list[Cell] = [summary.value, summary.low, summary.high, summary.n]
        rows.append([f"{name} − {first}", metric, *figures, verdict if summary.n else None])
    columns = ("methods", "metric", "difference", "95 % from", "to", "n", "verdict")
    notes = [f"Paired, person by person; intervals are over {over}."]
    return Table("differences", "Differences", columns, rows, (0, 0, 3, 3, 3, 0, 0), notes)


def plot_differences(
    path: Path,
    differences: Mapping[tuple[str, str], Summary],
    means: Mapping[tuple[str, str], Summary],
    first: str,
) -> None:
    """Draw each difference from the first method in per cent of that method's mean, with its interval.

    Args:
        path: File of the plot.
        differences: (method, metric) → difference from the first method.
        means: (method, metric) → mean.
        first: Name of the first method.
    """
    from matplotlib.figure import Figure

    methods_with_differences = [
        (f"{name}: {metric}", summary.scaled(100 / means[first, metric].value))
        for (name, metric), summary in differences.items()
        if summary.n and means[first, metric].value
    ]
    figure = Figure(figsize=(7, 1.2 + 0.28 * max(len(methods_with_differences), 1)), layout="constrained")
    panel = figure.subplots()
    for row, (_, summary) in enumerate(methods_with_differences):
        # One cluster has no interval: the difference alone is drawn.
        low, high = (summary.value if np.isnan(end) else end for end in (summary.low, summary.high))
        panel.plot([low, high], [row, row], color="#30507c", linewidth=2)
        panel.plot([summary.value], [row], "o", color="#30507c")
    panel.axvline(0, color="grey", linewidth=1)
    panel.set_yticks(range(len(methods_with_differences)), [label for label, _ in methods_with_differences])
    panel.invert_yaxis()
    panel.set_xlabel(f"difference from {first} [% of its mean]")
    panel.grid(axis="x", alpha=0.3)
    save_plot(figure, path)


def method_names(predictions: Sequence[Path]) -> list[str]:
    """Give each path a short, distinct name: its last parts, as many as distinguish the paths.

    Args:
        predictions: The paths.

    Raises:
        UsageError: If a path is given twice.
    """
    parts = [path.absolute().parts for path in predictions]
    if len(set(parts)) < len(parts):
        raise UsageError("predictions", "are given twice", got=", ".join(map(str, predictions)))
    lengths = range(1, max(map(len, parts), default=0) + 1)
    length = next((n for n in lengths if len({p[-n:] for p in parts}) == len(parts)), 1)
    return ["/".join(p[-length:]) for p in parts]
