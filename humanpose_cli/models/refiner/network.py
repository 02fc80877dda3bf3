"""The displacement network: a photograph and renderings of a fitted body → the true position of each rendered pixel.

As in Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023), it takes the photograph and the body's
textured rendering, depth, normals and unique vertex colours. The paper does not publish its network; this one belongs
to RAFT's family (Teed and Deng 2020). Photograph and renderings have an encoder each, at 1/8 of the crop. The products
of all pairs of their features are computed once. A recurrent unit looks them up around the targets of the current
displacements and corrects the displacements. Full resolution comes from learned convex combinations of neighbouring
cells. Errors follow a mixture of two Laplacians, one of fixed and one of predicted scale (SEA-RAFT, Wang et al.
2024, section 3.2), which gives each pixel a standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, softplus, unfold

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.models.crops import IMAGENET_MEAN, IMAGENET_SPREAD
from humanpose_cli.networks.backbones import ResNet
from humanpose_cli.networks.weights import fill, options_of, read_weights
from humanpose_cli.rendering.body_maps import BodyRendering

MODEL = "refiner"
"""Name of the model in weights files."""

STRIDE = 8
"""Pixels of the crop along a cell's side."""
_LEVELS = 3  # of the cost volume, each half as fine as the one before
_REACH = 3  # cells of a level around a position that are looked up
_POSITION_CHANNELS = 32  # channels of the photograph's features at the position itself
_NARROW = 1 / 256  # of the crop's side: the fixed scale of errors
_METRES = 0.5  # of depth that are 1 in the network's input
_CHANNELS = {"texture": 4, "mask": 1, "depth": 1, "normals": 3, "colours": 3}  # of `rendering_input`, in its order
_MAX_LOG_SCALE = 5.0  # of the predicted scale over the fixed one
_FIRST_LOG_SCALE = 1.5


@dataclass(frozen=True)
class DisplacementOptions(Options):
    """The architecture of the network, and the renderings that it takes; leaving one out is the paper's ablation."""

    crop: int = option(256, "Side of the crop, a multiple of 32.", unit="pixels", minimum=32)
    width: int = option(24, "Channels of the first stage of both encoders (24 in the shipped segmenter).", minimum=4)
    state: int = option(64, "Channels of the recurrent unit and of compared features.", minimum=8)
    updates: int = option(5, "Number of corrections of the displacements.", minimum=1)
    texture: bool = option(True, "Take the textured rendering as input.")
    depth: bool = option(True, "Take the depth as input.")
    normals: bool = option(True, "Take the normals as input.")
    colours: bool = option(True, "Take the rendering in colours of surface points as input.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % (side := STRIDE << (_LEVELS - 1)):
            raise UsageError("crop", "is out of range", expected=f"a multiple of {side}", got=str(self.crop))

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


class DisplacementMixture(NamedTuple):
    """Displacements of B crops and the distribution of their errors.

    Along each axis the error e has the density Σ w exp(−|e| / b) / (2 b) over two Laplacians of scales b and weights w.

    Attributes:
        pixels: (B, 2, h, w) float, pixels of the crop. The displacements, as in `DisplacementEstimate`.
        logit: (B, 1, h, w) float. Logit of the narrow Laplacian's weight.
        scale: (B, 1, h, w) float, pixels of the crop. Scale of the wide Laplacian.
        narrow: Pixels of the crop. Scale of the narrow Laplacian.
    """

    pixels: Tensor
    logit: Tensor
    scale: Tensor
    narrow: float

    @property
    def log_weights(self) -> tuple[Tensor, Tensor]:
        """(B, 1, h, w) logarithms of the weights, the narrow Laplacian's first."""
        return -softplus(-self.logit), -softplus(self.logit)

    @property
    def deviation(self) -> Tensor:
        """(B, 1, h, w) standard deviations in pixels: a Laplacian of scale b has the variance 2 b²."""
        weight = self.logit.sigmoid()
        return (2 * (weight * self.narrow**2 + (1 - weight) * self.scale.square())).sqrt()

    @property
    def estimate(self) -> DisplacementEstimate:
        """The displacements and their standard deviations."""
        return DisplacementEstimate(self.pixels, self.deviation)


def photo_input(photos: Tensor) -> Tensor:
    """Normalise photos (B, 3, S, S) from 0…1 as for ImageNet, with which the segmenter was trained."""
    mean, spread = (photos.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_SPREAD))
    return (photos - mean) / spread


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
    """The first three stages of a ResNet-18, with the last map upsampled to the resolution of the previous one."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(18, inputs=inputs, width=width, depth=3)
        self.features = sum(self.channels[1:])

    def forward(self, image: Tensor) -> Tensor:
        """Compute features (B, features, S / 8, S / 8) of images (B, inputs, S, S)."""
        _, fine, coarse = self.maps(image)
        return torch.cat((fine, interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)), 1)


def compared_features(inputs: int, outputs: int) -> nn.Sequential:
    """Build layers for features whose products measure similarity; their mean is zero, or all would be similar."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=False))


