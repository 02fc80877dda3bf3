"""One shape for all frames of a person, from what each frame's own fit says about it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.optimisation.solver import NormalEquations

__all__ = ["ShapeEvidence", "common_shapes", "shape_evidence"]


class ShapeEvidence(NamedTuple):
    """What rows say about shape without the shape prior: precision (N, S, S) and precision times mean (N, S)."""

    precision: Tensor
    pull: Tensor


def shape_evidence(equations: NormalEquations, betas: Tensor, sigma: Tensor, columns: slice) -> ShapeEvidence:
    """Eliminates all other parameters from normal equations (Schur complement).

    betas (N, S) where the equations stand, best near the minimum; sigma (N, S) of the prior about zero that they
    contain; columns of betas
    """
    H, g = equations.hessian, equations.gradient
    others = torch.ones(H.shape[-1], dtype=torch.bool)
    others[columns] = False
    coupling = H[:, others, columns]
    ridge = 1e-9 * H.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    rest = H[:, others][:, :, others] + ridge * torch.eye(int(others.sum()), dtype=H.dtype)
    right = torch.cat((coupling, g[:, others, None]), -1)
    eliminated = coupling.mT @ torch.linalg.solve(rest, right)
    prior = sigma**-2
    precision = H[:, columns, columns] - eliminated[..., :-1] - torch.diag_embed(prior)
    slope = g[:, columns] - eliminated[..., -1] - prior * betas
    return ShapeEvidence(precision, (precision @ betas[..., None]).squeeze(-1) - slope)


def common_shapes(evidence: ShapeEvidence, groups: Tensor, sigma: Tensor, most_rows: int) -> tuple[Tensor, Tensor]:
    """Betas (N, S) that rows of one group (N,) int64 share, and how many rows each row's group has (N,).

    The frames' evidence is multiplied up to `most_rows` times one frame's: neighbouring frames err alike, and without
    a bound a long sequence would outvote the prior (sigma (S,)) with the detector's own bias.
    """
    _, member, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    count, width = len(sizes), evidence.pull.shape[-1]
    precision = evidence.precision.new_zeros(count, width, width).index_add_(0, member, evidence.precision)
    pull = evidence.pull.new_zeros(count, width).index_add_(0, member, evidence.pull)
    share = (most_rows / sizes).clamp(max=1).to(pull.dtype)
    total = share[:, None, None] * precision + torch.diag(sigma**-2)
    betas = torch.linalg.solve(total, share[:, None] * pull)
    return betas[member], sizes[member]
