"""The displacement network: a photograph and renderings of a fitted body → the true position of each rendered pixel.

As in Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023), it takes the photograph and the body's
textured rendering, depth, normals and unique vertex colours. The paper does not publish its network. Here, photograph
and renderings have an encoder each. From coarse to fine (1/16 to 1/2 of the crop), the photograph's features are
sampled at the targets of the current displacements and compared with the rendering's features, and the displacements
are corrected (PWC-Net, Sun et al. 2018). Every level also predicts the scale of its errors, which are Laplacian in the
plane: their lengths have the distribution Gamma(2, scale), and each axis has the variance 3 scale².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, pad

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.models.crops import IMAGENET_MEAN, IMAGENET_SPREAD
from humanpose_cli.networks.backbones import ResNet, conv_norm_relu
from humanpose_cli.networks.weights import fill, options_of, read_weights
from humanpose_cli.rendering.body_maps import BodyRendering

MODEL = "refiner"
"""Name of the model in weights files."""

_STRIDES = (16, 8, 4, 2)  # pixels of the crop along a cell's side, of each level
_REACH = (3, 3, 2, 0)  # cells around a cell that are compared with it; 0 compares nothing
_COMPARISON_CHANNELS = 16  # channels of compared features
_LOG_SCALES = (-4.0, 4.0)  # bounds of the logarithm of the errors' scale, in cells of a level
_METRES = 0.5  # of depth that are 1 in the network's input
_CHANNELS = {"texture": 4, "mask": 1, "depth": 1, "normals": 3, "colours": 3}  # of `rendering_input`, in its order


@dataclass(frozen=True)
class DisplacementOptions(Options):
    """The architecture of the network, and the renderings that it takes; leaving one out is the paper's ablation."""

    crop: int = option(128, "Side of the crop, a multiple of 16.", unit="pixels", minimum=16)
    width: int = option(24, "Channels of the first stage of both encoders (24 in the shipped networks).", minimum=4)
    texture: bool = option(True, "Take the textured rendering as input.")
    depth: bool = option(True, "Take the depth as input.")
    normals: bool = option(True, "Take the normals as input.")
    colours: bool = option(True, "Take the rendering in colours of surface points as input.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % _STRIDES[0]:
            raise UsageError("crop", "is out of range", expected=f"a multiple of {_STRIDES[0]}", got=str(self.crop))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The rendering that each channel of `rendering_input` shows."""
        names = [name for name in _CHANNELS if name == "mask" or getattr(self, name)]
        return tuple(name for name in names for _ in range(_CHANNELS[name]))


class DisplacementEstimate(NamedTuple):
    """Displacements of B crops, at one resolution.

    Attributes:
        pixels: (B, 2, h, w) float, pixels of the crop. x, y from the drawn body to the body in the photograph.
        deviation: (B, 1, h, w) float, pixels of the crop. Standard deviation of the error along an axis.
    """

    pixels: Tensor
    deviation: Tensor


def photo_input(photos: Tensor) -> Tensor:
    """Normalise photos (B, 3, S, S) from 0…1 as for ImageNet, with which the segmenter was trained."""
    mean, spread = _imagenet(photos.dtype, photos.device)
    return (photos - mean) / spread


@lru_cache(maxsize=8)
def _imagenet(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return mean and spread (2, 3, 1, 1) of ImageNet's photos; a copy at each step would synchronise with the GPU."""
    with torch.inference_mode(False):
        return torch.tensor((IMAGENET_MEAN, IMAGENET_SPREAD), dtype=dtype, device=device)[..., None, None]


def rendering_input(rendering: BodyRendering, options: DisplacementOptions) -> Tensor:
    """Arrange the renderings as the network's input (B, C, S, S), which is 0 off the body.

    Args:
        rendering: The renderings.
        options: The options that choose the renderings.
    """
    channels = [rendering.mask]
    if options.texture:
        channels = [photo_input(rendering.rgb) * rendering.textured, rendering.textured, rendering.mask]
    if options.depth:
        channels.append(rendering.depth / _METRES)
    if options.normals:
        channels.append(rendering.normals)
    if options.colours:
        channels.append((2 * rendering.colours - 1) * rendering.mask)
    return torch.cat(channels, 1)


class _Encoder(ResNet):
    """The first three stages of a ResNet-18: maps at 1/2, 1/4, 1/8 and 1/16."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(18, inputs=inputs, width=width, depth=3)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the maps of an image, coarse first."""
        stem = self.stem(image)
        return [stem, *self.stages(stem)][::-1]


def compared_features(inputs: int, outputs: int) -> nn.Sequential:
    """Build layers for features whose products measure similarity; their mean is zero, or all would be similar."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=False))


def sample_targets(image: Tensor, displacements: Tensor) -> Tensor:
    """Sample values (B, C, h, w) at the targets of displacements (B, 2, h, w) float32, in pixels; 0 outside."""
    height, width = image.shape[-2:]
    x = torch.arange(width, device=image.device) + 0.5
    y = torch.arange(height, device=image.device) + 0.5
    to_x = (x + displacements[:, 0]) * (2 / width) - 1
    to_y = (y[:, None] + displacements[:, 1]) * (2 / height) - 1
    grid = torch.stack((to_x, to_y), -1)
    return grid_sample(image.float(), grid, align_corners=False).to(image.dtype)


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
        return state_here, torch.cat(
            (start[:, :2] + change[:, :2], (start[:, 2:] + change[:, 2:]).clamp(*_LOG_SCALES)), 1
        )


def _correlation(photo: Tensor, rendering: Tensor, reach: int) -> Tensor:
    """Return mean products of features (B, (2 · reach + 1)², h, w), with the photograph shifted row by row."""
    height, width = photo.shape[-2:]
    border = pad(photo, (reach, reach, reach, reach))
    side = range(2 * reach + 1)
    parts = (border[..., y : y + height, x : x + width] for y in side for x in side)
    return torch.stack([(part * rendering).mean(1) for part in parts], 1)


class DisplacementNetwork(nn.Module):
    """Photograph and renderings → displacements and the standard deviations of their errors, of each level."""

    def __init__(self, options: DisplacementOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.photo, self.rendering = _Encoder(3, width), _Encoder(len(options.inputs), width)
        widths = (4 * width, 2 * width, width, width)
        states = (4 * width, 3 * width, 2 * width, width)
        self.levels = nn.ModuleList(map(_Level, widths, (0, *states[:-1]), states, _REACH))

    def forward(self, photo: Tensor, rendering: Tensor) -> list[DisplacementEstimate]:
        """Predict displacements.

        Args:
            photo: (B, 3, S, S) float. The result of `photo_input`.
            rendering: (B, C, S, S) float. The result of `rendering_input`.

        Returns:
            The displacements of each level, from coarse to fine, at full resolution.
        """
        result = []
        estimate = None
        features = zip(self.levels, self.photo(photo), self.rendering(rendering), _STRIDES, strict=True)
        for level, photo_features, rendering_features, stride in features:
            estimate = level(photo_features, rendering_features, estimate)
            full = interpolate(estimate[1], size=photo.shape[-2:], mode="bilinear", align_corners=False)
            scale = stride * full[:, 2:].clamp(*_LOG_SCALES).exp()
            result.append(DisplacementEstimate(stride * full[:, :2], 3**0.5 * scale))
        return result


def initialise_from(network: DisplacementNetwork, path: Path) -> None:
    """Fill a network from a weights file of a network that may take more renderings.

    Renderings that this network does not take count as zero there: unknown for a texture, the middle for depths
    and vertex colours.

    Args:
        network: The network to fill.
        path: The weights file.

    Raises:
        InputError: If the file is damaged, contains another model, or has other shapes.
    """
    tensors, header = read_weights(path, MODEL)
    inputs, first = options_of(DisplacementOptions, header.config, path).inputs, "rendering.conv1.weight"
    mask = [name in network.options.inputs for name in inputs]
    weight = tensors.get(first)
    if weight is not None and weight.shape[1:2] == (len(inputs),):
        tensors = {**tensors, first: weight[:, mask].contiguous()}
    fill(network, tensors, path)
