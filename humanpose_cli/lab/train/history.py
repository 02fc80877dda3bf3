"""The history of a training: metrics.jsonl, a line every few steps and for every validation, and losses.png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanpose_cli.io.atomic import atomic_path, write_text

_PER_ROW = 2  # panels of a plot
_LOG_FROM = 10  # a panel whose values differ by this factor has a logarithmic axis
_COLOURS, _LABELS = {"train": "C0", "validation": "C1"}, {"train": "training data", "validation": "held-out data"}
_UNITS = {"mm": "mm", "px": "pixels", "rad": "radians", "deg": "degrees"}


class TrainingHistory:
    """The lines of one run.

    A line has `step`, `epoch`, `kind` ("train" or "validation"), and numbers by name. Lines are appended; after an
    interruption those behind the checkpoint are taken away, so that the file reads as if there had been none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def go_back_to(self, step: int, *, validated: bool = True) -> None:
        """Read what is there, up to and including a step; a line cut off by a crash is left out.

        validated  whether the validation after that step counts
        """
        self.lines = []
        if self.path.exists():
            for text in self.path.read_text("utf-8").splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                again = not validated and line.get("kind") == "validation" and line.get("step") == step
                if line.get("step", step + 1) <= step and not again:
                    self.lines.append(line)
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, kind: str, step: int, epoch: int, numbers: Mapping[str, float]) -> None:
        """Append a line; seven digits are enough to compare runs."""
        rounded = {name: float(f"{value:.7g}") for name, value in numbers.items()}
        line = {"step": step, "epoch": epoch, "kind": kind, **rounded}
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def column(self, kind: str, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one number."""
        rows = [line for line in self.lines if line["kind"] == kind and name in line]
        return [row["step"] for row in rows], [row[name] for row in rows]

    def names(self, kind: str) -> list[str]:
        """The numbers that lines of a kind have, in the order of their first appearance; seconds are of old runs."""
        names = dict.fromkeys(name for line in self.lines if line["kind"] == kind for name in line)
        return [name for name in names if name not in ("step", "epoch", "kind", "learning_rate", "seconds")]

    def plot(self, path: Path, criterion: str) -> None:
        """An image of the losses, of the terms that they are made of, and of a metric of the held-out data, each with a
        scale of its own; what has no line yet is left out. The other metrics are in the file alone.
        """
        from matplotlib.figure import Figure

        trained = self.names("train")
        trained.sort(key=lambda name: not name.endswith("loss"))  # sums before their terms
        shown = [("train", name) for name in trained]
        shown += [("validation", name) for name in self.names("validation") if name == criterion]
        if not shown:  # a run of few steps has no line yet
            return
        columns = min(len(shown), _PER_ROW)
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(1 + 4 * columns, 0.4 + 2.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for panel, (kind, name) in zip(axes, shown, strict=False):
            steps, values = self.column(kind, name)
            style = {"marker": "." if len(steps) < 40 else None, "linewidth": 1, "color": _COLOURS[kind]}
            panel.plot(steps, values, label=_LABELS[kind], **style)
            if min(values) > 0 and max(values) > _LOG_FROM * min(values):
                panel.set_yscale("log")
            panel.set_title(_with_unit(name), fontsize=10)
            panel.grid(alpha=0.3, which="both")
            panel.legend(fontsize=8)
        for panel in axes[len(shown) :]:
            panel.set_axis_off()
        for panel in axes[max(0, len(shown) - columns) : len(shown)]:
            panel.set_xlabel("training steps")
            panel.tick_params(labelbottom=True)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=100)


def _with_unit(name: str) -> str:
    """The name of a number with its unit."""
    stem, _, unit = name.rpartition("_")
    return f"{stem} ({_UNITS[unit]})" if stem and unit in _UNITS else name
