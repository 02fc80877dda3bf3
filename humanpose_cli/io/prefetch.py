"""Decoding ahead: a thread fills a short queue while the caller works on what it took out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar, cast

__all__ = ["prefetch"]

T = TypeVar("T")

_END = object()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(source: Iterable[T], ahead: int = 2) -> Generator[T, None, None]:
    """The items of `source` in order, with at most `ahead` of them waiting, made in a thread of their own.

    Memory is bounded by `ahead` + 2 items (one in the making, one in use). An exception of the source is raised
    here, after the items before it. Closing the generator stops the thread and closes the source, if it can be
    closed; nothing starts before the first item is asked for.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=max(1, ahead))
    stopped = threading.Event()

    def fill() -> None:
        last: object = _END
        try:
            for item in source:
                waiting.put(item)
                if stopped.is_set():
                    break
        except BaseException as error:
            last = _Failure(error)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
            waiting.put(last)

    thread = threading.Thread(target=fill, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield cast(T, item)
    finally:
        stopped.set()
        while thread.is_alive():  # make room for what it still wants to put
            _drain(waiting)
            thread.join(0.01)


def _drain(waiting: queue.Queue[object]) -> None:
    while True:
        try:
            waiting.get_nowait()
        except queue.Empty:
            return
