"""What each operation asks the host for, forwards and backwards together: launches, torch calls and waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.dispatched import Dispatched
from helpers.raster_cases import sphere
from helpers.warping_cases import random_case
from torch.profiler import ProfilerActivity, profile

from humanpose_cli.body.body import default_body
from humanpose_cli.engine import dispatch, launching
from humanpose_cli.engine.rasterising.op import interpolate


def posing(device: torch.device) -> Callable[[], object]:
    body = default_body().to(device)
    inputs = torch.full((64, 24, 3), 0.1, device=device), torch.zeros(64, body.shape_count, device=device)
    axis_angles, betas = (tensor.requires_grad_() for tensor in inputs)
    return lambda: torch.autograd.grad(body.pose(axis_angles, betas).vertices.sum(), (axis_angles, betas))


def interpolation(device: torch.device) -> Callable[[], object]:
    drawn = sphere(2, device=device)
    raster = drawn.raster("kernel")
    return lambda: interpolate(raster, drawn.faces, drawn.vertices)


def part_warp(device: torch.device) -> Callable[[], object]:
    case = random_case(device=device)
    return lambda: torch.autograd.grad(case.warped("kernel").sum(), (case.volume, case.target_to_source))


# Makes an operation on a device; the most launches of kernels and calls of torch, views and allocations included.
OPERATIONS: dict[str, tuple[Callable[[torch.device], Callable[[], object]], int, int]] = {
    "Body.pose": (posing, 4, 40),
    "interpolate": (interpolation, 1, 10),
    "warp_parts": (part_warp, 4, 70),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_few_launches_and_calls_and_no_wait(path, name):
    make, max_launches, max_calls = OPERATIONS[name]
    run = make(torch.device("cpu"))
    launching._commands.launches.clear()  # before there are too many, which would clear them between two runs
    run()  # checks and sorts what does not change, and records launches
    before = launching.launch_count
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    calls = sum(event.count for event in profiler.key_averages() if event.key.startswith("aten::"))
    assert 0 < launching.launch_count - before <= max_launches
    assert 0 < calls <= max_calls
    with Dispatched() as operations:
        run()
    assert path == "of the CPU" or not operations.waits


def test_arguments_of_the_same_shapes_are_checked_once():
    shapes = []
    check = dispatch.cached_by_signature(lambda tensor, count: shapes.append((*tensor.shape, count)))
    for tensor, count in ((torch.ones(2, 3), 1), (torch.zeros(2, 3), 1), (torch.ones(3, 2), 1), (torch.ones(2, 3), 2)):
        check(tensor, count)
    assert shapes == [(2, 3, 1), (3, 2, 1), (2, 3, 2)]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_gpu_is_not_waited_for(name):
    run = OPERATIONS[name][0](torch.device("cuda"))
    run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
