"""The precisions that trained networks compute in; `core.device.Precision` lists them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import UnavailableError

# Compute capability of GPUs that multiply bfloat16 and TF32. Older ones emulate bfloat16 slowly, which torch counts as
# support, and have no TF32.
_BFLOAT16_FROM = (8, 0)
# Values of ONEDNN_MAX_CPU_ISA that keep torch from a processor's bfloat16.
_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_TF32 = threading.RLock()  # torch has one setting of TF32 for all threads


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Return whether a device multiplies bfloat16. Others emulate it; processors then take 10 to 180 times as long.

    Processors with AVX512-BF16 multiply it, unless ATEN_CPU_CAPABILITY or ONEDNN_MAX_CPU_ISA allows older instructions
    only.

    Args:
        device: The device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _BFLOAT16_FROM
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
        and os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() not in _WITHOUT_BFLOAT16
    )


def resolve_precision(precision: Precision, device: torch.device | str) -> Precision:
    """Choose the precision that "auto" stands for on a device: full on processors, so that their results agree.

    Args:
        precision: The requested precision.
        device: The device.

    Raises:
        UnavailableError: If the device does not support it.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    if precision == "auto":
        return "tf32" if on_gpu and multiplies_bfloat16(device) else "full"
    if precision == "tf32" and not on_gpu:
        raise UnavailableError("precision", "tf32 is for NVIDIA's GPUs", got=str(device), remedy="`precision=full`")
    if precision != "full" and not multiplies_bfloat16(device):
        if on_gpu:
            expected = "compute capability {}.{} or more".format(*_BFLOAT16_FROM)
            got = "{}.{}".format(*torch.cuda.get_device_capability(device))
        else:
            expected, got = "AVX512-BF16", torch.backends.cpu.get_cpu_capability()
        problem = f"{precision} needs a newer {'GPU' if on_gpu else 'processor'}"
        raise UnavailableError("precision", problem, expected=expected, got=got, remedy="`precision=full`")
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
