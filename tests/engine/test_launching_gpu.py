"""Kernels on GPUs: drivers that are too old, streams, and a GPU that is not the current one."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers.errors import raises
from helpers.raster_cases import scene, sphere
from torch.utils._python_dispatch import TorchDispatchMode

from humanpose_cli.body import joint_angles, warping_parts
from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.engine.skinning import launches as skinning_launches
from humanpose_cli.geometry import rotations
from humanpose_cli.models.deform_and_learn import registration


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


class Current:
    """Stands in for the current GPU of torch: entered with a device, it remembers which was current before."""

    def __init__(self) -> None:
        self.index, self.streams, self.named, self.launched = 0, {}, [], []

    def device(self, device):
        @contextmanager
        def entered():
            before, self.index = self.index, device.index
            yield
            self.index = before

        return entered()

    def current_stream(self, device):
        return SimpleNamespace(cuda_stream=self.streams.get(device.index, 0), device=device)

    def stream_from_torch(self, stream):
        self.named.append((stream.device.index, stream.cuda_stream))
        return self.named[-1]

    def run(self, kernel, begin, end, arguments, device, stream):
        self.launched.append((self.index, stream))
        self.index = device.index  # as Warp does


def test_a_launch_keeps_the_current_gpu_and_names_each_stream_once(monkeypatch):
    current = Current()
    monkeypatch.setattr(torch.cuda, "device", current.device)
    monkeypatch.setattr(torch.cuda, "current_stream", current.current_stream)
    monkeypatch.setattr(launching, "start", lambda: current)
    monkeypatch.setattr(launching, "_run", current.run)
    monkeypatch.setattr(launching, "_streams", {})

    def launch(index):
        launching.launch(None, 5, [], torch.device("cuda", index))

    for index in (1, 1, 0):
        launch(index)
        assert current.index == 0
    current.streams[1] = 77
    threads = [threading.Thread(target=launch, args=(1,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert current.named == [(1, 0), (0, 0), (1, 77)]
    assert {stream for _, stream in current.launched[3:]} == {(1, 77)}


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


class OnMeta(TorchDispatchMode):
    """Operations that compute on the device "meta"."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.device.type == "meta":
            self.names.add(function.overloadpacket.__name__)
        return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        partial(rotations._generators, torch.float32),
        partial(joint_angles._basis, torch.float32),
        warping_parts._part_rows,
        partial(warping_parts._voxel_size_tensor, (4.0, 4.0, 8.0), torch.float32),
        registration._relations,
        partial(skinning_launches._tree, (-1, 0, 0)),
    ],
)
def test_tables_that_are_kept_are_copied_to_a_gpu(make):
    """The host waits for a copy from its memory; what a stream computes, another one may read too early."""
    with OnMeta() as operations:
        make(torch.device("meta"))
    assert operations.names <= {"_to_copy", "lift_fresh", "detach", "unbind"}


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
