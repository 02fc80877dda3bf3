"""Progress in the Python interface: a bar, a function, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from humanpose_cli.core.progress import Progress, no_progress


@contextmanager
def progress_of(progress: bool | Progress | None) -> Iterator[Progress]:
    """Provide a progress function.

    Args:
        progress: True draws a bar of tqdm on stderr, or a line in notebooks. A function is used itself. None and False
            report nothing.
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
