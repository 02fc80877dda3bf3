"""DeepLab (Chen et al. 2018): dilated backbones and atrous pyramid pooling, the other segmenters of NBF's Table 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from humanpose_cli.networks.resnet import ResNet
from humanpose_cli.networks.vgg import VGG

__all__ = ["AtrousPyramid", "DeepLabSegmenter"]


class AtrousPyramid(nn.Module):
    """Sum of class scores from 3×3 convolutions of several dilations."""

    def __init__(self, inputs: int, classes: int, dilations: Sequence[int] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(inputs, classes, 3, padding=d, dilation=d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        scores = [conv(x) for conv in self.convs]
        return torch.stack(scores).sum(0)


class DeepLabSegmenter(nn.Module):
    """Picture → class scores at a stride of 8.

    backbone  "vgg16", "resnet18", "resnet50" or "resnet101"
    width     channels of a ResNet's first stage
    """

    def __init__(
        self,
        classes: int,
        *,
        backbone: str = "resnet101",
        width: int = 64,
        dilations: Sequence[int] = (6, 12, 18, 24),
    ) -> None:
        super().__init__()
        self.backbone: ResNet | VGG
        if backbone == "vgg16":
            self.backbone, channels = VGG(16, dilated=2), 512
        else:
            self.backbone = ResNet(int(backbone.removeprefix("resnet")), width=width, dilated=2)
            channels = self.backbone.channels[-1]
        self.head = AtrousPyramid(channels, classes, dilations)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → scores (B, classes, H, W)."""
        last = self.backbone(image) if isinstance(self.backbone, VGG) else self.backbone.maps(image).stage4
        scores = self.head(last)
        return interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)
