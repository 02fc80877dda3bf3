"""The history of a training: metrics.jsonl, with a line every few steps and for every validation, and losses.png."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.files.text_files import read_text
from humanpose_cli.outputs.atomic import atomic_path, write_text
from humanpose_cli.outputs.ledger import Mark, claim

HISTORY = "metrics.jsonl"
_DPI = 100
_PER_ROW = 3  # panels of a plot
_COPY = "copy_"  # beginning of the names of metrics of a baseline, which are drawn beside the metric of that name
_CAPTION_LETTERS = 15  # of a line of the caption, for each inch of the figure's width at its font size
_LOG_FROM = 10  # a panel whose values fall and differ by this factor has a logarithmic axis
_LARGEST = 1e300  # number that is drawn
_UNITS = {"mm": "mm", "px": "pixels", "rad": "radians", "deg": "degrees", "percent": "%"}

OF_LINES = ("step", "epoch", "kind")
"""What a line of the history has beside its numbers."""


def append(path: Path, content: bytes) -> None:
    """Append to a file of a run, and note the result in the record of the run's files."""
    if (claimed := claim(path)) is not None:
        complete = (read_bytes(path) if path.exists() else b"") + content
        claimed.ledger.note(path, Mark(len(complete), -1, hashlib.sha256(complete).hexdigest()))
    with path.open("ab", buffering=0) as file:  # one write: a killed process leaves what is noted
        file.write(content)


