"""VGG (Simonyan and Zisserman 2015) as torchvision lays it out, so that its ImageNet weights load by name."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from humanpose_cli.errors import UsageError

__all__ = ["VGG", "VGGS"]

VGGS: dict[int, tuple[int, int, int, int, int]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Layers → convolutions of each of the five blocks."""
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Backbone of `layers` layers (16, 19).

    classes  outputs of the classifier; 0 leaves it out
    dilated  how many of the last poolings keep the resolution; convolutions behind them look twice as far (DeepLab: 2)
    """

    def __init__(self, layers: int, *, inputs: int = 3, classes: int = 0, dilated: int = 0) -> None:
        super().__init__()
        if layers not in VGGS:
            raise UsageError("layers", "no such VGG", expected=", ".join(map(str, VGGS)), got=str(layers))
        self.features = nn.Sequential(*_blocks(VGGS[layers], inputs, dilated))
        self.classifier = None
        if classes:
            self.classifier = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, classes),
            )
        self._names = list(_names(VGGS[layers]))

    def maps(self, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Activations after the named layers' ReLU, such as "block3_conv2", of images (B, inputs, H, W).

        Layers behind the last name are not computed. UsageError for names that do not exist.
        """
        unknown = set(names) - set(self._names)
        if unknown:
            raise UsageError(", ".join(sorted(unknown)), "no such layer", expected="like block3_conv2")
        found: dict[str, Tensor] = {}
        x = image
        for name, layer in zip(self._names, self.features, strict=True):
            x = layer(x)
            if name in names:
                found[name] = x
            if len(found) == len(names):
                break
        return found

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, classes), or without classes the last map (B, 512, …)."""
        x = self.features(image)
        if self.classifier is None:
            return x
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 7), 1))


def _blocks(counts: tuple[int, ...], inputs: int, dilated: int) -> Iterator[nn.Module]:
    channels, dilation = inputs, 1
    for block, (count, width) in enumerate(zip(counts, _WIDTHS, strict=True)):
        for _ in range(count):
            yield nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
            yield nn.ReLU(inplace=False)  # maps are handed out: nothing may overwrite them
            channels = width
        if block >= len(counts) - dilated:
            dilation = 2
            yield nn.MaxPool2d(3, 1, 1)
        else:
            yield nn.MaxPool2d(2, 2)


def _names(counts: tuple[int, ...]) -> Iterator[str]:
    """A name for each entry of `features`: the ReLU carries its convolution's."""
    for block, count in enumerate(counts, 1):
        for conv in range(1, count + 1):
            yield f"block{block}_conv{conv}_linear"
            yield f"block{block}_conv{conv}"
        yield f"block{block}_pool"
