"""Run the kernels of capsule masks and the part warp as torch functions, with the signatures of `reference.py`.

A volume is processed as rows of voxels, (B·D·H·W, C): its own memory if it is channels-last, otherwise a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.launching import launch, on_cpu, scalars, zero_volume, zeros
from humanpose_cli.engine.warping import kernel, mask_kernel, slabs
from humanpose_cli.engine.warping.reference import PartWarp

# Nanoseconds that a voxel of the target takes one CPU thread, on average over the volume, a part's plan, and a
# slice of a part's mask.
_VOXEL_COST, _PLAN_COST, _SLICE_COST = 8, 300, 2000


def part_masks(
    capsules: Tensor,
    part_of_capsule: Tensor,
    parts: int,
    size: tuple[int, int, int],
    softness: float,
    voxel_size: Sequence[float],
    plan: tuple[Tensor, Tensor, int, int] | None = None,
) -> Tensor:
    """Compute `op.capsule_masks` with the kernel: capsules (B, K, 9) → (B, P, D, H, W).

    In the same launch, a part warp's plans are computed from its transforms: `plan` holds both, depth and planar.
    """
    batch, (slices, height, width), device = capsules.shape[0], size, capsules.device
    masks = zeros((batch, parts, *size), capsules.dtype, device)
    rows, columns = (height, width) if on_cpu(device) else (1, 1)
    blocks = batch * parts * slices * -(-height // rows) * -(-width // columns) if masks.numel() else 0
    blocks = blocks if capsules.numel() else 0
    transforms, plans, depth, planar = plan or (masks, masks, 1, 0)
    arguments = [
        *(blocks, rows, columns, parts, slices, depth, height, width),
        *(planar, softness, 1 / softness if softness else 0.0, *voxel_size),
        scalars(capsules.contiguous()),
        scalars(part_of_capsule.contiguous()),
        scalars(transforms.contiguous().view(-1)),
        scalars(plans.view(-1)),
        scalars(masks.view(-1)),
    ]
    planned = batch * parts if plan else 0
    cost = blocks * _SLICE_COST + planned * _PLAN_COST
    launch(mask_kernel.fill_masks, blocks + planned, arguments, device, cost)
    return masks


def _rows(volume: Tensor) -> Tensor:
    """Arrange (B, C, D, H, W) as contiguous (B·D·H·W, C); 16-bit numbers as int16 on CUDA, as float32 on the CPU."""
    batch, channels, depth, height, width = volume.shape
    rows = volume.permute(0, 2, 3, 4, 1).contiguous().view(batch * depth * height * width, channels)
    if rows.dtype == torch.float32:
        return rows
    return rows.float() if on_cpu(rows.device) else rows.view(torch.int16)


def _volume(rows: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Invert `_rows`: return (B, C, D, H, W) of that dtype, channels-last."""
    batch, channels, depth, height, width = shape
    rows = rows.view(dtype) if rows.dtype == torch.int16 else rows.to(dtype)
    return rows.view(batch, depth, height, width, channels).permute(0, 4, 1, 2, 3)


