"""Progress as the Python interface takes it: a bar, a function, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from humanpose_cli.core.progress import Progress, no_progress


@contextmanager
def progress_of(progress: bool | Progress | None) -> Iterator[Progress]:
    """Provide what to report to.

    Args:
        progress: True: a bar of tqdm on stderr, a line in notebooks; a function: that one; None or False: nothing.
    """
    if not progress:
        yield no_progress
        return
    if progress is not True:
        yield progress
        return
    from tqdm.auto import tqdm

    with tqdm(leave=False) as bar:

        def report(count: int, total: int | None, what: str, /) -> None:
            if bar.unit != f" {what}":
                bar.reset()
                bar.unit = f" {what}"
            bar.total = total
            bar.update(count - bar.n)

        yield report
