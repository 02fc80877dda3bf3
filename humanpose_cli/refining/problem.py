"""Refinement as a least-squares problem: bodies follow displaced surface points, held by what is known of them.

For the rows (frames) of one track, with the fit that refinement starts from as anchor:
    Σ n_k ρ(|Π(x_k) − target_k| / σ_k)                 dense reprojection of surface points, Geman-McClure's ρ
    + pose prior and joint limits of each row, less their slope at the anchor: the fit is their optimum together with
      the evidence that it was made from, so that they pull only what moves away from it
    + |log(R₀ᵀ R)|² / σ_j² of every joint's relative rotation, with each joint's own noise (`refining.anchor`)
    + the joints' depths about the pelvis, and the pelvis' depth: pixels hardly determine it
    + Σ ρ(|x_{t−1} − 2 x_t + x_{t+1}| / (Δt² σ_a))      accelerations of the joints in world axes, in neighbouring
                                                        frames of a shot, at the frames' own times
The shape is one for all rows of a track: `common_shape` moves it before the poses are solved, while it is held. SMPLify
(Bogo et al. 2016) has the terms of one frame; derivatives are closed-form and frames are coupled in one banded system.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from humanpose_cli.body.body import Body, LandmarkArrays, LandmarkSet
from humanpose_cli.body.pose_prior import JointPrior
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.problem import cat_rows, common_shapes, shape_evidence
from humanpose_cli.fitting.residuals import (
    FitState,
    Rows,
    accumulate,
    add_diagonal,
    add_joint_terms,
    add_pose_energy,
    projection_rows,
    retract_state,
    robust_scale,
    root_columns,
    rotation_vector_jacobian,
)
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.refining.options import AlignmentWeights

_POSE = 3 * len(SMPL24) + 3  # parameters of a row without shape: rotations and root
_WINDOW, _AHEAD = 48, 12  # rows of a track solved together, and rows behind them that only steady their end
_WIDENED, _NARROWING = 2.0, 4.0  # multiple of the robust scale from which it is widened first, and by what it narrows
_STEPS, _STEPS_WIDENED = 8, 4
_ROOT = slice(3 * len(SMPL24), _POSE)


class ViewTargets(NamedTuple):
    """What another camera of a take pulls N rows to, as `AlignmentEvidence` has it of the first one; double.

    rotation (3, 3), translation (3,) metres: axes of the first camera to this one's
    focal, centre, pixels, weights and counts as there; weights are zero where it shows nothing
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    centre: Tensor
    pixels: Tensor
    weights: Tensor
    counts: Tensor

    def window(self, start: int, stop: int) -> ViewTargets:
        """Rows start ≤ row < stop."""
        return ViewTargets(self.rotation, self.translation, *(values[start:stop] for values in self[2:]))

    def moved(self, points: Tensor) -> Tensor:
        """Points (N, M, 3) in this camera's axes."""
        return points @ self.rotation.mT + self.translation


@dataclass(frozen=True, eq=False)
class AlignmentEvidence:
    """What N rows of one track, in the order of their frames, are pulled to; double.

    pixels (N, M, 2), weights (N, M) = 1 / σ in pixels of the frame; focal (N,), centre (N, 2)
    counts (N, M) how many independent points each stands for: errors are alike all over a part of the body
    rotations (N, 24, 3, 3), joints (N, 24, 3), betas (N, S) of the fit that refinement starts from
    rotation_noise (N, 24) radians, root_noise (N,) share of the depth, shape_noise (N,): σ of that fit's errors
    segment_scales (N, 24) of that fit, which stay
    to_world (N, 3, 3) and origin (N, 3): camera axes to world axes, x ↦ to_world x + origin, metres
    triples (T, 3) int64 rows that follow each other directly, one frame apart, in one shot
    bend (T, 3) weights of a triple's values, whose sum is their acceleration, 1 / seconds²
    views of other cameras at the same moments
    """

    pixels: Tensor
    weights: Tensor
    counts: Tensor
    focal: Tensor
    centre: Tensor
    rotations: Tensor
    joints: Tensor
    betas: Tensor
    rotation_noise: Tensor
    root_noise: Tensor
    shape_noise: Tensor
    segment_scales: Tensor
    to_world: Tensor
    origin: Tensor
    triples: Tensor
    bend: Tensor
    views: tuple[ViewTargets, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def window(self, start: int, stop: int) -> AlignmentEvidence:
        """Rows start ≤ row < stop."""
        inside = ((self.triples >= start) & (self.triples < stop)).all(1)
        rows = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("triples", "bend", "views")}
        parts = {name: value[start:stop] for name, value in rows.items()}
        views = tuple(view.window(start, stop) for view in self.views)
        return AlignmentEvidence(**parts, triples=self.triples[inside] - start, bend=self.bend[inside], views=views)


