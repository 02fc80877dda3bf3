"""How long a call takes, several times over, and on which devices."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["measured_devices", "times"]


def times(run: Callable[[], Any], repeats: int, device: str) -> list[float]:
    """Milliseconds of each repeat, after two that are not counted (one, of few repeats)."""
    durations = []
    for turn in range(-2 if repeats > 3 else -1, repeats):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        if turn >= 0:
            durations.append(1000 * (time.perf_counter() - began))
    return durations


def measured_devices(description: str | None) -> list[str]:
    """Return the device of the command line, or the CPU and, if there is one, the GPU."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cpu", "cuda"))
    device = parser.parse_args().device
    return [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
