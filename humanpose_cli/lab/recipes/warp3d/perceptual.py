"""Perceptual distances between a generated image and the true one (Johnson et al. 2016).

vgg19     L1 of VGG-19's features, block1_conv2 … block5_conv2, with weights 1/32, 1/16, 1/8, 1/4, 1 (the warp3d paper)
backbone  L1 of a ResNet's stages relative to the true image's features, plus `pixels`; without ImageNet weights, the
          backbone of a segmenter trained here, which may not distinguish all colours
pixels    L1 and structural dissimilarity at three scales, for short ablations

Their values cannot be compared with each other; `describe` names the kind. All are means of maps, so that a part of an
image can be measured alone (`distance_within`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.digests import digest_of
from humanpose_cli.lab.metrics.images import ssim_map
from humanpose_cli.models.crops import IMAGENET_MEAN, IMAGENET_SPREAD
from humanpose_cli.networks.backbones import RESNETS, VGG, BasicBlock, ResNet
from humanpose_cli.networks.weights import PACKED, WEIGHTS, fill, find_weights, read_header, read_tensors

_LAYERS = {
    "block1_conv2": 1 / 32,
    "block2_conv2": 1 / 16,
    "block3_conv2": 1 / 8,
    "block4_conv2": 1 / 4,
    "block5_conv2": 1.0,
}
# The weights of the losses are for images of 0 to 255, whose features are larger by this factor than the features of
# images of unit variance, except for biases.
_CONTRAST = 255 * 0.226
_SCALES = 3
_STAGE_WEIGHTS = (1 / 8, 1 / 4, 1 / 2, 1.0)  # a ResNet with fewer stages has the last ones


class PerceptualLoss(nn.Module):
    """A distance between images (B, 3, S, S), −1 … 1, without parameters that learn."""

    kind: str

    @abstractmethod
    def maps(self, made: Tensor, true: Tensor) -> list[Tensor]:
        """Return the differences as maps (B, h, w) of several resolutions, whose means add up to the distance.

        Args:
            made: (B, 3, S, S) float, −1 … 1. The generated images.
            true: (B, 3, S, S) float, −1 … 1. The true images.
        """

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """Return the mean distance over all images."""
        return total_distance(self.maps(made, true))

    def describe(self) -> dict[str, Any]:
        """Return the kind and the weights as plain values."""
        return {"kind": self.kind}


def total_distance(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean distance over all images from `PerceptualLoss.maps`."""
    return torch.stack([values.mean() for values in maps]).sum()


def distance_within(maps: Sequence[Tensor], masks: Tensor) -> Tensor:
    """Return the distance of each image within a mask.

    Args:
        maps: (B, h, w) float each. The maps of `PerceptualLoss.maps`.
        masks: (B, S, S) float, 0 … 1. The masks.

    Returns:
        (B,) float; 0 for an empty mask.
    """
    means = []
    for values in maps:
        height, width = values.shape[-2:]
        share = adaptive_avg_pool2d(masks[:, None], (height, width))[:, 0]
        means.append((values * share).sum((1, 2)) / share.sum((1, 2)).clamp_min(1e-6))
    return torch.stack(means).sum(0)


class PixelLoss(PerceptualLoss):
    """L1 and half of 1 − SSIM, averaged over the scales 1, 1/2 and 1/4."""

    kind = "pixels"

    def maps(self, made: Tensor, true: Tensor) -> list[Tensor]:
        """Return a map per scale."""
        maps = []
        with torch.autocast(made.device.type, enabled=False):
            a, b = made.float() / 2 + 0.5, true.float() / 2 + 0.5
            for _ in range(_SCALES):
                maps.append(((a - b).abs() + 0.5 * (1 - ssim_map(a, b))).mean(1) / _SCALES)
                a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
        return maps


