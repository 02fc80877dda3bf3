"""The background stream: a U-Net of partial convolutions that fills in what the person covers (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from humanpose_cli.networks.partial_conv import PartialConv2d
from humanpose_cli.reposing.warp3d.blocks import group_norm

__all__ = ["BackgroundInpainter"]

_KERNELS = (7, 5, 5)  # of the encoder's first steps; 3 behind them
_SLOPE = 0.2
_KEPT = 3.0  # the first bias of the share that stays: 95 %


class BackgroundInpainter(nn.Module):
    """Picture with a hole → whole picture, as Liu et al. (2018) with the authors' sizes.

    widths  channels of the encoder's steps, each of stride 2; the decoder mirrors them, by nearest neighbours
    keep    a fourth output says how much of the input's own pixel stays where it is known. It begins near all, and may
            learn to remove what the part masks leave of a person: hair, hems, shadows.

    The first step of the encoder and the last of the decoder have no normalisation.
    """

    def __init__(self, widths: tuple[int, ...], *, keep: bool = False) -> None:
        super().__init__()
        self.keep = keep
        kernels = (*_KERNELS, *(3,) * len(widths))[: len(widths)]
        inputs = (3, *widths[:-1])
        self.encoder = nn.ModuleList(
            PartialConv2d((a,), b, k, stride=2, padding=k // 2) for a, b, k in zip(inputs, widths, kernels, strict=True)
        )
        self.encoder_norms = nn.ModuleList(
            nn.Identity() if step == 0 else group_norm(width) for step, width in enumerate(widths)
        )
        coarse_first = list(reversed(inputs))
        below = [widths[-1], *coarse_first[:-1]]
        outputs = [*coarse_first[:-1], 4 if keep else 3]
        self.decoder = nn.ModuleList(
            PartialConv2d((a, b), c, 3, padding=1) for a, b, c in zip(below, coarse_first, outputs, strict=True)
        )
        if keep:
            nn.init.constant_(self.decoder[-1].get_parameter("bias")[3:], _KEPT)
        self.decoder_norms = nn.ModuleList(
            nn.Identity() if step == len(widths) - 1 else group_norm(width) for step, width in enumerate(coarse_first)
        )

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        """image (B, 3, S, S) −1 to 1, known (B, 1, S, S) of 0 and 1 → (B, 3, S, S) −1 to 1, without holes.

        A picture of which nothing is known comes out grey.
        """
        x, mask = image, known
        skips = []
        for conv, norm in zip(self.encoder, self.encoder_norms, strict=True):
            skips.append((x, mask))
            x, mask = conv(x, mask)
            x = torch.relu(norm(x))
        for step, (conv, norm) in enumerate(zip(self.decoder, self.decoder_norms, strict=True)):
            beside, beside_mask = skips.pop()
            x, mask = (interpolate(t, size=beside.shape[-2:], mode="nearest") for t in (x, mask))
            x, mask = conv(torch.cat((x, beside), 1), torch.cat((mask, beside_mask), 1))
            if step < len(self.decoder) - 1:
                x = leaky_relu(norm(x), _SLOPE)
        made = torch.tanh(x[:, :3])
        if not self.keep:
            return made
        kept = torch.sigmoid(x[:, 3:]) * (known > 0)
        return made + kept * (image - made)
