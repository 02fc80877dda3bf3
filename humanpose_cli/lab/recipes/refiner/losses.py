"""Losses and errors of displacement estimates against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from humanpose_cli.models.refiner.network import DisplacementMixture

_FADING = 0.85  # weight of an update in the loss over that of the next one


def displacement_loss(
    estimates: Sequence[DisplacementMixture], truth: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the loss over all updates; distance in pixels and negative log likelihood, the last update's means, for
    the log.

    the body. The loss is Σ_i 0.85^(n − i) of update i's mean negative log likelihood.

    Args:
        estimates: After each update; truth (B, 2, S, S) pixels of the crop; weights (B, 1, S, S) of its pixels,
            zero off.
    """
    share = weights / weights.sum().clamp_min(1e-6)
    unlikely = [(share * negative_log_likelihood(estimate, truth)).sum() for estimate in estimates]
    total = torch.stack(
        [_FADING ** (len(estimates) - number) * value for number, value in enumerate(unlikely, 1)]
    ).sum()
    distance = torch.linalg.vector_norm(estimates[-1].pixels.detach() - truth, dim=1, keepdim=True)
    return total, (share * distance).sum(), unlikely[-1]


def negative_log_likelihood(estimate: DisplacementMixture, truth: Tensor) -> Tensor:
    """Return (B, 1, S, S) −log of the density of a pixel's error, whose two axes are independent (SEA-RAFT, equation
    3).
    """
    error = (estimate.pixels - truth).abs()
    narrow, wide = estimate.log_weights
    densities = torch.stack(
        (
            narrow - log(2 * estimate.narrow) - error / estimate.narrow,
            wide - (2 * estimate.scale).log() - error / estimate.scale,
        )
    )
    return -densities.logsumexp(0).sum(1, keepdim=True)


def nearer_share(estimate: DisplacementMixture, truth: Tensor) -> Tensor:
    """Return (B, 1, S, S) probability, by the mixture, of an error along an axis below the real one, the mean of both
    axes: uniform in 0…1 where the mixture is right.
    """
    error, weight = (estimate.pixels - truth).abs(), estimate.logit.sigmoid()
    beyond = weight * (-error / estimate.narrow).exp() + (1 - weight) * (-error / estimate.scale).exp()
    return (1 - beyond).mean(1, keepdim=True)


def weighted_means(values: Tensor, weights: Tensor) -> Tensor:
    """Average values (B, 1, S, S) by weights (B, 1, S, S) → (B,); NaN where no weight is."""
    total = weights.sum((1, 2, 3))
    return (values * weights).sum((1, 2, 3)) / total.where(total > 0, torch.nan)


def endpoint_errors(displacements: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Average the distance of displacements (B, 2, S, S) from the truth → (B,) pixels; NaN where no weight (B, 1, S, S)
    is.
    """
    return weighted_means(torch.linalg.vector_norm(displacements - truth, dim=1, keepdim=True), weights)