class _Linearised(NamedTuple):
    """A chain of rows at a state: cost of all, gradient (N, Q), blocks of the Hessian: (N, Q, Q) of a row with itself,
    with the next row, and with the one after that (row later first).
    """

    cost: float
    gradient: Tensor
    blocks: tuple[Tensor, Tensor, Tensor]


def alignment_rig(body: Body, surface: LandmarkSet) -> LandmarkRig:
    """A rig of the surface points, then the 33 landmarks, then all joints."""
    sets = (surface, body.landmarks("blazepose33"))
    names = tuple(name for points in sets for name in points.skeleton.joint_names)
    width = max(points.bone_indices.shape[1] for points in sets)

    def stacked(name: str) -> np.ndarray:
        parts = [getattr(points, name).detach().cpu().numpy() for points in sets]
        if name.startswith("bone"):
            parts = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
        return np.concatenate(parts)

    arrays = [stacked(name) for name in ("template", "directions", "bone_indices", "bone_weights")]
    points = LandmarkSet(LandmarkArrays(Skeleton("alignment", names, ("",) * len(names)), *arrays))
    return LandmarkRig(body, points, SMPL24.joint_names, free_columns=1)


def independent_counts(rig: LandmarkRig, points: slice, visible: Tensor, correlation: float) -> Tensor:
    """How many independent points each of some of the rig's stands for, (N, K).

    Errors that correlate by ρ all over a part make its n points worth n / (1 + (n − 1) ρ): Kish's design effect.

    visible      (N, K) 0…1, how much of each is known
    correlation  ρ of points on the same part, 0…1
    """
    parts = rig.weights[points].argmax(1)
    of_part = visible.new_zeros(len(visible), rig.weights.shape[1]).index_add_(1, parts, visible)
    return visible / (1 + (of_part[:, parts] - 1).clamp_min(0) * correlation)


