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
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from repeats import times
from torch import Tensor
from torch.autograd import grad

from humanpose_cli.body.body import default_body
from humanpose_cli.core.device import resolve_device
from humanpose_cli.engine import launching
from humanpose_cli.engine.self_test import self_test
from humanpose_cli.engine.skinning.op import axis_angle_to_rotations
from humanpose_cli.engine.warping.op import warp_parts
from humanpose_cli.lab.train.graphs import WARM_UP, Capture

MODULES = (
    *("skinning.kernel", "rasterising.kernel", "drawing.kernel"),
    *("warping.kernel", "warping.mask_kernel"),
)

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
    for name, run in operations(device).items():
        yield graphed(name, run, device)


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


def operations(device: torch.device) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Each operation forwards and backwards, at fixed shapes."""
    body, generator = default_body().to(device), torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    axis_angles, betas = (0.2 * random(64, 24, 3)).requires_grad_(), random(64, body.shape_count).requires_grad_()
    volume, transforms = random(2, 64, 16, 32, 32).requires_grad_(), torch.eye(4, device=device)[:3].expand(2, 10, 3, 4)
    capsules = (16 + 4 * random(2, 10, 7)).abs()
    parts = torch.arange(10, dtype=torch.int32, device=device)
    return {
        "Body.pose, 64": lambda: grad(body.pose(axis_angles, betas).vertices.square().sum(), (axis_angles, betas)),
        "warp_parts": lambda: grad(warp_parts(volume, capsules, parts, transforms).square().sum(), volume),
    }


def graphed(name: str, run: Callable[[], tuple[Tensor, ...]], device: torch.device) -> Row:
    """Times, launches and whether a captured graph gives what the operation itself does."""
    expected, before = [tensor.clone() for tensor in run()], launching.launch_count
    run()
    row: Row = {"what": f"{name}, forwards and backwards", "launches": launching.launch_count - before}
    row["ms"] = round(min(times(run, 50 if device.type == "cuda" else 3, str(device))), 4)
    if device.type == "cpu":
        return row
    try:
        capture: Capture[tuple[Tensor, ...]] = Capture(device)
        with capture.warm_up():
            for _ in range(WARM_UP):
                run()
        replay = capture(run)
        row["replayed_ms"] = round(min(times(replay, 50, str(device))), 4)
        for tensor in (found := replay()):
            tensor.zero_()
        replay()
        error = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))
        return row | {"error": f"{error:.1e}", "ok": error < 1e-5}
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
