"""The displacement network: a photograph and renderings of a fitted body → where each rendered pixel really lies.

As in Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023) it sees the photograph and the body's
textured rendering, depth, normals and unique vertex colours. The paper does not publish its network; this one is ours.
Photograph and renderings have an encoder each. From coarse to fine (1/16 to 1/2 of the crop), the photograph's features
are fetched from where the displacements so far lead, compared with the rendering's, and the displacements corrected
(PWC-Net, Sun et al. 2018). Every level also predicts its noise, for Laplacian errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, pad

from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.models.crops import IMAGENET_MEAN, IMAGENET_SPREAD
from humanpose_cli.networks.backbones import ResNet, conv_norm_relu
from humanpose_cli.networks.precision import computed_in, resolve_precision
from humanpose_cli.networks.weights import fill, options_of, read_weights
from humanpose_cli.rendering.body_maps import BodyRendering

MODEL = "refiner"
"""What weights files call it."""

_STRIDES = (16, 8, 4, 2)
_REACH = (3, 3, 2, 0)  # cells around a pixel that are compared with it; 0 compares nothing
_COMPARED = 16  # channels of compared features
_METRES = 0.5  # of depth that the network sees as 1
_CHANNELS = {"texture": 4, "mask": 1, "depth": 1, "normals": 3, "colours": 3}  # of `rendering_input`, in its order
_NOISE = (-4.0, 4.0)  # bounds of the noise's logarithm, in cells of a level


@dataclass(frozen=True)
class DisplacementOptions(Options):
    """What the network is, and which renderings it takes; without one of them: the paper's ablation."""

    crop: int = option(128, "Side of the crop, a multiple of 16.", unit="pixels", minimum=32)
    width: int = option(24, "Channels of both encoders' first stage; 24 is the shipped segmenter's.", minimum=4)
    texture: bool = option(True, "Take the textured rendering.")
    depth: bool = option(True, "Take the depth.")
    normals: bool = option(True, "Take the normals.")
    colours: bool = option(True, "Take the rendering in colours of the surface's points.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % _STRIDES[0]:
            raise UsageError("crop", "is out of range", expected=f"a multiple of {_STRIDES[0]}", got=str(self.crop))

    @property
    def inputs(self) -> tuple[str, ...]:
        """What each channel of `rendering_input` shows: the mask, and what is not left out."""
        shown = [name for name in _CHANNELS if name == "mask" or getattr(self, name)]
        return tuple(name for name in shown for _ in range(_CHANNELS[name]))


class DisplacementEstimate(NamedTuple):
    """Of B crops, at one resolution.

    pixels  (B, 2, h, w) x, y in pixels of the crop: from where the body is drawn to where it is in the photograph
    noise   (B, 1, h, w) pixels of the crop: scale b of the error e, whose density is exp(−|e| / b) / (2π b²)
    """

    pixels: Tensor
    noise: Tensor


def photo_input(photos: Tensor) -> Tensor:
    """(B, 3, S, S) 0…1 → normalised as for ImageNet, with which the segmenter learned."""
    mean, spread = (photos.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_SPREAD))
    return (photos - mean) / spread


def rendering_input(rendering: BodyRendering, options: DisplacementOptions) -> Tensor:
    """(B, C, S, S) of what the network sees of the renderings, the texture's colours first; zero off the body, colours
    also where they are not known.
    """
    shown = [rendering.mask]
    if options.texture:
        shown = [photo_input(rendering.rgb) * rendering.textured, rendering.textured, rendering.mask]
    if options.depth:
        shown.append(rendering.depth / _METRES)
    if options.normals:
        shown.append(rendering.normals)
    if options.colours:
        shown.append((2 * rendering.colours - 1) * rendering.mask)
    return torch.cat(shown, 1)


class _Encoder(ResNet):
    """The first three stages of a ResNet-18: maps at 1/2, 1/4, 1/8 and 1/16."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(18, inputs=inputs, width=width, depth=3)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Coarse first."""
        stem = self.stem(image)
        return [stem, *self.stages(stem)][::-1]


