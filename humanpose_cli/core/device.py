"""Choice of the device and precision of computations."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Literal, TypedDict

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.core.options import Options, option

Precision = Literal["auto", "full", "tf32", "bfloat16"]
"""full: float32. tf32: float32 with products of 11 bits. bfloat16: half precision for safe operations, like trainings'
"mixed"."""


@dataclass(frozen=True)
class ComputeOptions(Options):
    """Device and precision of networks, as arguments of functions and commands."""

    device: str = option(
        "auto", "Device to compute on: cpu, cuda:N, or auto, which uses a GPU if there is one.", value="auto|cpu|cuda:N"
    )
    precision: Precision = option(
        "auto",
        "Precision of torch's networks: full (float32), tf32, bfloat16, or auto, which uses tf32 on GPUs since Ampere.",
    )
    batch_size: int | None = option(
        None,
        "Images or frames computed at once; more is faster and needs more memory.",
        value="N",
        minimum=1,
        unset="fits the device",
    )
    threads: int | None = option(
        None, "CPU threads of the detector.", value="N", minimum=1, unset="one per core, at most four"
    )


class ComputeArguments(TypedDict, total=False):
    """The fields of `ComputeOptions` as arguments of a function."""

    device: str
    precision: Precision
    batch_size: int | None
    threads: int | None


_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,4})?")


def parse_device(text: str) -> str:
    """Return a device's name. Raises UsageError for another form; `resolve_device` checks the machine."""
    if not _DEVICE.fullmatch(text):
        near = f"cuda:{text}" if text.isdigit() else text.lower().replace("gpu", "cuda")
        remedy = f"did you mean {near}?" if _DEVICE.fullmatch(near) else ""
        expected = "auto, cpu, cuda or cuda:N"
        raise UsageError("device", "no such device", expected=expected, got=repr(text), remedy=remedy)
    return text


def gpu_names() -> list[str]:
    """List the names of torch's GPUs; [] if torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def local_processes() -> tuple[int, int]:
    """Return this process's number among torchrun's processes on this machine, and their count; by default (0, 1)."""
    count = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    return int(os.environ.get("LOCAL_RANK", "0")), count


def usable_cores() -> int:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_device(device: str) -> str:
    """Choose the torch device.

    Args:
        device: `cpu`, `cuda:N`, `cuda` or `auto`. `cuda` is the first GPU, or under torchrun the GPU with this
            process's local rank; `auto` is `cuda` if there is a GPU.

    Returns:
        `cpu` or `cuda:N`.

    Raises:
        UnavailableError: If this machine does not have the device.
        UsageError: If several processes would share a numbered GPU.
    """
    parse_device(device)
    if device == "cpu":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto" and not count:
        return "cpu"
    rank, process_count = local_processes()
    number = device.partition(":")[2]
    if number and process_count > 1:
        got = f"{device} for {process_count} processes"
        raise UsageError("device", "is one GPU for all", expected="a GPU each", got=got, remedy="`device=cuda`")
    if not number and rank >= count > 0:
        remedy = f"torchrun --nproc-per-node {count}, or `device=cpu`"
        problem = f"this machine has too few GPUs for {process_count} processes"
        raise UnavailableError("device", problem, got=f"{count} CUDA devices", remedy=remedy)
    index = int(number or rank)
    if index >= count:
        got = f"{count} CUDA devices" if count else "no CUDA device that torch can use"
        remedy = "use `device=cpu` or `device=auto`; hpc doctor lists the devices"
        raise UnavailableError("device", f"this machine has no such GPU: {device}", got=got, remedy=remedy)
    return f"cuda:{index}"
