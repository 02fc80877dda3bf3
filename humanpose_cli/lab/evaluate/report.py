"""Reports of evaluations: tables, plots, contact sheets, and the files that hold them.

report.md is for people, report.json for programs; the images and plots that they name lie next to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.files.text_files import read_json
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.weights import CAUTION, LEFT_OUT
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.metrics.counts import small_sample
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours
from humanpose_cli.outputs.atomic import atomic_path, ensure_folder, write_json, write_text
from humanpose_cli.rendering.overlay import draw_label, draw_overlay


def quartiles(errors: ArrayLike) -> list[NDArray[np.int64]]:
    """Divide the indices of finite errors into four groups.

    Args:
        errors: (N,) errors.

    Returns:
        Indices of each group in ascending order of their errors, the group with the smallest errors first.
    """
    values = np.asarray(errors, np.float64)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    return [np.asarray(part, np.int64) for part in np.array_split(order, 4)]


Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Attributes:
        name: Short name, for its files.
        title: What it shows.
        columns: Headings of the columns.
        rows: Cells of the rows.
        digits: Decimals of numbers, for each column or for all.
        notes: Lines below the table.
        over: Summaries whose numbers of independent people, clips or others the report examines.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int | Sequence[int] = 1
    notes: Sequence[str] = field(default_factory=tuple)
    over: Sequence[Summary] = ()

    def markdown(self) -> str:
        """Format a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.texts()]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """Format a Markdown section that refers to report.json for the rows."""
        return "\n\n".join((f"## {self.title}", f"report.json has the {len(self.rows)} rows.", *self.notes)) + "\n"

    def texts(self) -> list[list[str]]:
        """Format the rows' cells as text, with a dash for unknown values."""
        digits = [self.digits] * len(self.columns) if isinstance(self.digits, int) else list(self.digits)
        return [[_text(cell, count) for cell, count in zip(row, digits, strict=True)] for row in self.rows]

    def document(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


def figures_table(figures: Mapping[tuple[str, str], Summary], *, digits: int = 1) -> Table:
    """List each figure of an evaluation with its n, median and interval.

    Args:
        figures: (subject, name of the figure) → summary.
        digits: Decimals.
    """
    rows: list[list[Cell]] = [[*names, *summary.cells] for names, summary in figures.items()]
    columns = ("of", "figure", "mean", "median", "95 % from", "to", "n")
    over = tuple(figures.values())
    return Table("figures", "Every figure", columns, rows, digits, [interval_note(over)], over)


def named_table(name: str, title: str, texts: Mapping[str, str], summaries: Mapping[str, Summary]) -> Table:
    """Make a table like the table of errors.

    Args:
        name: Short name.
        title: What it shows.
        texts: Name in the JSON result → text.
        summaries: Name in the JSON result → summary.
    """
    rows: list[list[Cell]] = [[texts[figure], figure, *summary.cells] for figure, summary in summaries.items()]
    columns = ("what", "name", "mean", "median", "95 % from", "to", "n")
    return Table(name, title, columns, rows, 2, [interval_note(summaries.values())])


def interval_note(summaries: Iterable[Summary]) -> str:
    """Describe what the intervals of some summaries are over."""
    bases = dict.fromkeys(summary.basis for summary in summaries if summary.n)
    return f"n counts each value, intervals are over {'; '.join(bases) or 'nothing'}."


def _text(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot_quality(
    path: Path, f1: NDArray[np.float64], errors: NDArray[np.float64], difficulty: NDArray[np.float64]
) -> None:
    """Draw Figure 3 of Neural Body Fitting: each person's F1 of the parts against the error of the joints.

    Args:
        path: File of the plot.
        f1: (N,) F1 scores 0…1.
        errors: (N,) metres.
        difficulty: (N,) radians from the mean pose; larger values are drawn darker.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    panel = figure.subplots()
    points = panel.scatter(f1, 1000 * errors, c=difficulty, cmap="Blues", s=14, edgecolors="#30507080", linewidths=0.4)
    figure.colorbar(points, label="distance to the mean pose [rad]")
    finite = np.isfinite(f1) & np.isfinite(errors)
    if finite.sum() > 2 and np.ptp(f1[finite]) > 0:
        slope, start = np.polyfit(f1[finite], 1000 * errors[finite], 1)
        ends = np.array([f1[finite].min(), f1[finite].max()])
        correlation = np.corrcoef(f1[finite], errors[finite])[0, 1]
        panel.plot(ends, start + slope * ends, color="#c04020", linewidth=1, label=f"correlation {correlation:.2f}")
        panel.legend()
    panel.set_xlabel("F1 of the parts")
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    save_plot(figure, path)


def plot_curves(
    path: Path,
    ticks: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    label: str,
    levels: Mapping[str, float] | None = None,
) -> None:
    """Draw joint errors (mm) of several settings against a quantity.

    Args:
        path: File of the plot.
        ticks: Values of the quantity, evenly spaced in the plot.
        curves: Setting → error at each tick, NaN for none.
        label: Name of the quantity.
        levels: Setting → error that does not depend on the quantity, drawn as a dashed line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    positions = np.arange(len(ticks))
    for name, values in curves.items():
        panel.plot(positions, values, marker="o", label=name)
    for number, (name, value) in enumerate((levels or {}).items(), len(curves)):
        panel.axhline(value, color=f"C{number}", linestyle="--", label=name)
    panel.set_xticks(positions, [f"{tick:g}" for tick in ticks])
    panel.set_xlabel(label)
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()
    save_plot(figure, path)


def save_plot(figure: object, path: Path) -> None:
    """Write a matplotlib figure as PNG."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)  # type: ignore[attr-defined]


Image = NDArray[np.uint8]
Panel = Callable[[int], Image]
PANEL_SIDE = 224
"""Pixels of the squares that panels show side by side."""
# pixels of titles, share of a person's size round them
_BAR = 22
_MARGIN = 0.25
# people of a quartile, and of the worst
_EACH = 3
_WORST = 4
# of bodies, as `person_colour` numbers them
TRUE_COLOUR = 2
PREDICTED_COLOUR = 1
PANELS = ("person", "true body (green)", "found body (orange)")
"""Contents of the three images of `body_panel`."""


def error_sheets(
    panel: Panel,
    title: Callable[[int], str],
    caption: str,
    errors: NDArray[np.float64],
    worst: Mapping[str, tuple[NDArray[np.float64], str]],
) -> dict[str, tuple[Image, str]]:
    """Draw three people from the middle of each quartile of some errors, a row each, and the four worst.

    Args:
        panel: Index of a person → image; all have one size.
        title: Index of a person → text above the image.
        caption: What the images show.
        errors: (N,) errors.
        worst: File name → (N,) errors, and what the largest ones are.

    Returns:
        File name → image, and a line about it.
    """

    def sheet(rows: Iterable[Iterable[int]]) -> Image:
        titled = [[add_title(panel(int(index)), title(int(index))) for index in row] for row in rows]
        return _column([np.concatenate(row, 1) for row in titled if row])

    middles = [part[spread_evenly(len(part), _EACH + 2)] for part in quartiles(errors)]
    of_quartiles = sheet([middle[1:-1] if len(middle) > 2 else middle for middle in middles])
    sheets = {"quartiles.jpg": (of_quartiles, f"Quartiles: {caption}")}
    for name, (values, what) in worst.items():
        order = np.argsort(np.where(np.isfinite(values), -values, np.inf), kind="stable")[:_WORST]
        sheets[name] = sheet([[index] for index in order if np.isfinite(values[index])]), f"{what}: {caption}"
    return sheets


@torch.no_grad()
def body_panel(people: EvaluatedPeople, person: int, body: Body, predictions: Bodies, index: int) -> Image:
    """Draw the person, and the true and the predicted mesh over the image, each with its name (`PANELS`).

    Args:
        people: People with their truth.
        person: Row of the person.
        body: Model of the prediction.
        predictions: Predicted bodies.
        index: Row of the person's predicted body.

    Returns:
        (224, 672, 3) uint8.
    """
    image = people.people.cache.image(int(people.people.images[person]))
    x, y = people.centre[person].tolist()
    camera = Camera(float(people.focal[person]), (x, y))
    # The square round the person within the image.
    low, high = np.clip(people.boxes[person].reshape(2, 2), 0, (image.shape[1], image.shape[0]))
    side = max(16, round(float((high - low).max() * (1 + 2 * _MARGIN))))
    left, top = np.rint((low + high) / 2 - side / 2).astype(int)
    scale = PANEL_SIDE / side
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    panels = [image]
    has_truth = people.rig[person] >= 0
    true_rig = people.rigs[people.rig[person]] if has_truth else body
    drawings = ((true_rig, people.bodies, person, TRUE_COLOUR), (body, predictions, index, PREDICTED_COLOUR))
    for rig, bodies, row, colour in drawings:
        if colour == TRUE_COLOUR and not has_truth:
            panels.append(image)
            continue
        vertices = bodies.taken(slice(row, row + 1)).posed(rig).surface
        panels.append(draw_overlay(image, vertices, rig.faces.cpu(), camera, track_ids=[colour]))
    size = (PANEL_SIDE, PANEL_SIDE)
    squares = [np.asarray(cv2.warpAffine(panel, matrix, size, flags=smooth), np.uint8) for panel in panels]
    for square, name in zip(squares, PANELS, strict=True):
        draw_label(square, "true body unknown" if name == PANELS[1] and not has_truth else name, (0, PANEL_SIDE))
    return np.concatenate(squares, 1)


def segmentation_panel(image: Image, truth: NDArray[np.integer], prediction: NDArray[np.integer], parts: int) -> Image:
    """Draw the crop, its true and its predicted parts, in the parts' colours.

    Args:
        image: (H, W, 3) uint8. The crop.
        truth: (H, W) true parts.
        prediction: (H, W) predicted parts.
        parts: Number of parts.

    Returns:
        (224, 672, 3) uint8.
    """
    colours = as_bytes(code_colours(parts))
    images = (image, colours[truth], colours[prediction])
    size = (PANEL_SIDE, PANEL_SIDE)
    return np.concatenate([cv2.resize(panel, size, interpolation=cv2.INTER_NEAREST) for panel in images], 1)


def add_title(image: Image, title: str) -> Image:
    """Add a bar with a title above an image."""
    bar = np.full((_BAR, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, _BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate((bar, image))


def _column(images: Sequence[Image]) -> Image:
    """Stack images below each other, padding narrower ones with white."""
    width = max((image.shape[1] for image in images), default=1)
    rows = [np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255) for image in images]
    return np.concatenate(rows) if rows else np.full((1, 1, 3), 255, np.uint8)


REPORTS = ("report.md", "report.json")
_READABLE_ROWS = 60  # of a table, above which report.md leaves them out


@dataclass(frozen=True)
class Report:
    """The results of one evaluation.

    Attributes:
        title: What was evaluated.
        facts: Data, split, people, weights and other circumstances.
        metrics: Name in the JSON result → summary.
        tables: Tables in their order.
        images: File name → (H, W, 3) image, and a line about it.
        plots: File name → line about a plot that was written into the folder.
    """

    title: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    images: Mapping[str, tuple[NDArray[np.uint8], str]] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)

    @property
    def cautions(self) -> list[str]:
        """Reasons why its figures may mean little or be too good."""
        over = [*self.metrics.values(), *(summary for table in self.tables for summary in table.over)]
        counts: dict[str, int] = {}
        for summary in over:
            if summary.n:
                counts[summary.unit] = max(summary.clusters, counts.get(summary.unit, 0))
        small = (small_sample(count, unit, different=True) for unit, count in counts.items())
        left_out = f"{LEFT_OUT}: {self.facts[LEFT_OUT]}" if LEFT_OUT in self.facts else ""
        return [*filter(None, small), *filter(None, [self.facts.get(CAUTION, ""), left_out])]

    def document(self) -> dict[str, Any]:
        """Return JSON values; null stands for numbers that are not finite."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "cautions": self.cautions,
            "metrics": {name: finite(summary.document()) for name, summary in self.metrics.items()},
            "tables": [finite(table.document()) for table in self.tables],
        }


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by None in JSON values."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, list) else value


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write a report; each file is replaced atomically.

    Args:
        report: The report.
        folder: Folder of its files.

    Returns:
        The files, the readable report first.
    """
    ensure_folder(folder)
    readable, values = (folder / name for name in REPORTS)
    paths = [readable, values]
    lines = [f"# {report.title}", ""]
    units = {"people": ", each counted in every image"}
    facts = {name: value for name, value in report.facts.items() if name not in (CAUTION, LEFT_OUT)}
    lines += [f"- {name}: {value}{units.get(name, '')}" for name, value in facts.items()]
    lines.append("")
    for caution in report.cautions:
        lines += [f"**{caution[0].upper()}{caution[1:]}.**", ""]
    lines += [table.markdown() if len(table.rows) <= _READABLE_ROWS else table.summary() for table in report.tables]
    for name, (image, _) in report.images.items():
        write_image(folder / name, image)
    texts = {name: text for name, (_, text) in report.images.items()} | dict(report.plots)
    basis = _basis(report.facts)
    for name, text in texts.items():
        paths.append(folder / name)
        lines += [f"![{text}]({name})", "", f"{text.rstrip('.')}.{basis if name in report.plots else ''}", ""]
    write_text(readable, "\n".join(lines))
    write_json(values, report.document())
    return paths


def _basis(facts: Mapping[str, Any]) -> str:
    """Return the end of a plot's caption: the number of people, pairs or clips, and their data."""
    units = next((f"{facts[unit]} {unit}" for unit in ("people", "pairs", "clips") if unit in facts), "")
    where = f" of {facts['data']}" if "data" in facts else ""
    split = f", {facts['split']}" if "split" in facts else ""
    return f" Measured on {units}{where}{split}." if units else ""


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read the metrics of an earlier report.

    Args:
        folder: Folder of the report.

    Raises:
        InputError: If it cannot be read.
    """
    path = folder / REPORTS[1]
    try:
        return dict(read_json(path)["metrics"])
    except (HpcError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, "is no report that can be read", remedy="evaluate again") from error
