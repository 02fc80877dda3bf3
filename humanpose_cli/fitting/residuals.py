"""Residuals of the keypoint fit with derivatives in closed form, summed into normal equations per sample.

Every term is a set of rows whitened to unit standard deviation, so that weights are measurable noise levels. Robust
terms use Geman and McClure's ρ on the length of a landmark's or bone's residual. Prior, joint limits and the pose of
hidden limbs are energies of the anatomical angles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.joint_angles import angles_with_slopes, limit_excess
from humanpose_cli.body.pose_prior import JointPrior
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, skew

RobustFunction: TypeAlias = Callable[[Tensor, "float | Tensor"], tuple[Tensor, Tensor]]


def geman_mcclure(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² r² / (c² + r²) and ρ'. Outliers cost c² at most and have no weight if they are far."""
    c2 = scale * scale
    ratio = c2 / (c2 + square)
    return ratio * square, ratio * ratio


def cauchy(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² log(1 + r² / c²) and ρ', whose heavy tails preserve the peaks of kicks, claps and landings."""
    c2 = scale * scale
    ratio = square / c2
    return c2 * ratio.log1p(), 1 / (1 + ratio)


class FitState(NamedTuple):
    """The unknowns of the fit for N rows.

    Attributes:
        rotations: (N, 24, 3, 3). Rotations relative to the parents. The pelvis maps body to camera axes.
        root: (N, 3) metres in camera axes. The pelvis joint.
        betas: (N, S). The shapes.
        log_scale: (N, 1). The logarithm of the scale of the detector's world landmarks.
    """

    rotations: Tensor
    root: Tensor
    betas: Tensor
    log_scale: Tensor

    def rows(self, index: Tensor | slice | NDArray[Any]) -> FitState:
        """Restrict the state to some rows."""
        return FitState._make(value[index] for value in self)

    def towards(self, target: FitState, share: Tensor) -> FitState:
        """Turn and move a share (N,) of the way to another state."""
        turn = matrix_to_axis_angle(self.rotations.mT @ target.rotations)
        values = [torch.lerp(a, b, share[:, None]) for a, b in zip(self[1:], target[1:], strict=True)]
        return FitState._make((self.rotations @ axis_angle_to_matrix(share[:, None, None] * turn), *values))

    def changed(self, part: FitState, start: int) -> FitState:
        """Return the state with other rows from `start` on."""
        columns = zip(self, part, strict=True)
        return FitState._make(torch.cat((old[:start], new, old[start + len(new) :])) for old, new in columns)


class Rows(NamedTuple):
    """One term of a problem.

    Attributes:
        residual: (N, R).
        jacobian: (N, R, P).
        cost: (N,). The cost that the residuals stand for.
    """

    residual: Tensor
    jacobian: Tensor
    cost: Tensor


def retract_state(state: FitState, step: Tensor) -> FitState:
    """Return the state after a step.

    Rotations change by R ← R exp(δ). The root moves sideways in units of its depth, and its distance is scaled by
    exp(δ_z), so that it never passes behind the camera and distant people need no larger steps.

    Args:
        state: The state.
        step: (N, 72 + 3 + S + 1).
    """
    joints = state.rotations.shape[1]
    turn, rest = step[:, : 3 * joints], step[:, 3 * joints :]
    rotations = state.rotations @ axis_angle_to_matrix(turn.unflatten(-1, (joints, 3)))
    sideways = torch.cat((rest[:, :2] * state.root[:, 2:], torch.zeros_like(rest[:, :1])), -1)
    root = (state.root + sideways) * rest[:, 2:3].clamp(-1, 1).exp()
    return FitState(rotations, root, state.betas + rest[:, 3:-1], state.log_scale + rest[:, -1:])


def root_columns(root: Tensor) -> Tensor:
    """Compute the effect (N, 3, 3) of the three root parameters of `retract_state` on the root (N, 3)."""
    zero, z = torch.zeros_like(root[:, 0]), root[:, 2]
    columns = ((z, zero, zero), (zero, z, zero), root.unbind(-1))
    return torch.stack([torch.stack(column, -1) for column in columns], -1)


def projection_rows(
    points: Tensor,
    jacobian: Tensor,
    camera: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    robust: float | Tensor,
    counts: Tensor | None = None,
) -> Rows:
    """Compute the reprojection of points.

    Args:
        points: (N, L, 3) metres in camera axes.
        jacobian: (N, 3, L, P). The Jacobian of the points.
        camera: Focal lengths (N,) and principal points (N, 2), pixels.
        target: Pixels (N, L, 2), and weights (N, L) = 1 / σ in 1 / pixels.
        robust: Noise levels. The scale of the robust function.
        counts: (N, L). How many independent points each point stands for. None: 1.
    """
    focal, centre = camera
    pixels, weights = target
    depth = points[..., 2].clamp_min(0.05)
    uv = points[..., :2] / depth[..., None]
    scale = focal[:, None] * weights
    error = (uv - (pixels - centre[:, None]) / focal[:, None, None]) * scale[..., None]
    rho, slope = geman_mcclure(error.square().sum(-1), robust)
    factor = slope.sqrt()
    if counts is not None:
        rho, factor = rho * counts, factor * counts.sqrt()
    scale = (scale * factor / depth)[:, None, :, None]
    J = (jacobian[:, :2] - uv.mT[..., None] * jacobian[:, 2:]).mul_(scale)
    return Rows((error * factor[..., None]).mT.flatten(1), J.flatten(1, 2), 0.5 * rho.sum(-1))


def vector_rows(residual: Tensor, jacobian: Tensor, weights: Tensor, robust: float) -> Rows:
    """Compute robust rows of D-vectors: residual (N, B, D), Jacobian (N, D, B, P), weights (N, B, D) = 1 / σ."""
    error = residual * weights
    rho, slope = geman_mcclure(error.square().sum(-1), robust)
    factor = slope.sqrt()
    scale = weights * factor[..., None]
    J = jacobian * scale.mT[..., None]
    return Rows((residual * scale).mT.flatten(1), J.flatten(1, 2), 0.5 * rho.sum(-1))


def accumulate(terms: list[Rows]) -> NormalEquations:
    """Sum terms into normal equations over all parameters."""
    jacobian = torch.cat([rows.jacobian for rows in terms], 1)  # one product costs half as much as one a term
    residual = torch.cat([rows.residual for rows in terms], 1)
    cost = torch.stack([rows.cost for rows in terms]).sum(0)
    return NormalEquations(cost, (jacobian.mT @ residual[..., None]).squeeze(-1), jacobian.mT @ jacobian)


def add_diagonal(equations: NormalEquations, residual: Tensor, sigma: Tensor, first: int) -> None:
    """Add Σ (residual / σ)² / 2 of parameters (N, K) from column `first` on, in place."""
    precision = sigma**-2
    window = slice(first, first + residual.shape[-1])
    equations.cost.add_(0.5 * (residual.square() * precision).sum(-1))
    equations.gradient[:, window] += residual * precision
    equations.hessian.diagonal(dim1=-2, dim2=-1)[:, window] += precision


def rotation_vector_jacobian(rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the vectors of rotations, and their slopes by right-hand increments (the inverse Jacobian of SO(3)).

    Returns:
        (N, 24, 3) radians, and (N, 24, 3, 3).
    """
    vectors = matrix_to_axis_angle(rotations)
    squared_angle = vectors.square().sum(-1)
    angle = squared_angle.clamp_min(1e-12).sqrt()
    # (1 − a/2 cot(a/2)) / a², whose limit at zero is 1/12; at small angles the difference loses its digits.
    exact = (1 - angle / 2 / torch.tan(angle / 2)) / angle.square()
    factor = torch.where(squared_angle < 1e-4, 1 / 12 + squared_angle / 720, exact)
    cross = skew(vectors)
    identity = torch.eye(3, dtype=rotations.dtype)
    return vectors, identity + cross / 2 + factor[..., None, None] * (cross @ cross)


def add_pose_energy(
    equations: NormalEquations,
    rotations: Tensor,
    *,
    prior: JointPrior | None,
    prior_strength: float,
    limit_noise: float,
    fallback: tuple[Tensor, Tensor],
) -> None:
    """Add the energy of rotations, whose increments are the first 72 parameters, in place.

    Args:
        equations: The normal equations.
        rotations: (N, 24, 3, 3). Rotations relative to the parents.
        prior: Penalises unusual poses. None: no prior.
        prior_strength: A factor on the energy of the prior.
        limit_noise: Radians beyond a joint's range that cost one noise level.
        fallback: The angles (N, 24, 3) of hidden limbs, and their weights (N, 24) = 1 / σ.
    """
    angles, jacobian = angles_with_slopes(rotations)
    excess = limit_excess(angles)
    limit = limit_noise**-2
    precision = (fallback[1] ** 2)[..., None].expand_as(angles)
    difference = angles - fallback[0]
    equations.cost.add_(0.5 * (limit * excess.square() + precision * difference.square()).sum((1, 2)))
    slope = (limit * excess + precision * difference).flatten(1)
    curvature = torch.diag_embed((limit * (excess != 0) + precision).flatten(1))
    if prior is not None:
        if prior.coordinates == "angles":
            quadratic = prior.quadratic(angles)
            slope += prior_strength * quadratic.gradient
            curvature += prior_strength * quadratic.curvature
        else:
            vectors, vector_jacobian = rotation_vector_jacobian(rotations)
            quadratic = prior.quadratic(vectors)
            add_joint_terms(
                equations, vector_jacobian, prior_strength * quadratic.gradient, prior_strength * quadratic.curvature
            )
        equations.cost.add_(prior_strength * quadratic.energy)
    add_joint_terms(equations, jacobian, slope, curvature)


def add_joint_terms(equations: NormalEquations, jacobian: Tensor, slope: Tensor, curvature: Tensor) -> None:
    """Add the gradient and the curvature of an energy of joint coordinates, in place.

    Args:
        equations: The normal equations.
        jacobian: (N, 24, 3, 3). Each joint's coordinates by its increments.
        slope: (N, 72). The gradient.
        curvature: (N, 72, 72).
    """
    count, joints = jacobian.shape[:2]
    width = 3 * joints
    transpose = jacobian.mT
    gradient = transpose @ slope.view(count, joints, 3, 1)
    equations.gradient[:, :width] += gradient.view(count, width)
    # Both sides of the curvature, three rows at a time: the Jacobian (N, J, 3, 3) is block diagonal.
    half = (transpose @ curvature.view(count, joints, 3, width)).view(curvature.shape)
    full = transpose @ half.mT.reshape(count, joints, 3, width)
    equations.hessian[:, :width, :width] += full.view(curvature.shape)
