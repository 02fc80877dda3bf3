"""The discriminator of warp3d's training, and initial weights (Knoche, Sárándi, Leibe 2020, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.models.warp3d.config import DiscriminatorConfig, GeneratorConfig
from humanpose_cli.models.warp3d.layers import DecoderBottleneck, channels_last, group_norm, to_plane


class Discriminator(nn.Module):
    """A ResNet with GroupNorm on input image, image to classify and target heatmaps flattened over depth.

    The heatmaps are as coarse as the feature volume. A convolution of images concatenated with upsampled heatmaps is
    the sum of two convolutions; the heatmaps' one runs at their own resolution and is then upsampled, which costs a
    fraction.
    """

    def __init__(self, config: DiscriminatorConfig, generator: GeneratorConfig) -> None:
        super().__init__()
        authors = generator.authors_details
        self.images = nn.Conv2d(6, config.stem, 7, 2, 3)
        self.pose = nn.Conv2d(generator.depth * len(REPOSING19), config.stem, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        channels = config.stem
        for width, count in zip(config.widths, config.blocks, strict=True):
            for block in range(count):
                stride = 2 if block == count - 1 else 1
                blocks.append(DecoderBottleneck(channels, width, authors, stride=stride, subsampled=authors))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = group_norm(channels, authors)
        self.last = nn.Conv2d(channels, 1, 3, padding=1)
        channels_last(self)

    def forward(self, source: Tensor, image: Tensor, heatmaps: Tensor) -> Tensor:
        """Score images; high means real.

        Args:
            source: (B, 3, S, S) float, −1 to 1. The input images.
            image: (B, 3, S, S) float, −1 to 1. The images to classify.
            heatmaps: (B, 19, D, H, W) float. The target joints.

        Returns:
            (B, 1, S / n, S / n) float. Logits, each for one patch; n is 4 times 2 for each stage, 32 for the paper's
            three.
        """
        images = torch.cat((source, image), 1).contiguous(memory_format=torch.channels_last)
        stem = self.images(images)
        pose = self.pose(to_plane(heatmaps))
        if pose.shape[-2:] != stem.shape[-2:]:
            pose = interpolate(pose, size=stem.shape[-2:], mode="bilinear", align_corners=False)
        x = self.blocks(self.pool(stem + pose))
        return self.last(torch.relu(self.norm(x))).float()


def initialise(network: nn.Module, *he: nn.Module) -> None:
    """Draw initial weights as TensorFlow's layers and slim's ResNets do; biases are 0, normalisations unchanged.

    Args:
        network: The network. Its convolutions get Glorot's uniform weights.
        *he: Modules of it that get He's normal weights, truncated at two standard deviations.
    """
    he_layers = {id(layer) for module in he for layer in module.modules()}
    for layer in network.modules():
        if not isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            continue
        if id(layer) in he_layers:
            # slim's factor 1.3 compensates for the truncated variance.
            deviation = math.sqrt(2.6 / layer.weight[0].numel())
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        else:
            nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
