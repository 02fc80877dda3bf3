"""Run the kernel of heatmaps as a torch function that is differentiable once, with the signature of `reference.py`."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.heatmaps import kernel
from humanpose_cli.engine.launching import launch, on_cpu, scalars, vectors, zero_volume

# Nanoseconds a slice of all joints on one CPU thread.
_SLICE_COST = 10_000


def _visit(joints: Tensor, sigma: tuple[float, ...], volume: Tensor, sums: Tensor | None) -> None:
    """Draw into zeros (B, J, D, H, W), or sum over a gradient of that shape into (B, lines, J, 3)."""
    (batch, count, depth, height, _), device = volume.shape, volume.device
    if not batch * count:
        return
    lanes = 1 if on_cpu(device) else count
    lines = batch * depth * (1 if lanes == 1 else height)
    arguments = [
        *(lanes, *sigma),
        vectors(joints, wp.vec3),
        scalars(volume.permute(0, 2, 3, 4, 1).flatten(0, 1)),
        vectors(joints[:0, None] if sums is None else sums, wp.vec3),
    ]
    launch(kernel.visit_lines, lines * lanes, arguments, device, lines * _SLICE_COST)


class _Gaussians(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, joints: Tensor, sigma: tuple[float, ...], size: tuple[int, int, int]
    ) -> Tensor:
        heatmaps = zero_volume((*joints.shape[:2], *size), joints.dtype, joints.device)
        _visit(joints, sigma, heatmaps, None)
        ctx.save_for_backward(joints)
        ctx.sigma = sigma
        return heatmaps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (joints,) = ctx.saved_tensors
        batch, count, depth, height, _ = grad.shape
        lines = depth if on_cpu(grad.device) or count == 1 else depth * height
        sums = torch.empty((batch, lines, count, 3), dtype=grad.dtype, device=grad.device)
        _visit(joints, ctx.sigma, grad, sums)
        return sums.sum(1), None, None


def gaussian_heatmaps(joints: Tensor, sigma: tuple[float, ...], size: tuple[int, int, int]) -> Tensor:
    """Compute `op.gaussian_heatmaps` with the kernel."""
    return _Gaussians.apply(joints, sigma, size)
