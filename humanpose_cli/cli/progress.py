"""How far a run is, and how it is shown: a rich bar in a terminal, lines or JSON objects elsewhere.

`RunProgress` counts the items and the work inside them: the displays only draw it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from humanpose_cli.core.errors import one_line
from humanpose_cli.core.result import ItemResult

PREPARED_SHARE = 0.8
"""Fraction of an item's work that is done when the items that it is prepared with are ready."""

Clock = Callable[[], float]


class RunProgress:
    """The state of a run: (items done + fractions of the items in work) / items.

    finished_count  how many are done, failed or skipped
    skipped_count   how many of these were not worked on, such as those of an earlier run: they do not set the pace
    name            the item in work; `short` is its name for people, "" if the command names it
    counts          done, total (None: unknown), unit of the work inside the item; unit may also say what is being done

    Args:
        total: Number of items.
        doing: What is being done before the first item.
    """

    def __init__(self, total: int, clock: Clock = time.monotonic, doing: str = "") -> None:
        self.total, self.finished_count, self.skipped_count = total, 0, 0
        self.name = self.short = ""
        self.counts: tuple[int, int | None, str] = (0, None, doing)
        self._clock, self._start = clock, clock()
        # What was done when, at the first report: models are loaded then, and what an earlier run did is counted.
        self._first: tuple[float, float] | None = None
        self._together: set[str] = set()  # items prepared together and not finished
        self._prepared_share = 0.0  # how far each of them is
        self._inside: float | None = None  # fraction of the rest of the item in work; None while items are prepared

    def preparing(self, names: Iterable[str]) -> None:
        """Note that work on several items together begins."""
        self._together, self._prepared_share, self._inside = set(names), 0.0, None
        self.name = self.short = ""

    def item_started(self, name: str, short: str) -> None:
        """Note that work on one item begins."""
        self.name, self.short, self.counts, self._inside = name, short, (0, None, ""), 0.0

    def step(self, fraction: float, count: int, total: int | None, unit: str) -> None:
        """Note that the item in work, or those prepared together, are done to this fraction."""
        self.counts = (count, total, unit)
        if self._inside is None:
            self._prepared_share = max(self._prepared_share, PREPARED_SHARE * fraction)
        else:
            self._inside = max(self._inside, fraction)
        if self._first is None and fraction > 0 and self.finished_count == self.skipped_count:
            self._first = self.done - self.skipped_count, self._clock()

    def item_finished(self, name: str) -> None:
        """Note that an item is done, failed or skipped; one that was never started does not count for the pace."""
        self.finished_count += 1
        self.skipped_count += name != self.name or self._inside is None
        self._together.discard(name)
        self._inside, self.counts = None, (0, None, "")

    @property
    def done(self) -> float:
        """Items done, those in work by their fractions."""
        if self._inside is None:
            return self.finished_count + len(self._together) * self._prepared_share
        fraction = self._prepared_share if self.name in self._together else 0.0
        others = len(self._together - {self.name})
        return self.finished_count + others * self._prepared_share + fraction + (1.0 - fraction) * self._inside

    @property
    def percent(self) -> float:
        """Of the run, 0 to 100."""
        return 100.0 * min(self.done / max(self.total, 1), 1.0)

    @property
    def seconds_left(self) -> float | None:
        """At the mean pace since the first report; None before it is known."""
        before, since = self._first or (0.0, self._start)
        work = self.done - self.skipped_count - before
        return (self._clock() - since) / work * (self.total - self.done) if work > 0 else None

    @property
    def measured(self) -> bool:
        """Whether the end is known, so that a percentage says something."""
        return self.total > 1 or self.done > 0 or self.counts[1] is not None

    @property
    def work(self) -> str:
        """What is being done: the item and the counts inside it, such as `clip.mp4: 34/100 frames`."""
        count, total, unit = self.counts
        text = f"{count}/{total} {unit}" if total else f"{count} {unit}" if count else unit
        return f"{self.short}: {text}" if self.short and text else self.short or text

    def numbers(self) -> str:
        """Format how far the run is: `42 %, 1/4 items, 00:35 left`."""
        parts = [f"{int(self.percent)} %"] if self.measured else []
        parts += [f"{self.finished_count}/{self.total} items"] if self.total > 1 else []
        left = self.seconds_left
        time_text = f"{interval(self._clock() - self._start)} so far"
        return ", ".join([*parts, time_text if left is None else f"{interval(left)} left"])

    def text(self) -> str:
        """Format all of it: `42 %, 1/4 items, 00:35 left, clip.mp4: 34/100 frames`."""
        return ", ".join(filter(None, [self.numbers(), self.work]))

    def document(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        count, total, unit = self.counts
        left = self.seconds_left
        return {
            "percent": round(self.percent, 2) if self.measured else None,
            "seconds_left": None if left is None else round(left, 1),
            "done": count,
            "total": total,
            "unit": unit,
            "item": self.name,
        }


def interval(seconds: float) -> str:
    """Format seconds as `1:02:03`, or `02:03` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class Display:
    """Shows a run's progress. What a display has no use for does nothing."""

    def changed(self) -> None:
        """Show that the progress has changed, or a second has passed."""

    def item_started(self) -> None:
        """Show that work on an item begins."""

    def item_finished(self, result: ItemResult) -> None:
        """Show that an item is done, failed or skipped."""

    def write(self, text: str, kind: str, style: str) -> bool:
        """Write a message where the display would hide it; False where it may simply be written."""
        return False

    def close(self) -> None:
        """Show no more."""


class BarDisplay(Display):
    """A bar of the run in a terminal with the time left, and a line of what is being done; drawn ten times a second."""

    def __init__(self, stream: TextIO, label: str, run: RunProgress) -> None:
        from rich.console import Console, RenderableType
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.text import Text

        class Bar(Progress):
            """Takes its values when it is drawn, so that a step costs nothing."""

            def get_renderables(self) -> Iterable[RenderableType]:
                for entry in self.tasks:  # none yet, or the one
                    entry.total, entry.completed = (100.0, run.percent) if run.measured else (None, 0.0)
                    entry.description = run.numbers()
                yield from super().get_renderables()
                if run.work:
                    yield Text(f"  {run.work}", no_wrap=True, overflow="ellipsis")

        columns = (SpinnerColumn(), TextColumn(label, markup=False), BarColumn(), TextColumn("{task.description}"))
        self._progress = Bar(*columns, console=Console(file=stream), transient=True)
        self._progress.add_task("", total=None)
        self._progress.start()

    def write(self, text: str, kind: str, style: str) -> bool:
        """Print a line above the bar."""
        from rich.text import Text

        line = Text.assemble((f"{kind}:", style), " ", text) if kind else Text(text)
        self._progress.console.print(line, soft_wrap=True)
        return True

    def close(self) -> None:
        self._progress.stop()


class LineDisplay(Display):
    """A line such as `fit: 42 %, 1/4 items, 00:35 left, clip.mp4: 34/100 frames` every few seconds.

    Args:
        write: Writes a line.
        spacing: Seconds until the next one.
    """

    def __init__(
        self, write: Callable[[str], None], label: str, run: RunProgress, spacing: Clock, clock: Clock = time.monotonic
    ) -> None:
        self._write, self._label, self._run = write, label, run
        self._spacing, self._clock = spacing, clock
        self._due = clock() + spacing()

    def changed(self) -> None:
        if (now := self._clock()) >= self._due:
            self._due = now + self._spacing()
            self._write(f"{self._label}: {self._run.text()}")

    def item_started(self) -> None:
        self.changed()

    def item_finished(self, result: ItemResult) -> None:
        self.changed()


class JsonDisplay(Display):
    """Progress as objects: each item's beginning and end, and the run's state every `every` seconds.

    Args:
        record: Writes an object: level, event, what belongs to it.
    """

    def __init__(
        self,
        record: Callable[[str, str, Mapping[str, Any]], None],
        run: RunProgress,
        every: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._record, self._run = record, run
        self._every, self._clock = every, clock
        self._due = clock() + every
        record("info", "start", {"total": run.total})

    def changed(self) -> None:
        if (now := self._clock()) >= self._due:
            self._due = now + self._every
            self._record("info", "progress", self._run.document())

    def item_started(self) -> None:
        self._record("info", "item", {"item": self._run.name, "status": "started"})

    def item_finished(self, result: ItemResult) -> None:
        level = "error" if result.error else "info"
        details = {"status": result.status.value, "seconds": round(result.seconds, 3), "error": result.error}
        self._record(level, "item", {"item": one_line(result.input), **details})
