"""First surfaces in plain torch: the oracle that the kernel is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from humanpose_cli.geometry.capsule_rays import first_hits

__all__ = ["surfaces"]


def surfaces(
    capsules: Tensor, part_of_capsule: Tensor, target_to_source: Tensor, size: tuple[int, int], softness: float
) -> tuple[Tensor, Tensor, Tensor]:
    """depth (B, H, W), point (B, H, W, 3), covered (B, H, W), capsule after capsule."""
    batch, (height, width) = len(capsules), size
    columns = torch.arange(width, dtype=capsules.dtype, device=capsules.device) + 0.5
    rows = (torch.arange(height, dtype=capsules.dtype, device=capsules.device) + 0.5)[:, None]
    depth = capsules.new_full((batch, height, width), math.inf)
    point, covered = capsules.new_zeros((batch, height, width, 3)), torch.zeros_like(depth)
    for k, part in enumerate(part_of_capsule.tolist()):
        capsule, affine = capsules[:, k], target_to_source[:, part]
        known = capsule.isfinite().all(-1) & affine.isfinite().flatten(1).all(-1)
        x, y, z, offset = torch.where(known[:, None, None], affine, 0.0).permute(2, 1, 0)[..., None, None]
        ends = torch.where(known[:, None], capsule, 0.0).T[..., None, None]
        origin = x * columns + y * rows + offset
        hits = first_hits(origin, z, ends[:3], ends[3:6], ends[6] + softness / 2)
        hit = hits.along.isfinite() & (known & (capsule[:, 6] >= 0))[:, None, None]
        share = (hits.within / softness).clamp(0, 1) if softness else torch.ones_like(hits.within)
        covered = torch.where(hit, torch.maximum(covered, share), covered)
        nearer = hit & (hits.along < depth)
        depth = torch.where(nearer, hits.along, depth)
        entered = origin + torch.where(nearer, hits.along, 0.0) * z
        point = torch.where(nearer[..., None], entered.movedim(0, -1), point)
    return depth, point, covered
