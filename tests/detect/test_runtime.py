"""Requests of several threads for networks, joined to batches."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count

import numpy as np
import onnxruntime
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.detect import runtime
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.runtime import JoinedRequests


class Network:
    """Stands in for networks: sums and rows of its images; remembers how many came at once."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.fault: Exception | None = None

    def __call__(self, name, outputs, images):
        self.batches.append((name, len(images)))
        if self.fault is not None:
            raise self.fault
        return [images.sum((1, 2, 3)), images[:, 0]]


def constant_images(number: int, value: int, size: int = 4) -> np.ndarray:
    return np.full((number, size, size, 3), value, np.uint8)


def test_threads_that_ask_at_the_same_time_are_answered_by_one_batch():
    network = Network()
    joined, arrived = JoinedRequests(network, 100), threading.Barrier(4)

    def look(value: int) -> None:
        with joined.asking():
            arrived.wait()
            for size in (4, 8):
                total, rows = joined("n", ("a", "b"), constant_images(value, value, size))
                assert total.tolist() == [value * 3 * size * size] * value
                assert rows.shape == (value, size, 3)
                assert (rows == value).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, (1, 2, 3, 4)))
    assert network.batches == [("n", 10), ("n", 10)]


def test_a_thread_that_leaves_is_not_waited_for():
    network = Network()
    joined, arrived = JoinedRequests(network, 100), threading.Barrier(3)

    def look(value: int) -> None:
        with joined.asking():
            arrived.wait()
            for _ in range(value):
                joined("n", ("a", "b"), constant_images(1, value))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(look, (0, 1, 3)))
    assert network.batches == [("n", 2), ("n", 1), ("n", 1)]


def test_networks_run_separately_and_no_batch_is_larger_than_it_may_be():
    network = Network()
    joined, arrived, numbers = JoinedRequests(network, 5), threading.Barrier(6), count()

    def look(name: str) -> None:
        with joined.asking():
            value = next(numbers)
            arrived.wait()
            total, _ = joined(name, ("a", "b"), constant_images(2, value))
            assert total.tolist() == [value * 48] * 2

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(look, "aaaabb"))
    assert sum(images for _, images in network.batches) == 12
    assert {name: sum(n for other, n in network.batches if other == name) for name in "ab"} == {"a": 8, "b": 4}
    assert max(images for _, images in network.batches) <= 5


def test_what_goes_wrong_is_raised_in_every_thread_and_the_next_batch_runs():
    network = Network()
    joined, arrived = JoinedRequests(network, 100), threading.Barrier(3)
    network.fault = RuntimeError("out of memory")

    def look(_: int) -> None:
        with joined.asking():
            arrived.wait()
            with pytest.raises(RuntimeError, match="out of memory"):
                joined("n", ("a", "b"), constant_images(1, 1))
            arrived.wait()
            network.fault = None
            arrived.wait()
            assert joined("n", ("a", "b"), constant_images(1, 1))[0].tolist() == [48]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(look, range(3)))
    assert network.batches == [("n", 3), ("n", 3)]
    assert joined("n", ("a", "b"), constant_images(2, 1))[0].tolist() == [48, 48]  # nobody else is asking


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (2, [16]), (16, [16]), (33, [16, 16, 16])])
def test_batches_on_a_gpu_have_two_sizes(monkeypatch, count, batches):
    """A session has inputs of one shape, and what is added to a batch is not returned."""
    shapes = []

    class Session:
        def __init__(self, name, device, shape):
            self.shape = shape

        def run(self, outputs, inputs):
            assert inputs["image"].shape == self.shape
            shapes.append(self.shape)
            return [inputs["image"].sum((1, 2, 3)) for _ in outputs]

    monkeypatch.setattr(runtime, "_gpu_session", Session)
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 6, 3), np.uint8)
    first, second = runtime._compute("cuda:0", "movenet-multipose", ("a", "b"), images)
    assert shapes == [(size, 4, 6, 3) for size in batches]
    np.testing.assert_array_equal(first, 72 * np.arange(count))
    np.testing.assert_array_equal(second, first)


@pytest.mark.extensive
def test_detection_on_a_gpu_joins_the_crops_of_images_and_finds_the_same(monkeypatch, fast, astronaut):
    """The networks run on the CPU here, under a GPU's name."""
    expected = [person.keypoints for person in fast.detect(astronaut)]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime, "_gpu_problem", lambda device: "")
    sessions, sizes = runtime._session, []

    class Session:
        def __init__(self, name):
            self.session = sessions(name, "cpu")

        def run(self, outputs, inputs):
            sizes.append(len(inputs["image"]))
            return self.session.run(outputs, inputs)

    monkeypatch.setattr(runtime, "_gpu_session", lambda name, device, shape: Session(name))
    monkeypatch.setattr(runtime, "_GPU_BATCH", 3)
    monkeypatch.setattr(runtime, "_joined", cache(runtime._joined.__wrapped__))
    with PersonDetector("fast", 4, "cuda") as detector, ThreadPoolExecutor(2) as pool:
        images = list(pool.map(detector.detect, [astronaut] * 2))
    assert max(sizes) == 3
    assert set(sizes) <= {1, 3}
    for found in images:
        assert len(found) == len(expected)
        for person, keypoints in zip(found, expected, strict=True):
            np.testing.assert_allclose(person.keypoints, keypoints, atol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_cuda_provider_that_does_not_load_is_reported(monkeypatch, caplog, capsys):
    """ONNX Runtime itself prints to the standard output, and computes on the CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("no libcublasLt.so.13\nPlease follow …"))
    for name in ("_gpu_problem", "_load_cuda", "_warn_once"):
        monkeypatch.setattr(runtime, name, cache(getattr(runtime, name).__wrapped__))
    assert [runtime.runtime_device("auto"), runtime.runtime_device("auto")] == ["cpu", "cpu"]
    (warning,) = caplog.messages
    reason = "cannot compute on cuda:0 (its CUDA provider does not load: no libcublasLt.so.13)"
    assert warning.startswith(f"the pose networks run on the CPU: ONNX Runtime {reason}; pip install")
    with raises(UnavailableError, problem=reason, remedy='"onnxruntime-gpu[cuda,cudnn]"'):
        runtime.runtime_device("cuda:0")
    assert capsys.readouterr().out == ""
