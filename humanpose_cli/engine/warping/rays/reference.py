"""First surfaces in plain torch: the oracle that the kernel is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from humanpose_cli.geometry.capsule_rays import Hits, first_hits, plate_hits

__all__ = ["ALIKE", "surfaces"]

ALIKE = 0.01
"""Orders so near each other are taken to be those of one joint that two bodies share: the nearer entry counts."""


def surfaces(
    capsules: Tensor,
    part_of_capsule: Tensor,
    plates: Tensor,
    part_of_plate: Tensor,
    target_to_source: Tensor,
    size: tuple[int, int],
    softness: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """depth (B, H, W), point (B, H, W, 3), covered (B, H, W), body after body."""
    batch, (height, width) = len(capsules), size
    columns = torch.arange(width, dtype=capsules.dtype, device=capsules.device) + 0.5
    rows = (torch.arange(height, dtype=capsules.dtype, device=capsules.device) + 0.5)[:, None]
    depth = capsules.new_full((batch, height, width), math.inf)
    order = depth.clone()
    point, covered = capsules.new_zeros((batch, height, width, 3)), torch.zeros_like(depth)
    bodies = [(capsules[:, k], part) for k, part in enumerate(part_of_capsule.tolist())]
    bodies += [(plates[:, k], part) for k, part in enumerate(part_of_plate.tolist())]
    for body, part in bodies:
        affine = target_to_source[:, part]
        known = body.isfinite().all(-1) & affine.isfinite().flatten(1).all(-1) & (body[:, -1] >= 0)
        x, y, z, offset = torch.where(known[:, None, None], affine, 0.0).permute(2, 1, 0)[..., None, None]
        *corners, radius = (
            torch.where(known[:, None], body, 0.0).T[..., None, None].split([3] * (body.shape[1] // 3) + [1])
        )
        origin = x * columns + y * rows + offset
        hits = _met(origin, z, corners, radius[0] + softness / 2)
        hit = hits.along.isfinite() & known[:, None, None]
        share = (hits.within / softness).clamp(0, 1) if softness else hit.to(covered.dtype)
        covered = torch.where(known[:, None, None], torch.maximum(covered, share), covered)
        ahead, level = hits.order < order - ALIKE, hits.order < order + ALIKE
        nearer = hit & (ahead | (level & (hits.along < depth)))
        order = torch.where(hit, torch.minimum(order, hits.order), order)
        depth = torch.where(nearer, hits.along, depth)
        entered = origin + torch.where(nearer, hits.along, 0.0) * z
        point = torch.where(nearer[..., None], entered.movedim(0, -1), point)
    return depth, point, covered


def _met(origin: Tensor, direction: Tensor, corners: Sequence[Tensor], radius: Tensor) -> Hits:
    """With a capsule of two ends or a plate of three corners."""
    if len(corners) == 2:
        return first_hits(origin, direction, corners[0], corners[1], radius)
    return plate_hits(origin, direction, corners[0], corners[1], corners[2], radius)
