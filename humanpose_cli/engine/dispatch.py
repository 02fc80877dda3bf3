"""Choice of the backend of an operation, checks of arguments that all operations share, and a memory of tensors."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from operator import index
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.engine import launching

Backend = Literal["auto", "kernel", "reference"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger("humanpose_cli.engine")

_INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)

_warnings: set[tuple[str, str]] = set()


def uses_kernel(backend: str, kernels: str, device: torch.device, unfit: str = "") -> bool:
    """Decide whether an operation runs its kernel or, if not, its reference.

    `auto` takes the kernel if it can run, and the reference for unfit arguments or, with one warning in the log,
    if Warp does not work. `kernel` raises UsageError or UnavailableError in these cases.

    Args:
        kernels: Full name of the module that holds the operation's kernels.
        unfit: Why the kernel cannot take these arguments, "" if it can.
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
    problem = launching.ready(kernels, device)
    if problem is None:
        return True
    if backend == "kernel":
        raise UnavailableError(
            kernels, f"its kernels do not run on {device} ({problem})", remedy="backend='reference' works anywhere"
        ) from problem
    if (str(problem), str(device)) not in _warnings:  # a problem of all kernels is reported once
        _warnings.add((str(problem), str(device)))
        logger.warning("%s does not run on %s, using the slower torch code: %s", kernels, device, problem)
    return False


def implementation(
    package: str, backend: str, device: torch.device, unfit: str = "", kernels: Sequence[str] = ("kernel",)
) -> Any:
    """Import the module of an operation's package: `launches` if all its kernels run, else `reference`."""
    runs = all(uses_kernel(backend, f"{package}.{name}", device, unfit) for name in kernels)
    return import_module(f"{package}.{'launches' if runs else 'reference'}")


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


F = TypeVar("F", bound=_OnDevice)


def without_autocast(compute: Callable[Concatenate[F, P], R]) -> Callable[Concatenate[F, P], R]:
    """Keep automatic mixed precision off in a function of tensors: positions in bfloat16 are off by pixels.

    The first argument, a tensor or a record of tensors, has the device that the function computes on.
    """

    @wraps(compute)
    def run(first: F, *others: P.args, **keywords: P.kwargs) -> R:
        kind = first.device.type
        if not torch.is_autocast_enabled(kind):
            return compute(first, *others, **keywords)
        with torch.autocast(kind, enabled=False):
            return compute(first, *others, **keywords)

    return run


def check_shape(name: str, tensor: Tensor, *sizes: int | str) -> None:
    """Raise UsageError unless `tensor` has that shape; a string stands for any size and names it in the message."""
    shape = tensor.shape
    if len(shape) == len(sizes):
        for size, axis in zip(shape, sizes, strict=True):
            if size != axis and axis.__class__ is not str:
                break
        else:
            return
    text = ", ".join(map(str, sizes))
    raise UsageError(name, "has the wrong shape", expected=f"({text})", got=str(tuple(shape)))


def check_size(size: Sequence[int], *axes: str, min_value: int = 0) -> tuple[int, ...]:
    """Convert an image's or volume's size to integers. Raises UsageError unless each of these axes has `min_value` or
    more.
    """
    try:
        numbers = tuple(index(number) for number in size)
    except TypeError:
        numbers = ()
    if len(numbers) != len(axes) or min(numbers) < min_value:
        text = f"({', '.join(axes)}), integers ≥ {min_value}"
        raise UsageError("size", "is not known", expected=text, got=str(size))
    return numbers


def check_tensors(*rows: Tensor, **numbers: Tensor | None) -> None:
    """Raise UsageError unless the numbers share one floating dtype, and they and the integer rows one device."""
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


class TensorMemo(Generic[T]):
    """A memory of `compute(*tensors)` for the very same tensors while they are alive and not written to.

    Meant for a body's faces and bones, which never change: their checks and orderings cost more than a small
    operation. On a GPU the first time waits until it is computed, for the next may be on another stream. Inference
    tensors, which do not count their changes, are computed anew each time.
    """

    def __init__(self, compute: Callable[..., T]) -> None:
        self._compute = compute
        self._entries: dict[tuple[int, ...], tuple[tuple[weakref.ref[Tensor], ...], tuple[int, ...], T]] = {}

    def __call__(self, *tensors: Tensor) -> T:
        if any(tensor.is_inference() for tensor in tensors):
            return self._compute(*tensors)
        key = tuple(map(id, tensors))
        versions = tuple(tensor._version for tensor in tensors)
        entry = self._entries.get(key)
        if entry is not None:
            references, entry_versions, value = entry
            same = all(ref() is tensor for ref, tensor in zip(references, tensors, strict=True))
            if same and entry_versions == versions:
                return value
        value = self._compute(*tensors)
        for device in {tensor.device for tensor in tensors}:
            launching.finish(device)
        self.remember(value, *tensors)
        return value

    def remember(self, value: T, *tensors: Tensor) -> None:
        """Store what `compute` would return for these tensors, as their maker knows it."""
        if any(tensor.is_inference() for tensor in tensors):
            return
        key = tuple(map(id, tensors))

        def forget(_: object, entries: dict = self._entries) -> None:
            entries.pop(key, None)

        references = tuple(weakref.ref(tensor, forget) for tensor in tensors)
        self._entries[key] = (references, tuple(tensor._version for tensor in tensors), value)


def _extremes(rows: Tensor) -> tuple[int, int]:
    if rows.dtype not in _INTEGERS:
        raise UsageError("indices", "must be integers", got=str(rows.dtype))
    if not rows.numel():
        return 0, -1
    low, high = torch.stack(rows.aminmax()).tolist()  # a GPU is waited for once
    return low, high


_extremes_memo = TensorMemo(_extremes)


def made_between(rows: Tensor, min_value: int, max_value: int) -> Tensor:
    """Record the bounds of integers when they are made: `check_rows` need not wait for the GPU."""
    _extremes_memo.remember((min_value, max_value), rows)
    return rows


def check_rows(name: str, rows: Tensor, count: int, min_value: int = 0) -> None:
    """Raise UsageError unless the integers of `rows` are `min_value` to `count` − 1. Each tensor is checked once."""
    low, high = _extremes_memo(rows)
    if low < min_value or high >= count:
        low, high = _extremes(rows)  # the bounds of `made_between` may be wider than the numbers
    if low < min_value or high >= count:
        raise UsageError(name, "points outside", expected=f"{min_value} to {count - 1}", got=f"{low} to {high}")