class AlignmentProblem:
    """The rows of one track; see the top of this file.

    prior    what unusual poses cost; None: nothing. Joint limits always count
    widened  factor on the robust scale of the surface points, not of the keypoints
    """

    def __init__(
        self,
        rig: LandmarkRig,
        evidence: AlignmentEvidence,
        weights: AlignmentWeights,
        *,
        prior: JointPrior | None,
        widened: float = 1.0,
    ) -> None:
        self.rig, self.evidence, self.weights, self.prior = rig, evidence, weights, prior
        self._surface = slice(0, rig.landmark_count - len(BLAZEPOSE33))
        self._robust = torch.full((rig.landmark_count,), weights.robust_2d, dtype=torch.float64)
        self._robust[self._surface] *= widened
        count, width = len(evidence), 3 * len(SMPL24)
        zeros = (torch.zeros(count, *shape, dtype=torch.float64) for shape in ((), (width,), (width, width)))
        at_anchor = NormalEquations(*zeros)
        self._add_pose_energy(at_anchor, evidence.rotations)
        self._anchor_slope = at_anchor.gradient  # (N, 72)

    def rows(self, state: FitState) -> tuple[NormalEquations, Tensor, Tensor]:
        """Normal equations of every row alone over all parameters, and its joints with their Jacobian.

        Joints (N, 24, 3) metres; Jacobian (N, 3, 24, P).
        """
        evidence, count = self.evidence, self.rig.landmark_count
        posed = self.rig.pose(state.rotations, state.root, state.betas, evidence.segment_scales, jacobian=True)
        J = posed.jacobian
        assert J is not None
        J[..., _ROOT] = root_columns(state.root)[:, :, None]
        points, joints = posed.points[:, :count], posed.points[:, count:]
        joint_J = J[:, :, count:]
        camera, target = (evidence.focal, evidence.centre), (evidence.pixels, evidence.weights)
        dense = projection_rows(points, J[:, :, :count], camera, target, self._robust, evidence.counts)
        views = [self._view(view, points, J[:, :, :count]) for view in evidence.views]
        equations = accumulate([dense, *views, self._depths(joints, joint_J)])
        self._add_anchor(equations, state.rotations)
        nearer = (state.root[:, 2:] / evidence.joints[:, :1, 2]).log()
        add_diagonal(equations, nearer, evidence.root_noise[:, None], _POSE - 1)
        self._add_pose_energy(equations, state.rotations)
        return equations, joints, joint_J

    def _add_pose_energy(self, equations: NormalEquations, rotations: Tensor) -> None:
        """Adds pose prior and joint limits in place."""
        add_pose_energy(
            equations,
            rotations,
            prior=self.prior,
            prior_strength=self.weights.prior_strength,
            limit_noise=self.weights.limit_noise,
            fallback=(rotations.new_zeros(rotations.shape[:-1]), rotations.new_zeros(rotations.shape[:2])),
        )

    def _add_anchor(self, equations: NormalEquations, rotations: Tensor) -> None:
        """Adds in place the distance from the anchor's rotations, and takes off what the pose energy pulls there."""
        away, jacobian = rotation_vector_jacobian(self.evidence.rotations.mT @ rotations)
        precision = self.evidence.rotation_noise[..., None] ** -2 * torch.ones_like(away)
        precision[:, 0] = 0  # the pelvis turns freely
        precision, away = precision.flatten(1), away.flatten(1)
        equations.cost.add_(((0.5 * precision * away - self._anchor_slope) * away).sum(1))
        add_joint_terms(equations, jacobian, precision * away - self._anchor_slope, torch.diag_embed(precision))

    def _view(self, view: ViewTargets, points: Tensor, jacobian: Tensor) -> Rows:
        """Dense reprojection before another camera."""
        turned = (view.rotation @ jacobian.flatten(2)).view(jacobian.shape)
        camera, target = (view.focal, view.centre), (view.pixels, view.weights)
        return projection_rows(view.moved(points), turned, camera, target, self._robust, view.counts)

    def _depths(self, joints: Tensor, jacobian: Tensor) -> Rows:
        """Depths about the pelvis against the anchor's."""
        anchor = self.evidence.joints[..., 2]
        precision = 1 / self.weights.depth_noise
        residual = (joints[:, 1:, 2] - joints[:, :1, 2] - anchor[:, 1:] + anchor[:, :1]) * precision
        J = (jacobian[:, 2, 1:] - jacobian[:, 2, :1]) * precision
        return Rows(residual, J, 0.5 * residual.square().sum(-1))

    def common_shape(self, state: FitState) -> Tensor:
        """Betas (S,) that suit all rows, about the fit's own: one Gauss-Newton step with the poses eliminated."""
        columns = slice(_POSE, _POSE + state.betas.shape[1])
        sigma = self.evidence.shape_noise[:, None].expand_as(state.betas)
        parts = []
        for start in range(0, len(self.evidence), _WINDOW):
            stop = min(start + _WINDOW, len(self.evidence))
            part = AlignmentProblem(self.rig, self.evidence.window(start, stop), self.weights, prior=self.prior)
            equations, _, _ = part.rows(state.rows(slice(start, stop)))
            away = (state.betas - self.evidence.betas)[start:stop]
            add_diagonal(equations, away, sigma[start:stop], _POSE)
            parts.append(shape_evidence(equations, away, sigma[start:stop], columns))
        group = torch.zeros(len(self.evidence), dtype=torch.int64)
        shared, _ = common_shapes(cat_rows(parts), group, sigma[0], self.weights.shape_evidence)
        return self.evidence.betas[0] + shared[0]

    def solve_in_windows(self, state: FitState, progress: Progress = no_progress) -> FitState:
        """`solve` with a common shape, some rows at a time: memory does not grow with the track.

        Displacements of little noise are outliers where the fit is far off. As in graduated non-convexity (Blake and
        Zisserman 1987), the first steps take a robust scale at which nearly all of them count.
        """
        widened = self._longest_displacement(state) / self.weights.robust_2d
        while widened > _WIDENED:
            state = self._in_windows(state, widened, _STEPS_WIDENED, no_progress)
            widened /= _NARROWING
        shape = self.common_shape(state).expand_as(state.betas)
        state = state._replace(betas=shape)
        return self._in_windows(state, 1.0, _STEPS, progress)

    def _longest_displacement(self, state: FitState) -> float:
        """Distance from their targets that nine tenths of the surface points keep, noise levels."""
        found = []
        for start in range(0, len(self.evidence), _WINDOW):
            evidence = self.evidence.window(start, start + _WINDOW)
            some = state.rows(slice(start, start + _WINDOW))
            posed = self.rig.pose(some.rotations, some.root, some.betas, evidence.segment_scales)
            points = posed.points[:, self._surface]
            cameras: list[tuple[AlignmentEvidence | ViewTargets, Tensor]] = [(evidence, points)]
            cameras += [(view, view.moved(points)) for view in evidence.views]
            for camera, there in cameras:
                drawn = project(there, camera.focal, camera.centre)
                apart = (drawn - camera.pixels[:, self._surface]).norm(dim=-1) * camera.weights[:, self._surface]
                found.append(apart[camera.counts[:, self._surface] > 0])
        distances = torch.cat(found)
        return float(np.quantile(distances.numpy(), 0.9)) if len(distances) else 0.0

    def _in_windows(self, start_state: FitState, widened: float, iterations: int, progress: Progress) -> FitState:
        """`solve` in windows."""
        count = len(self.evidence)
        state = FitState(*(values.clone() for values in start_state))
        for start in range(0, count, _WINDOW):
            # The two rows before are solved already and stay; those behind only steady the end.
            first, stop = max(start - 2, 0), min(start + _WINDOW + _AHEAD, count)
            evidence = self.evidence.window(first, stop)
            part = AlignmentProblem(self.rig, evidence, self.weights, prior=self.prior, widened=widened)
            fixed = torch.arange(first, stop) < start
            solved = part.solve(state.rows(slice(first, stop)), fixed, iterations)
            last = min(start + _WINDOW, count)
            for values, found in zip(state, solved, strict=True):
                values[start:last] = found[start - first : last - first]
            progress(last, count, "frames aligned")
        return state

    def solve(self, state: FitState, fixed: Tensor, iterations: int = _STEPS, tolerance: float = 1e-3) -> FitState:
        """Levenberg-Marquardt over rotations and roots of all rows at once; rows `fixed` (N,) bool stay."""
        damping, growth = 1e-3, 2.0
        now = self._linearise(state, fixed)
        for _ in range(iterations):
            step = _chain_step(now, damping)
            if step is None:
                damping *= 10
                continue
            unmoved = torch.zeros(len(step), state.betas.shape[1] + 1, dtype=step.dtype)
            trial = retract_state(state, torch.cat((step, unmoved), 1))
            then = self._linearise(trial, fixed)
            gain = now.cost - then.cost
            if not gain > 0:
                damping, growth = damping * growth, 2 * growth
                continue
            state, damping, growth = trial, max(damping / 3, 1e-9), 2.0
            done = gain <= tolerance * now.cost
            now = then
            if done:
                break
        return state

    def _linearise(self, state: FitState, fixed: Tensor) -> _Linearised:
        equations, joints, joint_J = self.rows(state)
        diagonal = equations.hessian[:, :_POSE, :_POSE]
        gradient = equations.gradient[:, :_POSE]
        next_row, after_next = torch.zeros_like(diagonal), torch.zeros_like(diagonal)
        cost = float(equations.cost.sum())
        if len(self.evidence.triples):
            cost += self._add_accelerations(joints, joint_J[..., :_POSE], gradient, (diagonal, next_row, after_next))
        for blocks, distance in ((next_row, 1), (after_next, 2)):
            blocks[fixed] = 0
            blocks[: len(fixed) - distance][fixed[distance:]] = 0
        diagonal[fixed] = torch.eye(_POSE, dtype=diagonal.dtype)
        gradient[fixed] = 0
        return _Linearised(cost, gradient, (diagonal, next_row, after_next))

    def _add_accelerations(
        self, joints: Tensor, jacobian: Tensor, gradient: Tensor, blocks: tuple[Tensor, Tensor, Tensor]
    ) -> float:
        """Adds the accelerations' term in place and returns its cost."""
        triples = self.evidence.triples
        bend = self.evidence.bend / self.weights.acceleration
        to_world = self.evidence.to_world
        world = joints @ to_world.mT + self.evidence.origin[:, None]
        turned = (to_world @ jacobian.flatten(2)).view(jacobian.shape)
        residual = (world[triples] * bend[..., None, None]).sum(1)  # (T, 24, 3)
        rho, factor = robust_scale(residual.square().sum(-1), self.weights.robust_acceleration)
        residual = (residual * factor[..., None]).mT.flatten(1)  # (T, 72), coordinate before joint
        parts = [
            (turned[triples[:, i]] * (factor * bend[:, i, None])[:, None, :, None]).flatten(1, 2) for i in range(3)
        ]  # (T, 72, Q)
        for i, part in enumerate(parts):
            gradient.index_add_(0, triples[:, i], (part.mT @ residual[..., None]).squeeze(-1))
            for j in range(i + 1):
                blocks[i - j].index_add_(0, triples[:, j], part.mT @ parts[j])
        return float(0.5 * rho.sum())


def _chain_step(at: _Linearised, damping: float) -> Tensor | None:
    """−(H + λ diag H)⁻¹ g (N, Q) of a block-pentadiagonal H, by a banded Cholesky; None where it is not positive."""
    same_row, next_row, after_next = at.blocks
    count, width = at.gradient.shape
    diagonal = same_row.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(-1, keepdim=True) + 1e-12
    same_row = same_row + torch.diag_embed(damping * diagonal + floor)
    columns = torch.cat(
        (same_row, next_row, after_next), 1
    ).numpy()  # (N, 3 Q, Q): a column from its own block downwards
    # Band storage begins every column at its diagonal.
    rows = np.arange(3 * width)[:, None] + np.arange(width)
    padded = np.concatenate((columns, np.zeros((count, width, width))), 1)
    band = np.take_along_axis(padded, rows[None], 1).transpose(1, 0, 2).reshape(3 * width, count * width)
    try:
        step = solveh_banded(band, -at.gradient.numpy().ravel(), lower=True, overwrite_ab=True, check_finite=False)
    except LinAlgError:
        return None
    result = torch.from_numpy(step).view(count, width)
    return result if bool(result.isfinite().all()) else None
