"""Decoders and partial convolutions: the segmenters in NBF's Table 2, and the layers of warp3d's inpainter.

DeepLab v2 (Chen et al. 2018): dilated backbones and atrous pyramid pooling. After a ResNet, each dilation is one
convolution to the scores (section 4.1.2 of that paper); after VGG-16, each is a complete classifier, fc6, fc7 and fc8.

RefineNet (Lin et al. 2017) as Neural Body Fitting uses it (section 4.2 and its authors' public code, model.py): four
blocks from the coarsest map up, two residual units before and one after each fusion, whose inputs count twice, chained
residual pooling of four 5×5 pools, no normalisation. The coarser map of a fusion has no units.

Partial convolutions (Liu et al. 2018) use known pixels only, and return which pixels are known afterwards:

    x' = W (x ⊙ m) · sum(1) / sum(m) + b  and  m' = 1  if the window has a known pixel, otherwise both are 0

with sums over the window and the channels. Pixels outside the image are unknown. If a mask is between 0 and 1, x must
already be multiplied by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from humanpose_cli.networks.backbones import VGG, ResNet

_UNITS, _POOLS, _FIRST_WEIGHTS = 2, 4, 0.005  # of a RefineNet; the last is a standard deviation
_FULLY_CONNECTED = 1024  # channels of DeepLab's fc6 and fc7


class AtrousPyramid(nn.Module):
    """Sum of class scores from 3×3 convolutions with several dilations.

    Args:
        inputs: Channels of the input.
        classes: The number of classes.
        hidden_channels: Channels of fc6, the dilated convolution, and fc7 before the scores, each with ReLU and
            dropout. 0 means that the dilated convolutions give the scores.
        dilations: The dilations.
    """

    def __init__(
        self, inputs: int, classes: int, *, hidden_channels: int = 0, dilations: Sequence[int] = (6, 12, 18, 24)
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _classifier(inputs, classes, hidden_channels, d)
            if hidden_channels
            else nn.Conv2d(inputs, classes, 3, padding=d, dilation=d)
            for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        scores = [conv(x) for conv in self.convs]
        return torch.stack(scores).sum(0)


def _classifier(inputs: int, classes: int, channels: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=dilation, dilation=dilation),
        nn.ReLU(),
        nn.Dropout(),
        nn.Conv2d(channels, channels, 1),
        nn.ReLU(),
        nn.Dropout(),
        nn.Conv2d(channels, classes, 1),
    )


class DeepLabSegmenter(nn.Module):
    """Image → class scores at a stride of 8.

    Args:
        classes: The number of classes.
        backbone: "vgg16", "resnet18", "resnet50" or "resnet101".
        width: Channels of a ResNet's first stage.
    """

    def __init__(self, classes: int, *, backbone: str = "resnet101", width: int = 64) -> None:
        super().__init__()
        self.backbone: ResNet | VGG
        if backbone == "vgg16":
            self.backbone = VGG(16, dilated_blocks=2)
            self.head = AtrousPyramid(self.backbone.channels, classes, hidden_channels=_FULLY_CONNECTED)
        else:
            self.backbone = ResNet(int(backbone.removeprefix("resnet")), width=width, dilated_stages=2)
            self.head = AtrousPyramid(self.backbone.channels[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of images (B, 3, H, W): (B, classes, H, W)."""
        last = self.backbone(image) if isinstance(self.backbone, VGG) else self.backbone.maps(image)[-1]
        scores = self.head(last)
        return interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualUnit(nn.Module):
    """Two 3×3 convolutions after ReLUs, and two short cuts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class ChainedPooling(nn.Module):
    """Pools of growing reach, each after a convolution, added in turn to a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, channels) for _ in range(_POOLS))
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        total, path = x, x
        for conv in self.convs:
            path = self.pool(conv(path))
            total = total + path
        return total


