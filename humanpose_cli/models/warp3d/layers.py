"""The networks that `generator.Generator` consists of (Knoche, Sárándi, Leibe 2020, section 3).

In this order: residual blocks with GroupNorm, pre-activated (He et al. 2016b), in two and three dimensions; the lifting
encoder (E2D, E3D), image → feature volume, and the pose encoder (E_pose); the projection decoder (D3D, D2D), warped
features and target pose → image of the person.

Everything runs channels-last: a volume (B, C, D, H, W) is stored as (B, D, H, W, C), as the part warp needs it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_unshuffle

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.models.warp3d.config import GeneratorConfig
from humanpose_cli.models.warp3d.heatmaps import gaussian_heatmaps
from humanpose_cli.networks.convolutions import PointwiseConv2d

_MAX_GROUPS, _MIN_IN_GROUP = 32, 4
# One volume of up to so many channels · depth · height is convolved on a CPU as two halves.
_SMALL = 32_000
Module = TypeVar("Module", bound=nn.Module)


def group_norm(channels: int, fixed_groups: bool, *, rows: bool = False) -> nn.GroupNorm:
    """Build GroupNorm with at most 32 groups (Wu and He 2018), of at least 4 channels each if possible.

    Args:
        channels: The number of channels.
        fixed_groups: As in the authors' code: 32 groups of any size, and one for fewer than 32 channels.
        rows: Whether to normalise each image row of a volume separately.
    """
    groups = math.gcd(channels, _MAX_GROUPS)
    if fixed_groups and channels < _MAX_GROUPS:
        groups = 1
    while not fixed_groups and groups > 1 and channels // groups < _MIN_IN_GROUP:
        groups //= 2
    return (_RowNorm if rows else _GroupNorm)(groups, channels)


class _GroupNorm(nn.GroupNorm):
    """GroupNorm with a gradient of bfloat16 numbers on a CPU that is up to ten times as fast as torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) → the same shape."""
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or not torch.is_grad_enabled():
            return super().forward(x)
        return cast(Tensor, _HalfGroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps))


class _RowNorm(_GroupNorm):
    """GroupNorm of each image row of a volume separately, over its width and depth."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, D, H, W) → the same shape."""
        rows = x.permute(0, 3, 1, 2, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return super().forward(rows).unflatten(0, (len(x), -1)).permute(0, 2, 3, 1, 4)


class _HalfGroupNorm(torch.autograd.Function):
    """torch's GroupNorm, with a gradient of sums and two passes over the numbers in bfloat16, in their own layout."""

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
        """Compute the gradient (Ioffe and Szegedy 2015, section 3)."""
        # With ŷ = s (x − m) of a group and g = w · grad, it is s (g − mean(g) − ŷ mean(g ŷ)): a sum of grad, x and a
        # constant, each with a factor.
        x, weight, mean, scale = ctx.saved_tensors
        last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        grad = grad.contiguous(memory_format=last if x.is_contiguous(memory_format=last) else torch.contiguous_format)
        pixels = tuple(range(2, x.ndim))
        groups = len(x), ctx.groups, -1
        mean, scale = mean.float()[..., None], scale.float()[..., None]  # [B, G, 1]
        weights = weight.float().view(1, ctx.groups, -1)
        of_bias = _sum_of_pixels(grad).view(groups)  # [B, G, C / G]
        of_weight = (_sum_of_pixels(grad * x).view(groups) - of_bias * mean) * scale
        size = x[0].numel() // ctx.groups
        by_x = -((weights * of_weight).sum(-1, keepdim=True)) * scale**2 / size
        constant = -(weights * of_bias).sum(-1, keepdim=True) * scale / size - by_x * mean
        factors = (
            factor.expand(*groups[:2], weights.shape[-1]).reshape(*x.shape[:2], *(1 for _ in pixels)).to(x.dtype)
            for factor in (constant, by_x, weights * scale)
        )
        constant, by_x, by_grad = factors
        of_x = torch.addcmul(constant, x, by_x).addcmul_(grad, by_grad)
        sums = (total.sum(0).flatten().to(weight.dtype) for total in (of_weight, of_bias))
        return of_x, *sums, None, None


def _sum_of_pixels(x: Tensor) -> Tensor:
    """Sum (B, C, H, W) or (B, C, D, H, W) to (B, C) float32."""
    # Along W in bfloat16, which torch sums in float32 and rounds, the rest in float32. A sum in float32 alone would
    # copy x first, and a sum over the dimensions behind C takes ten times as long as one with the channels last.
    return x.movedim(1, -1).sum(-2).sum(tuple(range(1, x.ndim - 2)), dtype=torch.float32)


class DecoderBottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a quarter of the outputs' width, and a short cut.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        fixed_groups: See `group_norm`.
        stride: Stride of the 3×3 convolution and the short cut.
        dilation: Dilation of the 3×3 convolution.
        upsample: Whether to double the resolution, bilinearly, after the first convolution and after the short cut's,
            which commutes with interpolation: channels are few there.
        inner_norms: Whether to normalise between the convolutions, too.
        relu_first: Whether a ReLU also precedes the doubling of the resolution, so that signs are not mixed.
        subsampled: Whether a short cut between equal channels is never a convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        fixed_groups: bool,
        *,
        stride: int = 1,
        dilation: int = 1,
        upsample: bool = False,
        inner_norms: bool = True,
        relu_first: bool = False,
        subsampled: bool = False,
    ) -> None:
        super().__init__()
        width = outputs // 4
        self.norm1: nn.Module = group_norm(inputs, fixed_groups)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=not inner_norms)
        self.norm2 = group_norm(width, fixed_groups) if inner_norms else nn.Identity()
        self.conv2 = Conv2d(width, width, 3, stride, dilation, dilation, bias=not inner_norms)
        self.norm3 = group_norm(width, fixed_groups) if inner_norms else nn.Identity()
        self.conv3 = nn.Conv2d(width, outputs, 1)
        changes = inputs != outputs or (stride != 1 and not subsampled)
        self.short_cut = PointwiseConv2d(inputs, outputs, stride) if changes else None
        self.stride, self.upsample, self.relu_first = stride, upsample, relu_first

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W) → (B, outputs, H', W')."""
        activated = torch.relu(self.norm1(x))
        short_cut = x[..., :: self.stride, :: self.stride] if self.short_cut is None else self.short_cut(activated)
        inner = torch.relu(self.conv1(activated)) if self.relu_first else self.conv1(activated)
        if self.upsample:
            short_cut, inner = _double(short_cut), _double(inner)
        inner = self.conv2(torch.relu(self.norm2(inner)))
        return short_cut + self.conv3(torch.relu(self.norm3(inner)))


def _double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Conv2d(nn.Conv2d):
    """torch's convolution, with dilated ones in float32 on a CPU: their weights' gradients in bfloat16 are NaN."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W) → (B, outputs, H', W')."""
        if x.device.type != "cpu" or self.dilation[0] == 1:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Conv3d(nn.Conv3d):
    """A 3×3×3 convolution that keeps the size: (B, C, D, H, W) → (B, outputs, D, H, W).

    For a single small volume on the CPU, torch's convolutions are 10 to 50 times slower than for two (16 channels of
    16×32×32: 44 ms instead of 0.8). So the volume is split into two halves, with a slice of their neighbours each,
    which gives the same numbers.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, depth, height = x.shape[:4]
        if batch != 1 or x.device.type != "cpu" or depth % 2 or channels * depth * height > _SMALL:
            return super().forward(x)
        border = pad(x, (0, 0, 0, 0, 1, 1))
        half = depth // 2
        halves = torch.cat((border[:, :, : half + 2], border[:, :, half:]))
        halves = halves.contiguous(memory_format=torch.channels_last_3d)
        convolved_halves = nn.functional.conv3d(halves, self.weight, self.bias, padding=(0, 1, 1))
        return torch.cat((convolved_halves[:1], convolved_halves[1:]), 2).contiguous(
            memory_format=torch.channels_last_3d
        )


class ResidualUnit3d(nn.Module):
    """Two 3×3×3 convolutions and a short cut; the paper's 3-D networks have no bottlenecks."""

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        norm = partial(group_norm, channels, config.authors_details, rows=config.authors_details)
        self.norm1, self.conv1 = norm(), Conv3d(channels, channels, bias=False)
        self.norm2, self.conv2 = norm(), Conv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, D, H, W) → the same shape."""
        inner = self.conv1(torch.relu(self.norm1(x)))
        return x + self.conv2(torch.relu(self.norm2(inner)))


def to_volume(features: Tensor, depth: int) -> Tensor:
    """Reshape maps (B, D·C, H, W) to a volume (B, C, D, H, W): channel d·C + c becomes channel c of slice d."""
    return cast(Tensor, _ToVolume.apply(features, depth))


def to_plane(volume: Tensor) -> Tensor:
    """Invert `to_volume`: (B, C, D, H, W) → (B, D·C, H, W)."""
    return cast(Tensor, _ToPlane.apply(volume))


class _ToVolume(torch.autograd.Function):
    """One copy forwards and one backwards, in runs of C numbers."""

    # Gradients of plain transpositions and copies would have other layouts, and every layer before would copy them
    # again, number by number.

    @staticmethod
    def forward(ctx: Any, features: Tensor, depth: int) -> Tensor:  # type: ignore[override]
        return _volume_of(features, depth)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _plane_of(grad), None


class _ToPlane(torch.autograd.Function):
    """The inverse of `_ToVolume`."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor) -> Tensor:  # type: ignore[override]
        ctx.depth = volume.shape[2]
        return _plane_of(volume)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _volume_of(grad, ctx.depth)


