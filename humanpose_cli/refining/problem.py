"""Refinement as a least-squares problem: bodies follow displaced surface points and are held at the fit.

For the rows (frames) of one track, with the fit that refinement starts from as anchor:
    Σ n_k ρ(|Π(x_k) − target_k| / σ_k)                 dense reprojection of surface points, Geman-McClure's ρ
    + pose prior and joint limits of each row, minus their slope at the anchor: the fit is their optimum together with
      the evidence that it was made from, so that they act on changes only
    + |log(R₀ᵀ R)|² / σ_j² of every joint's relative rotation, with each joint's own noise (`refining.anchor`)
    + the joints' depths about the pelvis, and the pelvis' depth, which pixels hardly determine
    + Σ ρ(|x_{t−1} − 2 x_t + x_{t+1}| / (Δt² σ_a))      accelerations of the joints in world axes, in neighbouring
                                                        frames of a shot, at the frames' own times
All rows of a track have one shape, which `common_shape` changes before the poses are solved. SMPLify (Bogo et al. 2016)
has the terms of one frame without the anchor (`AlignmentWeights.anchor`). Derivatives are closed-form, and
`fitting.chain` couples the frames.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body, LandmarkArrays, LandmarkSet
from humanpose_cli.body.pose_prior import JointPrior
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.chain import Chain, ChainMotion, windows_of
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import QUADRATIC, AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.problem import common_shapes, shape_evidence
from humanpose_cli.fitting.residuals import (
    FitState,
    add_diagonal,
    add_joint_terms,
    add_pose_energy,
    geman_mcclure,
    rotation_vector_jacobian,
    use_root_steps,
)
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.least_squares import SolverOptions, minimise
from humanpose_cli.refining.anchor import ROBUST_2D, CameraTargets
from humanpose_cli.refining.options import AlignmentWeights

_POSE = 3 * len(SMPL24) + 3  # parameters of a row without shape: rotations and root
_WINDOW = 60  # rows of a track solved at once
_MARGIN = 12  # rows at the end of a window that the next window solves again
_MAX_DISPLACEMENT = 2.0  # multiple of the robust scale beyond which the scale is widened first
_NARROWING = 4.0  # factor by which a widened scale narrows
_SCHEDULE = SolverOptions(iterations=8, tolerance=1e-3, damping=1e-3)
_SCHEDULE_LOCKED = SolverOptions(iterations=30, tolerance=1e-5, damping=1e-3)
_SCHEDULE_WIDENED = SolverOptions(iterations=4, tolerance=1e-3, damping=1e-3)
_DEPTH_NOISE = 0.05  # metres, difference of a joint's depth about the pelvis from the fit's
_ROBUST_ACCELERATION = 3.0  # standard deviations at which an acceleration counts half as outlier
_SHAPE_EVIDENCE = 10  # maximum number of frames of a track that count as independent evidence of shape


@dataclass(frozen=True, eq=False)
class AlignmentEvidence:
    """The targets and the anchor of N rows of one track, in the order of their frames; double.

    Attributes:
        cameras: The targets in the first camera, or in all cameras of a take.
        rotations: (N, 24, 3, 3). The fit that refinement starts from.
        joints: (N, 24, 3) metres. The joints of that fit.
        betas: (N, S). The shapes of that fit.
        rotation_noise: (N, 24) radians. σ of the fit's errors.
        root_noise: (N,). σ as a share of the depth.
        shape_noise: (N,). σ of the shape components.
        segment_scales: (N, 24). The segment scales of the fit, which do not change.
    """

    cameras: tuple[CameraTargets, ...]
    rotations: Tensor
    joints: Tensor
    betas: Tensor
    rotation_noise: Tensor
    root_noise: Tensor
    shape_noise: Tensor
    segment_scales: Tensor

    def __len__(self) -> int:
        return len(self.rotations)

    def pulled_points(self, surface: int) -> Tensor:
        """Return which of the first `surface` points have a target in any row, and all points behind them."""
        pulled = torch.stack([(camera.weights > 0).any(0) for camera in self.cameras]).any(0)
        pulled[surface:] = True
        return pulled.nonzero()[:, 0]

    def points(self, points: Tensor) -> AlignmentEvidence:
        """Restrict the evidence to some points, (K,) of M."""
        return replace(self, cameras=tuple(camera.points(points) for camera in self.cameras))

    def rows(self, rows: slice) -> AlignmentEvidence:
        """Restrict the evidence to some rows."""
        values = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "cameras"}
        return AlignmentEvidence(cameras=tuple(camera.rows(rows) for camera in self.cameras), **values)


def alignment_rig(body: Body, surface: LandmarkSet) -> LandmarkRig:
    """Make a rig of the surface points, then the 33 landmarks, then all joints."""
    sets = (surface, body.landmarks("blazepose33"))
    names = tuple(name for points in sets for name in points.skeleton.joint_names)
    width = max(points.bone_indices.shape[1] for points in sets)

    def stacked(name: str) -> np.ndarray:
        parts = [getattr(points, name).detach().cpu().numpy() for points in sets]
        if name.startswith("bone"):
            parts = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
        return np.concatenate(parts)

    columns = {name: stacked(name) for name in ("template", "directions", "bone_indices", "bone_weights")}
    points = LandmarkArrays(Skeleton("alignment", names, ("",) * len(names)), **columns)
    return LandmarkRig(body, LandmarkSet(points), SMPL24.joint_names, free_columns=1)


def independent_counts(rig: LandmarkRig, points: slice, visible: Tensor, correlation: float) -> Tensor:
    """Estimate how many independent points each of some of the rig's points stands for.

    If errors on a part correlate by ρ, its n points are worth n / (1 + (n − 1) ρ): Kish's design effect.

    Args:
        rig: The rig.
        points: The points.
        visible: (N, K) 0 to 1. How much of each point is known.
        correlation: 0 to 1. ρ of points on the same part.

    Returns:
        (N, K).
    """
    parts = rig.weights[points].argmax(1)
    part_counts = visible.new_zeros(len(visible), rig.weights.shape[1]).index_add_(1, parts, visible)
    return visible / (1 + (part_counts[:, parts] - 1).clamp_min(0) * correlation)


class AlignmentProblem:
    """The rows of one track, without their accelerations. See the top of this file.

    Args:
        rig: The rig.
        evidence: The targets and the anchor.
        weights: The weights of the terms.
        prior: Penalises unusual poses. None: no prior. Joint limits always apply.
    """

    def __init__(
        self, rig: LandmarkRig, evidence: AlignmentEvidence, weights: AlignmentWeights, *, prior: JointPrior | None
    ) -> None:
        self.rig, self.evidence, self.weights, self.prior = rig, evidence, weights, prior
        self._surface = slice(0, rig.landmark_count - len(BLAZEPOSE33))
        self._robust = torch.full((rig.landmark_count,), ROBUST_2D, dtype=torch.float64)
        count = len(evidence)
        width = 3 * len(SMPL24)
        if not weights.anchor:
            self._anchor_slope = torch.zeros(count, width, dtype=torch.float64)
            return
        zeros = (torch.zeros(count, *shape, dtype=torch.float64) for shape in ((), (width,), (width, width)))
        at_anchor = NormalEquations(*zeros)
        add_pose_energy(at_anchor, evidence.rotations, AngleEnergy.of_visible(evidence.rotations, prior))
        self._anchor_slope = at_anchor.gradient  # (N, 72)

    def select(self, rows: slice) -> AlignmentProblem:
        """Restrict the problem to some rows."""
        part = copy(self)
        part.evidence, part._anchor_slope = self.evidence.rows(rows), self._anchor_slope[rows]
        return part

    def widened(self, factor: float) -> AlignmentProblem:
        """Multiply the robust scale of the surface points, but not of the keypoints."""
        problem = copy(self)
        problem._robust = self._robust.clone()
        problem._robust[self._surface] *= factor
        return problem

    def linearise_posed(self, state: FitState) -> tuple[NormalEquations, PosedRig]:
        """Compute the normal equations of every row over all parameters, and its joints with their Jacobian."""
        evidence = self.evidence
        count = self.rig.landmark_count
        pose = self.rig.pose(state.rotations, state.root, state.betas, evidence.segment_scales, jacobian=True)
        J = pose.jacobian
        assert J is not None
        use_root_steps(J, state.root)
        equations = NormalEquations.zeros(state.root, self.rig.parameter_count)
        for term in self._terms():
            op.add_term(equations, term, pose)
        if self.weights.anchor:
            self._add_anchor(equations, state.rotations)
            nearer = (state.root[:, 2:] / evidence.joints[:, :1, 2]).log()
            add_diagonal(equations, nearer, evidence.root_noise[:, None], _POSE - 1)
        add_pose_energy(equations, state.rotations, AngleEnergy.of_visible(state.rotations, self.prior))
        return equations, pose._replace(points=pose.points[:, count:], jacobian=J[:, :, count:])

    def _add_anchor(self, equations: NormalEquations, rotations: Tensor) -> None:
        """Add the distance from the anchor's rotations, and subtract the slope of the pose energy there, in place."""
        difference, jacobian = rotation_vector_jacobian(self.evidence.rotations.mT @ rotations)
        precision = self.evidence.rotation_noise[..., None] ** -2 * torch.ones_like(difference)
        precision[:, 0] = 0  # the pelvis turns freely
        precision = precision.flatten(1)
        difference = difference.flatten(1)
        equations.cost.add_(((0.5 * precision * difference - self._anchor_slope) * difference).sum(1))
        slope = precision * difference - self._anchor_slope
        add_joint_terms(equations, jacobian, slope, torch.diag_embed(precision))

    def _terms(self) -> list[Term]:
        """Compare the points in all cameras and, with an anchor, the joints' depths about the pelvis."""
        evidence, count = self.evidence, self.rig.landmark_count
        terms = []
        for camera in evidence.cameras:
            lens, target = (camera.focal, camera.centre), (camera.pixels, camera.weights)
            axes = camera.rotation, camera.translation
            terms.append(Term.seen(range(count), lens, target, camera.counts, self._robust, axes))
        if self.weights.anchor:
            joints = torch.arange(count, count + len(SMPL24), dtype=torch.int32)
            ends = torch.stack((joints, joints[:1].expand_as(joints)), 1)[1:]
            positions = evidence.joints[:, 1:] - evidence.joints[:, :1]
            weights = (positions.new_tensor((0, 0, 1)) / _DEPTH_NOISE).expand_as(positions)
            shares = positions.new_tensor((1, -1)).expand(ends.shape)
            terms.append(Term.between((ends, shares), positions, weights, QUADRATIC))
        return terms

    def common_shape(self, state: FitState) -> Tensor:
        """Solve betas (S,) that suit all rows: one Gauss-Newton step with the poses eliminated."""
        columns = slice(_POSE, _POSE + state.betas.shape[1])
        sigma = self.evidence.shape_noise[:, None].expand_as(state.betas)
        parts = []
        for start in range(0, len(self.evidence), _WINDOW):
            rows = slice(start, start + _WINDOW)
            part = self.select(rows)
            # Locked keypoints of a few frames do not decide about the shape of all.
            cameras = tuple(camera._replace(counts=camera.counts.clamp(max=1)) for camera in part.evidence.cameras)
            part.evidence = replace(part.evidence, cameras=cameras)
            equations, _ = part.linearise_posed(state.rows(rows))
            difference = (state.betas - self.evidence.betas)[rows]
            add_diagonal(equations, difference, sigma[rows], _POSE)
            parts.append(shape_evidence(equations, difference, torch.zeros_like(difference), sigma[rows], columns))
        group = torch.zeros(len(self.evidence), dtype=torch.int64)
        shapes, _ = common_shapes(parts, group, _SHAPE_EVIDENCE)
        return self.evidence.betas[0] + shapes[0]

    def longest_displacement(self, state: FitState) -> float:
        """Measure the 90th percentile of the distances of surface points from their targets, in noise levels."""
        distances = []
        for start in range(0, len(self.evidence), _WINDOW):
            rows = slice(start, start + _WINDOW)
            evidence = self.evidence.rows(rows)
            part = state.rows(rows)
            pose = self.rig.pose(part.rotations, part.root, part.betas, evidence.segment_scales)
            points = pose.points[:, self._surface]
            for camera in evidence.cameras:
                pixels = project(camera.moved(points), camera.focal, camera.centre)
                distance = (pixels - camera.pixels[:, self._surface]).norm(dim=-1) * camera.weights[:, self._surface]
                distances.append(distance[camera.counts[:, self._surface] > 0])
        noise_levels = torch.cat(distances)
        return float(np.quantile(noise_levels.numpy(), 0.9)) if len(noise_levels) else 0.0


