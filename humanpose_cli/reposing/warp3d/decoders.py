"""From the warped features and the target pose to the picture of the person: D3D and D2D (section 3.1)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from humanpose_cli.reposing.warp3d.blocks import Bottleneck, ResidualUnit3d, group_norm, to_plane
from humanpose_cli.reposing.warp3d.config import GeneratorConfig

__all__ = ["DRAWING_CHANNELS", "ProjectionDecoder"]

DRAWING_CHANNELS: Final = 5
"""Of a drawing: colours, −1 to 1; how much of the pixel the person covers; how much of that the input image showed."""


class ProjectionDecoder(nn.Module):
    """(B, C + C_pose, D, H, W) → colours (B, 3, S, S) −1 to 1 and a soft mask (B, 1, S, S) 0 to 1.

    With `config.drawing` the last blocks see a drawing of the person in the target pose too and take it over where it
    fits: its colours and its outline. A third result (B, 1, S, S) says how much of it is taken over, 0 in the rows
    without a drawing; it is None for a decoder that takes none.
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
        if config.drawing:
            self.detail = nn.Sequential(
                nn.Conv2d(channels + DRAWING_CHANNELS, channels, 3, padding=1), Bottleneck(channels, channels)
            )
        self.norm = group_norm(channels)
        self.last = nn.Conv2d(channels, 5 if config.drawing else 4, 3, padding=1)

    def forward(self, volume: Tensor, drawing: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """volume   warped features and encoded pose, one behind the other
        drawing  (B, 5, S, S); rows that are not a number throughout have none, None: no row has one
        """
        x = self.blocks(to_plane(self.units(volume)))
        if self.detail is None:
            found = self.last(torch.relu(self.norm(x)))
            return torch.tanh(found[:, :3]), torch.sigmoid(found[:, 3:4]), None
        if drawing is None:
            drawing = x.new_full((len(x), DRAWING_CHANNELS, *x.shape[2:]), torch.nan)
        given = drawing.isfinite().flatten(1).all(1)[:, None, None, None]
        drawing = torch.where(given, drawing, 0.0).to(x.dtype)
        found = self.last(torch.relu(self.norm(self.detail(torch.cat((x, drawing), 1)))))
        colours, mask = torch.tanh(found[:, :3]), torch.sigmoid(found[:, 3:4])
        covered, taken = drawing[:, 3:4], torch.sigmoid(found[:, 4:]) * given
        mask = mask + taken * (covered - mask)
        return colours + taken * covered * (drawing[:, :3] - colours), mask, taken