class TrainingHistory:
    """The lines of one run.

    A line has `step`, `epoch`, `kind` ("train", "validation" or "speed"), and numbers by name. Lines are appended.
    After an interruption, lines after the checkpoint are removed, so that all lines but those of speed equal an
    uninterrupted run's.

    Args:
        path: The file metrics.jsonl.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def load(self) -> None:
        """Read the lines; one that a crash has cut off is left out."""
        self.lines = []
        for text in read_text(self.path).splitlines() if self.path.exists() else ():
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and line.keys() >= {*OF_LINES} and _is_number(line["step"]):
                    self.lines.append(line)

    def go_back_to(self, step: int, *, validated: bool = True) -> None:
        """Keep the lines up to and including a step.

        Args:
            step: The step.
            validated: Whether to keep the validation after that step.
        """
        self.load()
        self.lines = [line for line in self.lines if line["step"] <= step]
        if not validated:
            self.lines = [line for line in self.lines if (line["kind"], line["step"]) != ("validation", step)]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, kind: str, step: int, epoch: int, numbers: Mapping[str, float]) -> dict[str, Any]:
        """Append a line, with seven digits per number, and return it.

        Args:
            kind: "train", "validation" or "speed".
            step: The step.
            epoch: The epoch.
            numbers: The numbers by name.
        """
        digits = {name: float(f"{value:.7g}") for name, value in numbers.items()}
        line = {"step": step, "epoch": epoch, "kind": kind, **digits}
        self.lines.append(line)
        append(self.path, json.dumps(line).encode() + b"\n")
        return line

    def column(self, kind: str, name: str) -> tuple[list[int], list[float]]:
        """Return steps and values of one number."""
        rows = [line for line in self.lines if line["kind"] == kind and _is_number(line.get(name))]
        return [row["step"] for row in rows], [row[name] for row in rows]

    def names(self, kind: str) -> list[str]:
        """Return the names of the numbers in lines of a kind, in the order of their first appearance."""
        lines = [line for line in self.lines if line["kind"] == kind]
        names = dict.fromkeys(name for line in lines for name, value in line.items() if _is_number(value))
        # Runs of earlier versions have seconds.
        return [name for name in names if name not in (*OF_LINES, "learning_rate", "seconds")]

    def plot(self, path: Path, criterion: str, kept: int | None, caption: Sequence[str]) -> None:
        """Draw the losses, their terms, and the metrics of the held-out data, each with its own scale.

        The criterion comes first; numbers without a line are left out.

        Args:
            path: The image file.
            criterion: The name of the criterion.
            kept: Step of the kept weights, which every panel marks. None if there are none yet.
            caption: Sentences below the panels.
        """
        loss_names, metric_names = self.names("train"), self.names("validation")
        loss_names.sort(key=lambda name: not name.endswith("loss"))  # sums before their terms
        metric_names.sort(key=lambda name: name != criterion)
        panels = [Panel(name, "", [Curve("training data", *self.column("train", name), "C0")]) for name in loss_names]
        baselines = {_COPY + name for name in metric_names}
        for name in (name for name in metric_names if name not in baselines):
            curves = [Curve("held-out data", *self.column("validation", name), "C1")]
            if (baseline := self.column("validation", _COPY + name))[0]:
                curves.append(Curve("input copied", *baseline, "C7", ":"))
            panels.append(Panel(name, " (the criterion)" if name == criterion else "", curves))
        if panels:  # a run of few steps has no line yet
            save_figure(draw_panels(panels, caption, kept), path)


class Curve(NamedTuple):
    """A curve of a panel.

    Attributes:
        label: Its name in the legend.
        steps: Its steps.
        values: A value for each step.
        colour: Its colour.
        line: Its style.
    """

    label: str
    steps: Sequence[int]
    values: Sequence[float]
    colour: str
    line: str = "-"


class Panel(NamedTuple):
    """A number with its own scale.

    Attributes:
        name: The name of the number, with its unit at the end.
        note: What follows the name in the title.
        curves: Its curves.
    """

    name: str
    note: str
    curves: Sequence[Curve]


def draw_panels(panels: Sequence[Panel], caption: Sequence[str], kept: int | None = None) -> Any:
    """Draw a panel for each number.

    Args:
        panels: The panels.
        caption: Sentences below the panels.
        kept: A step that every panel marks. None for none.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), _PER_ROW)
    rows = -(-len(panels) // columns)
    width = max(6.0, 1 + 3.6 * columns)
    text = "\n".join(textwrap.fill(sentence, round(_CAPTION_LETTERS * width)) for sentence in caption)
    figure = Figure(figsize=(width, 0.8 + 2.4 * rows + 0.16 * text.count("\n")), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, panel)
        if kept is not None:
            axis.axvline(kept, color="0.4", linestyle="--", linewidth=0.9, label="kept weights")
        axis.grid(alpha=0.3, which="both")
    steps = {step for panel in panels for curve in panel.curves for step in curve.steps}
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    if len(steps) == 1:  # an axis round one step would show steps that were not made
        axes[0].set_xticks([*steps])
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("training steps")
        axis.tick_params(labelbottom=True)
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    beside = min(len(handles), _PER_ROW)
    legend = figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=beside, fontsize=8)
    for label in legend.get_texts():  # the name of a folder may have dollars
        label.set_parse_math(False)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as a PNG file."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def pixels_of(figure: Any) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of a matplotlib figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw(axis: Any, panel: Panel) -> None:
    """Draw the curves of a panel."""
    for curve in panel.curves:
        marker = "." if len(curve.steps) < 40 and curve.line == "-" else None
        style = {"marker": marker, "linewidth": 1, "color": curve.colour, "linestyle": curve.line}
        axis.plot(curve.steps, curve.values, label=curve.label, **style)
    numbers = [value for curve in panel.curves for value in curve.values]
    falls = any(curve.values[0] > curve.values[-1] for curve in panel.curves)
    if falls and min(numbers) > 0 and max(numbers) > _LOG_FROM * min(numbers):
        axis.set_yscale("log")
    elif min(numbers) == max(numbers):  # an axis would have values that nothing has
        axis.set_yticks(numbers[:1], [f"{numbers[0]:.4g}"])
    stem, unit = _with_unit(panel.name)
    axis.set_title(stem + panel.note, fontsize=10, parse_math=False)
    axis.set_ylabel(unit or "no unit", fontsize=8)


def _is_number(value: Any) -> bool:
    """Return whether a value can be drawn."""
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _with_unit(name: str) -> tuple[str, str]:
    """Split the name of a number into its stem and unit; "" if it has none."""
    stem, _, unit = name.rpartition("_")
    return (stem, _UNITS[unit]) if stem and unit in _UNITS else (name, "")