def joint_motion(world_to_camera: Tensor, bend: Tensor, acceleration: float) -> ChainMotion:
    """Make the motion of rows whose joints accelerate little.

    Args:
        world_to_camera: (N, 4, 4).
        bend: (N - 2, 3). Weights of `second_differences`, zero for rows that are not consecutive.
        acceleration: Metres / second². The standard deviation.
    """
    joints = len(SMPL24)
    no_means = bend.new_zeros(0, joints)
    robust_scale = bend.new_full((len(bend), joints), _ROBUST_ACCELERATION)
    return ChainMotion.free(world_to_camera, bend / acceleration, no_means, geman_mcclure, robust_scale)


def solve_alignment(
    problem: AlignmentProblem, motion: ChainMotion, state: FitState, progress: Progress = no_progress
) -> FitState:
    """Find rotations, roots and the common shape of all rows, window by window, so that memory does not grow.

    Displacements with little noise look like outliers if the fit is far off. As in graduated non-convexity (Blake and
    Zisserman 1987), the first steps use a robust scale at which nearly all of them count.
    """
    widening = problem.longest_displacement(state) / ROBUST_2D
    while widening > _MAX_DISPLACEMENT:
        state = _solve_rows(problem.widened(widening), motion, state, _SCHEDULE_WIDENED)
        widening /= _NARROWING
    state = state._replace(betas=problem.common_shape(state).expand_as(state.betas))
    is_locked = any((camera.counts > 1).any() for camera in problem.evidence.cameras)
    return _solve_rows(problem, motion, state, _SCHEDULE_LOCKED if is_locked else _SCHEDULE, progress)


def _solve_rows(
    problem: AlignmentProblem,
    motion: ChainMotion,
    state: FitState,
    schedule: SolverOptions,
    progress: Progress = no_progress,
) -> FitState:
    """Find rotations and roots of all rows, with the shapes of the state."""
    chain = Chain(problem, motion)
    count = len(problem.evidence)
    for window in windows_of(count, _WINDOW, _MARGIN):
        part = minimise(chain.window(window), state.rows(window.rows), schedule)
        state = state.changed(part, window.rows.start)
        progress(window.stop, count, "frames aligned")
    return state