class _FeatureLoss(PerceptualLoss):
    mean: Tensor
    spread: Tensor

    def __init__(self, source: Mapping[str, Any]) -> None:
        super().__init__()
        self.source = dict(source)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(IMAGENET_SPREAD).view(1, 3, 1, 1), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Normalize images of −1 … 1 to mean 0 and variance 1 over ImageNet."""
        return (images / 2 + 0.5 - self.mean) / self.spread

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.source}


class VggLoss(_FeatureLoss):
    """Distance of the features of torchvision's VGG-19.

    Args:
        state: State dict, whose classifier is not used.
        source: Origin of the weights for `describe`.
    """

    kind = "vgg19"

    def __init__(self, state: Mapping[str, Tensor], source: Mapping[str, Any]) -> None:
        super().__init__(source)
        self.network = VGG(19)
        features = {name: value for name, value in state.items() if name.startswith("features.")}
        fill(self.network, features, source["file"])

    def maps(self, made: Tensor, true: Tensor) -> list[Tensor]:
        """Return a map per layer."""
        names = tuple(_LAYERS)
        a = self.network.maps(self.normalised(made), names)
        with torch.no_grad():
            b = self.network.maps(self.normalised(true), names)
        return [
            _CONTRAST * weight * (a[name].float() - b[name].float()).abs().mean(1) for name, weight in _LAYERS.items()
        ]


class BackboneLoss(_FeatureLoss):
    """Distance of the features of a ResNet, whose depth and width are read from its weights, plus `PixelLoss`.

    Args:
        state: State dict of the ResNet.
        source: Origin of the weights for `describe`.
    """

    kind = "backbone"

    def __init__(self, state: Mapping[str, Tensor], source: Mapping[str, Any]) -> None:
        super().__init__(source)
        self.pixels = PixelLoss()
        self.network = _resnet_of(state, source)

    def maps(self, made: Tensor, true: Tensor) -> list[Tensor]:
        """Return the maps of `PixelLoss` and a map per stage."""
        features = self.network.maps(self.normalised(made))
        with torch.no_grad():
            true_features = self.network.maps(self.normalised(true))
        maps = self.pixels.maps(made, true)
        weights = _STAGE_WEIGHTS[-len(features) :]
        for a, b, weight in zip(features, true_features, weights, strict=True):
            size = b.float().abs().mean((1, 2, 3)).clamp_min(1e-6)[:, None, None]
            maps.append(weight / sum(weights) * (a.float() - b.float()).abs().mean(1) / size)
        return maps


def perceptual_loss(weights: Path | str = "pixels") -> PerceptualLoss:
    """Load a perceptual loss: torchvision's VGG-19, the backbone of a segmenter, or a ResNet.

    Args:
        weights: A file, a run's folder or a name of `networks.weights`; "pixels" for `PixelLoss`; "auto" for VGG-19
            if its weights are installed, else the shipped segmenter.

    Returns:
        The module, frozen and in evaluation mode.

    Raises:
        InputError: If the file holds neither VGG-19 nor a ResNet.
        UnavailableError: If the named weights are not installed.
    """
    if weights == "pixels":
        return PixelLoss().eval()
    if weights == "auto":
        weights = "imagenet-vgg19" if WEIGHTS["imagenet-vgg19"].path.is_file() else "segmenter"
    path = find_weights(weights)
    state, source = _read(path)
    kind = VggLoss if "features.0.weight" in state else BackboneLoss
    return kind(state, source).eval().requires_grad_(False)


def _read(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Read the tensors of the backbone, and describe their origin."""
    source: dict[str, Any] = {"file": path.name}
    if path.name.endswith((".safetensors", PACKED)):
        with suppress(InputError):  # files of other programs have no such header
            source["model"] = read_header(path).model
    state = read_tensors(path)
    source["sha256"] = digest_of(path)
    if "features.0.weight" in state:
        source["torchvision"] = source["sha256"].startswith(WEIGHTS["imagenet-vgg19"].digest)
    backbone = {name.removeprefix("backbone."): v for name, v in state.items() if name.startswith("backbone.")}
    return backbone or state, source


def _resnet_of(state: Mapping[str, Tensor], source: Mapping[str, Any]) -> ResNet:
    first = state.get("conv1.weight")
    if first is None or first.ndim != 4 or first.shape[1] < 3 or first.shape[2:] != (7, 7):
        raise InputError(
            source["file"], "holds no backbone that a perceptual loss can use", expected="VGG-19 or a ResNet on RGB"
        )
    # The further channels of a guided segmenter are 0 without a guide.
    state = {**state, "conv1.weight": first[:, :3]}
    blocks = tuple(sum(f"layer{stage}.{n}.conv1.weight" in state for n in range(64)) for stage in range(1, 5))
    basic = "layer1.0.conv3.weight" not in state
    depth = sum(map(bool, blocks))
    for layers, (kind, counts) in RESNETS.items():
        if depth and counts[:depth] == blocks[:depth] and (kind is BasicBlock) == basic:
            network = ResNet(layers, width=len(state["conv1.weight"]), depth=depth)
            fill(network, {name: v for name, v in state.items() if not name.startswith("fc.")}, source["file"])
            return network
    raise InputError(source["file"], "holds no known ResNet", expected="18, 34, 50 or 101 layers", got=str(blocks))