class RefineBlock(nn.Module):
    """Refines a map with `channels` channels, and adds a coarser one with `coarser` channels if there is one."""

    def __init__(self, channels: int, coarser: int = 0) -> None:
        super().__init__()
        self.adapt = nn.Sequential(*(ResidualUnit(channels) for _ in range(_UNITS)))
        self.fuse = nn.ModuleList(_conv(width, channels) for width in (channels, coarser) if coarser)
        self.pooling = ChainedPooling(channels)
        self.output = ResidualUnit(channels)

    def forward(self, finer: Tensor, coarser: Tensor | None = None) -> Tensor:
        x = self.adapt(finer)
        if coarser is not None:
            x = self.fuse[0](x) + _resize(self.fuse[1](coarser), x.shape[-2:])
        return self.output(self.pooling(x))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class RefineNet(nn.Module):
    """The decoder: maps of four stages, fine to coarse → (B, widths[-1], H, W) at the finest resolution.

    Args:
        inputs: Channels of the four maps, fine to coarse.
        widths: Channels of the blocks, from the coarsest up.
    """

    def __init__(self, inputs: Sequence[int], widths: Sequence[int] = (512, 256, 256, 256)) -> None:
        super().__init__()
        coarse_first = list(reversed(inputs))
        self.reduce = nn.ModuleList(
            _conv(channels, width) for channels, width in zip(coarse_first, widths, strict=True)
        )
        blocks = [RefineBlock(widths[0]), *(RefineBlock(finer, coarser) for coarser, finer in pairwise(widths))]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        inputs = [reduce(x) for reduce, x in zip(self.reduce, reversed(maps), strict=True)]
        result = self.blocks[0](inputs[0])
        for block, finer in zip(list(self.blocks)[1:], inputs[1:], strict=True):
            result = block(finer, result)
        return result


class RefineNetSegmenter(nn.Module):
    """Image → class scores, by a ResNet and a RefineNet, initialised as in Neural Body Fitting's public code.

    Args:
        classes: The number of classes.
        layers: Layers of the ResNet.
        width: Channels of its first stage.
        widths: Channels of the RefineNet's blocks, from the coarsest up.
    """

    def __init__(
        self, classes: int, *, layers: int = 101, width: int = 64, widths: Sequence[int] = (512, 256, 256, 256)
    ) -> None:
        super().__init__()
        self.backbone = ResNet(layers, width=width, first_pool=2)
        self.decoder = RefineNet(self.backbone.channels, widths)
        self.head = _conv(widths[-1], classes)
        for layer in (*self.decoder.modules(), self.head):
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=_FIRST_WEIGHTS)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of images (B, 3, H, W): (B, classes, H, W)."""
        return _resize(self.head(self.decoder(self.backbone.maps(image))), image.shape[-2:])


class PartialConv2d(nn.Module):
    """A partial convolution of groups of channels, each of which has one mask.

    Args:
        inputs: Channels of each group: (64,), or (64, 3) for features concatenated with another map.
        outputs: Channels of the output, which share one mask.
        kernel: Side of the windows in pixels.
        stride: The stride.
        padding: Pixels of padding.
    """

    ones: Tensor

    def __init__(self, inputs: Sequence[int], outputs: int, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.groups = tuple(inputs)
        self.conv = nn.Conv2d(sum(inputs), outputs, kernel, stride, padding, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        # The sum over a window of known pixels, per group.
        ones = torch.tensor(self.groups, dtype=torch.float32).view(1, -1, 1, 1).expand(1, -1, kernel, kernel)
        self.register_buffer("ones", ones.clone(), persistent=False)
        self.window_sum = float(sum(self.groups) * kernel * kernel)  # a number, not a tensor: no wait for the device

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve known pixels.

        Values of x have no influence where their mask is 0, even if they are not finite.

        Args:
            x: (B, sum of inputs, H, W) float. The maps, multiplied by masks between 0 and 1.
            mask: (B, groups, H, W) float, 0 to 1. The masks.

        Returns:
            (B, outputs, H', W'), the result, and (B, 1, H', W'), its mask.
        """
        with torch.autocast(x.device.type, enabled=False):
            mask_sum = conv2d(mask.detach().float(), self.ones, None, self.conv.stride, self.conv.padding)
            valid = mask_sum > 0
            factor = torch.where(valid, self.window_sum / mask_sum.clamp_min(1e-6), 0.0)
        parts = [group.masked_fill(mask[:, i : i + 1] <= 0, 0.0) for i, group in enumerate(x.split(self.groups, dim=1))]
        result = self.conv(parts[0] if len(parts) == 1 else torch.cat(parts, 1)) * factor.to(x.dtype)
        return result + self.bias.view(1, -1, 1, 1) * valid, valid.to(mask.dtype)
