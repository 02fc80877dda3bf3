"""Volumetric heatmaps of joints.

A Gaussian is the product of three profiles along the axes. Profiles end where they fall below 1e-12, 7.4 sigmas from
the joint: products of three stay normal float32 numbers, since denormal ones slow down some processors' convolutions a
hundredfold. On the CPU, the kernels visit only the voxels within that distance.

Voxel [d, h, w] has its centre at (x, y, z) = (w + 0.5, h + 0.5, d + 0.5).

`backend="auto"` runs the Warp kernels for float32 tensors on CPU and CUDA, otherwise the reference in plain torch.
`"kernel"` and `"reference"` force one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import Backend, check_shape, check_size, check_tensors, implementation

_PACKAGE = "humanpose_cli.engine.heatmaps"


def gaussian_heatmaps(
    joints: Tensor, sigma: Sequence[float] | Tensor, size: tuple[int, int, int], *, backend: Backend = "auto"
) -> Tensor:
    """Draw one Gaussian per joint, with a maximum of 1.

    The heatmaps are the target pose of the warp3d network (Sárándi et al., section 3.1: H ∈ ℝ^{H×W×D×J}).
    The map of a joint with a coordinate that is not finite is empty. Differentiable once to the joints; sums have a
    fixed order.

    Args:
        joints: (B, J, 3) float, voxels x, y, z. The joints, which may lie outside the volume.
        sigma: (3,) float, voxels along x, y, z. The standard deviations. inf along z projects the pose to the image
            plane and copies it to all depth layers, which is the paper's 2-D ablation.
        size: Depth, height and width of the volume in voxels.
        backend: "auto", "kernel" or "reference".

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
    unsupported = "" if joints.dtype == torch.float32 else str(joints.dtype)
    compute = implementation(_PACKAGE, backend, joints.device, unsupported)
    heatmaps: Tensor = compute.gaussian_heatmaps(joints, widths, check_size(size, "D", "H", "W", min_value=1))
    return heatmaps
