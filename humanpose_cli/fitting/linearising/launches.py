"""Run the kernels, with the signatures of `reference.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import anatomical_axes, joint_limits
from humanpose_cli.body.pose_prior import ROBUST, PosePrior
from humanpose_cli.engine.launching import launch, scalars
from humanpose_cli.fitting.linearising import kernel
from humanpose_cli.fitting.linearising.op import LIMIT_NOISE, AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.solver import NormalEquations

if TYPE_CHECKING:
    from humanpose_cli.fitting.landmark_rig import LandmarkRig


def _run(function: object, count: int, *arguments: Tensor | float) -> None:
    arrays = [scalars(a.contiguous()) if isinstance(a, Tensor) else a for a in arguments]
    launch(function, count, arrays, torch.device("cpu"))


def pose(rig: LandmarkRig, state: tuple[Tensor, Tensor, Tensor, Tensor], jacobian: bool) -> PosedRig:
    """Compute `op.pose` with the kernel."""
    rotations, count = state[0], len(state[0])
    absolute, joints = torch.empty_like(rotations), rotations.new_empty(count, len(rig.parents), 3)
    points = rotations.new_empty(count, len(rig.template), 3)
    J = rotations.new_empty(count if jacobian else 0, 3, len(rig.template), rig.parameter_count)
    _run(kernel.pose_points, count, *rig.tables, *state, absolute, joints, points, J)
    return PosedRig(points, J if jacobian else None, absolute, joints)


def add_term(equations: NormalEquations, term: Term, posed: PosedRig, logs: Tensor) -> None:
    """Compute `op.add_term` with the kernel."""
    assert posed.jacobian is not None
    _run(kernel.add_term, len(posed.points), *term, logs, posed.points, posed.jacobian, *equations)


def add_angles(equations: NormalEquations, rotations: Tensor, energy: AngleEnergy) -> None:
    """Compute `op.add_angles` with the kernel."""
    numbers = (LIMIT_NOISE**-2, energy.strength, ROBUST)
    tables = energy.prior.tables if isinstance(energy.prior, PosePrior) else _NO_PRIOR
    held = (*joint_limits(), energy.fallback, energy.fallback_weights)
    axes = anatomical_axes(rotations.dtype, rotations.device)
    _run(kernel.add_angles, len(rotations), *numbers, *axes, *held, *tables, rotations, *equations)


_NO_PRIOR = torch.zeros(0, 0, dtype=torch.int32), *(torch.zeros([0] * n, dtype=torch.float64) for n in (3, 4, 2))
