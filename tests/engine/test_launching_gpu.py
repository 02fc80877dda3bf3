"""Kernels on GPUs: drivers that are too old, streams, and a GPU that is not the current one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from helpers.errors import raises
from helpers.raster_cases import scene, sphere

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.rasterising.op import rasterise


@pytest.mark.parametrize(
    ("toolkit", "driver", "message"),
    [
        (
            (13, 4),
            (12, 8),
            r"CUDA 13, 580 or newer, found .*CUDA 12\.8; install driver 580 or newer",
        ),
        ((14, 0), (13, 0), "expected a driver for CUDA 14, found .*; install a newer driver"),
        ((13, 4), None, "found "),
        (None, None, "was made without CUDA"),
    ],
)
def test_an_old_driver_is_reported_with_the_one_that_is_needed(monkeypatch, caplog, toolkit, driver, message):
    monkeypatch.setattr("warp.is_cuda_available", lambda: False)
    monkeypatch.setattr("warp.get_cuda_toolkit_version", lambda: toolkit)
    monkeypatch.setattr("warp.get_cuda_driver_version", lambda: driver)
    monkeypatch.setattr(launching, "_failures", {})
    problem = launching.ready("humanpose_cli.engine.skinning.kernel", torch.device("cuda:0"))
    assert isinstance(problem, UnavailableError)
    assert re.search(message, str(problem))
    assert "device=cpu" in str(problem)


def test_what_is_remembered_is_computed_before_another_stream_may_ask(monkeypatch):
    class OnGpu:
        device, _version = torch.device("cuda:1"), 0

        def is_inference(self):
            return False

    done = []
    stream = SimpleNamespace(synchronize=lambda: done.append("waited"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    memo, tensor = TensorMemo(lambda _: done.append("computed") or 5), OnGpu()
    assert [memo(tensor), memo(tensor)] == [5, 5]
    assert done == ["computed", "waited"]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert memo(tensor) == 5
    with raises(UsageError, remedy="run the function once before the capture"):
        memo(OnGpu())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_kernels_run_on_torchs_current_stream():
    """The vertices come late on a side stream: a kernel on another one would draw what was there before."""
    drawn = sphere(3)
    expected = drawn.raster("kernel")
    rest = [t.cuda() for t in (drawn.faces, drawn.focal, drawn.principal_point)]
    rasterise(drawn.vertices.cuda(), *rest, drawn.size, backend="kernel")  # compiled before
    vertices, ready = torch.zeros_like(drawn.vertices, device="cuda"), drawn.vertices.cuda()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        vertices.copy_(ready)
        raster = rasterise(vertices, *rest, drawn.size, backend="kernel")
    stream.synchronize()
    assert torch.equal(raster.face.cpu(), expected.face)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices on this machine")
def test_kernels_run_on_a_gpu_that_is_not_the_current_one():
    drawn = sphere(2)
    tensors = [t.to("cuda:1") for t in (drawn.vertices, drawn.faces, drawn.focal, drawn.principal_point)]
    raster = rasterise(*tensors, drawn.size, backend="kernel")
    assert torch.cuda.current_device() == 0
    assert raster.face.device == torch.device("cuda:1")
    assert torch.equal(raster.face.cpu(), scene(drawn.vertices, drawn.faces, 90.0).raster("kernel").face)
