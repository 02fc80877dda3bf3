"""Devices that the engine's tests run on; those of CUDA are skipped, and so reported, where there is none."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from humanpose_cli.engine import launching

_CPU = torch.device("cpu")
_CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
    ],
)


@pytest.fixture(params=["cpu", _CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def two_threads():
    """Large launches are split over two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["of the CPU", "of a GPU"])
def path(request, monkeypatch):
    """What the CPU runs, and what a GPU does, on the CPU: in order, and therefore with one lane for kinematics."""
    if request.param == "of a GPU":
        monkeypatch.setattr(launching, "_NUMPY", {})
        for name in ("skinning", "rasterising", "warping"):
            launches = import_module(f"humanpose_cli.engine.{name}.launches")
            monkeypatch.setattr(launches, "on_cpu", lambda device: False)
            monkeypatch.setattr(launches, "launch", lambda k, n, a, device, cost=0: launching.launch(k, n, a, _CPU, 0))
        monkeypatch.setattr("humanpose_cli.engine.skinning.launches._lanes", lambda device: 1)
    return request.param