def _compared(inputs: int) -> nn.Sequential:
    """Features whose products measure how alike two positions are: of mean zero, or all would be alike."""
    return nn.Sequential(nn.Conv2d(inputs, _COMPARED, 1, bias=False), nn.BatchNorm2d(_COMPARED, affine=False))


class _Level(nn.Module):
    """Corrects the displacements of the coarser level at one resolution.

    channels  of either encoder's map here; coarser  of the coarser level's state; width  of this level's
    """

    def __init__(self, channels: int, coarser: int, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        compared = 0
        if reach:
            self.of_photo, self.of_rendering = _compared(channels), _compared(channels)
            self.of_rendering.load_state_dict(self.of_photo.state_dict())  # as encoders that began alike compare
            compared = (2 * reach + 1) ** 2
        inputs = 2 * channels + compared + (coarser + 3 if coarser else 0)
        self.block = nn.Sequential(conv_norm_relu(inputs, width), conv_norm_relu(width, width))
        self.head = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, photo: Tensor, rendering: Tensor, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """State (B, width, h, w), and x, y and log noise (B, 3, h, w) float32 in cells of this level.

        before  the coarser level's state and estimate
        """
        shown = [photo, rendering]
        start = None
        if before is not None:
            state, start = (
                interpolate(value, size=photo.shape[-2:], mode="bilinear", align_corners=False) for value in before
            )
            start = torch.cat((2 * start[:, :2], start[:, 2:]), 1)  # a cell is half as large here
            shown = [fetched(photo, start[:, :2]), rendering, state, start.to(state.dtype)]
        if self.reach:
            shown.append(_correlation(self.of_photo(shown[0]), self.of_rendering(rendering), self.reach))
        # The change of displacement and log noise from what the coarser level leads to.
        state_here = self.block(torch.cat(shown, 1))
        change = self.head(state_here).float()
        if start is None:
            return state_here, change
        return state_here, torch.cat((start[:, :2] + change[:, :2], (start[:, 2:] + change[:, 2:]).clamp(*_NOISE)), 1)


def fetched(image: Tensor, displacements: Tensor) -> Tensor:
    """Values (B, C, h, w) from where displacements (B, 2, h, w) float32, in pixels, lead; zero outside."""
    height, width = image.shape[-2:]
    x = torch.arange(width, device=image.device) + 0.5
    y = torch.arange(height, device=image.device) + 0.5
    to_x = (x + displacements[:, 0]) * (2 / width) - 1
    to_y = (y[:, None] + displacements[:, 1]) * (2 / height) - 1
    grid = torch.stack((to_x, to_y), -1)
    return grid_sample(image.float(), grid, align_corners=False).to(image.dtype)


def _correlation(photo: Tensor, rendering: Tensor, reach: int) -> Tensor:
    """(B, (2 · reach + 1)², h, w): mean products of features, the photograph's shifted row by row."""
    height, width = photo.shape[-2:]
    padded = pad(photo, (reach, reach, reach, reach))
    side = range(2 * reach + 1)
    shifted = (padded[..., y : y + height, x : x + width] for y in side for x in side)
    return torch.stack([(part * rendering).mean(1) for part in shifted], 1)


class DisplacementNetwork(nn.Module):
    """Photograph and renderings → displacements with their noise, at four resolutions."""

    def __init__(self, options: DisplacementOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.photo, self.rendering = _Encoder(3, width), _Encoder(len(options.inputs), width)
        widths = (4 * width, 2 * width, width, width)
        states = (4 * width, 3 * width, 2 * width, width)
        self.levels = nn.ModuleList(
            _Level(*channels) for channels in zip(widths, (0, *states[:-1]), states, _REACH, strict=True)
        )

    def forward(self, photo: Tensor, rendering: Tensor) -> list[DisplacementEstimate]:
        """Of `photo_input` and `rendering_input`: estimates at 1/16, 1/8, 1/4 and 1/2 of the crop."""
        before, found = None, []
        maps = zip(self.levels, self.photo(photo), self.rendering(rendering), _STRIDES, strict=True)
        for level, observed, drawn, stride in maps:
            before = level(observed, drawn, before)
            moved, noise = before[1].split((2, 1), 1)
            found.append(DisplacementEstimate(stride * moved, stride * noise.clamp(*_NOISE).exp()))
        return found


def at_full_size(estimate: DisplacementEstimate, size: int) -> DisplacementEstimate:
    """The same displacements for every pixel of crops of `size` pixels a side, with the same unit."""
    return DisplacementEstimate(
        *(interpolate(values, size=(size, size), mode="bilinear", align_corners=False) for values in estimate)
    )


def start_from(network: DisplacementNetwork, path: Path) -> None:
    """Fill a network from a weights file, whose network may see more renderings: what is left out counts as zero there.

    Zero is unknown of a texture, and the middle of the body's depths and of the vertex colours. InputError for damage,
    another model or other shapes.
    """
    tensors, header = read_weights(path, MODEL)
    inputs, first = options_of(DisplacementOptions, header.config, path).inputs, "rendering.conv1.weight"
    kept = [name in network.options.inputs for name in inputs]
    weight = tensors.get(first)
    if weight is not None and weight.shape[1:2] == (len(inputs),):
        tensors = {**tensors, first: weight[:, kept].contiguous()}
    fill(network, tensors, path)


class DisplacementPredictor:
    """A trained network; sees renderings and photographs of any size, each reduced to its own crop.

    network  in evaluation mode, on `device`
    """

    def __init__(
        self, network: DisplacementNetwork, device: torch.device | str = "cpu", precision: Precision = "auto"
    ) -> None:
        self.network, self.device = network.eval().requires_grad_(False).to(device), torch.device(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = resolve_precision(precision, device)

    @classmethod
    def load(
        cls, path: Path, device: torch.device | str = "cpu", precision: Precision = "auto"
    ) -> DisplacementPredictor:
        """From a weights file. InputError for damage or another model."""
        tensors, header = read_weights(path, MODEL)
        network = DisplacementNetwork(options_of(DisplacementOptions, header.config, path))
        fill(network, tensors, path)
        return cls(network, device, precision)

    @torch.no_grad()
    def __call__(self, rendering: BodyRendering, photos: Tensor) -> DisplacementEstimate:
        """Of N bodies drawn in crops as `crop_of_body` lays them, and their photographs (N, 3, S, S), 0…1; on the CPU.

        Pixels of the result are those of the given crops.
        """
        size, crop = rendering.mask.shape[-1], self.network.options.crop
        drawn = rendering_input(_resized(rendering, crop), self.network.options)
        photo = photo_input(interpolate(photos, size=(crop, crop), mode="area"))
        inputs = (values.to(self.device, memory_format=torch.channels_last) for values in (photo, drawn))
        with computed_in(self.precision, self.device):
            coarse = DisplacementEstimate(*(values.float() for values in self.network(*inputs)[-1]))
        return DisplacementEstimate(*(values.cpu() * (size / crop) for values in at_full_size(coarse, size)))


def _resized(rendering: BodyRendering, size: int) -> BodyRendering:
    """The maps that networks see at another size: the texture averaged, the geometry as the nearest pixel has it."""
    if rendering.mask.shape[-1] == size:
        return rendering
    names = ("depth", "normals", "colours", "mask")
    nearest = {name: interpolate(getattr(rendering, name), size=(size, size), mode="nearest-exact") for name in names}
    textured_share, mask = rendering.textured, rendering.mask
    shown, covered, part = (
        interpolate(values, size=(size, size), mode="area") for values in (rendering.rgb * mask, mask, textured_share)
    )
    inside = nearest["mask"]
    rgb, textured = (values / covered.clamp_min(1e-6) * inside for values in (shown, part))
    return replace(rendering, rgb=rgb, textured=textured, **nearest)
