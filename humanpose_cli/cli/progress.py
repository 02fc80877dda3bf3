"""How progress looks: a rich bar in a terminal, tqdm's line every few seconds anywhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["BarDisplay", "Display", "LineDisplay", "open_display"]


class Display(Protocol):
    """What shows how far a batch is."""

    def item_started(self, name: str) -> None: ...

    def step(self, done: int, total: int | None, unit: str) -> None: ...

    def item_finished(self, *, worked: bool) -> None: ...

    def write(self, text: str, kind: str, style: str) -> bool:
        """Put a line where it does not spoil the display; False if it may simply be written.

        kind  a word to put in front in that style, such as `error`, or empty
        """

    def close(self) -> None: ...


def open_display(stream: TextIO, label: str, total: int, interval: float) -> Display:
    """A bar where `stream` is a terminal that can move its cursor, else lines."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return BarDisplay(stream, label, total)
    return LineDisplay(stream, label, total, interval)


class BarDisplay:
    """A bar for the items and, where an item has many steps, one for these."""

    def __init__(self, stream: TextIO, label: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True))
        self._progress = Progress(
            name,
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream),
            transient=True,
            expand=True,
        )
        self._label = label
        self._items = self._progress.add_task(label, total=total, unit="items")
        self._steps: TaskID | None = None
        self._progress.start()

    def item_started(self, name: str) -> None:
        self._progress.update(self._items, description=f"{self._label} {name}")

    def step(self, done: int, total: int | None, unit: str) -> None:
        if self._steps is None:
            self._steps = self._progress.add_task("", total=total, unit=unit)
        self._progress.update(self._steps, completed=done, total=total, unit=unit)

    def item_finished(self, *, worked: bool) -> None:
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None
        self._progress.advance(self._items)

    def write(self, text: str, kind: str, style: str) -> bool:
        from rich.text import Text

        line = Text.assemble((f"{kind}:", style), " ", text) if kind else Text(text)
        self._progress.console.print(line, soft_wrap=True)
        return True

    def close(self) -> None:
        self._progress.stop()


class LineDisplay:
    """tqdm's lines, such as `fit: 12/40 30% [00:30<01:10,  2.50s/item, photos/a.jpg]`, one every `interval` seconds."""

    def __init__(self, stream: TextIO, label: str, total: int, interval: float) -> None:
        from tqdm import tqdm

        class Bar(tqdm):
            monitor_interval = 0  # no thread that watches over the pace: `miniters` is fixed

        self.bar = Bar(
            desc=label,
            total=total,
            unit="item",
            file=_Lines(stream),
            bar_format="{desc}: {n_fmt}/{total_fmt} {percentage:.0f}% [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            mininterval=interval,
            delay=interval,
            miniters=0,
            smoothing=0,
            leave=False,
        )
        self._name = ""

    def item_started(self, name: str) -> None:
        self._name = name
        self._say_if_due(name)

    def step(self, done: int, total: int | None, unit: str) -> None:
        self._say_if_due(f"{self._name} ({unit}: {done}/{total})" if total else f"{self._name} ({unit}: {done})")

    def item_finished(self, *, worked: bool) -> None:
        self.bar.initial += not worked  # skipped items say nothing about the pace
        self.bar.update(1)

    def write(self, text: str, kind: str, style: str) -> bool:
        return False

    def close(self) -> None:
        self.bar.close()

    def _say_if_due(self, name: str) -> None:
        self.bar.set_postfix_str(name, refresh=False)
        self.bar.update(0)


class _Lines:
    """A stream for tqdm on which each of its redrawings becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            if line := text.strip():
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            return  # nobody listens to stderr any more

    def flush(self) -> None:
        """Each line is flushed when it is written."""
