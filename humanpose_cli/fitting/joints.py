"""Fits bodies to measured 3-D joints: motion capture becomes poses and one shape per person.

Least squares as in the keypoint fit (same solver, prior and limits), with positions in space as the only evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.limb_rotations import limb_rotations
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.evidence import zero_joints
from humanpose_cli.fitting.landmark_rig import LandmarkRig, rig_of_skeleton
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import AngleEnergy, Term
from humanpose_cli.fitting.priors import default_prior
from humanpose_cli.fitting.problem import ShapeEvidence, cat_rows, common_shapes, shape_evidence
from humanpose_cli.fitting.residuals import add_diagonal
from humanpose_cli.fitting.solver import NormalEquations, levenberg_marquardt
from humanpose_cli.geometry.least_squares import SolverOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

_CHUNK = 64  # rows solved together, which bounds memory
_SHAPE_TOLERANCE = 1e-6  # standard deviation of betas that a group shares
_NOISE = 0.012  # metres, distance of the body's joints from the measured ones, which belong to another body model
_ROBUST = 4.0  # noise levels at which a joint counts half as outlier
_PRIOR_STRENGTH = 0.2  # factor on the pose prior's energy
_SHAPE_EVIDENCE = 40  # maximum number of frames that count as independent evidence of a shared shape
_SCHEDULE = SolverOptions(iterations=40)
_TRUNK_JOINTS = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")


@dataclass(frozen=True, eq=False)
class JointFit:
    """Bodies of N rows.

    Attributes:
        poses: (N, 72) radians. Axis-angle rotations relative to the parents.
        betas: (N, S). The shapes.
        trans: (N, 3) metres.
        error: (N,) metres. The mean distance between the measured joints and the body's. NaN for a row with too few
            joints, which has a neutral pose.
        body: The body whose parameters these are: "default", "smpl", …
        gender: The gender of the body model.
    """

    poses: NDArray[np.float32]
    betas: NDArray[np.float32]
    trans: NDArray[np.float32]
    error: NDArray[np.float32]
    body: str = "default"
    gender: str = "neutral"


class _State(NamedTuple):
    """Rotations (N, 24, 3, 3) relative to the parents, root (N, 3) in metres, and betas (N, S)."""

    rotations: Tensor
    root: Tensor
    betas: Tensor


def fit_joints(body: Body, joints: NDArray[np.floating], skeleton: Skeleton, *, shared_shape: bool = True) -> JointFit:
    """Fit bodies whose joints are at the measured positions.

    Rows without hips or shoulders are not fitted.

    Args:
        body: The body.
        joints: (N, J, 4) metres in camera axes, and confidence 0 to 1. 0 or NaN means unknown.
        skeleton: The skeleton of the J joints.
        shared_shape: Whether all rows are one person.

    Raises:
        InputError: If the array has another shape.
    """
    labels = torch.from_numpy(np.array(joints, np.float64))
    if labels.ndim != 3 or labels.shape[1:] != (len(skeleton), 4):
        raise InputError(
            "joints", "have the wrong shape", expected=f"(N, {len(skeleton)}, 4)", got=str(tuple(labels.shape))
        )
    valid = labels.isfinite().all(-1) & (labels[..., 3] > 0)
    points = torch.where(valid[..., None], labels[..., :3], 0.0)
    confidence = torch.where(valid, labels[..., 3].clamp(0, 1), 0.0)
    usable = valid[:, skeleton.indices(_TRUNK_JOINTS)].all(1)
    rows = usable.nonzero().squeeze(-1)
    with torch.no_grad():
        rig, columns = rig_of_skeleton(body, skeleton)
        zero = points.new_zeros(len(rows), rig.shape_count)
        sigma = torch.ones_like(zero)
        problem = _Positions(rig, columns, points[rows], confidence[rows], zero, sigma)
        state = _fit(problem, skeleton, shared_shape)
        posed_rig = rig.pose(state.rotations, state.root, state.betas)
    distance = (posed_rig.points[:, columns] - points[rows]).norm(dim=-1)
    error = (distance * confidence[rows]).sum(1) / confidence[rows].sum(1).clamp_min(1e-9)
    parts = {
        "poses": matrix_to_axis_angle(state.rotations).flatten(1),
        "betas": state.betas,
        "trans": rig.translation_of_root(state.root, state.betas),
        "error": error,
    }
    rows_of_all = {name: torch.zeros(len(labels), *value.shape[1:], dtype=value.dtype) for name, value in parts.items()}
    rows_of_all["error"].fill_(torch.nan)
    for name, value in parts.items():
        rows_of_all[name][rows] = value
    kind, _, gender = body.name.partition("-")
    arrays = {name: value.float().numpy() for name, value in rows_of_all.items()}
    return JointFit(**arrays, body=kind, gender=gender or "neutral")


def _fit(problem: _Positions, skeleton: Skeleton, shared_shape: bool) -> _State:
    """Fit every row by itself and, with a shared shape, once more at the shape that suits all rows."""
    points = problem.points
    start = _State(
        limb_rotations(zero_joints(problem.rig), skeleton, points, problem.confidence),
        points[:, skeleton.indices(("left_hip", "right_hip"))].mean(1),
        problem.betas,
    )
    state, evidence = _solve(problem, start)
    if not shared_shape or len(points) < 2:
        return state
    betas, _ = common_shapes(evidence, torch.zeros(len(points), dtype=torch.int64), _SHAPE_EVIDENCE)
    at_shape = replace(problem, betas=betas, beta_sigma=torch.full_like(problem.beta_sigma, _SHAPE_TOLERANCE))
    state, _ = _solve(at_shape, state._replace(betas=betas))
    return state._replace(betas=betas)


def _solve(problem: _Positions, start: _State) -> tuple[_State, list[ShapeEvidence]]:
    """Solve the rows in chunks: states, and each row's evidence of shape."""
    states = []
    evidence = []
    columns = slice(problem.first_beta, problem.first_beta + problem.rig.shape_count)
    for rows in torch.arange(len(problem.points)).split(_CHUNK):
        part = problem.select(rows)
        state, equations = levenberg_marquardt(part, _State(*(value[rows] for value in start)), _SCHEDULE)
        states.append(state)
        evidence.append(shape_evidence(equations, state.betas, part.betas, part.beta_sigma, columns))
    return cat_rows(states), evidence


