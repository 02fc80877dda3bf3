"""Which device computes."""

from __future__ import annotations

import re

from humanpose_cli.core.errors import UnavailableError, UsageError

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def parse_device(text: str) -> str:
    """Check the form of a device's name; whether the machine has it is for `resolve_device` to see."""
    if not _DEVICE.fullmatch(text):
        raise UsageError("device", "no such device", expected="auto, cpu, cuda or cuda:N", got=repr(text))
    return text


def resolve_device(device: str) -> str:
    """The torch device to use: `cpu` or `cuda:N`. UnavailableError if this machine does not have it.

    device  `auto` takes the first GPU where there is one
    """
    parse_device(device)
    if device == "cpu":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        raise UnavailableError(
            "device",
            f"this machine has no such GPU: {device}",
            got=f"{count} CUDA devices" if count else "no CUDA device that torch can use",
            remedy="take `device=cpu` or `device=auto`; hpc doctor tells what works",
        )
    return f"cuda:{index}"
