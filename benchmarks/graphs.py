"""CUDA graphs of operations and training steps with fixed shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["make_graphed"]


def make_graphed(
    run: Callable[[], tuple[Tensor, ...]], device: torch.device, warm_up: int = 3, cuda: Any = torch.cuda
) -> Callable[[], tuple[Tensor, ...]]:
    """Capture a function as a CUDA graph; on the CPU, return the function itself.

    Args:
        run: A function that reads and writes the same tensors at each call: new inputs are copied into them. It must
            not wait for the GPU. Parameters' gradients are kept between calls (`zero_grad(set_to_none=False)`).
        device: The device of its tensors.
        warm_up: Calls on a side stream before the capture, in which caches, optimisers and kernels are made.
        cuda: torch.cuda, or what stands in for it.

    Returns:
        A function that replays the graph and returns its results, the same tensors at each call.
    """
    if device.type != "cuda":
        return run
    stream = cuda.Stream(device)
    stream.wait_stream(cuda.current_stream(device))
    with cuda.stream(stream):
        for _ in range(warm_up):
            run()
    cuda.current_stream(device).wait_stream(stream)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        results = run()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return results

    return replay
