"""CUDA graphs of functions with fixed shapes: what a function launches is recorded once, and then launched as a whole.

A function to capture reads and writes the same tensors at each call, does not wait for the GPU, and leaves nothing else
behind: a replay runs none of its Python.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")

logger = logging.getLogger("humanpose_cli.engine")

# Calls before the capture, in which caches, states of optimisers and kernels are made.
WARM_UP = 3
_MAX_GRAPHS = 4


def map_tensors(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to every tensor in tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(value, change) for key, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(map_tensors(value, change) for value in values))
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return type(values)(map_tensors(value, change) for value in values)  # type: ignore[call-arg]
    return values


def tensors_in(values: Any) -> list[Tensor]:
    """List the tensors in tuples, lists and dictionaries."""
    tensors: list[Tensor] = []

    def take(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(values, take)
    return tensors


class Capture(Generic[R]):
    """Capture functions on one stream of a GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    @contextmanager
    def warm_up(self) -> Iterator[None]:
        """Run calls on the stream of a later capture: gradients are accumulated where they were before."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def __call__(self, run: Callable[[], R]) -> Callable[[], R]:
        """Capture a function that has run before.

        Args:
            run: The function.

        Returns:
            A function that replays the graph and returns the results of `run`, the same tensors at each call.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads, which pin the memory of batches, may go on.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            results = run()

        def replay() -> R:
            graph.replay()
            return results

        return replay


def can_capture(device: torch.device) -> bool:
    """Check whether a device has CUDA graphs."""
    return device.type == "cuda"


class GraphedSteps(Generic[R]):
    """Call a function of a batch, from the fourth call with the same key and shapes on as a CUDA graph.

    If a capture fails, this is logged, and all further calls run the function itself.

    Args:
        run: The function of a batch on the device.
        device: The device.
        enabled: Whether to capture; the device must be a GPU then.
    """

    def __init__(self, run: Callable[[Any], R], device: torch.device, *, enabled: bool = True) -> None:
        self._run, self._device, self._capture = run, device, Capture[R](device) if enabled else None
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, tuple[list[Tensor], Callable[[], R]]] = {}

    def __call__(self, key: Hashable, batch: Any) -> R:
        """Run the function, or replay it.

        Args:
            key: What decides the operations of the function besides the shapes. None if they may differ at each call.
            batch: Tensors on any device, in tuples, lists and dictionaries.

        Returns:
            The result of the function, of a replay that of the capture.
        """
        if self._capture is None:
            return self._run(map_tensors(batch, lambda tensor: tensor.to(self._device, non_blocking=True)))
        tensors = tensors_in(batch)
        shapes = (key, *((tensor.shape, tensor.dtype) for tensor in tensors))
        if shapes in self._graphs:
            inputs, replay = self._graphs[shapes]
            for old, new in zip(inputs, tensors, strict=True):
                old.copy_(new, non_blocking=True)
            return replay()
        self._calls[shapes] += 1
        if key is not None and self._calls[shapes] > WARM_UP and len(self._graphs) < _MAX_GRAPHS:
            own = map_tensors(batch, lambda tensor: tensor.to(self._device, copy=True))
            try:
                replay = self._capture(lambda: self._run(own))
                self._graphs[shapes] = tensors_in(own), replay
                return replay()
            except Exception as problem:  # whatever torch, Warp or the driver raise
                self._capture = None
                logger.warning("steps run without CUDA graphs, their capture failed: %s", problem)
                return self(key, batch)
        with self._capture.warm_up():
            return self._run(map_tensors(batch, lambda tensor: tensor.to(self._device, non_blocking=True)))