def _volume_of(features: Tensor, depth: int) -> Tensor:
    slices = features.permute(0, 2, 3, 1).unflatten(3, (depth, -1))  # [B, H, W, D, C]
    # A copy even of a single slice, whose strides would not say channels-last otherwise.
    volume = slices.permute(0, 3, 1, 2, 4).clone(memory_format=torch.contiguous_format)
    return volume.permute(0, 4, 1, 2, 3)


def _plane_of(volume: Tensor) -> Tensor:
    return volume.permute(0, 3, 4, 2, 1).flatten(3).permute(0, 3, 1, 2)


def channels_last(module: Module) -> Module:
    """Store the weights of all 2-D and 3-D convolutions of a module channels-last, and return the module."""
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module


# Dilation of the 3×3 convolutions in E2D's stages after the first, whose resolution ResNet would halve and E2D keeps.
_DILATION = 2
_CARRIED_SHARE = 0.1  # initial scale of features in channels that carry colours


class LiftingEncoder(nn.Module):
    """E2D, whose channels become depth, and E3D: image (B, 3, S, S) → features V (B, C, D, H, W)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.depth = config.depth
        self.stem = nn.Conv2d(3, config.stem, 7, 2, 3)
        # Of the strides behind the stem's, the first is a pooling, as in ResNet, a further one the last stage's.
        self.pool = nn.MaxPool2d(3, 2, 1) if config.stride >= 4 else nn.Identity()
        stages: list[nn.Module] = []
        channels, fixed_groups = config.stem, config.authors_details
        for stage, (width, count) in enumerate(zip(config.encoder_widths, config.encoder_blocks, strict=True)):
            last = stage == len(config.encoder_widths) - 1
            for block in range(count):
                stride = 2 if last and block == 0 and config.stride == 8 else 1
                dilation = _DILATION if stage > 0 and not (last and config.stride == 8) else 1
                stages.append(DecoderBottleneck(channels, width, fixed_groups, stride=stride, dilation=dilation))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.norm2d = group_norm(channels, fixed_groups)
        self.lift = nn.Conv2d(channels, config.depth * config.channels, 3, padding=1)
        self.units = nn.Sequential(*(ResidualUnit3d(config.channels, config) for _ in range(config.units[0])))
        self.norm3d = nn.Identity() if config.authors_details else group_norm(config.channels, False)
        self.stride, self.carry_colours = config.stride, config.short_cuts
        if config.short_cuts and isinstance(self.norm3d, nn.GroupNorm):
            nn.init.constant_(self.norm3d.weight[:3], _CARRIED_SHARE)

    def forward(self, image: Tensor) -> Tensor:
        """Compute features of an image, −1 to 1."""
        x = self.stages(self.pool(self.stem(image)))
        volume = self.norm3d(self.units(to_volume(self.lift(torch.relu(self.norm2d(x))), self.depth)))
        if not self.carry_colours:
            return volume
        colours = avg_pool2d(image / 2 + 0.5, self.stride)[:, :, None]  # 0 to 1: nothing there is less than any colour
        return torch.cat((volume[:, :3] + colours.to(volume.dtype), volume[:, 3:]), 1)


class PoseEncoder(nn.Module):
    """E_pose on Gaussian heatmaps of the target joints: (B, 19, 3) pixels → (B, C_pose, D, H, W)."""

    voxel: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("voxel", torch.tensor(config.voxel_size, dtype=torch.float32), persistent=False)
        self.first = Conv3d(len(REPOSING19), config.pose_channels)
        self.units = nn.Sequential(*(ResidualUnit3d(config.pose_channels, config) for _ in range(config.units[1])))

    def heatmaps(self, joints: Tensor) -> Tensor:
        """Draw joints as heatmaps; with `config.pose` "2d" they are the same in all slices (section 4.3).

        Args:
            joints: (B, 19, 3) float, pixels. The joints.

        Returns:
            (B, 19, D, H, W) float. The heatmaps, each 1 at its joint.
        """
        config = self.config
        sigma = [config.heatmap_sigma / size for size in config.voxel_size]
        if config.pose == "2d":
            # The planar maps ignore depth, but a depth that is not finite would empty them.
            sigma[2] = math.inf
        return gaussian_heatmaps(joints / self.voxel, sigma, config.grid)

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Encode the result of `heatmaps`."""
        return self.units(self.first(heatmaps))


