"""The history of a training: metrics.jsonl, with a line every few steps and for every validation, and losses.png."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.io.atomic import atomic_path, write_text
from humanpose_cli.io.protected import claim
from humanpose_cli.io.sniffing import read_bytes
from humanpose_cli.io.text_files import read_text
from humanpose_cli.io.written import Mark

_PER_ROW = 3  # panels of a plot
_COPY = "copy_"  # beginning of the names of metrics of a baseline, which are drawn beside the metric of that name
_CAPTION_LETTERS = 15  # of a line of the caption, for each inch of the figure's width at its font size
_LOG_FROM = 10  # a panel whose values differ by this factor has a logarithmic axis
_COLOURS, _LABELS = {"train": "C0", "validation": "C1"}, {"train": "training data", "validation": "held-out data"}
_UNITS = {"mm": "mm", "px": "pixels", "rad": "radians", "deg": "degrees", "percent": "%"}


class TrainingHistory:
    """The lines of one run.

    A line has `step`, `epoch`, `kind` ("train" or "validation"), and numbers by name. Lines are appended. After an
    interruption, lines after the checkpoint are removed, so that the file equals that of an uninterrupted run.

    Args:
        path: The file metrics.jsonl.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def go_back_to(self, step: int, *, validated: bool = True) -> None:
        """Read the lines up to and including a step; a line that a crash has cut off is left out.

        Args:
            step: The step.
            validated: Whether to keep the validation after that step.
        """
        self.lines = []
        if self.path.exists():
            for text in read_text(self.path).splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                is_repeated = not validated and line.get("kind") == "validation" and line.get("step") == step
                if line.get("step", step + 1) <= step and not is_repeated:
                    self.lines.append(line)
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, kind: str, step: int, epoch: int, numbers: Mapping[str, float]) -> None:
        """Append a line, with seven digits per number.

        Args:
            kind: "train" or "validation".
            step: The step.
            epoch: The epoch.
            numbers: The numbers by name.
        """
        digits = {name: float(f"{value:.7g}") for name, value in numbers.items()}
        line = {"step": step, "epoch": epoch, "kind": kind, **digits}
        self.lines.append(line)
        text = json.dumps(line).encode() + b"\n"
        if (right := claim(self.path)) is not None:
            content = (read_bytes(self.path) if self.path.exists() else b"") + text
            right.record.note(self.path, Mark(len(content), -1, hashlib.sha256(content).hexdigest()))
        with self.path.open("ab", buffering=0) as file:  # one write: a killed process leaves what is noted
            file.write(text)

    def column(self, kind: str, name: str) -> tuple[list[int], list[float]]:
        """Return steps and values of one number."""
        rows = [line for line in self.lines if line["kind"] == kind and name in line]
        return [row["step"] for row in rows], [row[name] for row in rows]

    def names(self, kind: str) -> list[str]:
        """Return the names of the numbers in lines of a kind, in the order of their first appearance."""
        names = dict.fromkeys(name for line in self.lines if line["kind"] == kind for name in line)
        # Runs of earlier versions have seconds.
        return [name for name in names if name not in ("step", "epoch", "kind", "learning_rate", "seconds")]

    def plot(self, path: Path, criterion: str, kept: int | None, caption: Sequence[str]) -> None:
        """Draw the losses, their terms, and the metrics of the held-out data, each with its own scale.

        The criterion comes first; numbers without a line are left out.

        Args:
            path: The image file.
            criterion: The name of the criterion.
            kept: Step of the kept weights, which every panel marks. None if there are none yet.
            caption: Sentences below the panels.
        """
        from matplotlib.figure import Figure

        loss_names, metric_names = self.names("train"), self.names("validation")
        loss_names.sort(key=lambda name: not name.endswith("loss"))  # sums before their terms
        metric_names.sort(key=lambda name: name != criterion)
        curves = [("train", name) for name in loss_names]
        baselines = {_COPY + name for name in metric_names}
        curves += [("validation", name) for name in metric_names if name not in baselines]
        if not curves:  # a run of few steps has no line yet
            return
        columns = min(len(curves), _PER_ROW)
        rows = -(-len(curves) // columns)
        width = max(6.0, 1 + 3.6 * columns)
        text = "\n".join(textwrap.fill(sentence, round(_CAPTION_LETTERS * width)) for sentence in caption)
        figure = Figure(figsize=(width, 0.8 + 2.4 * rows + 0.16 * text.count("\n")), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for panel, (kind, name) in zip(axes, curves, strict=False):
            self._draw(panel, kind, name)
            if name == criterion and kind == "validation":
                panel.set_title(f"{panel.get_title()} (the criterion)", fontsize=10)
            if kept is not None:
                panel.axvline(kept, color="0.4", linestyle="--", linewidth=0.9, label="kept weights")
            panel.grid(alpha=0.3, which="both")
        for panel in axes[len(curves) :]:
            panel.set_axis_off()
        for panel in axes[max(0, len(curves) - columns) : len(curves)]:
            panel.set_xlabel("training steps")
            panel.tick_params(labelbottom=True)
        handles = {
            label: line for panel in axes for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=8)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=100)

    def _draw(self, panel: Any, kind: str, name: str) -> None:
        """Draw one number's curve, and its baseline if there is one."""
        curves = {_LABELS[kind]: (*self.column(kind, name), _COLOURS[kind], "-")}
        if kind == "validation" and (baseline := self.column(kind, _COPY + name))[0]:
            curves["input copied"] = (*baseline, "C7", ":")
        for label, (steps, values, colour, line) in curves.items():
            marker = "." if len(steps) < 40 and line == "-" else None
            panel.plot(steps, values, label=label, marker=marker, linewidth=1, color=colour, linestyle=line)
        numbers = [value for _, values, *_ in curves.values() for value in values]
        if min(numbers) > 0 and max(numbers) > _LOG_FROM * min(numbers):
            panel.set_yscale("log")
        stem, unit = _with_unit(name)
        panel.set_title(stem, fontsize=10)
        panel.set_ylabel(unit or "no unit", fontsize=8)


def _with_unit(name: str) -> tuple[str, str]:
    """Split the name of a number into its stem and unit; "" if it has none."""
    stem, _, unit = name.rpartition("_")
    return (stem, _UNITS[unit]) if stem and unit in _UNITS else (name, "")
