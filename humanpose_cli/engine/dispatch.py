"""Which backend an operation uses, and the checks of arguments that all operations share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from humanpose_cli.engine import runtime
from humanpose_cli.engine.memo import TensorMemo
from humanpose_cli.errors import UnavailableError, UsageError

__all__ = ["Backend", "check_rows", "check_shape", "check_size", "check_tensors", "uses_kernel", "without_autocast"]

Backend = Literal["auto", "kernel", "reference"]

R = TypeVar("R")

logger = logging.getLogger("humanpose_cli.engine")

_INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)

_said: set[tuple[str, str]] = set()


def uses_kernel(backend: str, kernels: str, device: torch.device, unfit: str = "") -> bool:
    """Whether an operation runs its kernel; the reference is used otherwise.

    kernels  full name of the module that holds the operation's kernels
    unfit    why the kernel cannot take these arguments, "" if it can

    `auto` takes the kernel where it can run: the reference for unfit arguments, and with one warning in the log
    where Warp does not work. `kernel` raises UsageError or UnavailableError in these cases.
    """
    if backend == "reference":
        return False
    if backend not in ("auto", "kernel"):
        raise UsageError("backend", "is not known", expected="auto, kernel or reference", got=repr(backend))
    if not unfit and device.type not in ("cpu", "cuda"):
        unfit = f"a tensor on {device}"
    if unfit:
        if backend == "kernel":
            raise UsageError("backend", "the kernel cannot run", expected="float32 on CPU or CUDA", got=unfit)
        return False
    problem = runtime.ready(kernels, device)
    if problem is None:
        return True
    if backend == "kernel":
        raise UnavailableError(
            kernels, f"its kernels do not run on {device} ({problem})", remedy="backend='reference' works anywhere"
        ) from problem
    if (str(problem), str(device)) not in _said:  # what is wrong with all kernels is said once
        _said.add((str(problem), str(device)))
        logger.warning("%s does not run on %s, using the slower torch code: %s", kernels, device, problem)
    return False


def without_autocast(compute: Callable[..., R]) -> Callable[..., R]:
    """A function of tensors that automatic mixed precision leaves alone: positions in bfloat16 are off by pixels.

    The first argument is a tensor on the device that the function computes on.
    """

    @wraps(compute)
    def run(first: Tensor, *others: Any, **named: Any) -> R:
        kind = first.device.type
        if not torch.is_autocast_enabled(kind):
            return compute(first, *others, **named)
        with torch.autocast(kind, enabled=False):
            return compute(first, *others, **named)

    return run


def check_shape(name: str, tensor: Tensor, *expected: int | str) -> None:
    """UsageError unless `tensor` has that shape; a string stands for any size and names it in the message."""
    shape = tensor.shape
    if len(shape) == len(expected):
        for size, wanted in zip(shape, expected, strict=True):
            if size != wanted and wanted.__class__ is not str:
                break
        else:
            return
    text = ", ".join(map(str, expected))
    raise UsageError(name, "has the wrong shape", expected=f"({text})", got=str(tuple(shape)))


def check_size(size: Sequence[int], *axes: str, least: int = 0) -> tuple[int, ...]:
    """A picture's or volume's size as plain integers. UsageError unless it has these axes, each `least` or more."""
    try:
        numbers = tuple(index(number) for number in size)
    except TypeError:
        numbers = ()
    if len(numbers) != len(axes) or min(numbers) < least:
        wanted = f"({', '.join(axes)}), integers ≥ {least}"
        raise UsageError("size", "is not known", expected=wanted, got=str(size))
    return numbers


def check_tensors(*rows: Tensor, **numbers: Tensor | None) -> None:
    """UsageError unless the numbers share one floating dtype, and they and the integer rows one device."""
    first_name, first = "", None
    for name, tensor in numbers.items():
        if tensor is None:
            continue
        if first is None:
            first_name, first = name, tensor
            if not tensor.is_floating_point():
                raise UsageError(name, "must be floating numbers", got=str(tensor.dtype))
        if tensor.dtype != first.dtype:
            raise UsageError(
                name, "has another dtype", expected=f"{first.dtype} as {first_name}", got=str(tensor.dtype)
            )
        if tensor.device != first.device:
            raise UsageError(
                name, "is on another device", expected=f"{first.device} as {first_name}", got=str(tensor.device)
            )
    for tensor in rows:
        if first is not None and tensor.device != first.device:
            raise UsageError(
                "indices", "are on another device", expected=f"{first.device} as {first_name}", got=str(tensor.device)
            )


def _extremes(rows: Tensor) -> tuple[int, int]:
    if rows.dtype not in _INTEGERS:
        raise UsageError("indices", "must be integers", got=str(rows.dtype))
    if not rows.numel():
        return 0, -1
    least, most = rows.aminmax()
    return int(least), int(most)


_known_extremes = TensorMemo(_extremes)


def check_rows(name: str, rows: Tensor, count: int, least: int = 0) -> None:
    """UsageError unless the integers of `rows` are `least` to `count` − 1. Looked at once per tensor."""
    low, high = _known_extremes(rows)
    if low < least or high >= count:
        raise UsageError(name, "points outside", expected=f"{least} to {count - 1}", got=f"{low} to {high}")