def _storage(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@lru_cache(maxsize=64)
def _stride(count: int) -> int:
    """Find a step near the golden section of `count` that has no common divisor with it."""
    # Tasks in such steps give every contiguous run about the same work, though the person is in the volume's middle.
    step = max(1, round(0.618 * count))
    while gcd(step, count) != 1:
        step += 1
    return step


def _plan(warp: PartWarp) -> tuple[Tensor, Tensor]:
    """Compute plans (B, P, kernel.PLAN_SIZE) and masks (B, P, D or 1, H, W)."""
    capsules, mask_size, voxel_size = warp.masks
    transforms, depth = warp.target_to_source, warp.volume.shape[2]
    batch, parts = transforms.shape[:2]
    plans = torch.empty((batch, parts, kernel.PLAN_SIZE), dtype=transforms.dtype, device=transforms.device)
    plan = transforms, plans, depth, int(warp.planar)
    return plans, part_masks(capsules, warp.part_of_capsule, parts, mask_size, warp.softness, voxel_size, plan)


def _arguments(shape: torch.Size, slab: int, tasks: int, plans: Tensor, masks: Tensor, *arrays: Tensor) -> list[Any]:
    """List the arguments that all kernels over a volume take."""
    batch, _, depth, height, width = shape
    sizes = (_stride(tasks), batch, slab, depth, height, width, masks.shape[2])
    return [*sizes, scalars(plans), scalars(masks.view(-1)), *(scalars(array) for array in arrays)]


def _warp(
    rows: Tensor, shape: torch.Size, dtype: torch.dtype, plans: Tensor, masks: Tensor, keep_winners: bool
) -> tuple[Tensor, Tensor]:
    """Warp the volume and record the winner of every number if `keep_winners` is set."""
    batch, channels, depth = shape[:3]
    device, voxels = rows.device, rows.shape[0]
    winner = (voxels if keep_winners else 0, channels)
    if on_cpu(device):
        out, winners = zero_volume(shape, rows.dtype, device), zeros(winner, torch.uint8, device)
        tasks = batch * depth
        arguments = _arguments(shape, 0, tasks, plans, masks, rows, rows, winners, _rows(out))
        launch(slabs.warp_slabs, tasks, arguments, device, voxels * _VOXEL_COST)
    else:
        out = torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last_3d)
        winners = torch.empty(winner, dtype=torch.uint8, device=device)
        tasks = voxels * (channels // 4 if channels % 4 == 0 else channels)
        arguments = _arguments(shape, 0, 1, plans, masks, rows, rows, winners, _rows(out))
        launch(kernel.warp_voxels[_storage(dtype)], tasks, arguments, device)
    return out.to(dtype), winners


def _to_volume(grad: Tensor, shape: torch.Size, storage: str, plans: Tensor, masks: Tensor, winners: Tensor) -> Tensor:
    """Compute the gradient to the volume's rows, in float32."""
    batch, channels, depth = shape[:3]
    device, voxels = grad.device, grad.shape[0]
    out = zeros(grad.shape, torch.float32, device)
    if on_cpu(device):
        # Slices of the source whose gradient one task adds up, alone and in a fixed order: so the cut, which costs a
        # little, changes no bit. Several tasks a thread even out that the person is in the middle.
        threads = torch.get_num_threads()
        slab = depth if threads == 1 else min(depth, max(1, batch * depth // (4 * threads)))
        tasks = batch * -(-depth // slab)
        arguments = _arguments(shape, slab, tasks, plans, masks, grad, grad, winners, out)
        launch(slabs.adjoint_slabs, tasks, arguments, device, voxels * _VOXEL_COST)
    else:
        tasks = voxels * (channels // 4 if channels % 4 == 0 else channels)
        arguments = _arguments(shape, 0, 1, plans, masks, grad, grad, winners, out)
        launch(kernel.adjoint_voxels[storage], tasks, arguments, device)
    return out


def _to_transforms(
    rows: Tensor, grad: Tensor, shape: torch.Size, storage: str, plans: Tensor, masks: Tensor, winners: Tensor
) -> Tensor:
    """Compute the gradient to the transforms (B, P, 3, 4), summed in a fixed order: a row of voxels, then the rows."""
    batch, _, depth, height, _ = shape
    parts = plans.shape[1]
    lines = depth * height
    out = grad.new_empty((batch * lines * parts, 12), dtype=torch.float32)
    arguments = _arguments(shape, 0, 1, plans, masks, rows, grad, winners, out)
    launch(kernel.adjoint_to_transforms[storage], out.shape[0], arguments, grad.device, rows.shape[0] * _VOXEL_COST)
    return out.view(batch, lines, parts, 3, 4).sum(1)


class _Warping(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keeps: tuple[bool, bool], *inputs: Any) -> Tensor:  # type: ignore[override]
        warp = PartWarp(*inputs)
        to_volume, to_transforms = keeps
        volume, shape = warp.volume, warp.volume.shape
        ctx.shape, ctx.dtype, ctx.parts = shape, volume.dtype, warp.target_to_source.shape[1]
        ctx.planar, ctx.storage = warp.planar, "float32" if on_cpu(warp.device) else _storage(volume.dtype)
        if not volume.numel() or not ctx.parts:
            ctx.save_for_backward()
            return zero_volume(shape, volume.dtype, volume.device)
        rows, (plans, masks) = _rows(volume), _plan(warp)
        out, winners = _warp(rows, shape, volume.dtype, plans, masks, to_volume or to_transforms)
        ctx.save_for_backward(plans, masks, winners, rows if to_transforms else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_volume, to_transforms = ctx.needs_input_grad[1], ctx.needs_input_grad[4]
        out_volume = out_transforms = None
        tensors = ctx.saved_tensors  # read once: checkpointing computes them then
        if not tensors:
            out_volume = torch.zeros_like(grad) if to_volume else None
            if to_transforms:
                out_transforms = grad.new_zeros((ctx.shape[0], ctx.parts, 3, 4), dtype=torch.float32)
            return None, out_volume, None, None, out_transforms, None, None, None
        plans, masks, winners, rows = tensors
        upstream = _rows(grad)
        if to_volume:
            out_rows = _to_volume(upstream, ctx.shape, ctx.storage, plans, masks, winners)
            out_volume = _volume(out_rows, ctx.shape, ctx.dtype)
        if to_transforms:
            out_transforms = _to_transforms(rows, upstream, ctx.shape, ctx.storage, plans, masks, winners)
            if ctx.planar:
                out_transforms[..., 2, :] = 0
                out_transforms[..., 2] = 0
        return None, out_volume, None, None, out_transforms, None, None, None


def warp_parts(warp: PartWarp) -> Tensor:
    """Compute `op.warp_parts` with the kernels."""
    # An autograd function cannot know whether gradients are required; only then their inputs are kept.
    keeps = tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in (warp.volume, warp.target_to_source))
    return _Warping.apply(keeps, *warp._replace(capsules=warp.capsules.detach()))
