"""Heatmaps in plain torch: the oracle for the kernels; torch computes the gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import without_autocast

# Profiles end where they fall below this.
MIN_VALUE = 1e-12


@without_autocast
def gaussian_heatmaps(joints: Tensor, sigma: tuple[float, ...], size: tuple[int, int, int]) -> Tensor:
    """Compute `op.gaussian_heatmaps` in plain torch."""
    finite = joints.isfinite().all(-1, keepdim=True)
    positions = torch.where(finite, joints, 0.0)
    x, y, z = (_profile(positions[..., i], sigma[i], n) for i, n in enumerate(reversed(size)))
    z = z * finite.mT  # [B, D, J]
    volume = z[:, :, None, None] * (y[:, None, :, None] * x[:, None, None])
    return volume.permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)


def _profile(positions: Tensor, sigma: float, count: int) -> Tensor:
    """Compute a Gaussian's values along one axis: (B, J) → (B, count, J)."""
    centres = torch.arange(count, device=positions.device, dtype=positions.dtype) + 0.5
    values = torch.exp(-0.5 * ((centres[:, None] - positions[:, None]) / sigma).square())
    return torch.where(values < MIN_VALUE, 0.0, values)