@dataclass(frozen=True, eq=False)
class _Positions:
    """A `LeastSquaresProblem` of joints in space, pose prior, joint limits and shape prior.

    Attributes:
        rig: The rig.
        columns: The rig's points that are compared.
        points: (N, J, 3) metres. The measured joints.
        confidence: (N, J) 0 to 1.
        betas: (N, S). The mean of the shape prior.
        beta_sigma: (N, S). The standard deviation of the shape prior.
    """

    rig: LandmarkRig
    columns: slice
    points: Tensor
    confidence: Tensor
    betas: Tensor
    beta_sigma: Tensor

    @property
    def first_beta(self) -> int:
        """The column of the first shape parameter, behind the rotations and the root."""
        return 3 * len(self.rig.parents) + 3

    def select(self, rows: Tensor) -> _Positions:
        names = ("points", "confidence", "betas", "beta_sigma")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def retract(self, state: _State, step: Tensor) -> _State:
        turn, root, betas = step.split((self.first_beta - 3, 3, self.rig.shape_count), -1)
        rotations = state.rotations @ axis_angle_to_matrix(turn.unflatten(-1, (-1, 3)))
        return _State(rotations, state.root + root, state.betas + betas)

    def linearise(self, state: _State) -> NormalEquations:
        posed_rig = self.rig.pose(state.rotations, state.root, state.betas, jacobian=True)
        weights = (self.confidence.sqrt() / _NOISE)[..., None].expand_as(self.points)
        points = torch.arange(posed_rig.points.shape[1], dtype=torch.int32)[self.columns, None]
        equations = NormalEquations.zeros(state.root, self.rig.parameter_count)
        term = Term.between((points, torch.ones_like(points, dtype=weights.dtype)), self.points, weights, _ROBUST)
        op.add_term(equations, term, posed_rig)
        op.add_angles(
            equations, state.rotations, AngleEnergy.of_visible(state.rotations, default_prior(), _PRIOR_STRENGTH)
        )
        add_diagonal(equations, state.betas - self.betas, self.beta_sigma, self.first_beta)
        return equations