class CostVolume:
    """Products of the features of every cell of the rendering with those of every cell of the photograph.

    Args:
        rendering: (B, C, h, w) float. Features of the rendering.
        photo: (B, C, h, w) float. Features of the photograph.
        levels: The number of levels. Level l is (B h w, 1, h / 2^l, w / 2^l), means over cells of the photograph.
    """

    def __init__(self, rendering: Tensor, photo: Tensor, levels: int = _LEVELS) -> None:
        count, channels, height, width = photo.shape
        products = rendering.flatten(2).transpose(1, 2) @ photo.flatten(2)  # (B, h w, h w)
        volume = (products.float() / channels**0.5).reshape(count * height * width, 1, height, width)
        self.levels = [volume]
        for _ in range(levels - 1):
            self.levels.append(avg_pool2d(self.levels[-1], 2))

    def around(self, displacements: Tensor, reach: int = _REACH) -> Tensor:
        """Look up products around the targets of displacements.

        Args:
            displacements: (B, 2, h, w) float, cells. The displacements x, y.
            reach: Cells of a level around the target.

        Returns:
            (B, levels · (2 · reach + 1)², h, w) float. The products of each level row by row, 0 outside.
        """
        count, _, height, width = displacements.shape
        x = torch.arange(width, device=displacements.device) + 0.5 + displacements[:, 0]
        y = torch.arange(height, device=displacements.device)[:, None] + 0.5 + displacements[:, 1]
        middle = torch.stack((x, y), -1).view(-1, 1, 1, 2)  # (B h w, 1, 1, 2)
        side = torch.arange(-reach, reach + 1, device=displacements.device, dtype=middle.dtype)
        window = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
        windows = []
        for number, level in enumerate(self.levels):
            size = middle.new_tensor([level.shape[-1], level.shape[-2]])
            grid = (middle / 2**number + window) * (2 / size) - 1
            products = grid_sample(level, grid, align_corners=False)
            windows.append(products.view(count, height, width, -1).movedim(-1, 1))
        return torch.cat(windows, 1)


def sample_targets(image: Tensor, displacements: Tensor) -> Tensor:
    """Sample values (B, C, h, w) at the targets of displacements (B, 2, h, w) float32, in pixels; 0 outside."""
    height, width = image.shape[-2:]
    x = torch.arange(width, device=image.device) + 0.5
    y = torch.arange(height, device=image.device) + 0.5
    to_x = (x + displacements[:, 0]) * (2 / width) - 1
    to_y = (y[:, None] + displacements[:, 1]) * (2 / height) - 1
    grid = torch.stack((to_x, to_y), -1)
    return grid_sample(image.float(), grid, align_corners=False).to(image.dtype)


def upsample_convexly(values: Tensor, logits: Tensor) -> Tensor:
    """Upsample values by a factor f; each pixel is a convex combination of the nine cells around it.

    Args:
        values: (B, C, h, w) float. The values.
        logits: (B, 9 f², h, w) float. Logits of the combinations' weights; cells repeat beyond the border.

    Returns:
        (B, C, f h, f w) float.
    """
    count, channels, height, width = values.shape
    factor = round((logits.shape[1] / 9) ** 0.5)
    weights = logits.view(count, 1, 9, factor, factor, height, width).softmax(2)
    border = nn.functional.pad(values, (1, 1, 1, 1), mode="replicate")
    cells = unfold(border, 3).view(count, channels, 9, 1, 1, height, width)
    combinations = (weights * cells).sum(2)  # (B, C, f, f, h, w)
    return combinations.permute(0, 1, 4, 2, 5, 3).reshape(count, channels, factor * height, factor * width)


