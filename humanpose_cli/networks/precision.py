"""The precisions that trained networks compute in; `core.device.Precision` lists them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import get_args

import torch

from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import UnavailableError, UsageError

BFLOAT16_FROM = (8, 0)
"""Compute capability of GPUs that multiply bfloat16 and TF32. Older ones emulate bfloat16 slowly, which torch counts as
support, and have no TF32."""
_TF32 = threading.RLock()  # torch has one setting of TF32 for all threads


def resolve_precision(precision: Precision, device: torch.device | str) -> Precision:
    """Choose the precision that "auto" stands for on a device.

    Args:
        precision: The requested precision.
        device: The device.

    Raises:
        UsageError: If there is no such precision.
        UnavailableError: If the device does not support it.
    """
    if precision not in get_args(Precision):
        choices = ", ".join(get_args(Precision))
        raise UsageError("precision", "is not known", expected=choices, got=repr(precision))
    device = torch.device(device)
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if precision == "auto":
        return "tf32" if capability is not None and capability >= BFLOAT16_FROM else "full"
    if capability is None and precision == "tf32":
        raise UnavailableError("precision", "tf32 is for NVIDIA's GPUs", got=str(device), remedy="full or bfloat16")
    if capability is not None and capability < BFLOAT16_FROM and precision != "full":
        raise UnavailableError(
            "precision",
            f"{precision} needs a newer GPU",
            expected="compute capability {}.{} or more".format(*BFLOAT16_FROM),
            got="{}.{}".format(*capability),
            remedy="`precision=full`",
        )
    return precision


def precision_label(precision: Precision) -> str:
    """Return the suffix for a network's identity in results, "" if the device decides."""
    return "" if precision == "auto" else f"+{precision}"


@contextmanager
def precision_context(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute networks in a resolved precision within a `with` block.

    Only networks belong into it: torch multiplies in TF32 in the complete process while it is on. On a GPU, networks of
    several threads therefore compute one after the other.

    Args:
        precision: The resolved precision.
        device: The device.
    """
    with nullcontext() if device.type != "cuda" else _TF32:
        previous = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        try:
            with torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext():
                yield
        finally:
            if device.type == "cuda":
                torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = previous
