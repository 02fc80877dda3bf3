"""Losses and errors of displacement estimates against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from humanpose_cli.models.refiner.network import DisplacementMixture

_DECAY = 0.85  # ratio of the weights of consecutive updates in the loss


def displacement_loss(
    estimates: Sequence[DisplacementMixture], truth: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the loss, Σ_i 0.85^(n − i) times the mean negative log likelihood of update i of n.

    Args:
        estimates: The estimate after each update.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.
        weights: (B, 1, S, S) float. Weights of the pixels, zero off the body.

    Returns:
        The loss, and the mean distance in pixels and the mean negative log likelihood of the last update.
    """
    share = weights / weights.sum().clamp_min(1e-6)
    terms = [(share * negative_log_likelihood(estimate, truth)).sum() for estimate in estimates]
    loss = torch.stack([_DECAY ** (len(terms) - number) * term for number, term in enumerate(terms, 1)]).sum()
    distance = torch.linalg.vector_norm(estimates[-1].pixels.detach() - truth, dim=1, keepdim=True)
    return loss, (share * distance).sum(), terms[-1]


def negative_log_likelihood(estimate: DisplacementMixture, truth: Tensor) -> Tensor:
    """Return the negative log density of the errors, with independent axes (SEA-RAFT, equation 3).

    Args:
        estimate: The estimate.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.

    Returns:
        (B, 1, S, S) float.
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
    """Return the probability of a smaller error than the actual one, which is uniform if the estimate is calibrated.

    Args:
        estimate: The estimate.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.

    Returns:
        (B, 1, S, S) float, 0 … 1. The mean over both axes.
    """
    error = (estimate.pixels - truth).abs()
    weight = estimate.logit.sigmoid()
    larger = weight * (-error / estimate.narrow).exp() + (1 - weight) * (-error / estimate.scale).exp()
    return (1 - larger).mean(1, keepdim=True)


def weighted_means(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted means (B,) of values (B, 1, S, S), NaN if all weights (B, 1, S, S) are 0."""
    total = weights.sum((1, 2, 3))
    return (values * weights).sum((1, 2, 3)) / total.where(total > 0, torch.nan)


def endpoint_errors(displacements: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the mean endpoint errors of displacements.

    Args:
        displacements: (B, 2, S, S) float, pixels.
        truth: (B, 2, S, S) float, pixels. The true displacements.
        weights: (B, 1, S, S) float. Weights of the pixels.

    Returns:
        (B,) float, pixels; NaN if all weights are 0.
    """
    return weighted_means(torch.linalg.vector_norm(displacements - truth, dim=1, keepdim=True), weights)