class _Recurrent(nn.Module):
    """A convolutional gated recurrent unit (Cho et al. 2014)."""

    def __init__(self, inputs: int, state: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(state + inputs, 2 * state, 3, padding=1)
        self.candidate = nn.Conv2d(state + inputs, state, 3, padding=1)

    def forward(self, state: Tensor, inputs: Tensor) -> Tensor:
        """Compute the next state (B, state, h, w)."""
        update, reset = self.gates(torch.cat((state, inputs), 1)).sigmoid().chunk(2, 1)
        candidate = self.candidate(torch.cat((reset * state, inputs), 1)).tanh()
        return (1 - update) * state + update * candidate


class _Update(nn.Module):
    """The correction of displacements by the cost volume around them; `context` is the same in all updates."""

    def __init__(self, state: int, context: int) -> None:
        super().__init__()
        looked_up = _LEVELS * (2 * _REACH + 1) ** 2
        self.costs = nn.Sequential(
            nn.Conv2d(looked_up, state, 1), nn.ReLU(), nn.Conv2d(state, state, 3, padding=1), nn.ReLU()
        )
        self.moved = nn.Sequential(nn.Conv2d(4, state // 2, 3, padding=1), nn.ReLU())
        self.joined = nn.Sequential(nn.Conv2d(state + state // 2 + _POSITION_CHANNELS, state, 3, padding=1), nn.ReLU())
        self.recurrent = _Recurrent(state + context, state)
        self.head = nn.Sequential(nn.Conv2d(state, state, 3, padding=1), nn.ReLU(), nn.Conv2d(state, 4, 3, padding=1))
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(
        self, state: Tensor, context: Tensor, costs: Tensor, photo: Tensor, estimate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next state, and the next x, y, logit and log scale (B, 4, h, w) float32, lengths in cells."""
        kind = state.dtype
        inputs = (self.costs(costs.to(kind)), self.moved(estimate.to(kind)), photo.to(kind))
        state = self.recurrent(state, torch.cat((self.joined(torch.cat(inputs, 1)), context), 1))
        change = self.head(state).float()
        # Displacements add up; how they err is described anew each time.
        return state, torch.cat((estimate[:, :2] + change[:, :2], change[:, 2:]), 1)


class DisplacementNetwork(nn.Module):
    """Photograph and renderings → displacements and the distribution of their errors, after each update."""

    def __init__(self, options: DisplacementOptions) -> None:
        super().__init__()
        self.options = options
        state = options.state
        self.photo, self.rendering = _Encoder(3, options.width), _Encoder(len(options.inputs), options.width)
        features = self.photo.features
        self.of_photo, self.of_rendering = (compared_features(features, state) for _ in range(2))
        self.of_rendering.load_state_dict(self.of_photo.state_dict())  # as encoders that began alike compare
        self.at_position = nn.Conv2d(features, _POSITION_CHANNELS, 1)
        self.first = nn.Conv2d(features, 2 * state, 3, padding=1)  # state and context
        self.update = _Update(state, state)
        self.enlarging = nn.Sequential(
            nn.Conv2d(state, state, 3, padding=1), nn.ReLU(), nn.Conv2d(state, 9 * STRIDE**2, 1)
        )

    def forward(self, photo: Tensor, rendering: Tensor, *, last: bool = False) -> list[DisplacementMixture]:
        """Predict displacements at full resolution.

        Args:
            photo: (B, 3, S, S) float. The result of `photo_input`.
            rendering: (B, C, S, S) float. The result of `rendering_input`.
            last: Whether to return only the last update's displacements.

        Returns:
            The displacements after each update.
        """
        photo_features, rendering_features = self.photo(photo), self.rendering(rendering)
        volume = CostVolume(self.of_rendering(rendering_features), self.of_photo(photo_features))
        around = self.at_position(photo_features)
        state, context = self.first(rendering_features).chunk(2, 1)
        state, context = state.tanh(), context.relu()
        estimate = torch.zeros(len(photo), 4, *state.shape[-2:], device=photo.device)
        estimates = []
        for number in range(1, self.options.updates + 1):
            estimate = estimate.detach()  # each update learns from its own change (RAFT)
            displacements = estimate[:, :2]
            costs = volume.around(displacements)
            state, estimate = self.update(state, context, costs, sample_targets(around, displacements), estimate)
            if not last or number == self.options.updates:
                estimates.append(self._upsample(estimate, self.enlarging(state).float()))
        return estimates

    def _upsample(self, estimate: Tensor, logits: Tensor) -> DisplacementMixture:
        """Upsample an estimate to the crop's resolution, in its pixels."""
        pixels, logit, scale = upsample_convexly(estimate, logits).split((2, 1, 1), 1)
        narrow = _NARROW * self.options.crop
        scale = narrow * (scale + _FIRST_LOG_SCALE).clamp(0, _MAX_LOG_SCALE).exp()
        return DisplacementMixture(STRIDE * pixels, logit, scale, narrow)


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
