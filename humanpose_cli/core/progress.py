"""The progress reports of long-running functions: one signature for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol


class Progress(Protocol):
    """A callable that is given how much of the work is done.

    count  how much is done
    total  of how much; None if it is not known
    what   the unit in the plural, such as "frames", or what is being done
    """

    def __call__(self, count: int, total: int | None, what: str, /) -> None: ...


def no_progress(count: int, total: int | None, what: str, /) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class FractionalProgress:
    """A Progress that also reports the fraction of the total work that is done.

    Attributes:
        report: Called with that fraction, 0 to 1, and with the arguments of a Progress.
        start, end: The part of the work that the counts are of, as fractions of the total.
    """

    report: Callable[[float, int, int | None, str], None]
    start: float = 0.0
    end: float = 1.0

    def __call__(self, count: int, total: int | None, what: str, /) -> None:
        within = min(count / total, 1.0) if total else 0.0
        self.report(self.start + (self.end - self.start) * within, count, total, what)


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """Restrict progress to the part of some work that begins at the fraction `start` of it and ends at `end`, 0 to 1.

    Functions that only take counts are called with those of the part.
    """
    if not isinstance(progress, FractionalProgress):
        return progress
    length = progress.end - progress.start
    return replace(progress, start=progress.start + length * start, end=progress.start + length * end)
