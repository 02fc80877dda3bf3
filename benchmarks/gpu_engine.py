"""The engine's start on a GPU: compile times and memory, agreement with the reference, streams, captured graphs.

Memory is what the whole GPU has in use. A row that is not ok ends with exit code 1: mend that before anything else is
measured.

    python benchmarks/gpu_engine.py [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from repeats import times

from humanpose_cli.core.device import resolve_device
from humanpose_cli.engine import launching
from humanpose_cli.engine.self_test import self_test
from humanpose_cli.engine.skinning.op import axis_angle_to_rotations

MODULES = ("skinning.kernel", "rasterising.kernel", "warping.kernel", "warping.mask_kernel", "heatmaps.kernel")

Row = dict[str, Any]


def measured(device: torch.device) -> Iterator[Row]:
    """Return the rows, with `ok` for those that are checked."""
    wp = launching.start()
    row: Row = {"what": f"Warp {wp.__version__}", "toolkit": wp.get_cuda_toolkit_version()}
    yield row | {"driver": wp.get_cuda_driver_version(), "used_mib": used_mib(device)}
    for module in MODULES:
        begun = time.perf_counter()
        problem = launching.ready(f"humanpose_cli.engine.{module}", device)
        row = {"what": f"{module} made ready", "seconds": round(time.perf_counter() - begun, 2)}
        yield row | {"used_mib": used_mib(device), "ok": problem is None, "problem": str(problem or "")}
    for result in self_test([str(device)]):
        yield {"what": result.op, "error": f"{result.error:.1e}", "ok": result.ok, "problem": result.problem}
    yield from streams(device)
    if device.type == "cuda":
        yield captured(device)


def used_mib(device: torch.device) -> int:
    """Of the GPU's memory, by everybody; 0 for the CPU."""
    if device.type == "cpu":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) >> 20


def streams(device: torch.device) -> Iterator[Row]:
    """What a small launch costs the host, on torch's default stream and on another."""
    turns = torch.randn(1000, 3, device=device)
    expected = axis_angle_to_rotations(turns.cpu(), backend="reference")
    for name in ("default stream", "side stream") if device.type == "cuda" else ("no stream",):
        with torch.cuda.stream(torch.cuda.Stream(device)) if name == "side stream" else nullcontext():
            spent = times(lambda: axis_angle_to_rotations(turns, backend="kernel"), 300, str(device))
            found = axis_angle_to_rotations(turns, backend="kernel").cpu()
        ok = torch.allclose(found, expected, atol=1e-5)
        if device.type == "cuda":
            ok = ok and torch.cuda.current_device() == device.index
        yield {"what": f"1000 rotations, {name}", "ms": round(min(spent), 4), "ok": ok}


def captured(device: torch.device) -> Row:
    """Whether a kernel in a CUDA graph computes again when the graph is replayed."""
    turns = torch.randn(1000, 3, device=device)
    expected, graph = axis_angle_to_rotations(turns, backend="kernel").clone(), torch.cuda.CUDAGraph()
    row: Row = {"what": "1000 rotations, captured and replayed"}
    try:
        with torch.cuda.graph(graph):
            found = axis_angle_to_rotations(turns, backend="kernel")
        found.zero_()
        graph.replay()
        return row | {"ok": torch.equal(found, expected)}
    except Exception as problem:  # a diagnosis: whatever torch, Warp or the driver raise is the finding
        return row | {"ok": False, "problem": str(problem)[:200]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    wrong = False
    for row in measured(torch.device(resolve_device(parser.parse_args().device))):
        print(json.dumps(row), flush=True)
        wrong = wrong or not row.get("ok", True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
