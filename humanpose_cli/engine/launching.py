"""Kernel launches on torch's tensors: without copies, on torch's current stream, over torch's number of CPU threads."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from humanpose_cli.engine.runtime import start
from humanpose_cli.errors import UsageError

__all__ = ["fresh", "launch", "matrices", "plain", "vectors"]

# Nanoseconds of work on one thread from which splitting a launch over several pays (it costs about 60 µs).
SPLIT_FROM = 300_000
# Launches remembered per thread; bodies of few shapes need a few dozen.
_MOST_COMMANDS = 1024

# Bytes of a huge page; of a tensor that surely holds a whole one; and Linux's advice to use them.
_HUGE_PAGE, _LARGE, _MADV_HUGEPAGE = 1 << 21, 1 << 22, 14

# Warp counts threads, rows and the bytes from one row to the next in 32 bits.
_MOST = (1 << 31) - 1

# A tensor as a kernel's array of some Warp type; None stands for the tensor's own.
Array = tuple[Tensor, Any]


class _Commands(threading.local):
    """This thread's recorded launches, and the descriptors in which a launch gets its arrays' addresses."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], tuple[Any, list[Any]]] = {}


_commands = _Commands()
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def plain(tensor: Tensor) -> Array:
    """A tensor as a kernel's array of its own numbers, of any strides."""
    return tensor.resolve_neg(), None


def vectors(tensor: Tensor, dtype: Any) -> Array:
    """(..., n) as an array of Warp's vectors, copied only where a vector's numbers do not lie together."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous(), dtype


def matrices(tensor: Tensor, dtype: Any) -> Array:
    """(..., n, n) as an array of Warp's matrices, copied only where a matrix's numbers do not lie together."""
    together = tensor.stride()[-2:] == (tensor.shape[-1], 1)
    return tensor if together else tensor.contiguous(), dtype


def fresh(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An uninitialised tensor of that shape, of the dtype and on the device of another one.

    On Linux a large one gets huge pages where the system grants them to those who ask, as numpy's arrays do: memory
    that was not used before costs about as much as a kernel's work, and a quarter of that with huge pages.
    """
    tensor = like.new_empty(shape)
    if tensor.device.type == "cpu" and tensor.nbytes >= _LARGE:
        advise = _advice()
        if advise is not None:
            begin = -(-tensor.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
            advise(begin, (tensor.data_ptr() + tensor.nbytes - begin) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
    return tensor


@lru_cache(maxsize=1)
def _advice() -> Callable[[int, int, int], int] | None:
    """The C library's madvise, where it knows of huge pages."""
    if sys.platform != "linux":
        return None
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None:
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def launch(kernel: Any, size: int, arguments: Sequence[Any], device: torch.device, cost: int = 0) -> None:
    """Runs a kernel over `size` threads on torch's current stream of `device`.

    arguments  numbers and arrays; the kernel takes the number of its first thread before them
    cost       estimated nanoseconds on one CPU thread: a launch of more than `SPLIT_FROM` is split over torch's
               number of threads, so the kernel's threads must not write to the same place
    """
    if size == 0:
        return
    if size > _MOST:
        raise UsageError("tensors", "are too large for one launch", expected=f"at most {_MOST} threads", got=str(size))
    if device.type != "cpu":
        stream = start().stream_from_torch(torch.cuda.current_stream(device))
        _run(kernel, 0, size, arguments, device, stream)
        return
    parts = min(torch.get_num_threads(), size) if cost > SPLIT_FROM else 1
    if parts == 1:
        _run(kernel, 0, size, arguments, device, None)
        return
    bounds = [size * part // parts for part in range(parts + 1)]
    spans = list(pairwise(bounds))
    others = [_threads().submit(_run, kernel, *span, arguments, device, None) for span in spans[1:]]
    try:
        _run(kernel, *spans[0], arguments, device, None)
    finally:
        for other in others:
            other.result()


def _run(kernel: Any, begin: int, end: int, arguments: Sequence[Any], device: torch.device, stream: Any) -> None:
    """Launches threads `begin` to `end` − 1.

    Small operations would spend most of their time in Warp's packing of arguments. So a launch is recorded once for
    each set of numbers, shapes and strides, and afterwards only the arrays' addresses are new.
    """
    key: list[Any] = [kernel, begin, end, device]
    tensors: list[Tensor] = []
    for argument in arguments:
        if argument.__class__ is tuple:
            tensor = argument[0]
            tensors.append(tensor)
            key += (tensor.shape, tensor.stride())
        else:
            key.append(argument)
    known = _commands.known
    found = known.get(tuple(key))
    if found is None:
        if len(known) >= _MOST_COMMANDS:
            known.clear()
        found = known[tuple(key)] = _record(kernel, begin, end, arguments, device)
    command, descriptors = found
    for descriptor, tensor in zip(descriptors, tensors, strict=True):
        descriptor.data = tensor.data_ptr()
    command.launch(stream)


def _record(kernel: Any, begin: int, end: int, arguments: Sequence[Any], device: torch.device) -> tuple[Any, list[Any]]:
    wp = start()
    packed: list[Any] = [begin]
    descriptors = []
    for argument in arguments:
        if argument.__class__ is tuple:
            tensor, dtype = argument
            if not tensor.numel():
                tensor = tensor.new_empty(tensor.shape)  # an empty tensor may have strides that Warp refuses
            _check_reach(tensor)
            made = wp.from_torch(tensor, dtype=dtype, requires_grad=False, return_ctype=True)
            copy = type(made).from_buffer_copy(made)  # without the reference to the tensor that `made` keeps
            packed.append(copy)
            descriptors.append(copy)
        else:
            packed.append(argument)
    command = wp.launch(kernel, end - begin, packed, device=wp.device_from_torch(device), record_cmd=True)
    return command, descriptors


def _check_reach(tensor: Tensor) -> None:
    """UsageError where Warp would cut off a size or stride, and the kernel read and write elsewhere."""
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if size > _MOST or (size > 1 and stride * tensor.element_size() > _MOST):
            raise UsageError(
                "tensors",
                "are too large for the kernels",
                expected="less than 2 GiB from one row to the next, and 2³¹ rows",
                got=f"{tuple(tensor.shape)} of {tensor.dtype}",
                remedy="take fewer pixels, voxels or channels at once",
            )


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        with _pool_lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "humanpose-kernels")
    return _pool


def _forget_threads() -> None:
    """After a fork the child has none of its parent's threads."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
