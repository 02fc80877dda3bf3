"""Least-squares similarity (Helmert) transforms between point sets: Umeyama 1991, never a reflection."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.geometry.rotations import project_to_rotation


class Similarity(NamedTuple):
    """The transforms x ↦ scale · rotation · x + translation.

    Attributes:
        scale: (...) float.
        rotation: (..., 3, 3) float.
        translation: (..., 3) float.
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Transform points (..., N, 3) → (..., N, 3)."""
        offsets = points @ self.rotation.mT
        return self.scale[..., None, None] * offsets + self.translation[..., None, :]


def fit_similarity(
    source: Tensor, target: Tensor, weights: Tensor | None = None, *, with_scale: bool = True
) -> Similarity:
    """Find the similarity that best maps points to other points (Umeyama 1991).

    Coincident source points give scale 1 and rotation 1. If all weights are zero, the result is the identity.

    Args:
        source: (..., N, 3) float. The points.
        target: (..., N, 3) float. Their targets.
        weights: (..., N) float, 0 or more. None means 1.
        with_scale: Whether to fit the scale; otherwise it is 1.
    """
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    w = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(source.dtype).tiny)
    source_mean = (w[..., None] * source).sum(-2)
    target_mean = (w[..., None] * target).sum(-2)
    a, b = source - source_mean[..., None, :], target - target_mean[..., None, :]
    covariance = (w[..., None] * b).mT @ a
    variance = (w * (a * a).sum(-1)).sum(-1)
    degenerate = variance <= torch.finfo(source.dtype).tiny
    identity = torch.eye(3, dtype=source.dtype, device=source.device).expand_as(covariance)
    rotation = project_to_rotation(torch.where(degenerate[..., None, None], identity, covariance))
    scale = torch.ones_like(variance)
    if with_scale:
        ratio = (rotation * covariance).sum((-2, -1)) / torch.where(degenerate, scale, variance)
        scale = torch.where(degenerate, scale, ratio)
    translation = target_mean - scale[..., None] * (rotation @ source_mean[..., None]).squeeze(-1)
    return Similarity(scale, rotation, translation)


def procrustes_align(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Align points to their targets by a similarity, as for PA-MPJPE.

    Args:
        source: (..., N, 3) float. The points.
        target: (..., N, 3) float. Their targets.
        weights: (..., N) float, 0 or more. None means 1.

    Returns:
        (..., N, 3) float. The aligned points.
    """
    return fit_similarity(source, target, weights).apply(source)
