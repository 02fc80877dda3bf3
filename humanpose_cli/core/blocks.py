"""Work in several threads: on blocks of rows of large images, and on items ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
Item = TypeVar("Item")

_FRAME_THREADS = 2  # maximum; encoders are no faster, and each thread holds some hundred megabytes
_PIXELS = 1 << 16  # pixels of a block, so that its arrays stay in a core's cache


def in_blocks(work: Callable[[slice], None], shape: tuple[int, ...]) -> None:
    """Call `work` for blocks of rows of images (height, width, ...), in torch's number of threads.

    NumPy is several times as fast with a few megabytes, which stay in a cache, as with hundreds.
    """
    height, width = shape[:2]
    rows = max(1, _PIXELS // max(width, 1))
    blocks = [slice(start, min(start + rows, height)) for start in range(0, height, rows)]
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(blocks)))) as pool:
        list(pool.map(work, blocks))  # raises what a block raised


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Limit torch to one thread, and yield the number that it had.

    Small tensors are not worth a second thread, which costs twentyfold on a busy machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def made_ahead(make: Callable[[Item], T], items: Iterable[Item], threads: int) -> Generator[T, None, None]:
    """Yield `make(item)` for each item in order, computed in several threads.

    At most one result per thread waits. An exception is raised here, after the results of the items before it. Closing
    the generator ends the threads. Items are taken in the caller's thread, each when it is needed.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="make-ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def made_in_threads(make: Callable[[Item], T], items: Iterable[Item]) -> Iterator[Iterator[T]]:
    """Make the next results, such as drawn frames, in a few threads while one is used. See `made_ahead`.

    Torch computes with one thread in each, because the parts of a frame are too small to share.
    """
    with one_thread_each() as count, closing(made_ahead(make, items, min(_FRAME_THREADS, count))) as ahead:
        yield ahead
