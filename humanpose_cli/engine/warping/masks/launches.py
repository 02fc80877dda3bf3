"""Capsule masks through the kernel; same signature as in `reference.py`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from humanpose_cli.engine.launching import launch, plain
from humanpose_cli.engine.warping.masks import kernel
from humanpose_cli.engine.warping.memory import zeros

__all__ = ["part_masks"]

# Nanoseconds that a slice of a part's mask takes one CPU thread.
_SLICE_COST = 2000


def part_masks(
    capsules: Tensor,
    part_of_capsule: Tensor,
    parts: int,
    size: tuple[int, int, int],
    softness: float,
    voxel_size: Sequence[float],
) -> Tensor:
    """Capsules (B, K, 7) → (B, P, D, H, W)."""
    batch, (depth, height, width), device = capsules.shape[0], size, capsules.device
    masks = zeros((batch, parts, *size), capsules.dtype, device)
    if masks.numel() and capsules.numel():
        rows, columns = (height, width) if device.type == "cpu" else (1, 1)
        blocks = batch * parts * depth * -(-height // rows) * -(-width // columns)
        arguments = [
            *(rows, columns, parts, depth, height, width),
            plain(capsules.contiguous()),
            plain(part_of_capsule.contiguous()),
            softness,
            1 / softness if softness else 0.0,
            *voxel_size,
            plain(masks.view(-1)),
        ]
        launch(kernel.fill_masks, blocks, arguments, device, blocks * _SLICE_COST)
    return masks
