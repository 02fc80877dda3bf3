"""Capsule masks in plain torch: the oracle that the kernel is compared with, to the bit where masks are hard."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from humanpose_cli.geometry.capsules import capsule_coverage, segment_distances_squared, split_capsules

__all__ = ["part_masks", "widened_masks"]


def part_masks(
    capsules: Tensor,
    part_of_capsule: Tensor,
    parts: int,
    size: tuple[int, int, int],
    softness: float,
    voxel_size: Sequence[float],
) -> Tensor:
    """Capsules (B, K, 7) → (B, P, D, H, W): each part's greatest coverage by one of its capsules."""
    capsules = capsules.detach()
    z, y, x = (
        (torch.arange(n, dtype=capsules.dtype, device=capsules.device) + 0.5) * step
        for n, step in zip(size, reversed(voxel_size), strict=True)
    )
    centres = torch.stack(torch.broadcast_tensors(x, y[:, None], z[:, None, None]), -1)  # [D, H, W, 3]
    masks = capsules.new_zeros((capsules.shape[0], parts, *size))
    for k, part in enumerate(part_of_capsule.tolist()):
        capsule = capsules[:, k]
        starts, ends, radii = (t[:, None, None, None] for t in split_capsules(capsule))
        cover = capsule_coverage(segment_distances_squared(centres, starts, ends), radii, softness)
        known = capsule.isfinite().all(-1)[:, None, None, None]
        masks[:, part] = torch.maximum(masks[:, part], torch.where(known, cover, torch.zeros_like(cover)))
    return masks


def widened_masks(masks: Tensor, voxels: int) -> Tensor:
    """Masks (B, P, D, H, W) dilated by so many voxels on every side: the greatest value of each box of 2 n + 1 voxels
    a side, those outside the volume left out.
    """
    for _ in range(voxels):
        for axis in (2, 3, 4):
            count = masks.shape[axis]
            lower, upper = masks.narrow(axis, 0, max(count - 1, 0)), masks.narrow(axis, 1, max(count - 1, 0))
            grown = masks.clone()
            grown.narrow(axis, 0, upper.shape[axis]).copy_(torch.maximum(lower, upper))
            above = grown.narrow(axis, 1, lower.shape[axis])
            torch.maximum(above, lower, out=above)
            masks = grown
    return masks
