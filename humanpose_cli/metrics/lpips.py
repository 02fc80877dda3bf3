"""LPIPS (Zhang et al. 2018, version 0.1): how different two pictures look, by weights that were fitted to people's
judgements.

It is only LPIPS with those very weights, so both files must be given: torchvision's ImageNet weights of the network and
the authors' linear layers, as `networks.registry` offers them. There is no stand-in under this name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.networks.alexnet import AlexNet
from humanpose_cli.networks.filling import fill
from humanpose_cli.networks.vgg import VGG
from humanpose_cli.networks.weights_file import digest_of, read_foreign

__all__ = ["Lpips"]

Network = Literal["alex", "vgg"]
_CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_VGG_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures −1 to 1
_SMALLEST = {"alex": 64, "vgg": 16}


class Lpips(nn.Module):
    """The metric, from its two files. InputError where a file does not hold what it should.

    network   "alex", which the authors recommend for judging, or "vgg"
    backbone  torchvision's weights of AlexNet or VGG-16; linear the authors' lin0 … lin4
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network, backbone: Path | str, linear: Path | str) -> None:
        super().__init__()
        if network not in _CHANNELS:
            raise UsageError("LPIPS network", "is not known", expected="alex or vgg", got=str(network))
        self.name: str = network
        self.network: AlexNet | VGG = AlexNet() if network == "alex" else VGG(16)
        state = {name: value for name, value in read_foreign(Path(backbone)).items() if name.startswith("features.")}
        fill(self.network, state, backbone)
        weights = _linear(Path(linear), _CHANNELS[network])
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.sources = {name: digest_of(Path(path)) for name, path in (("backbone", backbone), ("linear", linear))}
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) of −1 to 1, twice → (B,)."""
        smallest = _SMALLEST[self.name]
        if first.shape != second.shape or first.ndim != 4 or min(first.shape[2:]) < smallest:
            expected = f"(B, 3, H, W) twice, {smallest} pixels or more"
            raise UsageError("pictures", "do not match", expected=expected, got=f"{first.shape} and {second.shape}")
        total = first.new_zeros(len(first))
        for a, b, weight in zip(self._features(first), self._features(second), self.weights, strict=True):
            total = total + ((_unit(a) - _unit(b)).square() * weight).sum(1).mean((1, 2))
        return total

    def _features(self, pictures: Tensor) -> list[Tensor]:
        scaled = (pictures - self.shift) / self.scale
        if isinstance(self.network, AlexNet):
            return self.network(scaled)
        maps = self.network.maps(scaled, _VGG_LAYERS)
        return [maps[name] for name in _VGG_LAYERS]

    def describe(self) -> dict[str, Any]:
        """The network and its files' SHA-256, as plain values."""
        return {"network": self.name, **self.sources}


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _linear(path: Path, channels: tuple[int, ...]) -> list[Tensor]:
    state = read_foreign(path)
    found = []
    for number, count in enumerate(channels):
        name = f"lin{number}.model.1.weight"
        if name not in state or state[name].shape != (1, count, 1, 1):
            got = str(tuple(state[name].shape)) if name in state else "nothing"
            raise InputError(path, f"does not fit at {name}", expected=f"(1, {count}, 1, 1)", got=got)
        found.append(state[name].float())
    return found
