"""Where an operation runs: the choice between kernel and reference, and the checks that all operations share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from humanpose_cli.errors import UsageError

__all__ = ["Backend", "check_shape", "check_tensors"]

Backend = Literal["auto", "kernel", "reference"]


def check_shape(name: str, tensor: Tensor, *expected: int | str) -> None:
    """UsageError unless `tensor` has that shape; a string stands for any size and names it in the message."""
    shape = tensor.shape
    if len(shape) == len(expected):
        for size, wanted in zip(shape, expected, strict=True):
            if size != wanted and not isinstance(wanted, str):
                break
        else:
            return
    text = ", ".join(map(str, expected))
    raise UsageError(name, "has the wrong shape", expected=f"({text})", got=str(tuple(shape)))


def check_tensors(**tensors: Tensor | None) -> None:
    """UsageError unless all floating tensors share one dtype, and all tensors one device."""
    first_name, first = "", None
    dtype: torch.dtype | None = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if first is None:
            first_name, first = name, tensor
        if tensor.device != first.device:
            raise UsageError(
                name, "is on another device", expected=f"{first.device} as {first_name}", got=str(tensor.device)
            )
        if tensor.is_floating_point():
            dtype = dtype or tensor.dtype
            if tensor.dtype != dtype:
                raise UsageError(name, "has another dtype", expected=str(dtype), got=str(tensor.dtype))
