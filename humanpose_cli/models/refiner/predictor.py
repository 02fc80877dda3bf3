"""Apply a displacement network to renderings and photographs of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from humanpose_cli.core.device import Precision
from humanpose_cli.models.refiner.network import (
    MODEL,
    DisplacementEstimate,
    DisplacementNetwork,
    DisplacementOptions,
    photo_input,
    rendering_input,
)
from humanpose_cli.networks.precision import precision_context, resolve_precision
from humanpose_cli.networks.weights import fill, options_of, read_weights
from humanpose_cli.rendering.body_maps import BodyRendering


class DisplacementPredictor:
    """A trained network that resizes renderings and photographs to its own crop.

    Args:
        network: The network.
        device: The device to run on.
        precision: The precision to compute in.
    """

    def __init__(
        self,
        network: DisplacementNetwork,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.network, self.device = network.eval().requires_grad_(False).to(device), torch.device(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = resolve_precision(precision, device)

    @classmethod
    def load(
        cls, path: Path, device: torch.device | str = "cpu", precision: Precision = "auto"
    ) -> DisplacementPredictor:
        """Load the network from a weights file.

        Args:
            path: The weights file.
            device: The device to run on.
            precision: The precision to compute in.

        Raises:
            InputError: If the file is damaged or contains another model.
        """
        tensors, header = read_weights(path, MODEL)
        network = DisplacementNetwork(options_of(DisplacementOptions, header.config, path))
        fill(network, tensors, path)
        return cls(network, device, precision)

    @torch.no_grad()
    def __call__(self, rendering: BodyRendering, photos: Tensor) -> DisplacementEstimate:
        """Predict displacements of N bodies, on the CPU.

        Args:
            rendering: The renderings in crops from `crop_of_body`.
            photos: (N, 3, S, S) float, 0 to 1. The photographs in the same crops.

        Returns:
            The displacements in pixels of these crops.
        """
        size, crop = rendering.mask.shape[-1], self.network.options.crop
        renderings = rendering_input(_resize(rendering, crop), self.network.options)
        photo = photo_input(interpolate(photos, size=(crop, crop), mode="area"))
        inputs = (values.to(self.device, memory_format=torch.channels_last) for values in (photo, renderings))
        with precision_context(self.precision, self.device):
            estimate = self.network(*inputs)[-1]
        full_size = (
            interpolate(values.cpu(), size=(size, size), mode="bilinear", align_corners=False) for values in estimate
        )
        return DisplacementEstimate(*(values * (size / crop) for values in full_size))


def _resize(rendering: BodyRendering, size: int) -> BodyRendering:
    """Resize the maps that networks take: the texture by averaging, the geometry by nearest neighbours."""
    if rendering.mask.shape[-1] == size:
        return rendering
    names = ("depth", "normals", "colours", "mask")
    nearest = {name: interpolate(getattr(rendering, name), size=(size, size), mode="nearest-exact") for name in names}
    textured_share, mask = rendering.textured, rendering.mask
    colours, body_share, part = (
        interpolate(values, size=(size, size), mode="area") for values in (rendering.rgb * mask, mask, textured_share)
    )
    inside = nearest["mask"]
    rgb, texture_share = (values / body_share.clamp_min(1e-6) * inside for values in (colours, part))
    return replace(rendering, rgb=rgb, textured=texture_share, **nearest)
