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

from humanpose_cli.body.pose_prior import PosePrior
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import MIN_DEPTH, AngleEnergy, PosedRig, Term
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


def retract_state(state: FitState, step: Tensor) -> FitState:
    """Return the state after a step.

    Rotations change by R ← R exp(δ). The root moves sideways in units of its depth, and its distance is scaled by
    exp(δ_z), so that it never passes behind the camera and distant people need no larger steps.

    Args:
        state: The state.
        step: (N, 72 + 3 + S + 1).
    """
    turn, sideways, nearer, betas, log_scale = step.split(
        (3 * state.rotations.shape[1], 2, 1, state.betas.shape[1], state.log_scale.shape[1]), 1
    )
    rotations = state.rotations @ axis_angle_to_matrix(turn.unflatten(-1, (-1, 3)))
    root = state.root.clone()
    root[:, :2].addcmul_(sideways, state.root[:, 2:])
    root.mul_(nearer.clamp(-1, 1).exp())
    return FitState(rotations, root, state.betas + betas, state.log_scale + log_scale)


def use_root_steps(jacobian: Tensor, root: Tensor) -> None:
    """Let a Jacobian (N, 3, M, P) by the root's position be one by the three root parameters of `retract_state`."""
    first = 3 * len(SMPL24)
    jacobian[..., first : first + 2].mul_(root[:, 2].view(-1, 1, 1, 1))
    jacobian[..., first + 2].copy_(root[:, :, None])


def add_diagonal(equations: NormalEquations, residual: Tensor, sigma: Tensor, first: int) -> None:
    """Add Σ (residual / σ)² / 2 of parameters (N, K) from column `first` on, in place."""
    precision = sigma**-2
    window = slice(first, first + residual.shape[-1])
    equations.cost.add_(0.5 * (residual.square() * precision).sum(-1))
    equations.gradient[:, window].add_(residual * precision)
    equations.hessian.diagonal(dim1=-2, dim2=-1)[:, window].add_(precision)


def whitened_errors(term: Term, posed: PosedRig, logs: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute the errors of a term in noise levels (N, B, D), before the robust function, and their Jacobian."""
    assert posed.jacobian is not None
    matrix = posed.points.new_zeros(len(term.ends), posed.points.shape[1])
    matrix.scatter_add_(1, term.ends.long(), term.shares)
    vectors = matrix @ posed.points @ term.rotation.mT + term.translation[:, None]
    J = term.rotation[:, None] @ (matrix @ posed.jacobian).transpose(1, 2)  # (N, B, 3, P)
    if term.weights.shape[2] == 3:
        target = term.target if logs is None or not len(logs) else term.target * logs.exp()[..., None]
        error = vectors - target
        if target is not term.target:
            J[..., -1] = -target
    elif term.weights.shape[2] == 2:
        depth = vectors[..., 2:].clamp_min(MIN_DEPTH)
        uv = vectors[..., :2] / depth
        error = uv - term.target
        J = (J[:, :, :2] - uv[..., None] * J[:, :, 2:]) / depth[..., None]
    else:
        length = vectors.norm(dim=-1, keepdim=True).clamp_min(1e-3)
        unit = vectors / length
        error = unit[..., 2:]
        # d (v_z / |v|) = (dv_z − (v_z / |v|) unit · dv) / |v|
        J = (J[:, :, 2:] - error[..., None] * (unit[:, :, None] @ J)) / length[..., None]
    return error * term.weights, J * term.weights[..., None]


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


def add_pose_energy(equations: NormalEquations, rotations: Tensor, energy: AngleEnergy) -> None:
    """Add the energy of rotations, whose increments are the first 72 parameters, in place, with any prior.

    Args:
        equations: The normal equations.
        rotations: (N, 24, 3, 3). Rotations relative to the parents.
        energy: The energy.
    """
    prior, strength = energy.prior, energy.strength
    op.add_angles(equations, rotations, energy if isinstance(prior, PosePrior) else energy._replace(prior=None))
    if prior is not None and not isinstance(prior, PosePrior):
        vectors, jacobian = rotation_vector_jacobian(rotations)
        quadratic = prior.quadratic(vectors)
        equations.cost.add_(strength * quadratic.energy)
        add_joint_terms(equations, jacobian, strength * quadratic.gradient, strength * quadratic.curvature)


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
