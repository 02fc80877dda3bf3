"""The progress of a run: it counts the items and the work inside them. `progress_bar` draws it in a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

PREPARED_SHARE = 0.8  # fraction of the work on an item that is done after its preparation

Clock = Callable[[], float]


class RunProgress:
    """The state of a run: (finished items + fractions of the items in work) / items.

    Args:
        total: Number of items. 0 for work outside of a batch, which has no percentage.
        clock: Returns seconds.
        doing: Description of the work before the first item.

    Attributes:
        finished_count: Number of items that are done, failed or skipped.
        skipped_count: Number of these that needed no work, as after an earlier run; they do not count for the pace.
        name: Name of the item in work. "" between items, and while several are prepared.
        short: Its name for people, or "" if the command names it.
        counts: Finished steps, all steps (None if unknown) and their unit, inside the item in work. The unit may also
            describe the work.
    """

    def __init__(self, total: int, clock: Clock = time.monotonic, doing: str = "") -> None:
        self.total = total
        self.finished_count = 0
        self.skipped_count = 0
        self.name = self.short = ""
        self.counts: tuple[int, int | None, str] = (0, None, doing)
        self._clock = clock
        self._start = clock()
        self._interlude = ""
        self._interlude_start = 0.0
        self._pause = 0.0  # seconds of past interludes
        # Finished work and time at the first report, when models are loaded and earlier results are counted.
        self._first: tuple[float, float] | None = None
        self._fractions: dict[str, float] = {}  # finished fractions of the items in work, by name
        self._prepared = 0.0  # the fraction of the item in work at its start

    def preparing(self, names: Iterable[str]) -> None:
        """Note that the preparation of several items begins."""
        self._fractions = dict.fromkeys(names, 0.0)
        self.name = self.short = ""

    def item_started(self, name: str, short: str) -> None:
        """Note that work on one item begins."""
        self.name = name
        self.short = short
        self.counts = (0, None, "")
        self._prepared = self._fractions.setdefault(name, 0.0)

    def step(self, fraction: float, count: int, total: int | None, unit: str) -> None:
        """Note the finished fraction of the item in work, or of the items that are prepared."""
        self.counts = (count, total, unit)
        names = [self.name] if self.name else [*self._fractions]
        reached = self._prepared + (1.0 - self._prepared) * fraction if self.name else PREPARED_SHARE * fraction
        for name in names:
            self._fractions[name] = max(self._fractions[name], reached)
        if self._first is None and fraction > 0 and self.finished_count == self.skipped_count:
            self._first = self.done - self.skipped_count, self._now()

    def interlude(self, what: str) -> None:
        """Note that work begins which says nothing about the pace, such as compiling; "" ends it."""
        self._pause = self._clock() - self._now()
        self._interlude = what
        self._interlude_start = self._clock()

    def _now(self) -> float:
        """Return seconds without those of interludes, in which this clock stands still."""
        return (self._interlude_start if self._interlude else self._clock()) - self._pause

    def item_finished(self, name: str) -> None:
        """Note that an item is done, failed or skipped; an item that was not started does not count for the pace."""
        self.finished_count += 1
        self.skipped_count += name != self.name
        self._fractions.pop(name, None)
        self.name = self.short = ""
        self.counts = (0, None, "")

    @property
    def done(self) -> float:
        """Number of finished items, including fractions of items in work."""
        return self.finished_count + sum(self._fractions.values())

    @property
    def percent(self) -> float:
        """Finished percentage of the run, 0 to 100."""
        return 100.0 * min(self.done / max(self.total, 1), 1.0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the mean pace since the first report. None before the pace is known, and in interludes."""
        first_done, since = self._first or (0.0, self._start)
        work = self.done - self.skipped_count - first_done
        return (self._now() - since) / work * (self.total - self.done) if work > 0 and not self._interlude else None

    @property
    def measured(self) -> bool:
        """Whether the amount of work is known, so that a percentage is meaningful."""
        return self.total > 1 or (self.total == 1 and (self.done > 0 or self.counts[1] is not None))

    @property
    def work(self) -> str:
        """The item in work with its counts, such as `clip.mp4: 34/100 frames`."""
        count, total, unit = self.counts
        text = f"{count}/{total} {unit}" if total else f"{count} {unit}" if count else unit
        text = self._interlude or text
        return f"{self.short}: {text}" if self.short and text else self.short or text

    def numbers(self) -> str:
        """Format the progress of the run: `42 %, 1/4 items, 00:35 left`."""
        from tqdm.std import tqdm

        parts = [f"{int(self.percent)} %"] if self.measured else []
        parts += [f"{self.finished_count}/{self.total} items"] if self.total > 1 else []
        left = self.seconds_left
        seconds, meaning = (self._clock() - self._start, "so far") if left is None else (left, "left")
        return ", ".join([*parts, f"{tqdm.format_interval(seconds)} {meaning}"])

    def text(self) -> str:
        """Format the complete progress: `42 %, 1/4 items, 00:35 left, clip.mp4: 34/100 frames`."""
        return ", ".join(filter(None, [self.numbers(), self.work]))

    def document(self) -> dict[str, Any]:
        """Return the progress as JSON values."""
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


def progress_bar(stream: TextIO, label: str, run: RunProgress) -> Progress:
    """Draw a bar with the time left, and a line with the current work, ten times a second, until it is stopped."""
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.text import Text

    class Bar(Progress):
        """Reads its values when it is drawn, so that steps are cheap."""

        def get_renderables(self) -> Iterable[RenderableType]:
            for entry in self.tasks:  # none yet, or the one
                entry.total = 100.0 if run.measured else None
                entry.completed = run.percent if run.measured else 0.0
                entry.description = run.numbers()
            yield from super().get_renderables()
            if run.work:
                yield Text(f"  {run.work}", no_wrap=True, overflow="ellipsis")

    columns = (SpinnerColumn(), TextColumn(label, markup=False), BarColumn(), TextColumn("{task.description}"))
    bar = Bar(*columns, console=Console(file=stream), transient=True)
    bar.add_task("", total=None)
    bar.start()
    return bar
