"""Peak memory of a call, in addition to the memory of the process before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["peak_bytes"]

_REPEATS, _MAX_REPEATS = 3, 10
_STEADY = 1 << 20  # bytes
_PROCESS = Path("/proc/self")


def peak_bytes(run: Callable[[], Any], device: str = "cpu") -> int | None:
    """Return the peak of bytes during a call, including its result; None if the system does not report it.

    On CUDA what torch's allocator hands out. On the CPU the resident set's high-water mark, which counts whoever
    allocates (torch, numpy, native libraries); freed memory is given back to the system before, so that none of it is
    used again unseen. The largest of a few calls is given, since the kernel counts pages of each thread in batches. A
    call during which pages of libraries and other files came in or were thrown out, as a busy system does, counts only
    where all are so.
    """
    if device != "cpu":
        return max(_on_cuda(run, device) for _ in range(_REPEATS))
    peaks: list[tuple[int, int]] = []
    steady: list[int] = []
    while len(peaks) < _MAX_REPEATS and len(steady) < _REPEATS:
        measured = _resident(run)
        if measured is None:
            return None
        peaks.append(measured)
        steady = [peak for peak, moved in peaks if moved < _STEADY]
    return max(steady or [peak for peak, _ in peaks])


def _on_cuda(run: Callable[[], Any], device: str) -> int:
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    initial = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - initial


def _resident(run: Callable[[], Any]) -> tuple[int, int] | None:
    """The peak, and by how much the pages of files that are resident changed."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")  # the high-water mark starts anew at what is resident
    except (OSError, AttributeError, TypeError):  # not Linux, or not glibc
        return None
    initial, files = _status("VmRSS"), _status("RssFile")
    result = run()
    peak, moved = _status("VmHWM"), abs(_status("RssFile") - files)
    del result
    return max(0, peak - initial), moved


def _status(field: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))
