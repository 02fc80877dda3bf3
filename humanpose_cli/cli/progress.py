"""How progress looks: a rich bar in a terminal, a plain line every few seconds anywhere else."""

from __future__ import annotations

import os
import time
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
    """Lines such as `fit: 12/40 30% [00:30<01:10, 2.50 s/item] photos/a.jpg`, one every `interval` seconds."""

    def __init__(self, stream: TextIO, label: str, total: int, interval: float) -> None:
        self._stream, self._label, self._total, self._interval = stream, label, total, interval
        self._done = self._worked = 0
        self._name = self._steps = ""
        self._started = self._said = time.monotonic()

    def item_started(self, name: str) -> None:
        self._name, self._steps = name, ""
        self._say_if_due()

    def step(self, done: int, total: int | None, unit: str) -> None:
        self._steps = f" ({unit}: {done}/{total})" if total else f" ({unit}: {done})"
        self._say_if_due()

    def item_finished(self, *, worked: bool) -> None:
        self._done += 1
        self._worked += worked
        self._steps = ""
        self._say_if_due()

    def write(self, text: str, kind: str, style: str) -> bool:
        return False

    def close(self) -> None:
        """Nothing to take down: lines stay."""

    def _say_if_due(self) -> None:
        now = time.monotonic()
        if now - self._said < self._interval:
            return
        self._said = now
        try:
            self._stream.write(self.line(now - self._started) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody listens to stderr any more

    def line(self, elapsed: float) -> str:
        """The line after `elapsed` seconds."""
        percent = 100 * self._done // self._total
        if self._worked:
            pace = elapsed / self._worked
            left = _clock(pace * (self._total - self._done))
            rate = f"{pace:.2f} s/item" if pace >= 1 else f"{1 / max(pace, 1e-9):.1f} items/s"
        else:
            left, rate = "?", "?"
        times = f"[{_clock(elapsed)}<{left}, {rate}]"
        return f"{self._label}: {self._done}/{self._total} {percent}% {times} {self._name}{self._steps}".rstrip()


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute:02}:{second:02}"
