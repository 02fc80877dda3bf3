"""Volumetric heatmaps of joints, in plain torch.

A Gaussian is the product of three profiles along the axes. With joints as the last axis in memory, a volume is one
broadcast product of rows of W·J numbers. Its gradient needs sums over the volume and their first moments, which are
one matrix product of two rows with each depth slice. Both run at the speed of memory. Warp kernels were not
faster (19 joints, 32×64×64 and 64×64×64, batches of 1 and 8, on a CPU), so there are none.

Voxel [d, h, w] has its centre at (x, y, z) = (w + 0.5, h + 0.5, d + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import check_shape, check_size, check_tensors

# Profiles end where they fall below this, 7.4 sigmas from the joint. Products of three stay normal float32 numbers:
# denormal ones slow down some processors' convolutions a hundredfold.
_MIN_VALUE = 1e-12


def gaussian_heatmaps(joints: Tensor, sigma: Sequence[float] | Tensor, size: tuple[int, int, int]) -> Tensor:
    """Draw one Gaussian per joint, with a maximum of 1.

    The heatmaps are the target pose of the warp3d network (Sárándi et al., section 3.1: H ∈ ℝ^{H×W×D×J}).
    The map of a joint with a coordinate that is not finite is empty. Differentiable once to the joints.

    Args:
        joints: (B, J, 3) float, voxels x, y, z. The joints, which may lie outside the volume.
        sigma: (3,) float, voxels along x, y, z. The standard deviations. inf along z projects the pose to the image
            plane and copies it to all depth layers, which is the paper's 2-D ablation.
        size: Depth, height and width of the volume in voxels.

    Returns:
        (B, J, D, H, W) float, 0 to 1, in torch.channels_last_3d. The heatmaps.

    Raises:
        UsageError: If shapes do not match, or if `sigma` is not positive.
    """
    check_shape("joints", joints, "B", "J", 3)
    check_tensors(joints=joints)
    try:
        widths = tuple(map(float, sigma))
    except (TypeError, ValueError):
        widths = ()
    if len(widths) != 3 or not all(width > 0 for width in widths):
        raise UsageError("sigma", "must be three positive numbers", expected="voxels along x, y, z", got=str(sigma))
    heatmaps: Tensor = _Gaussians.apply(joints, widths, check_size(size, "D", "H", "W", min_value=1))
    return heatmaps


class _Gaussians(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, joints: Tensor, sigma: tuple[float, ...], size: tuple[int, int, int]
    ) -> Tensor:
        (batch, count, _), (depth, height, width) = joints.shape, size
        finite = joints.isfinite().all(-1, keepdim=True)
        positions = torch.where(finite, joints, 0.0)
        x, y, z = (_profile(positions[..., i], sigma[i], n) for i, n in enumerate((width, height, depth)))
        z = z * finite.mT  # [B, D, J]
        rows = z[:, :, None].expand(-1, -1, width, -1).reshape(batch, depth, 1, width * count)
        plane = (y[:, :, None] * x[:, None]).reshape(batch, 1, height, width * count)
        # Not a view: views that an autograd function returns cannot be changed in place.
        heatmaps = torch.empty(
            (batch, count, *size), dtype=positions.dtype, device=positions.device, memory_format=torch.channels_last_3d
        )
        torch.mul(rows, plane, out=heatmaps.permute(0, 2, 3, 4, 1).view(batch, depth, height, width * count))
        ctx.save_for_backward(positions, heatmaps)
        ctx.sigma = sigma
        return heatmaps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Compute Σ g·h·(voxel − joint) / sigma²; the moments of g·h take one pass over a sample's volume."""
        positions, heatmaps = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            product = torch.empty_like(heatmaps[:1], memory_format=torch.channels_last_3d)
            sums = [
                _sums_over_rows(torch.mul(g[None], h[None], out=product)) for g, h in zip(grad, heatmaps, strict=True)
            ]
            if not sums:
                return torch.zeros_like(positions), None, None
            total, moments = _moments(torch.cat(sums))
            precision = positions.new_tensor([sigma**-2 for sigma in ctx.sigma])
            middle = 0.5 * positions.new_tensor(heatmaps.shape[:1:-1])  # x, y, z
            return (moments - (positions - middle) * total[..., None]) * precision, None, None


def _profile(positions: Tensor, sigma: float, count: int) -> Tensor:
    """Compute a Gaussian's values along one axis: (B, J) → (B, count, J)."""
    centres = torch.arange(count, device=positions.device, dtype=positions.dtype) + 0.5
    values = torch.exp(-0.5 * ((centres[:, None] - positions[:, None]) / sigma).square())
    return torch.where(values < _MIN_VALUE, 0.0, values)


def _sums_over_rows(volumes: Tensor) -> Tensor:
    """Sum over h, once plain and once times h from the middle: (B, J, D, H, W) → (B, J, D, 2, W)."""
    centres = _from_middle(volumes, volumes.shape[3])
    ramp = torch.stack((torch.ones_like(centres), centres))  # [2, H]
    if not volumes.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.matmul(ramp, volumes)
    slices = volumes.permute(0, 2, 3, 4, 1).flatten(3)  # [B, D, H, W·J]
    return torch.matmul(ramp, slices).unflatten(-1, (volumes.shape[4], volumes.shape[1])).permute(0, 4, 1, 2, 3)


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Compute each map's sum (B, J) and first moments (B, J, 3) about the volume's middle from `_sums_over_rows`."""
    mass, along_y = sums.unbind(3)  # [B, J, D, W]
    x, z = _from_middle(sums, sums.shape[4]), _from_middle(sums, sums.shape[2])
    moments = torch.stack(((mass.sum(2) * x).sum(-1), along_y.sum((2, 3)), (mass.sum(3) * z).sum(-1)), -1)
    return mass.sum((2, 3)), moments


def _from_middle(like: Tensor, count: int) -> Tensor:
    """List voxel centres along an axis relative to the volume's middle, where rounding is smallest."""
    return torch.arange(count, device=like.device, dtype=like.dtype) + 0.5 * (1 - count)
