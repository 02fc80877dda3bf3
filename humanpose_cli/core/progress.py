"""How long-running functions report progress: one signature for all of them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callable that is given how much of the work is done.

    done   how much is done
    total  of how much; None where it is not known
    what   the unit in the plural, such as "frames", or what is being done
    """

    def __call__(self, done: int, total: int | None, what: str, /) -> None: ...


def no_progress(done: int, total: int | None, what: str, /) -> None:
    """Report nothing."""
