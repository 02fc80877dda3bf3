"""Residuals of the keypoint fit with derivatives in closed form, summed into normal equations per sample.

Every term is a set of rows whitened to unit standard deviation, so that weights are noise levels one can measure.
Robust terms use Geman and McClure's ρ on the length of a landmark's or bone's residual.

Which poses are likely: prior, joint limits and a pose to fall back on, as an energy of the anatomical angles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.body.pose_prior import JointPrior
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, skew

RobustFunction: TypeAlias = Callable[[Tensor, "float | Tensor"], tuple[Tensor, Tensor]]


def geman_mcclure(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² r² / (c² + r²) and ρ': outliers cost c² at most, and far ones weigh nothing."""
    c2 = scale * scale
    ratio = c2 / (c2 + square)
    return ratio * square, ratio * ratio


def cauchy(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² log(1 + r² / c²) and ρ': its heavy tails leave kicks, claps and landings their peaks."""
    c2 = scale * scale
    ratio = square / c2
    return c2 * ratio.log1p(), 1 / (1 + ratio)


class FitState(NamedTuple):
    """The unknowns of the fit for N rows.

    rotations (N, 24, 3, 3) relative to parents (the pelvis: body to camera); root (N, 3) the pelvis joint, metres,
    camera axes; betas (N, S); log_scale (N, 1) of the detector's world landmarks against metres.
    """

    rotations: Tensor
    root: Tensor
    betas: Tensor
    log_scale: Tensor

    def rows(self, index: Tensor | slice | NDArray[Any]) -> FitState:
        """Restrict the state to some rows."""
        return FitState._make(value[index] for value in self)

    def towards(self, other: FitState, share: Tensor) -> FitState:
        """Turn and move a share (N,) of the way to another state."""
        turn = matrix_to_axis_angle(self.rotations.mT @ other.rotations)
        values = [torch.lerp(a, b, share[:, None]) for a, b in zip(self[1:], other[1:], strict=True)]
        return FitState._make((self.rotations @ axis_angle_to_matrix(share[:, None, None] * turn), *values))

    def changed(self, part: FitState, start: int) -> FitState:
        """Return the state with other rows from `start` on."""
        columns = zip(self, part, strict=True)
        return FitState._make(torch.cat((old[:start], new, old[start + len(new) :])) for old, new in columns)


class Rows(NamedTuple):
    """One term: residuals (N, R), Jacobian (N, R, P), cost (N,) that they stand for."""

    residual: Tensor
    jacobian: Tensor
    cost: Tensor


def retract_state(state: FitState, step: Tensor) -> FitState:
    """Return the state after a step (N, 72 + 3 + S + 1): R ← R exp(δ); the root moves sideways in units of its depth
    and scales its distance by exp(δ_z), so that it never passes behind the camera and far people need no larger steps.
    """
    joints = state.rotations.shape[1]
    turn, rest = step[:, : 3 * joints], step[:, 3 * joints :]
    rotations = state.rotations @ axis_angle_to_matrix(turn.unflatten(-1, (joints, 3)))
    sideways = torch.cat((rest[:, :2] * state.root[:, 2:], torch.zeros_like(rest[:, :1])), -1)
    root = (state.root + sideways) * rest[:, 2:3].clamp(-1, 1).exp()
    return FitState(rotations, root, state.betas + rest[:, 3:-1], state.log_scale + rest[:, -1:])


def root_columns(root: Tensor) -> Tensor:
    """Compute what the three root parameters of `retract_state` do to the root (N, 3): (N, 3, 3)."""
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
    """Compute the reprojection of points (N, L, 3) with Jacobian (N, 3, L, P).

    Args:
        camera: Focal (N,), principal_point (N, 2); target  pixels (N, L, 2), weights (N, L) = 1 / σ in pixels.
        counts: (N, L) how many independent points each stands for; None: 1.
    """
    (focal, centre), (pixels, weights) = camera, target
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


def angle_jacobian(rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the anatomical angles (N, 24, 3) of rotations, and their slopes (N, 24, 3, 3) by right-hand turns."""
    with torch.enable_grad():
        leaf = rotations.detach().requires_grad_()
        angles = rotations_to_angles(leaf)
        slopes = [torch.autograd.grad(angles[..., a].sum(), leaf, retain_graph=a < 2)[0] for a in range(3)]
    # R [e_i]× spans the tangent space at R.
    generators = skew(torch.eye(3, dtype=rotations.dtype))
    tangent = torch.einsum("njab,ibc->njiac", rotations, generators)
    J = torch.stack([torch.einsum("njac,njiac->nji", slope, tangent) for slope in slopes], -2)
    return angles.detach(), J


def accumulate(terms: list[Rows]) -> NormalEquations:
    """Sum terms into normal equations over all parameters."""
    jacobian = torch.cat([rows.jacobian for rows in terms], 1)  # one product costs half as much as one a term
    residual = torch.cat([rows.residual for rows in terms], 1)
    cost = torch.stack([rows.cost for rows in terms]).sum(0)
    return NormalEquations(cost, (jacobian.mT @ residual[..., None]).squeeze(-1), jacobian.mT @ jacobian)


def add_diagonal(equations: NormalEquations, residual: Tensor, sigma: Tensor, first: int) -> None:
    """Add in place the quadratic Σ (residual / σ)² / 2 of parameters themselves, (N, K) from column `first` on."""
    precision = sigma**-2
    window = slice(first, first + residual.shape[-1])
    equations.cost.add_(0.5 * (residual.square() * precision).sum(-1))
    equations.gradient[:, window] += residual * precision
    equations.hessian.diagonal(dim1=-2, dim2=-1)[:, window] += precision


def rotation_vector_jacobian(rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the vectors (N, 24, 3) of rotations, and their slopes (N, 24, 3, 3) by right-hand increments: the inverse
    of SO(3)'s right Jacobian.
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
    """Add in place the energy of relative rotations (N, 24, 3, 3), whose increments are the first 72 parameters.

    Args:
        prior, prior_strength: What unusual poses cost, and a factor on it; None: nothing.
        limit_noise: Radians beyond a joint's range that cost as much as one noise level.
        fallback: Angles (N, 24, 3) to fall back on, and weights (N, 24) = 1 / σ.
    """
    angles, jacobian = angle_jacobian(rotations)
    excess = limit_excess(angles)
    limit = limit_noise**-2
    pull = (fallback[1] ** 2)[..., None].expand_as(angles)
    away = angles - fallback[0]
    equations.cost.add_(0.5 * (limit * excess.square() + pull * away.square()).sum((1, 2)))
    slope = (limit * excess + pull * away).flatten(1)
    curvature = torch.diag_embed((limit * (excess != 0) + pull).flatten(1))
    if prior is not None:
        if prior.coordinates == "angles":
            quadratic = prior.quadratic(angles)
            slope += prior_strength * quadratic.gradient
            curvature += prior_strength * quadratic.curvature
        else:
            vectors, of_vectors = rotation_vector_jacobian(rotations)
            quadratic = prior.quadratic(vectors)
            add_joint_terms(
                equations, of_vectors, prior_strength * quadratic.gradient, prior_strength * quadratic.curvature
            )
        equations.cost.add_(prior_strength * quadratic.energy)
    add_joint_terms(equations, jacobian, slope, curvature)


def add_joint_terms(equations: NormalEquations, jacobian: Tensor, slope: Tensor, curvature: Tensor) -> None:
    """Add in place the gradient (N, 72) and the curvature (N, 72, 72) of an energy of joint coordinates.

    Args:
        jacobian: (N, 24, 3, 3) of each joint's coordinates by its increments.
    """
    (count, joints), width, transpose = jacobian.shape[:2], 3 * jacobian.shape[1], jacobian.mT
    gradient = transpose @ slope.view(count, joints, 3, 1)
    equations.gradient[:, :width] += gradient.view(count, width)
    # Both sides of the curvature, three rows at a time: the Jacobian (N, J, 3, 3) is block diagonal.
    half = (transpose @ curvature.view(count, joints, 3, width)).view(curvature.shape)
    full = transpose @ half.mT.reshape(count, joints, 3, width)
    equations.hessian[:, :width, :width] += full.view(curvature.shape)
