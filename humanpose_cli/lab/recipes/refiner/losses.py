"""Losses and errors of displacement estimates against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi

import torch
from torch import Tensor

from humanpose_cli.models.refiner.network import DisplacementEstimate

_DECAY = 0.85  # ratio of the weights of consecutive levels in the loss


def displacement_loss(
    estimates: Sequence[DisplacementEstimate], truth: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the loss, Σ_i 0.85^(n − i) times the mean negative log likelihood of level i of n.

    Args:
        estimates: The estimate of each level, from coarse to fine.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.
        weights: (B, 1, S, S) float. Weights of the pixels, zero off the body.

    Returns:
        The loss, and the mean distance in pixels and the mean negative log likelihood of the last level.
    """
    share = weights / weights.sum().clamp_min(1e-6)
    terms = [(share * negative_log_likelihood(estimate, truth)).sum() for estimate in estimates]
    loss = torch.stack([_DECAY ** (len(terms) - number) * term for number, term in enumerate(terms, 1)]).sum()
    distance = torch.linalg.vector_norm(estimates[-1].pixels.detach() - truth, dim=1, keepdim=True)
    return loss, (share * distance).sum(), terms[-1]


def negative_log_likelihood(estimate: DisplacementEstimate, truth: Tensor) -> Tensor:
    """Return the negative log density of the errors e, exp(−|e| / b) / (2π b²) at the scale b.

    Args:
        estimate: The estimate.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.

    Returns:
        (B, 1, S, S) float.
    """
    distance, scale = _distance_and_scale(estimate, truth)
    return distance / scale + 2 * scale.log() + log(2 * pi)


def nearer_share(estimate: DisplacementEstimate, truth: Tensor) -> Tensor:
    """Return the probability of a smaller error than the actual one, which is uniform if the estimate is calibrated.

    Args:
        estimate: The estimate.
        truth: (B, 2, S, S) float, pixels of the crop. The true displacements.

    Returns:
        (B, 1, S, S) float, 0 … 1.
    """
    distance, scale = _distance_and_scale(estimate, truth)
    return 1 - (1 + distance / scale) * (-distance / scale).exp()


def _distance_and_scale(estimate: DisplacementEstimate, truth: Tensor) -> tuple[Tensor, Tensor]:
    # Each axis has the variance 3 b²; a distance of zero has no gradient.
    return (estimate.pixels - truth).square().sum(1, keepdim=True).add(1e-4).sqrt(), estimate.deviation / 3**0.5


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
