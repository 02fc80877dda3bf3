"""What this machine could do at best: sustained memory bandwidth and multiply-adds, and the least time of a task."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

__all__ = ["Work", "bandwidth", "min_ms", "multiply_rate"]

_MIN_BYTES, _MAX_BYTES = 1 << 23, 1 << 29
_REPEATS, _SECONDS = 10, 0.4  # of each measurement, at least
_SIDE = {"cpu": 1536, "cuda": 8192}  # of the matrices of the multiply rate


@dataclass(frozen=True)
class Work:
    """What a task needs at least, whoever does it.

    bytes_moved  inputs read and outputs written, each once, though they be used often
    flops        multiplications and additions
    dtype        of the multiplications
    """

    bytes_moved: float
    flops: float
    dtype: torch.dtype = torch.float32


def min_ms(work: Work, device: str = "cpu") -> tuple[float, str]:
    """Return the fewest milliseconds that the machine allows, and the limit: 'memory' or 'multipliers'.

    The bandwidth is that of data as large as the task's, so that a task which fits a cache is held to the cache.
    """
    memory = 1000 * work.bytes_moved / bandwidth(work.bytes_moved, device)
    multipliers = 1000 * work.flops / multiply_rate(device, work.dtype)
    return max(memory, multipliers), "memory" if memory >= multipliers else "multipliers"


def bandwidth(working_set: float, device: str = "cpu") -> float:
    """Return bytes per second of a triad a = b + s · c with three arrays of about this total size.

    Counted as STREAM does: two arrays read, one written. Measured with torch's number of threads.
    """
    size = _MIN_BYTES
    while size < min(working_set, _MAX_BYTES):
        size *= 2
    return _triad(size, device, torch.get_num_threads())


def multiply_rate(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return multiplications and additions per second of a large matrix product with torch's number of threads."""
    return _product(device, torch.get_num_threads(), dtype)


@lru_cache
def _triad(size: int, device: str, threads: int) -> float:
    count = size // 12
    b, c = torch.ones(count, device=device), torch.ones(count, device=device)
    a = torch.empty_like(b)
    return 12 * count / _min_seconds(lambda: torch.add(b, c, alpha=0.5, out=a), device)


@lru_cache
def _product(device: str, threads: int, dtype: torch.dtype) -> float:
    side = _SIDE[torch.device(device).type]
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    out = torch.empty_like(a)
    seconds = _min_seconds(lambda: torch.mm(a, b, out=out), device)
    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if device == "cpu" and torch.backends.mkldnn.is_available() and onednn is not None:
        # What torch has for convolutions often multiplies faster than what it has for products.
        seconds = min(seconds, _min_seconds(lambda: onednn(a, b, None, "none", [], ""), device))
    return 2 * side**3 / seconds


def _min_seconds(run: Callable[[], Any], device: str) -> float:
    times: list[float] = []
    while len(times) < _REPEATS or sum(times) < _SECONDS:
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
