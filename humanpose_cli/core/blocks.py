"""Elementwise work on large images in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
        for future in [pool.submit(work, block) for block in blocks]:
            future.result()
