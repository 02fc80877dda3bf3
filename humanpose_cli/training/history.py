"""`metrics.jsonl`: a line for every few steps and for every validation, and the plot of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.io.atomic import atomic_path, write_text

__all__ = ["History"]


class History:
    """The lines of one run.

    A line has `step`, `epoch`, `kind` ("train" or "validation"), and numbers by name. Lines are appended; after an
    interruption those behind the checkpoint are taken away, so that the file reads as if there had been none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def go_back_to(self, step: int) -> None:
        """Read what is there, up to and including a step; a line cut off by a crash is left out."""
        self.lines = []
        if self.path.exists():
            for text in self.path.read_text("utf-8").splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if line.get("step", step + 1) <= step:
                    self.lines.append(line)
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, kind: str, step: int, epoch: int, numbers: Mapping[str, float]) -> None:
        """Append a line."""
        line = {"step": step, "epoch": epoch, "kind": kind, **{name: _short(value) for name, value in numbers.items()}}
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def column(self, kind: str, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one number."""
        rows = [line for line in self.lines if line["kind"] == kind and name in line]
        return [row["step"] for row in rows], [row[name] for row in rows]

    def names(self, kind: str) -> list[str]:
        """The numbers that lines of a kind have, in the order of their first appearance."""
        found = dict.fromkeys(name for line in self.lines if line["kind"] == kind for name in line)
        return [name for name in found if name not in ("step", "epoch", "kind", "seconds", "learning_rate")]

    def plot(self, path: Path) -> None:
        """A picture of all curves, losses on the left and metrics on the right."""
        from matplotlib.figure import Figure

        panels: Sequence[tuple[str, str]] = (("train", "training losses"), ("validation", "held-out data"))
        names = {kind: self.names(kind) for kind, _ in panels}
        rows = max(1, *(len(n) for n in names.values()))
        figure = Figure(figsize=(9, 1 + 1.7 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False, sharex=True)
        for column, (kind, title) in enumerate(panels):
            axes[0][column].set_title(title)
            for row in range(rows):
                panel = axes[row][column]
                if row >= len(names[kind]):
                    panel.set_axis_off()
                    continue
                steps, values = self.column(kind, names[kind][row])
                panel.plot(steps, values, marker="." if len(steps) < 40 else None, linewidth=1)
                panel.set_ylabel(names[kind][row], fontsize=8)
                panel.grid(alpha=0.3)
                if kind == "train" and values and min(values) > 0 and max(values) > 20 * min(values):
                    panel.set_yscale("log")
            axes[-1][column].set_xlabel("steps")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=90)


def _short(value: float) -> float:
    """Seven digits: enough to compare runs, few enough to read."""
    return float(f"{value:.7g}")
