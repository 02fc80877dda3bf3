"""Elementwise work on large images in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_PIXELS = 1 << 16  # of a block: its arrays stay in a core's cache


def in_blocks(work: Callable[[slice], None], shape: tuple[int, ...]) -> None:
    """Call `work` for all rows of images (height, width, ...), some rows at a time, in torch's number of threads.

    NumPy computes with a few megabytes several times as fast as with hundreds, which never stay in a cache.
    """
    height, width = shape[:2]
    rows = max(1, _PIXELS // max(width, 1))
    blocks = [slice(start, min(start + rows, height)) for start in range(0, height, rows)]
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(blocks)))) as pool:
        for future in [pool.submit(work, block) for block in blocks]:
            future.result()
