"""The displacement network of version 1.0.0, whose weights `DisplacementPredictor` still reads.

Photograph and renderings have an encoder each. From coarse to fine (1/16 to 1/2 of the crop), the photograph's features
are sampled at the targets of the current displacements and compared with the rendering's features, and the
displacements are corrected (PWC-Net, Sun et al. 2018). Every level also predicts the scale of its errors, which are
Laplacian in the plane.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from humanpose_cli.models.refiner.network import (
    DisplacementMixture,
    DisplacementOptions,
    compared_features,
    sample_targets,
)
from humanpose_cli.networks.backbones import ResNet, conv_norm_relu

_STRIDES = (16, 8, 4, 2)
_REACH = (3, 3, 2, 0)  # cells around a pixel that are compared with it; 0 compares nothing
_COMPARISON_CHANNELS = 16  # channels of compared features
_NOISE = (-4.0, 4.0)  # bounds of the scale's logarithm, in cells of a level


class _Encoder(ResNet):
    """The first three stages of a ResNet-18: maps at 1/2, 1/4, 1/8 and 1/16."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(18, inputs=inputs, width=width, depth=3)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the maps of an image, coarse first."""
        stem = self.stem(image)
        return [stem, *self.stages(stem)][::-1]


class _Level(nn.Module):
    """The correction of the coarser level's displacements; the widths are channels of maps, coarser and own state."""

    def __init__(self, channels: int, coarser: int, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        comparisons = 0
        if reach:
            self.of_photo, self.of_rendering = (compared_features(channels, _COMPARISON_CHANNELS) for _ in range(2))
            self.of_rendering.load_state_dict(self.of_photo.state_dict())  # as encoders that began alike compare
            comparisons = (2 * reach + 1) ** 2
        inputs = 2 * channels + comparisons + (coarser + 3 if coarser else 0)
        self.block = nn.Sequential(conv_norm_relu(inputs, width), conv_norm_relu(width, width))
        self.head = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, photo: Tensor, rendering: Tensor, coarser: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return the state (B, width, h, w), and x, y and log noise (B, 3, h, w) float32 in cells of this level."""
        features = [photo, rendering]
        start = None
        if coarser is not None:
            state, start = (
                interpolate(value, size=photo.shape[-2:], mode="bilinear", align_corners=False) for value in coarser
            )
            start = torch.cat((2 * start[:, :2], start[:, 2:]), 1)  # a cell is half as large here
            features = [sample_targets(photo, start[:, :2]), rendering, state, start.to(state.dtype)]
        if self.reach:
            features.append(_correlation(self.of_photo(features[0]), self.of_rendering(rendering), self.reach))
        # The change of displacement and log noise from those of the coarser level.
        state_here = self.block(torch.cat(features, 1))
        change = self.head(state_here).float()
        if start is None:
            return state_here, change
        return state_here, torch.cat((start[:, :2] + change[:, :2], (start[:, 2:] + change[:, 2:]).clamp(*_NOISE)), 1)


def _correlation(photo: Tensor, rendering: Tensor, reach: int) -> Tensor:
    """Return mean products of features (B, (2 · reach + 1)², h, w), with the photograph shifted row by row."""
    height, width = photo.shape[-2:]
    border = pad(photo, (reach, reach, reach, reach))
    side = range(2 * reach + 1)
    parts = (border[..., y : y + height, x : x + width] for y in side for x in side)
    return torch.stack([(part * rendering).mean(1) for part in parts], 1)


class PyramidNetwork(nn.Module):
    """Photograph and renderings → displacements and the distribution of their errors."""

    def __init__(self, options: DisplacementOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.photo, self.rendering = _Encoder(3, width), _Encoder(len(options.inputs), width)
        widths = (4 * width, 2 * width, width, width)
        states = (4 * width, 3 * width, 2 * width, width)
        self.levels = nn.ModuleList(map(_Level, widths, (0, *states[:-1]), states, _REACH))

    def forward(self, photo: Tensor, rendering: Tensor, *, last: bool = True) -> list[DisplacementMixture]:
        """Predict displacements of the finest level, at full resolution.

        Args:
            photo: (B, 3, S, S) float. The result of `photo_input`.
            rendering: (B, C, S, S) float. The result of `rendering_input`.
            last: Ignored: earlier levels are coarser.
        """
        del last
        estimate = None
        for level, photo_features, rendering_features in zip(
            self.levels, self.photo(photo), self.rendering(rendering), strict=True
        ):
            estimate = level(photo_features, rendering_features, estimate)
        assert estimate is not None
        full = interpolate(estimate[1], size=photo.shape[-2:], mode="bilinear", align_corners=False)
        displacements, scale = _STRIDES[-1] * full[:, :2], _STRIDES[-1] * full[:, 2:].clamp(*_NOISE).exp()
        # In the plane |e| / b has the distribution Gamma(2, 1), and each axis the variance 3 b²: that of a Laplacian of
        # scale √1.5 b. The narrow Laplacian has no weight.
        return [DisplacementMixture(displacements, torch.full_like(scale, -torch.inf), 1.5**0.5 * scale, 1.0)]
