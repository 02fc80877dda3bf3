"""Zeros that cost nothing until they are written: most of a warped volume is empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["zero_volume", "zeros"]

_NUMPY = {torch.float32: np.float32, torch.uint8: np.uint8}


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A contiguous tensor of zeros.

    On the CPU it is NumPy's memory, which the system hands out as zero pages (and as huge ones, where it may): a
    volume of 64 MiB takes torch.zeros 22 ms, most of it page faults, and this 3 ms where a voxel in every page is
    written, nothing where none is.
    """
    if device.type == "cpu" and dtype in _NUMPY:
        return torch.from_numpy(np.zeros(tuple(shape), _NUMPY[dtype]))
    return torch.zeros(tuple(shape), dtype=dtype, device=device)


def zero_volume(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros (B, C, D, H, W) in torch.channels_last_3d.

    No view of another tensor: those that an autograd function makes and returns may not be changed in place.
    """
    batch, channels, *size = shape
    if device.type == "cpu" and dtype in _NUMPY:
        return torch.from_numpy(np.zeros((batch, *size, channels), _NUMPY[dtype]).transpose(0, 4, 1, 2, 3))
    return torch.empty(tuple(shape), dtype=dtype, device=device, memory_format=torch.channels_last_3d).zero_()
