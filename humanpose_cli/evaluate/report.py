"""Numbers as a table wants them: means with intervals, medians, quartiles.

Tables of results: one form for the terminal, Markdown and JSON.

Plots of results.

What an evaluation leaves behind: report.md for people, report.json for programs, and the images they name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.io.atomic import atomic_path, ensure_folder, write_json, write_text
from humanpose_cli.io.images import write_image

__all__ = [
    "REPORT",
    "Cell",
    "Report",
    "Summary",
    "Table",
    "paired_difference",
    "plot_quality",
    "plot_supervision",
    "quartiles",
    "summarise",
    "write_report",
]


_RESAMPLES, _SEED, _TAIL = 2000, 0, 2.5  # percent on either side: an interval of 95 %


@dataclass(frozen=True)
class Summary:
    """A mean over n values with its 95 % interval (bootstrap, percentiles) and the median; NaN where n is 0."""

    value: float
    n: int
    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Summary:
        """In another unit."""
        return Summary(self.value * factor, self.n, self.median * factor, self.low * factor, self.high * factor)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"value": self.value, "n": self.n, "median": self.median, "ci95": [self.low, self.high]}


def summarise(values: ArrayLike) -> Summary:
    """Of the finite ones among the values."""
    known = np.asarray(values, np.float64).ravel()
    known = known[np.isfinite(known)]
    if not len(known):
        return Summary(np.nan, 0, np.nan, np.nan, np.nan)
    low, high = np.percentile(_means(known), (_TAIL, 100 - _TAIL))
    return Summary(float(known.mean()), len(known), float(np.median(known)), float(low), float(high))


def paired_difference(values: ArrayLike, others: ArrayLike) -> Summary:
    """Of `values` − `others`, people by people: an interval without zero says that they differ."""
    return summarise(np.asarray(values, np.float64) - np.asarray(others, np.float64))


def quartiles(errors: ArrayLike) -> list[NDArray[np.int64]]:
    """Numbers of the finite errors in four groups, the smallest errors first, each in ascending order."""
    values = np.asarray(errors, np.float64)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    return [np.asarray(part, np.int64) for part in np.array_split(order, 4)]


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of samples drawn with replacement, always the same ones for the same number of values."""
    random = np.random.default_rng((_SEED, len(values)))
    return np.concatenate(
        [values[random.integers(len(values), size=(100, len(values)))].mean(1) for _ in range(_RESAMPLES // 100)]
    )


Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    name     short, of its files; title what it shows
    digits   decimals of numbers, of each column or of all
    notes    lines below it
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int | Sequence[int] = 1
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.texts()]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def texts(self) -> list[list[str]]:
        """The rows' cells as text; a dash for what is not known."""
        digits = [self.digits] * len(self.columns) if isinstance(self.digits, int) else list(self.digits)
        return [[_text(cell, count) for cell, count in zip(row, digits, strict=True)] for row in self.rows]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


def _text(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot_quality(
    path: Path, f1: NDArray[np.float64], errors: NDArray[np.float64], difficulty: NDArray[np.float64]
) -> None:
    """Figure 3 of Neural Body Fitting: each person's F1 of the parts against the error of the joints.

    f1 (N,) 0…1, errors (N,) metres, difficulty (N,) radians: the darker, the farther from the mean pose
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    panel = figure.subplots()
    points = panel.scatter(f1, 1000 * errors, c=difficulty, cmap="Blues", s=14, edgecolors="#30507080", linewidths=0.4)
    figure.colorbar(points, label="distance to the mean pose [rad]")
    known = np.isfinite(f1) & np.isfinite(errors)
    if known.sum() > 2 and np.ptp(f1[known]) > 0:
        slope, start = np.polyfit(f1[known], 1000 * errors[known], 1)
        ends = np.array([f1[known].min(), f1[known].max()])
        correlation = np.corrcoef(f1[known], errors[known])[0, 1]
        panel.plot(ends, start + slope * ends, color="#c04020", linewidth=1, label=f"correlation {correlation:.2f}")
        panel.legend()
    panel.set_xlabel("F1 of the parts")
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    _save(figure, path)


def plot_supervision(path: Path, shares: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    """Table 4 as curves: share of samples with 3-D labels (percent) against the joint error (mm) of each setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(shares))
    for name, values in curves.items():
        panel.plot(places, values, marker="o", label=name)
    panel.set_xticks(places, [f"{share:g}" for share in shares])
    panel.set_xlabel("samples with 3-D labels [%]")
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()
    _save(figure, path)


def _save(figure: object, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)  # type: ignore[attr-defined]


REPORT = "report.md"


@dataclass(frozen=True)
class Report:
    """The results of one evaluation.

    title    what was judged
    facts    on what and how: data, split, people, weights
    metrics  by their names in the JSON result
    tables   in their order
    images file name → (H, W, 3), with a line on what they show
    plots    files that were written beside it, with a line each
    """

    title: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    images: Mapping[str, tuple[NDArray[np.uint8], str]] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON values; what is not a finite number is null."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "metrics": {name: _finite(summary.document()) for name, summary in self.metrics.items()},
            "tables": [_finite(table.document()) for table in self.tables],
        }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write all of it; returns the files, the readable report first. Each appears whole or not at all."""
    ensure_folder(folder)
    written = [folder / REPORT, folder / "report.json"]
    lines = [f"# {report.title}", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts.items()]
    lines.append("")
    lines += [table.markdown() for table in report.tables]
    for name, (image, words) in report.images.items():
        write_image(folder / name, image)
        written.append(folder / name)
        lines += [f"![{words}]({name})", "", words, ""]
    for name, words in report.plots.items():
        written.append(folder / name)
        lines += [f"![{words}]({name})", "", words, ""]
    write_text(folder / REPORT, "\n".join(lines))
    write_json(folder / "report.json", report.document())
    return written
