"""Losses and errors of displacement estimates against the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from humanpose_cli.models.refiner.network import DisplacementEstimate

_LEVELS = (0.1, 0.2, 0.3, 0.6)  # weights from coarse to fine
_PLAIN = 0.02  # of the error in per mille of the crop beside the likelihood, which alone gives up on what is hard


def displacement_loss(
    found: Sequence[DisplacementEstimate], truth: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss over all levels; error and negative log likelihood, the finest level's means, for the log.

    found    estimates from coarse to fine
    truth    (B, 2, S, S) pixels of the crop; weights (B, 1, S, S) of its pixels, zero off the body

    Of an error e with noise b the likelihood is exp(−|e| / b) / (2π b²). A level's truth is the mean of its cells'.
    """
    size, total = truth.shape[-1], truth.new_zeros(())
    error, unlikely = total, total
    for estimate, share in zip(found, _LEVELS, strict=True):
        target, weight = reduced(truth, weights, size // estimate.pixels.shape[-1])
        weight = weight / weight.sum().clamp_min(1e-6)  # (B, 1, h, w), adds up to 1
        distance = (estimate.pixels - target).square().sum(1, keepdim=True).add(1e-4).sqrt()
        noise = estimate.noise
        error = (weight * distance).sum()
        # −log of the likelihood, without the constant log 2π.
        unlikely = (weight * (distance / noise + 2 * noise.log())).sum()
        total = total + share * (unlikely + _PLAIN * 1000 / size * error)
    return total, error, unlikely


def reduced(truth: Tensor, weights: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Weighted means of cells of `stride` pixels a side, and their mean weights."""
    weight = avg_pool2d(weights, stride)
    return avg_pool2d(truth * weights, stride) / weight.clamp_min(1e-6), weight


def endpoint_errors(found: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """(B,) mean distance of displacements (B, 2, S, S) from the truth, pixels; NaN where no weight (B, 1, S, S) is."""
    distance = torch.linalg.vector_norm(found - truth, dim=1, keepdim=True)
    total = weights.sum((1, 2, 3))
    return (distance * weights).sum((1, 2, 3)) / total.where(total > 0, torch.nan)
