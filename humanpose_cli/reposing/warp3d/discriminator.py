"""The discriminator: is this the input's person in the target pose, as a camera would show them? (section 3.2)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.reposing.warp3d.blocks import Bottleneck, channels_last, group_norm, to_plane
from humanpose_cli.reposing.warp3d.config import DiscriminatorConfig, GeneratorConfig

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """A ResNet with GroupNorm on input picture, picture to judge and target heatmaps flattened over depth.

    The heatmaps are as coarse as the feature volume. A convolution of the pictures with upsampled heatmaps behind them
    is the sum of two; that of the heatmaps is done at their own resolution and then upsampled, which costs a fraction.
    """

    def __init__(self, config: DiscriminatorConfig, generator: GeneratorConfig) -> None:
        super().__init__()
        self.pictures = nn.Conv2d(6, config.stem, 7, 2, 3)
        self.pose = nn.Conv2d(generator.depth * len(REPOSING19), config.stem, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        channels = config.stem
        for width, count in zip(config.widths, config.blocks, strict=True):
            for block in range(count):
                blocks.append(Bottleneck(channels, width, stride=2 if block == count - 1 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = group_norm(channels)
        self.last = nn.Conv2d(channels, 1, 3, padding=1)
        channels_last(self)

    def forward(self, source: Tensor, judged: Tensor, heatmaps: Tensor) -> Tensor:
        """(B, 3, S, S) twice, −1 to 1, (B, 19, D, H, W) → logits (B, 1, S / n, S / n), each for one patch; n is 4
        times 2 for each stage, 32 for the paper's three. High: true.
        """
        pictures = torch.cat((source, judged), 1).contiguous(memory_format=torch.channels_last)
        stem = self.pictures(pictures)
        pose = self.pose(to_plane(heatmaps))
        if pose.shape[-2:] != stem.shape[-2:]:
            pose = interpolate(pose, size=stem.shape[-2:], mode="bilinear", align_corners=False)
        x = self.blocks(self.pool(stem + pose))
        return self.last(torch.relu(self.norm(x))).float()
