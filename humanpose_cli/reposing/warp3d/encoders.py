"""From a picture to a feature volume, and from a pose to one: E2D, E3D and E_pose (section 3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.engine.heatmaps import gaussian_heatmaps
from humanpose_cli.reposing.warp3d.blocks import Bottleneck, Conv3d, ResidualUnit3d, group_norm, to_volume
from humanpose_cli.reposing.warp3d.config import GeneratorConfig

__all__ = ["LiftingEncoder", "PoseEncoder"]

_OWN_SHARE = 0.1  # of the features, at first, in channels that carry colours


class LiftingEncoder(nn.Module):
    """E2D, whose channels become depth, and E3D: picture (B, 3, S, S) → features V (B, C, D, H, W)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.depth = config.depth
        self.stem = nn.Conv2d(3, config.stem, 7, 2, 3)
        # Of the strides behind the stem's, the first is a pooling, as in ResNet, a further one the last stage's.
        self.pool = nn.MaxPool2d(3, 2, 1) if config.stride >= 4 else nn.Identity()
        stages: list[nn.Module] = []
        channels = config.stem
        for stage, (width, count) in enumerate(zip(config.encoder_widths, config.encoder_blocks, strict=True)):
            last = stage == len(config.encoder_widths) - 1
            for block in range(count):
                stride = 2 if last and block == 0 and config.stride == 8 else 1
                dilation = config.dilation if stage > 0 and not (last and config.stride == 8) else 1
                stages.append(Bottleneck(channels, width, stride=stride, dilation=dilation))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.norm2d = group_norm(channels)
        self.lift = nn.Conv2d(channels, config.depth * config.channels, 3, padding=1)
        self.units = nn.Sequential(*(ResidualUnit3d(config.channels) for _ in range(config.units[0])))
        # What comes out is compared with 0 by the part warp's maximum.
        self.norm3d = group_norm(config.channels)
        self.stride, self.carry_colours = config.stride, config.carry_colours
        if config.carry_colours:
            nn.init.constant_(self.norm3d.weight[:3], _OWN_SHARE)

    def forward(self, image: Tensor) -> Tensor:
        """image  −1 to 1"""
        x = self.stages(self.pool(self.stem(image)))
        volume = to_volume(self.lift(torch.relu(self.norm2d(x))), self.depth)
        volume = self.norm3d(self.units(volume))
        if not self.carry_colours:
            return volume
        colours = avg_pool2d(image / 2 + 0.5, self.stride)[:, :, None]  # 0 to 1: nothing there is less than any colour
        return torch.cat((volume[:, :3] + colours.to(volume.dtype), volume[:, 3:]), 1)


class PoseEncoder(nn.Module):
    """E_pose on Gaussian heatmaps of the target joints: (B, 19, 3) pixels → (B, C_pose, D, H, W)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.first = Conv3d(len(REPOSING19), config.pose_channels)
        self.units = nn.Sequential(*(ResidualUnit3d(config.pose_channels) for _ in range(config.units[1])))

    def heatmaps(self, joints: Tensor) -> Tensor:
        """(B, 19, 3) pixels → (B, 19, D, H, W), each 1 at its joint; "2d": the same in all slices (section 4.3)."""
        config = self.config
        voxel = joints.new_tensor(config.voxel_size)
        sigma = [config.heatmap_sigma / size for size in config.voxel_size]
        if config.pose == "2d":
            # A depth that is not known is not looked at, but one that is not finite would empty the map.
            sigma[2] = math.inf
        return gaussian_heatmaps(joints / voxel, sigma, config.grid)

    def forward(self, heatmaps: Tensor) -> Tensor:
        """heatmaps  as the method of that name gives them"""
        return self.units(self.first(heatmaps))
