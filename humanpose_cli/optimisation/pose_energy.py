"""Which poses are likely: prior, joint limits and a pose to fall back on, as an energy of the anatomical angles."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from humanpose_cli.bodies.joint_angles import ANGLE_NAMES, joint_limits
from humanpose_cli.bodies.pose_prior import PosePrior, pose_prior
from humanpose_cli.conventions import SMPL24
from humanpose_cli.optimisation.residuals import add_angle_energy, angle_jacobian
from humanpose_cli.optimisation.solver import NormalEquations

__all__ = ["add_pose_energy"]


@lru_cache(maxsize=1)
def _angle_ranges() -> tuple[Tensor, Tensor]:
    """(24, 3) lowest and highest angle in radians; the pelvis has none."""
    limits = joint_limits()
    free = (-torch.inf, torch.inf)
    table = torch.tensor(
        [[limits.get(f"{joint}.{angle}", free) for angle in ANGLE_NAMES[joint]] for joint in SMPL24.joint_names],
        dtype=torch.float64,
    )
    return table[..., 0], table[..., 1]


@lru_cache(maxsize=1)
def _prior() -> PosePrior:
    return pose_prior().double()


def add_pose_energy(
    equations: NormalEquations,
    rotations: Tensor,
    *,
    prior_strength: float,
    limit_noise: float,
    fallback: tuple[Tensor, Tensor],
) -> None:
    """Adds in place the energy of relative rotations (N, 24, 3, 3), whose increments are the first 72 parameters.

    prior_strength  factor on the pose prior's energy
    limit_noise     radians beyond a joint's range that cost as much as one noise level
    fallback        angles (N, 24, 3) to fall back on, and weights (N, 24) = 1 / σ
    """
    angles, jacobian = angle_jacobian(rotations)
    low, high = _angle_ranges()
    excess = (angles - high).clamp_min(0) - (low - angles).clamp_min(0)
    limit = limit_noise**-2
    pull = (fallback[1] ** 2)[..., None].expand_as(angles)
    away = angles - fallback[0]
    prior = _prior().quadratic(angles)
    cost = prior_strength * prior.energy
    cost += 0.5 * (limit * excess.square() + pull * away.square()).sum((1, 2))
    slope = prior_strength * prior.gradient + (limit * excess + pull * away).flatten(1)
    curvature = prior_strength * prior.curvature
    curvature.diagonal(dim1=1, dim2=2).add_((limit * (excess != 0) + pull).flatten(1))
    add_angle_energy(equations, jacobian, cost, slope, curvature)
