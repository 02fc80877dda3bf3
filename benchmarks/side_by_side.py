"""Time two implementations alternately in one process, and print one JSON line per figure."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peak_memory import peak_bytes
from roofline import Work, min_ms

__all__ = ["Work", "compare"]


def compare(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    against: str,
    reach: float,
    device: str = "cpu",
    repeats: int = 30,
    work: Work | None = None,
    memory_reach: float | None = None,
    note: str | None = None,
) -> float:
    """Prints a figure as a line of JSON and returns its ratio: theirs / ours, of the least times.

    work          what the task needs at least: adds `roofline_ms`, the least time that this machine would allow for
                  it, and `of_roofline`, the part of it that ours reaches
    memory_reach  how many times less memory than theirs ours is to need at its peak
    note          what a reader of the figure should know

    The sides take turns, so that whatever else the machine does meets both alike. Times are in milliseconds, peaks in
    MiB above what was held before (`peak_memory.py`), measured in calls of their own.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(-3, repeats):  # the first turns warm caches and compile kernels
        for side, run in enumerate((ours, theirs)):
            seconds = _seconds(run, device)
            if turn >= 0:
                times[side].append(1000 * seconds)
    minimum = min(times[0])
    ratio = min(times[1]) / minimum
    line: dict[str, object] = {
        "name": name,
        "against": against,
        "ratio": round(ratio, 2),
        "reach": reach,
        "ours_min_ms": round(minimum, 3),
        "ours_median_ms": round(statistics.median(times[0]), 3),
        "theirs_min_ms": round(min(times[1]), 3),
        "theirs_median_ms": round(statistics.median(times[1]), 3),
        **_memory(ours, theirs, device, memory_reach),
        **({} if work is None else _roofline(work, minimum, device)),
        "threads": torch.get_num_threads(),
        "device": device,
        **({} if note is None else {"note": note}),
    }
    print(json.dumps(line), flush=True)
    return ratio


def _memory(ours: Callable[[], Any], theirs: Callable[[], Any], device: str, reach: float | None) -> dict[str, object]:
    peaks = [peak_bytes(run, device) for run in (ours, theirs)]
    if peaks[0] is None or peaks[1] is None:
        return {}
    line: dict[str, object] = {
        "ours_peak_mib": round(peaks[0] / 2**20, 2),
        "theirs_peak_mib": round(peaks[1] / 2**20, 2),
    }
    if reach is not None and peaks[0]:
        line |= {"memory_ratio": round(peaks[1] / peaks[0], 2), "memory_reach": reach}
    return line


def _roofline(work: Work, minimum: float, device: str) -> dict[str, object]:
    allowed, limit = min_ms(work, device)
    return {
        "mbytes_moved": round(work.bytes_moved / 1e6, 3),
        "mflops": round(work.flops / 1e6, 3),
        "roofline_ms": round(allowed, 3),
        "of_roofline": round(allowed / minimum, 3),
        "limit": limit,
    }


def _seconds(run: Callable[[], Any], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
