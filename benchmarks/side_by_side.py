"""Times two ways of doing one thing by turns in one process, and prints one JSON line per figure."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["compare"]


def compare(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    against: str,
    reach: float,
    device: str = "cpu",
    repeats: int = 30,
) -> float:
    """Prints a figure as a line of JSON and returns its ratio: theirs / ours, of the least times.

    The sides take turns, so that whatever else the machine does meets both alike. Times are in milliseconds.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(-3, repeats):  # the first turns warm caches and compile kernels
        for side, run in enumerate((ours, theirs)):
            seconds = _seconds(run, device)
            if turn >= 0:
                times[side].append(1000 * seconds)
    ratio = min(times[1]) / min(times[0])
    line = {
        "name": name,
        "against": against,
        "ratio": round(ratio, 2),
        "reach": reach,
        "ours_min_ms": round(min(times[0]), 3),
        "ours_median_ms": round(statistics.median(times[0]), 3),
        "theirs_min_ms": round(min(times[1]), 3),
        "theirs_median_ms": round(statistics.median(times[1]), 3),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    print(json.dumps(line), flush=True)
    return ratio


def _seconds(run: Callable[[], Any], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
