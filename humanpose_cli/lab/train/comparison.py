"""Curves of several trainings in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.train.history import HISTORY, Curve, Panel, TrainingHistory, draw_panels, save_figure

_METRICS = 3  # columns of the table, for 80 characters
CURVES = "curves.png"
_KINDS = {"train": ", training data", "validation": ", held-out data"}


def read_run(run: Path) -> TrainingHistory:
    """Read the history of a training without changing it.

    Args:
        run: The folder of the training.

    Raises:
        InputError: If it has no history.
    """
    history = TrainingHistory(run / HISTORY)
    history.load()
    if not any(map(history.names, _KINDS)):
        raise InputError(run, "has no curves", expected=f"a run of hpc train, with lines in {HISTORY}")
    return history


def write_comparison(runs: Sequence[Path], path: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Draw the curves of some trainings.

    Args:
        runs: The folders of the trainings.
        path: The PNG file.

    Returns:
        Columns and rows of a table: each training's name, last step, and values of its last validation.

    Raises:
        InputError: If a folder has no history.
        UsageError: If there are no folders.
    """
    if not runs:
        raise UsageError("RUN", "is missing", expected="folders of hpc train")
    histories = {str(run): read_run(run) for run in runs}
    save_figure(compare_runs(histories), path)
    metrics = _names(histories, "validation")[:_METRICS]
    rows = []
    for run, history in histories.items():
        values = [history.column("validation", name)[1] for name in metrics]
        steps = max(line["step"] for line in history.lines)
        rows.append((run, str(steps), *(f"{column[-1]:.4g}" if column else "–" for column in values)))
    return ("run", "steps", *metrics), rows


def compare_runs(histories: Mapping[str, TrainingHistory]) -> Any:
    """Draw a panel for each number of some trainings, with a curve for each training that has it.

    Args:
        histories: Name of a training → its history.

    Returns:
        A matplotlib figure.
    """
    panels = []
    for kind, note in _KINDS.items():
        for name in _names(histories, kind):
            columns = {run: (f"C{k}", history.column(kind, name)) for k, (run, history) in enumerate(histories.items())}
            curves = [Curve(run, *column, colour) for run, (colour, column) in columns.items() if column[0]]
            panels.append(Panel(name, note, curves))
    return draw_panels(panels, ["Training losses are means over the steps since the last point."])


def _names(histories: Mapping[str, TrainingHistory], kind: str) -> list[str]:
    """Return the names of all numbers in lines of a kind."""
    return [*dict.fromkeys(name for history in histories.values() for name in history.names(kind))]
