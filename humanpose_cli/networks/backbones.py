"""ResNet, VGG and AlexNet with torchvision's parameter names, so that its ImageNet weights load; features only.

ResNet: He et al. 2016; VGG: Simonyan and Zisserman 2015; AlexNet: Krizhevsky 2014. Additions: any width,
dilated last stages instead of strides (DeepLab), maps of all stages for decoders.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from humanpose_cli.networks.convolutions import PointwiseConv2d


def conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    """Build a 3×3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a short cut.

    Args:
        inputs: Channels of the input.
        width: Channels of the output.
        stride: Stride of the first convolution.
        first_dilation: Dilation of the first convolution.
        dilation: Dilation of the second convolution.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _short_cut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride, as in torchvision) and 1×1 convolutions and a short cut.

    Args:
        inputs: Channels of the input.
        width: Channels of the first two convolutions, a quarter of the output's.
        stride: Stride of the 3×3 convolution.
        first_dilation: Dilation of the 3×3 convolution.
        dilation: Ignored: the last convolution is 1×1.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        del dilation
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _short_cut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def _short_cut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(PointwiseConv2d(inputs, outputs, stride, bias=False), nn.BatchNorm2d(outputs))


RESNETS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Layers → the kind of block, and blocks of each stage."""


class ResNet(nn.Module):
    """Backbone of `layers` layers.

    Args:
        layers: 18, 34, 50 or 101.
        inputs: Channels of the image.
        width: Channels of the first stage; the original has 64.
        dilated_stages: Number of last stages that keep their resolution and have dilated convolutions instead: 0, 1 or
            2.
        depth: Number of stages, up to four.
        first_pool: Side of the first pool's windows: 3, or 2 without overlap.

    Attributes:
        channels: Channels of the stages' maps.
    """

    def __init__(
        self,
        layers: int,
        *,
        inputs: int = 3,
        width: int = 64,
        dilated_stages: int = 0,
        depth: int = 4,
        first_pool: int = 3,
    ) -> None:
        super().__init__()
        block, counts = RESNETS[layers]
        self.conv1 = nn.Conv2d(inputs, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(first_pool, 2, first_pool - 2)
        channels, dilation = width, 1
        self.channels: tuple[int, ...] = ()
        for stage, count in enumerate(counts[:depth]):
            stride = 1 if stage == 0 else 2
            previous_dilation = dilation
            if stage >= 4 - dilated_stages:
                dilation, stride = 2 * dilation, 1
            stage_width = width << stage
            blocks: list[nn.Module] = [block(channels, stage_width, stride, previous_dilation, dilation)]
            channels = block.expansion * stage_width
            blocks += [block(channels, stage_width, 1, dilation, dilation) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.channels += (channels,)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, image: Tensor) -> list[Tensor]:
        """Compute the stages' maps of images.

        Args:
            image: (B, inputs, H, W) float. The images.

        Returns:
            (B, C, H/4, W/4), …/8, …/16, …/32; finer for dilated stages.
        """
        return self.stages(self.stem(image))

    def stem(self, image: Tensor) -> Tensor:
        """Apply the first convolution to images (B, inputs, H, W): (B, width, H/2, W/2)."""
        return torch.relu(self.bn1(self.conv1(image)))

    def stages(self, stem: Tensor) -> list[Tensor]:
        """Compute the stages' maps from the output of `stem`."""
        x = self.maxpool(stem)
        maps = []
        for stage in range(1, len(self.channels) + 1):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps


VGGS: dict[int, tuple[int, int, int, int, int]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Layers → convolutions of each of the five blocks."""
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Backbone of `layers` layers.

    Args:
        layers: 16 or 19.
        dilated_blocks: Number of last poolings that keep the resolution; later convolutions have twice the dilation
            (DeepLab: 2).
    """

    def __init__(self, layers: int, *, dilated_blocks: int = 0) -> None:
        super().__init__()
        self._names, modules = zip(*_named_layers(VGGS[layers], dilated_blocks), strict=True)
        self.features = nn.Sequential(*modules)
        self.channels = _WIDTHS[-1]  # of the last map

    def maps(self, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Compute activations after the named layers' ReLU; later layers are not computed.

        Args:
            image: (B, 3, H, W) float. The images.
            names: Names of layers, such as "block3_conv2".
        """
        maps: dict[str, Tensor] = {}
        x = image
        for name, layer in zip(self._names, self.features, strict=True):
            x = layer(x)
            if name in names:
                maps[name] = x
            if len(maps) == len(names):
                break
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Compute the last map (B, 512, …) of images (B, 3, H, W)."""
        return self.features(image)


def _named_layers(counts: tuple[int, ...], dilated_blocks: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the entries of `features` with their names; a ReLU has its convolution's name."""
    channels, dilation = 3, 1
    for block, (count, width) in enumerate(zip(counts, _WIDTHS, strict=True), 1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            yield f"{name}_linear", nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
            yield name, nn.ReLU(inplace=False)  # maps are returned: nothing may overwrite them
            channels = width
        halves = block <= len(counts) - dilated_blocks
        dilation = dilation if halves else 2
        yield f"block{block}_pool", nn.MaxPool2d(2, 2) if halves else nn.MaxPool2d(3, 1, 1)


class AlexNet(nn.Module):
    """The five convolutions, for images of at least 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the outputs of the five ReLUs for images (B, 3, H, W)."""
        maps, x = [], image
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps
