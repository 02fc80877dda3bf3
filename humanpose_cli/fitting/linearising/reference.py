"""The points, terms and angles of bodies in plain torch: the oracle for the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.fitting.linearising.op import LIMIT_NOISE, AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.residuals import add_joint_terms, geman_mcclure, whitened_errors
from humanpose_cli.geometry.rotations import skew

if TYPE_CHECKING:
    from humanpose_cli.fitting.landmark_rig import LandmarkRig
    from humanpose_cli.fitting.solver import NormalEquations


def pose(rig: LandmarkRig, state: tuple[Tensor, Tensor, Tensor, Tensor], jacobian: bool) -> PosedRig:
    """Compute `op.pose` in plain torch."""
    rotations, root, betas, scales = state
    turn = rotations.new_zeros(rotations.shape[:-1])

    def posed(R: Tensor, turn: Tensor, root: Tensor, betas: Tensor, scales: Tensor) -> tuple[Tensor, list[Tensor]]:
        row = _pose_row(rig, R + R @ skew(turn), root, betas, scales)
        return row[0], row

    if not jacobian:
        points, absolute, joints = vmap(posed)(rotations, turn, root, betas, scales)[1]
        return PosedRig(points, None, absolute, joints)
    slopes, (points, absolute, joints) = vmap(jacfwd(posed, (1, 2, 3), has_aux=True))(
        rotations, turn, root, betas, scales
    )
    J = torch.cat([slope.flatten(3) for slope in slopes], -1).transpose(1, 2)
    J = torch.nn.functional.pad(J, (0, rig.parameter_count - J.shape[-1])).contiguous()
    return PosedRig(points, J, absolute, joints)


def _pose_row(rig: LandmarkRig, rotations: Tensor, root: Tensor, betas: Tensor, scales: Tensor) -> list[Tensor]:
    rest = rig.joints + rig.joint_directions @ betas
    absolute, joints = [rotations[0]], [root]
    for joint, parent in list(enumerate(rig.parents))[1:]:
        bone = scales[parent] * (rest[joint] - rest[parent])
        joints.append(joints[parent] + absolute[parent] @ rig.rest_rotations[parent] @ bone)
        absolute.append(absolute[parent] @ rotations[joint])
    linear = scales[:, None, None] * (torch.stack(absolute) @ rig.rest_rotations)
    offset = torch.stack(joints) - (linear @ rest[..., None])[..., 0]
    blend = (rig.weights @ linear.flatten(1)).unflatten(1, (3, 3))
    points = (blend @ (rig.template + rig.directions @ betas)[..., None])[..., 0] + rig.weights @ offset
    return [points, torch.stack(absolute), torch.stack(joints)]


def add_term(equations: NormalEquations, term: Term, posed: PosedRig, logs: Tensor) -> None:
    """Compute `op.add_term` in plain torch."""
    error, J = whitened_errors(term, posed, logs)
    rho, slope = geman_mcclure(error.square().sum(-1), term.robust)
    weight = (slope * term.counts)[..., None].expand_as(error).flatten(1)[..., None]
    J = J.flatten(1, 2)
    equations.cost.add_(0.5 * (rho * term.counts).sum(-1))
    equations.gradient.add_((J.mT @ (weight * error.flatten(1)[..., None])).squeeze(-1))
    equations.hessian.add_(J.mT @ (weight * J))


def add_angles(equations: NormalEquations, rotations: Tensor, energy: AngleEnergy) -> None:
    """Compute `op.add_angles` in plain torch."""
    angles = rotations_to_angles(rotations)
    excess, difference = limit_excess(angles), angles - energy.fallback
    limit, held = LIMIT_NOISE**-2, energy.fallback_weights[..., None].square().expand_as(angles)
    equations.cost.add_(0.5 * (limit * excess.square() + held * difference.square()).sum((1, 2)))
    slope = (limit * excess + held * difference).flatten(1)
    curvature = torch.diag_embed((limit * (excess != 0) + held).flatten(1))
    if energy.prior is not None:
        quadratic = energy.prior.quadratic(angles)
        equations.cost.add_(energy.strength * quadratic.energy)
        slope = slope + energy.strength * quadratic.gradient
        curvature = curvature + energy.strength * quadratic.curvature

    def turned(turn: Tensor) -> Tensor:
        return rotations_to_angles(rotations + rotations @ skew(turn))

    # A joint's angles depend on its own increments alone, so that all joints turn at once.
    add_joint_terms(equations, jacfwd(turned)(rotations.new_zeros(3)), slope, curvature)
