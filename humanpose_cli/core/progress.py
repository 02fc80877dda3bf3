"""The progress reports of long-running functions: one signature for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol


class Progress(Protocol):
    """A callable that reports progress: finished units, their total (None if unknown), and their name, "frames"."""

    def __call__(self, count: int, total: int | None, what: str, /) -> None: ...


def no_progress(count: int, total: int | None, what: str, /) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class FractionalProgress:
    """A Progress that also reports the finished fraction of the total work.

    Attributes:
        report: Called with the fraction, 0 to 1, and with the arguments of a Progress.
        start: Fraction of the total work at which the counted part begins.
        end: Fraction of the total work at which the counted part ends.
    """

    report: Callable[[float, int, int | None, str], None]
    start: float = 0.0
    end: float = 1.0

    def __call__(self, count: int, total: int | None, what: str, /) -> None:
        within = min(count / total, 1.0) if total else 0.0
        self.report(self.start + (self.end - self.start) * within, count, total, what)


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """Return the progress of a part of the work, from the fraction `start` to `end`, 0 to 1.

    Functions that only take counts get the counts of the part.
    """
    if not isinstance(progress, FractionalProgress):
        return progress
    length = progress.end - progress.start
    return replace(progress, start=progress.start + length * start, end=progress.start + length * end)


interlude_listeners: list[Callable[[str], None]] = []
"""Called with the name of the work when an `interlude` begins, and with "" when it ends."""


@contextmanager
def interlude(what: str) -> Iterator[None]:
    """Mark work that happens once, such as compiling, and says nothing about the pace of a run."""
    for listener in interlude_listeners:
        listener(what)
    try:
        yield
    finally:
        for listener in interlude_listeners:
            listener("")
