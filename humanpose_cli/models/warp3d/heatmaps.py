"""Volumetric heatmaps of joints, the target pose of the network.

A Gaussian is the product of three profiles along the axes. Profiles end where they fall below 1e-12: products of three
stay normal float32 numbers, since denormal ones slow down some processors' convolutions a hundredfold.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import without_autocast

_MIN_VALUE = 1e-12


@without_autocast
def gaussian_heatmaps(joints: Tensor, sigma: Sequence[float], size: tuple[int, int, int]) -> Tensor:
    """Draw one Gaussian per joint, with a maximum of 1 (Sárándi et al., section 3.1: H ∈ ℝ^{H×W×D×J}).

    Voxel [d, h, w] has its centre at (x, y, z) = (w + 0.5, h + 0.5, d + 0.5). The map of a joint with a coordinate that
    is not finite is empty. Differentiable to the joints.

    Args:
        joints: (B, J, 3) float, voxels x, y, z. The joints, which may lie outside the volume.
        sigma: Standard deviations along x, y, z, voxels, above 0. inf along z projects the pose to the image plane and
            copies it to all depth layers, which is the paper's 2-D ablation.
        size: Depth, height and width of the volume in voxels.

    Returns:
        (B, J, D, H, W) float, 0 to 1, in torch.channels_last_3d. The heatmaps.
    """
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
    return torch.where(values < _MIN_VALUE, 0.0, values)
