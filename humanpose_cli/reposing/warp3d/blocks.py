"""Residual blocks with GroupNorm, pre-activated (He et al. 2016b), in two and three dimensions.

Everything runs channels-last: a volume (B, C, D, H, W) lies in memory as (B, D, H, W, C), as the part warp wants it.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

__all__ = ["Bottleneck", "Conv3d", "ResidualUnit3d", "channels_last", "group_norm", "to_plane", "to_volume"]

_MOST_GROUPS, _LEAST_IN_GROUP = 32, 4
# One volume of up to so many channels · depth · height is convolved on a CPU as two halves.
_SMALL = 32_000
Module = TypeVar("Module", bound=nn.Module)


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups (Wu and He 2018) of at least 4 channels, as far as the number of channels allows."""
    groups = math.gcd(channels, _MOST_GROUPS)
    while groups > 1 and channels // groups < _LEAST_IN_GROUP:
        groups //= 2
    return _GroupNorm(groups, channels)


class _GroupNorm(nn.GroupNorm):
    """Torch's, whose gradient in bfloat16 takes two to four times as long on a CPU as in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) → the same shape."""
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or not torch.is_grad_enabled():
            return super().forward(x)
        return cast(Tensor, _HalfGroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps))


class _HalfGroupNorm(torch.autograd.Function):
    """Forth in bfloat16, back in float32."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        ctx.groups = groups
        batch, channels = x.shape[:2]
        y, mean, scale = torch.native_group_norm(x, weight, bias, batch, channels, x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        # The bare operator takes for granted that both lie in memory alike.
        last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        layout = last if x.is_contiguous(memory_format=last) else torch.contiguous_format
        volumes = [value.to(torch.float32, memory_format=layout) for value in (grad, x)]
        exact = [value.float() for value in (mean, scale, weight)]
        size = *x.shape[:2], x[0, 0].numel()
        found = torch.ops.aten.native_group_norm_backward(*volumes, *exact, *size, ctx.groups, [True, True, True])
        return found[0].to(x.dtype), found[1].to(weight.dtype), found[2].to(weight.dtype), None, None


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions of a quarter of the outputs' width beside a short cut.

    stride    of the 3×3 convolution and the short cut; dilation of the 3×3 convolution
    upsample  doubles the resolution, bilinearly, where the channels are few: behind the first convolution and, as
              pointwise maps and interpolation commute, behind the short cut's
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, upsample: bool = False
    ) -> None:
        super().__init__()
        width = outputs // 4
        self.norm1, self.conv1 = group_norm(inputs), nn.Conv2d(inputs, width, 1, bias=False)
        self.norm2, self.conv2 = group_norm(width), Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.norm3, self.conv3 = group_norm(width), nn.Conv2d(width, outputs, 1)
        changes = inputs != outputs or stride != 1
        self.short_cut = nn.Conv2d(inputs, outputs, 1, stride) if changes else None
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H', W')."""
        ready = torch.relu(self.norm1(x))
        beside = x if self.short_cut is None else self.short_cut(ready)
        inner = self.conv1(ready)
        if self.upsample:
            beside, inner = _doubled(beside), _doubled(inner)
        inner = self.conv2(torch.relu(self.norm2(inner)))
        return beside + self.conv3(torch.relu(self.norm3(inner)))


def _doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Conv2d(nn.Conv2d):
    """Torch's, but dilated ones stay in float32 on a CPU, where their weights' gradients in bfloat16 are NaN."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, outputs, H', W')."""
        if x.device.type != "cpu" or self.dilation[0] == 1:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Conv3d(nn.Conv3d):
    """A 3×3×3 convolution that keeps the size: (B, C, D, H, W) → (B, outputs, D, H, W).

    Torch's convolutions of a single small volume take a path on the CPU that is 10 to 50 times slower than that of
    two (16 channels of 16×32×32: 44 ms against 0.8). Two halves of the volume, with a slice of their neighbours each,
    are such two, and give the same numbers.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, depth, height = x.shape[:4]
        if batch != 1 or x.device.type != "cpu" or depth % 2 or channels * depth * height > _SMALL:
            return super().forward(x)
        padded = pad(x, (0, 0, 0, 0, 1, 1))
        half = depth // 2
        halves = torch.cat((padded[:, :, : half + 2], padded[:, :, half:]))
        halves = halves.contiguous(memory_format=torch.channels_last_3d)
        done = nn.functional.conv3d(halves, self.weight, self.bias, padding=(0, 1, 1))
        return torch.cat((done[:1], done[1:]), 2).contiguous(memory_format=torch.channels_last_3d)


class ResidualUnit3d(nn.Module):
    """Two 3×3×3 convolutions beside a short cut; the paper's 3-D networks use no bottlenecks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(channels), Conv3d(channels, channels, bias=False)
        self.norm2, self.conv2 = group_norm(channels), Conv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) → the same shape."""
        inner = self.conv1(torch.relu(self.norm1(x)))
        return x + self.conv2(torch.relu(self.norm2(inner)))


def to_volume(features: Tensor, depth: int) -> Tensor:
    """Maps (B, D·C, H, W) → a volume (B, C, D, H, W): channel d·C + c becomes channel c of slice d."""
    return cast(Tensor, _ToVolume.apply(features, depth))


def to_plane(volume: Tensor) -> Tensor:
    """The inverse of `to_volume`: (B, C, D, H, W) → (B, D·C, H, W)."""
    return cast(Tensor, _ToPlane.apply(volume))


class _ToVolume(torch.autograd.Function):
    """One copy forth and one back, runs of C numbers each. Gradients of plain transpositions and copies come back in
    other layouts, and every layer before would copy them again, number by number.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, depth: int) -> Tensor:  # type: ignore[override]
        return _volume_of(features, depth)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _plane_of(grad), None


class _ToPlane(torch.autograd.Function):
    """As `_ToVolume`, the other way."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor) -> Tensor:  # type: ignore[override]
        ctx.depth = volume.shape[2]
        return _plane_of(volume)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _volume_of(grad, ctx.depth)


def _volume_of(features: Tensor, depth: int) -> Tensor:
    slices = features.permute(0, 2, 3, 1).unflatten(3, (depth, -1))  # [B, H, W, D, C]
    return slices.permute(0, 3, 1, 2, 4).contiguous().permute(0, 4, 1, 2, 3)


def _plane_of(volume: Tensor) -> Tensor:
    return volume.permute(0, 3, 4, 2, 1).flatten(3).permute(0, 3, 1, 2)


def channels_last(module: Module) -> Module:
    """The module with all its convolutions' weights laid out channels-last, of two and three dimensions."""
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module
