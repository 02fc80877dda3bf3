"""Work in several threads: on blocks of rows of large images, or with one thread for torch in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

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
