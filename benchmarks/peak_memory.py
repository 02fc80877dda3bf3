"""How much memory a call needs at its peak, above what the process holds before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["peak_bytes"]

_REPEATS = 3
_PROCESS = Path("/proc/self")


def peak_bytes(run: Callable[[], Any], device: str = "cpu") -> int | None:
    """Bytes at the peak of one call, its result included; None where the system does not tell.

    On CUDA what torch's allocator hands out. On the CPU the resident set's high-water mark, which counts whoever
    allocates (torch, numpy, native libraries); freed memory is given back to the system before, so that none of it is
    used again unseen. The largest of a few calls is given, since the kernel counts pages of each thread in batches.
    """
    measure = _resident if device == "cpu" else _on_cuda
    peaks = [measure(run, device) for _ in range(_REPEATS)]
    return max((peak for peak in peaks if peak is not None), default=None)


def _on_cuda(run: Callable[[], Any], device: str) -> int:
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _resident(run: Callable[[], Any], device: str) -> int | None:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")  # the high-water mark starts anew at what is resident
    except (OSError, AttributeError, TypeError):  # not Linux, or not glibc
        return None
    before = _status("VmRSS")
    kept = run()
    peak = _status("VmHWM")
    del kept
    return max(0, peak - before)


def _status(field: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))