_VIEW = "seen"  # name in weights files of the convolution of a front view
_EMPTY, _FAR = 1e-4, 1e4  # a voxel that is covered less shows nothing: its nearness is that far behind


class CarriedColours(nn.Module):
    """The input's colours that the part warp moved, seen from the front, and the share of them that is adopted.

    The networks learn brightness first, hues late, and hardly any detail; the moved colours have all three. D3D's
    features predict which slice of the volume is in front; initially all slices count alike. D2D takes the view, too,
    at half the image's resolution, and predicts the share of it that is adopted.

    Args:
        features: Channels of D3D.
        halfway: Channels of D2D at the position where it takes the view.
        channels: Channels at D2D's end.
        stride: Pixels per voxel of the colours in x and y.
    """

    def __init__(self, features: int, halfway: int, channels: int, stride: int) -> None:
        super().__init__()
        self.front = nn.Parameter(torch.zeros(features))
        self.finer = 2 if stride == 1 else 1  # resolution of the view relative to D2D there
        view = nn.Conv2d(4 * self.finer**2, halfway, 3, padding=1)
        self.add_module(_VIEW, view)
        self.taken = nn.Conv2d(channels, 1, 3, padding=1)
        for layer in (view, self.taken):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def front_view(self, colour_volume: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """View colours from the front.

        Args:
            colour_volume: (B, 4, D, H, W) float. Colours 0 to 1 times their masks, and the masks.
            features: (B, F, D, h, w) float. D3D's features, as coarse or coarser.

        Returns:
            (B, 3, H, W), the colours from −1 to 1, and (B, 1, H, W), how much of each pixel the person covers.
        """
        # A learned weight of the features of each voxel; empty voxels are behind all others.
        nearness = nn.functional.conv3d(features, self.front.view(1, -1, 1, 1, 1))[:, 0]
        with torch.autocast(colour_volume.device.type, enabled=False):
            nearness = interpolate(
                nearness.float(), size=colour_volume.shape[-2:], mode="bilinear", align_corners=False
            )
            empty = colour_volume[:, 3] < _EMPTY
            weights = nearness.masked_fill(empty, -_FAR).softmax(1)[:, None]
            # Softmax over the slices (dimension 1 of (B, D, H, W)), then premultiplied colours over their cover.
            colours, cover = (weights * colour_volume).sum(2).split((3, 1), 1)
            return colours / cover.clamp_min(_EMPTY) * 2 - 1, colour_volume[:, 3:].amax(2)

    def add_view(self, x: Tensor, view: tuple[Tensor, Tensor]) -> Tensor:
        """Add features of a `front_view` to x (B, halfway, S / 2, S / 2) of D2D.

        Args:
            x: (B, halfway, S / 2, S / 2) float. Features of D2D.
            view: The result of `front_view`.
        """
        colours, cover = view
        pixels = torch.cat((colours * cover, cover), 1)
        if self.finer > 1:
            pixels = pixel_unshuffle(pixels, self.finer)
        elif pixels.shape[-2:] != x.shape[-2:]:
            pixels = interpolate(pixels, size=x.shape[-2:], mode="bilinear", align_corners=False)
        convolution = self.get_submodule(_VIEW)
        return x + convolution(pixels.to(x.dtype).contiguous(memory_format=torch.channels_last))

    def forward(self, colours: Tensor, x: Tensor, view: tuple[Tensor, Tensor]) -> Tensor:
        """Blend the network's colours with a view.

        Args:
            colours: (B, 3, S, S) float. The network's colours.
            x: (B, channels, S, S) float. Its last features.
            view: The result of `front_view`.
        """
        cover = interpolate(view[1], size=colours.shape[-2:], mode="bilinear", align_corners=False)
        view_colours = interpolate(view[0] * view[1], size=colours.shape[-2:], mode="bilinear", align_corners=False)
        share = torch.sigmoid(self.taken(x).float())
        return colours + share * (view_colours - cover * colours)


class ProjectionDecoder(nn.Module):
    """(B, C + C_pose, D, H, W) → colours (B, 3, S, S) −1 to 1 and a soft mask (B, 1, S, S) 0 to 1."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        channels, fixed_groups = config.channels + config.pose_channels, config.authors_details
        self.units = nn.Sequential(*(ResidualUnit3d(channels, config) for _ in range(config.units[2])))
        blocks: list[nn.Module] = []
        channels *= config.depth
        for stage, (width, count) in enumerate(zip(config.decoder_widths, config.decoder_blocks, strict=True)):
            for block in range(count):
                block_options = {
                    "upsample": stage > 0 and block == 0,
                    "inner_norms": not config.authors_details,
                    "relu_first": config.authors_details,
                }
                blocks.append(DecoderBottleneck(channels, width, fixed_groups, **block_options))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.halfway = sum(config.decoder_blocks[:-2]) + 1  # blocks up to the first that makes half the resolution
        self.detail: nn.Sequential | None = None
        if config.detail:
            self.detail = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                DecoderBottleneck(channels, channels, fixed_groups),
            )
        self.norm = group_norm(channels, fixed_groups)
        self.last = nn.Conv2d(channels, 4, 3, padding=1)
        features = config.channels + config.pose_channels
        self.carried: CarriedColours | None = None
        if config.colour_stride:
            self.carried = CarriedColours(features, config.decoder_widths[-2], channels, config.colour_stride)

    def forward(self, volume: Tensor, colour_volume: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw the person.

        Args:
            volume: (B, C + C_pose, D, H, W) float. Warped features and encoded pose.
            colour_volume: (B, 4, D, H, W) float. Warped colours for `config.colour_stride`, see
                `CarriedColours.front_view`.

        Returns:
            (B, 3, S, S), colours from −1 to 1, and (B, 1, S, S), a soft mask from 0 to 1.
        """
        features = self.units(volume)
        x = self.blocks[: self.halfway](to_plane(features))
        view = None
        if self.carried is not None:
            assert colour_volume is not None, "a decoder with `colour_stride` needs the warped colours"
            view = self.carried.front_view(colour_volume, features)
            x = self.carried.add_view(x, view)
        x = self.blocks[self.halfway :](x)
        x = torch.relu(self.norm(x if self.detail is None else self.detail(x)))
        output = self.last(x)
        colours = torch.tanh(output[:, :3])
        if self.carried is not None and view is not None:
            colours = self.carried(colours, x, view)
        return colours, torch.sigmoid(output[:, 3:])
