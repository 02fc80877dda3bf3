"""Choose the backend of an operation, check arguments, and cache values computed from tensors."""

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

# Signatures that each check remembers.
_MAX_SIGNATURES = 1024

_warnings: set[tuple[str, str]] = set()


def uses_kernel(backend: str, kernels: str, device: torch.device, unsupported: str = "") -> bool:
    """Decide whether an operation runs its kernel instead of its reference.

    Args:
        backend: "auto" takes the kernel if it can run. It takes the reference for unsuitable arguments or, with one
            warning in the log, if Warp does not work.
        kernels: Full name of the module that holds the operation's kernels.
        device: The device of the arguments.
        unsupported: Why the kernel cannot take these arguments, "" if it can.

    Returns:
        True for the kernel, False for the reference.

    Raises:
        UsageError: If the backend does not exist, or if it is "kernel" and the kernel cannot take the arguments.
        UnavailableError: If the backend is "kernel" and Warp does not work.
    """
    if backend == "reference":
        return False
    if backend not in ("auto", "kernel"):
        raise UsageError("backend", "is not known", expected="auto, kernel or reference", got=repr(backend))
    if not unsupported and device.type not in ("cpu", "cuda"):
        unsupported = f"a tensor on {device}"
    if unsupported:
        if backend == "kernel":
            raise UsageError("backend", "the kernel cannot run", expected="float32 on CPU or CUDA", got=unsupported)
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
    package: str, backend: str, device: torch.device, unsupported: str = "", kernels: Sequence[str] = ("kernel",)
) -> Any:
    """Import the module that implements an operation: `launches` if all its kernels run, otherwise `reference`.

    Args:
        package: Full name of the operation's package.
        backend: "auto", "kernel" or "reference".
        device: The device of the arguments.
        unsupported: Why the kernels cannot take these arguments, "" if they can.
        kernels: Names of the package's modules with kernels.

    Raises:
        UsageError: As in `uses_kernel`.
        UnavailableError: As in `uses_kernel`.
    """
    runs = all(uses_kernel(backend, f"{package}.{name}", device, unsupported) for name in kernels)
    return import_module(f"{package}.{'launches' if runs else 'reference'}")


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


F = TypeVar("F", bound=_OnDevice)


def without_autocast(compute: Callable[Concatenate[F, P], R]) -> Callable[Concatenate[F, P], R]:
    """Disable automatic mixed precision in a function of tensors: positions in bfloat16 are off by pixels.

    The device is read from the first argument, a tensor or a record of tensors.
    """

    @wraps(compute)
    def run(first: F, *arguments: P.args, **keywords: P.kwargs) -> R:
        kind = first.device.type
        if not torch.is_autocast_enabled(kind):  # entering torch.autocast takes longer than a small operation
            return compute(first, *arguments, **keywords)
        with torch.autocast(kind, enabled=False):
            return compute(first, *arguments, **keywords)

    return run


def cached_by_signature(check: Callable[..., None]) -> Callable[..., None]:
    """Run a check that passes once for all arguments of the same shapes, dtypes and devices.

    A small operation would spend an eighth of its time in checks. What is not a tensor must be hashable.
    """
    checked: set[tuple[Any, ...]] = set()

    @wraps(check)
    def run(*arguments: Any) -> None:
        signature = tuple([(a.shape, a.dtype, a.device) if isinstance(a, Tensor) else a for a in arguments])
        if signature not in checked:
            check(*arguments)
            if len(checked) >= _MAX_SIGNATURES:
                checked.clear()
            checked.add(signature)

    return run


def check_shape(name: str, tensor: Tensor, *sizes: int | str) -> None:
    """Check the shape of a tensor.

    Args:
        name: The name of the argument, for the message.
        tensor: The tensor.
        *sizes: The expected sizes. A string stands for any size and names it in the message.

    Raises:
        UsageError: If the shape differs.
    """
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
    """Convert the size of an image or volume to integers.

    Args:
        size: The size.
        *axes: The names of its axes, for the message.
        min_value: The smallest size of an axis.

    Raises:
        UsageError: If `size` does not have an integer ≥ `min_value` for each axis.
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
    """Check that tensors share one floating dtype and one device.

    Args:
        *rows: Tensors of integers, which share the device only.
        **numbers: Floating tensors by the names of the arguments; None is ignored.

    Raises:
        UsageError: If a dtype or device differs.
    """
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
    """Cache of `compute(*tensors)` for the same tensor objects while they are alive and unchanged.

    It is meant for a body's faces and bones, which never change: checking and sorting them takes longer than a small
    operation. On a GPU, the first call waits for its result, because the next one may use another stream. Inference
    tensors, which do not count their changes, are not cached.
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
        """Store what `compute` would return for these tensors."""
        if any(tensor.is_inference() for tensor in tensors):
            return
        key = tuple(map(id, tensors))

        def forget(_: object, entries: dict = self._entries) -> None:
            entries.pop(key, None)

        references = tuple(weakref.ref(tensor, forget) for tensor in tensors)
        self._entries[key] = (references, tuple(tensor._version for tensor in tensors), value)


_to_int32 = TensorMemo(Tensor.int)


def as_int32(rows: Tensor) -> Tensor:
    """Convert integers to int32; each tensor is converted once."""
    return rows if rows.dtype == torch.int32 else _to_int32(rows)


def _extremes(rows: Tensor) -> tuple[int, int]:
    if rows.dtype not in _INTEGERS:
        raise UsageError("indices", "must be integers", got=str(rows.dtype))
    if not rows.numel():
        return 0, -1
    low, high = torch.stack(rows.aminmax()).tolist()  # a GPU is waited for once
    return low, high


_extremes_memo = TensorMemo(_extremes)


def record_bounds(rows: Tensor, min_value: int, max_value: int) -> None:
    """Record the bounds of a new tensor of integers, so that `check_rows` does not have to wait for the GPU."""
    _extremes_memo.remember((min_value, max_value), rows)


def check_rows(name: str, rows: Tensor, count: int, min_value: int = 0) -> None:
    """Check the range of a tensor of integers; each tensor is checked once.

    Args:
        name: The name of the argument, for the message.
        rows: The integers.
        count: The upper limit, not included.
        min_value: The lower limit.

    Raises:
        UsageError: If an integer is outside.
    """
    low, high = _extremes_memo(rows)
    if low < min_value or high >= count:
        low, high = _extremes(rows)  # the bounds from `record_bounds` may be wider than the numbers
    if low < min_value or high >= count:
        raise UsageError(name, "points outside", expected=f"{min_value} to {count - 1}", got=f"{low} to {high}")
