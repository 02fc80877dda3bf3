"""Capsule masks and the part warp in plain torch: the oracle for the kernels, to the bit for hard masks.

Works with any floating dtype; 16-bit volumes are processed in float32. `op.py` checks the shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import without_autocast
from humanpose_cli.geometry.capsules import capsule_coverage, segment_distances_squared


class PartWarp(NamedTuple):
    """The arguments of `op.warp_parts`, with capsules (B, K, 9)."""

    volume: Tensor
    capsules: Tensor
    part_of_capsule: Tensor
    target_to_source: Tensor
    softness: float
    planar: bool
    voxel_size: Sequence[float]

    @property
    def device(self) -> torch.device:
        return self.volume.device

    @property
    def masks(self) -> tuple[Tensor, tuple[int, int, int], Sequence[float]]:
        """Capsules, size and voxel size of the masks, which are a single slice if they are planar."""
        size = (self.volume.shape[2], self.volume.shape[3], self.volume.shape[4])
        if not self.planar:
            return self.capsules, size, self.voxel_size
        return to_slice(self.capsules), (1, *size[1:]), (*self.voxel_size[:2], 1.0)


def part_masks(
    capsules: Tensor,
    part_of_capsule: Tensor,
    parts: int,
    size: tuple[int, int, int],
    softness: float,
    voxel_size: Sequence[float],
) -> Tensor:
    """Compute each part's largest coverage by one of its capsules: (B, K, 9) → (B, P, D, H, W)."""
    capsules = capsules.detach()
    z, y, x = (
        (torch.arange(n, dtype=capsules.dtype, device=capsules.device) + 0.5) * step
        for n, step in zip(size, reversed(voxel_size), strict=True)
    )
    centres = torch.stack(torch.broadcast_tensors(x, y[:, None], z[:, None, None]), -1)  # [D, H, W, 3]
    masks = capsules.new_zeros((capsules.shape[0], parts, *size))
    for k, part in enumerate(part_of_capsule.tolist()):
        capsule = capsules[:, k, None, None, None]
        starts, ends, widths = capsule.split(3, -1)
        # Scaled so that the ellipsoids are spheres; the kernels scale differences of positions too.
        scale = torch.where(widths == widths[..., :1], torch.ones_like(widths), widths[..., :1] / widths.clamp_min(0))
        bones, offsets = (ends - starts) * scale, (centres - starts) * scale
        squares = segment_distances_squared(offsets, torch.zeros_like(bones), bones)
        cover = capsule_coverage(squares, widths[..., 0], softness)
        valid = capsule.isfinite().all(-1) & (scale.isfinite() & (scale > 0)).all(-1)
        masks[:, part] = torch.maximum(masks[:, part], torch.where(valid, cover, torch.zeros_like(cover)))
    return masks


def to_half_widths(capsules: Tensor) -> Tensor:
    """Convert capsules (B, K, 7) with a radius, or (B, K, 9), to capsules (B, K, 9) with three half-widths."""
    return capsules if capsules.shape[-1] == 9 else torch.cat((capsules, *(capsules[..., 6:],) * 2), -1)


def to_slice(capsules: Tensor) -> Tensor:
    """Put capsules (B, K, 5), or (B, K, 9) without z, into the middle of a single slice: (B, K, 7) or (B, K, 9)."""
    n = 3 if capsules.shape[-1] == 9 else 2
    middle = torch.full_like(capsules[..., :1], 0.5)
    # A depth that is not finite still marks a capsule as unknown.
    middle = middle + 0 * sum(capsules[..., i : i + 1] for i in (2, 5)) if n == 3 else middle
    return torch.cat((capsules[..., :2], middle, capsules[..., n : n + 2], middle, capsules[..., 2 * n :]), -1)


@without_autocast
def warp_parts(warp: PartWarp) -> Tensor:
    """Compute `op.warp_parts` in plain torch."""
    volume, target_to_source, size = warp.volume, warp.target_to_source, warp.volume.shape[2:]
    parts = target_to_source.shape[1]
    features = volume.to(target_to_source.dtype)
    capsules, mask_size, voxel_size = warp.masks
    masks = part_masks(capsules, warp.part_of_capsule, parts, mask_size, warp.softness, voxel_size)
    masks = masks.expand(-1, -1, *size)
    z, y, x = (torch.arange(n, dtype=features.dtype, device=features.device) + 0.5 for n in size)
    ones = features.new_ones(())
    centres = torch.stack(torch.broadcast_tensors(x, y[:, None], z[:, None, None], ones), -1)  # [D, H, W, 4]

    best = torch.zeros_like(features)
    reached_by = torch.zeros_like(best[:, :1])  # [B, 1, D, H, W]
    for part in range(parts):
        transform = _planar(target_to_source[:, part]) if warp.planar else target_to_source[:, part]
        positions = torch.einsum("bij,dhwj->bdhwi", transform, centres) - 0.5
        value, reach = _sample(features, masks[:, part], positions, transform.isfinite().flatten(1).all(1))
        better = ~(value <= best) & ~best.isnan() | (reached_by == 0)
        best = torch.where(reach & better, value, best)
        reached_by = reached_by + reach
    outside = (best <= 0) & (reached_by < parts)
    result = torch.where(outside, torch.zeros_like(best), best).to(volume.dtype)
    return result.contiguous(memory_format=torch.channels_last_3d)


def _planar(transform: Tensor) -> Tensor:
    """Restrict transforms (B, 3, 4) to the image plane; z is unchanged."""
    keep = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.bool, device=transform.device)
    identity = torch.zeros_like(transform)
    identity[:, 2, 2] = 1
    return torch.where(keep, transform, identity)


def _sample(features: Tensor, mask: Tensor, positions: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
    """Sample mask · features trilinearly at voxel indices (B, D, H, W, 3); return values and where they reach."""
    # Voxels outside, of mask 0 or at corners of weight 0 count 0, even if they are not finite.
    size = features.shape[2:]
    limit = torch.tensor([size[2], size[1], size[0]], dtype=positions.dtype, device=positions.device)
    near = finite[:, None, None, None] & ((positions > -1) & (positions < limit)).all(-1)
    positions = torch.where(near[..., None], positions, torch.full_like(positions, -2.0))
    base = positions.detach().floor()
    fraction = positions - base
    flat_features, flat_mask = features.flatten(2), mask.flatten(1)
    value, reach = torch.zeros_like(features), torch.zeros_like(near)
    for offset in product((0, 1), repeat=3):  # x, y, z
        weight = torch.ones_like(mask)
        for axis, step in enumerate(offset):
            weight = weight * (fraction[..., axis] if step else 1 - fraction[..., axis])
        voxel = base + torch.tensor(offset, dtype=base.dtype, device=base.device)
        inside = near & ((voxel >= 0) & (voxel < limit)).all(-1)
        x, y, z = torch.where(inside[..., None], voxel, torch.zeros_like(voxel)).long().unbind(-1)
        rows = ((z * size[1] + y) * size[2] + x).flatten(1)  # [B, DHW]
        coverage = torch.where(inside, flat_mask.gather(1, rows).view_as(mask), torch.zeros_like(mask))
        weight = (weight * coverage)[:, None]
        corner = flat_features.gather(2, rows[:, None].expand(-1, features.shape[1], -1)).view_as(features)
        counts = (weight != 0) | ((coverage != 0)[:, None] & corner.isfinite())
        value = value + weight * torch.where(counts, corner, torch.zeros_like(corner))
        reach = reach | (weight[:, 0] != 0)
    return value, reach[:, None]
