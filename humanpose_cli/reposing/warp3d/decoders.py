"""From the warped features and the target pose to the picture of the person: D3D and D2D (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from humanpose_cli.reposing.warp3d.blocks import Bottleneck, ResidualUnit3d, group_norm, to_plane
from humanpose_cli.reposing.warp3d.carried import CARRIED_CHANNELS
from humanpose_cli.reposing.warp3d.config import GeneratorConfig

__all__ = ["ProjectionDecoder"]


class ProjectionDecoder(nn.Module):
    """(B, C + C_pose, D, H, W) → colours (B, 3, S, S) −1 to 1 and a soft mask (B, 1, S, S) 0 to 1.

    With `carry_detail` the last blocks see the carried picture too and take it over where it fits: its colours, and its
    outline with `carry_outline`. A third result (B, 1, S, S) says how much of it is taken over; else that is None.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        channels = config.channels + config.pose_channels
        self.units = nn.Sequential(*(ResidualUnit3d(channels) for _ in range(config.units[2])))
        blocks: list[nn.Module] = []
        channels *= config.depth
        for stage, (width, count) in enumerate(zip(config.decoder_widths, config.decoder_blocks, strict=True)):
            for block in range(count):
                blocks.append(Bottleneck(channels, width, upsample=stage > 0 and block == 0))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.detail: nn.Sequential | None = None
        if config.carry_detail:
            self.detail = nn.Sequential(
                nn.Conv2d(channels + CARRIED_CHANNELS, channels, 3, padding=1), Bottleneck(channels, channels)
            )
        self.outline = config.carry_outline
        self.norm = group_norm(channels)
        self.last = nn.Conv2d(channels, 5 if config.carry_detail else 4, 3, padding=1)

    def forward(self, volume: Tensor, carried: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """volume   warped features and encoded pose, one behind the other
        carried  (B, 5, S, S) as `carried_picture` gives it, with `carry_detail`
        """
        x = self.blocks(to_plane(self.units(volume)))
        if self.detail is not None and carried is not None:
            x = self.detail(torch.cat((x, carried.to(x.dtype)), 1))
        found = self.last(torch.relu(self.norm(x)))
        colours, mask = torch.tanh(found[:, :3]), torch.sigmoid(found[:, 3:4])
        if self.detail is None or carried is None:
            return colours, mask, None
        covered, taken = carried[:, 3:4], torch.sigmoid(found[:, 4:])
        if self.outline:
            mask = mask + taken * (covered - mask)
        return colours + taken * covered * (carried[:, :3] - colours), mask, taken
