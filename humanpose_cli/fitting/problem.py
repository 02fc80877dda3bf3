"""The keypoint fit as a least-squares problem: evidence per row, its terms, and their sum for the solver.

`shape_evidence` and `common_shapes` find one shape for all frames of a person from the equations of each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.observations import OtherView
from humanpose_cli.fitting.priors import default_prior
from humanpose_cli.fitting.residuals import FitState, add_diagonal, retract_state, use_root_steps
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.models.lifter.metric import LIFTED_JOINTS

Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def cat_rows(parts: Sequence[Tensors]) -> Tensors:
    """Concatenate the rows of several named tuples of tensors."""
    return type(parts[0])(*(torch.cat(column) for column in zip(*parts, strict=True)))


class ShapeEvidence(NamedTuple):
    """Each row's evidence of shape, and its shape prior.

    Attributes:
        precision: (N, S, S). The precision without the prior.
        pull: (N, S). Precision times mean, without the prior.
        mean: (N, S). The mean of the prior.
        sigma: (N, S). The standard deviation of the prior.
    """

    precision: Tensor
    pull: Tensor
    mean: Tensor
    sigma: Tensor


def shape_evidence(
    equations: NormalEquations, betas: Tensor, mean: Tensor, sigma: Tensor, columns: slice
) -> ShapeEvidence:
    """Eliminate all parameters except the shape from normal equations (Schur complement).

    Args:
        equations: The normal equations.
        betas: (N, S). The shape at which they are linearised, best near the minimum.
        mean: (N, S). The mean of the shape prior that they contain.
        sigma: (N, S). The standard deviation of that prior.
        columns: The columns of the shape.
    """
    H = equations.hessian
    g = equations.gradient
    eliminated = torch.ones(H.shape[-1], dtype=torch.bool)
    eliminated[columns] = False
    coupling = H[:, eliminated, columns]
    # A tiny ridge, because parameters without constraints make the block singular.
    ridge = 1e-9 * H.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    block = H[:, eliminated][:, :, eliminated] + ridge * torch.eye(int(eliminated.sum()), dtype=H.dtype)
    right = torch.cat((coupling, g[:, eliminated, None]), -1)
    elimination = coupling.mT @ torch.linalg.solve(block, right)
    # The prior is in the equations already, and is added once for all rows in `common_shapes`.
    prior = sigma**-2
    precision = H[:, columns, columns] - elimination[..., :-1] - torch.diag_embed(prior)
    slope = g[:, columns] - elimination[..., -1] - prior * (betas - mean)
    return ShapeEvidence(precision, (precision @ betas[..., None]).squeeze(-1) - slope, mean, sigma)


def common_shapes(parts: Sequence[ShapeEvidence], groups: Tensor, max_rows: int) -> tuple[Tensor, Tensor]:
    """Find the betas that the rows of a group share.

    Args:
        parts: The evidence of N rows together. Rows of a group have the same prior.
        groups: (N,) int64. The group of each row.
        max_rows: The maximum number of rows that count as independent evidence.

    Returns:
        (N, S), and whether each row's group has further rows (N,).
    """
    evidence = cat_rows(parts)
    _, member, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    width = evidence.pull.shape[-1]
    precision = evidence.precision.new_zeros(count, width, width).index_add_(0, member, evidence.precision)
    pull = evidence.pull.new_zeros(count, width).index_add_(0, member, evidence.pull)
    # Errors of neighbouring frames correlate. Without a bound, the detector's bias in a long sequence would outvote the
    # prior.
    share = (max_rows / sizes).clamp(max=1).to(pull.dtype)
    first = torch.full((count,), len(member)).scatter_reduce(0, member, torch.arange(len(member)), "amin")
    prior = evidence.sigma[first] ** -2
    total = share[:, None, None] * precision + torch.diag_embed(prior)
    betas = torch.linalg.solve(total, share[:, None] * pull + prior * evidence.mean[first])
    return betas[member], sizes[member] > 1


Bone = tuple[tuple[str, ...], tuple[str, ...]]  # ends, starts: each the mean of some points

# Bones by which world landmarks are compared: (ends, starts), each the mean of some landmarks.
_SIDE_BONES = (
    (("shoulder",), ("hip",)),
    (("elbow",), ("shoulder",)),
    (("wrist",), ("elbow",)),
    (("index", "pinky"), ("wrist",)),
    (("knee",), ("hip",)),
    (("ankle",), ("knee",)),
    (("foot_index",), ("ankle",)),
    (("foot_index",), ("heel",)),
)
_ACROSS = ("shoulder", "hip", "ear")
_MIDDLE = ((("nose",), ("left_ear", "right_ear")), (("left_ear", "right_ear"), ("left_shoulder", "right_shoulder")))
# Lines between joints that are upright in a standing person: the trunk, and from the feet to the hips.
_UPRIGHT = ((("neck",), ("pelvis",)), (("left_hip", "right_hip"), ("left_ankle", "right_ankle")))
UPRIGHT_JOINTS = tuple(dict.fromkeys(name for bone in _UPRIGHT for ends in bone for name in ends))
PREDICTED_JOINTS = LIFTED_JOINTS
"""Joints whose positions about the pelvis are compared with the predictions of a body network or the lifter."""


def bone_names(skeleton: Skeleton) -> tuple[Bone, ...]:
    """List the (ends, starts) of the bones for which a skeleton has all landmarks."""
    bones: list[Bone] = []
    for ends, starts in _SIDE_BONES:
        for side in ("left", "right"):
            bones.append((tuple(f"{side}_{name}" for name in ends), tuple(f"{side}_{name}" for name in starts)))
    bones += [((f"left_{name}",), (f"right_{name}",)) for name in _ACROSS]
    bones += _MIDDLE
    return tuple(bone for bone in bones if all(name in skeleton for ends in bone for name in ends))


@lru_cache(maxsize=64)
def combination(names: tuple[str, ...], bones: tuple[Bone, ...]) -> Tensor:
    """Make the matrix (B, L) that maps points with these names to the bones' vectors; it is not to be changed."""
    matrix = torch.zeros(len(bones), len(names), dtype=torch.float64)
    for row, (ends, starts) in enumerate(bones):
        for sign, group in ((1, ends), (-1, starts)):
            for name in group:
                matrix[row, names.index(name)] += sign / len(group)
    return matrix


_MAX_ENDS = 4  # landmarks of a bone


@lru_cache(maxsize=64)
def bone_ends(names: tuple[str, ...], bones: tuple[Bone, ...], first: int = 0) -> tuple[Tensor, Tensor]:
    """Return the points (B, E) int32 of bones, numbered from `first` on, and what each is multiplied with (B, E)."""
    matrix = combination(names, bones)
    columns = matrix.abs().topk(min(_MAX_ENDS, len(names))).indices
    return (first + columns).int(), matrix.gather(1, columns)


@dataclass(frozen=True)
class FitEvidence:
    """Evidence of N rows as the solver compares it with a body: values and 1 / σ, double.

    `evidence.gather_evidence` makes it from `KeypointObservations`, and `KeypointProblem` reads it.

    Attributes:
        pixels: (N, L, 2) pixels. The landmarks.
        pixel_weights: (N, L) 1 / pixels. 1 / σ.
        counts: (N, L). How many independent points each landmark stands for.
        focal: (N,) pixels.
        centre: (N, 2) pixels. The principal points.
        bones: (N, B, 3). The bones of world landmarks in axes of the viewing ray.
        bone_weights: (N, B, 3). 1 / σ.
        to_ray: (N, 3, 3). Camera axes to axes of the viewing ray.
        upright: (N, 2). 1 / σ of the two leans.
        positions: (N, K, 3) metres. Predicted positions of PREDICTED_JOINTS about the pelvis, in axes of the viewing
            ray. K is 0 without a prediction.
        position_weights: (N, K, 3) 1 / metres. 1 / σ.
        confidence: (N, L). The confidence of the landmarks, zero for landmarks that are not used.
        shape: (N, S). Predicted betas.
        shape_sigma: (N, S). Their σ, infinite without a prediction.
        fallback: (N, 24, 3) radians. The angles of hidden limbs.
        fallback_weights: (N, 24). 1 / σ.
        betas: (N, S). The mean of the shape prior.
        beta_sigma: (N, S). The standard deviation of the shape prior.
        views: The landmarks before further cameras at the same moments, the same number for all rows.
    """

    pixels: Tensor
    pixel_weights: Tensor
    counts: Tensor
    focal: Tensor
    centre: Tensor
    bones: Tensor
    bone_weights: Tensor
    to_ray: Tensor
    upright: Tensor
    positions: Tensor
    position_weights: Tensor
    confidence: Tensor
    shape: Tensor
    shape_sigma: Tensor
    fallback: Tensor
    fallback_weights: Tensor
    betas: Tensor
    beta_sigma: Tensor
    views: tuple[OtherView, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, index: Tensor | slice) -> FitEvidence:
        """Restrict the evidence to some rows."""
        return FitEvidence.of_columns([column[index] for column in self.columns()])

    def columns(self) -> list[Tensor]:
        """List all tensors, with the views' tensors at the end. See `of_columns`."""
        columns = [getattr(self, f.name) for f in fields(self) if f.name != "views"]
        return columns + [column for view in self.views for column in view]

    @classmethod
    def of_columns(cls, columns: Sequence[Tensor]) -> FitEvidence:
        """Make the evidence from the tensors that `columns` returned."""
        count = len(fields(cls)) - 1
        size = len(OtherView._fields)
        views = tuple(OtherView._make(columns[first : first + size]) for first in range(count, len(columns), size))
        names = (f.name for f in fields(cls))  # `views` is the last one
        return cls(**dict(zip(names, columns[:count], strict=False)), views=views)

    @classmethod
    def joined(cls, parts: Sequence[FitEvidence]) -> FitEvidence:
        """Concatenate the rows of several parts."""
        return cls.of_columns([torch.cat(same) for same in zip(*(part.columns() for part in parts), strict=True)])


ROBUST = 3.0  # noise levels at which a landmark, a bone or a predicted joint counts half as outlier
ROBUST_LEAN = 2.0  # noise levels beyond which a lean is accepted as real
SCALE_NOISE = 0.1  # natural logarithm of the scale of world landmarks against the body


class KeypointProblem:
    """The terms of the keypoint fit for the rows of `evidence`. A `LeastSquaresProblem`."""

    def __init__(self, rig: LandmarkRig, evidence: FitEvidence) -> None:
        self.rig, self.evidence = rig, evidence
        self.parameters = rig.parameter_count
        self._first_beta = 3 * len(rig.parents) + 3

    @cached_property
    def _terms(self) -> list[Term]:
        """The landmarks in all cameras, how upright a standing body is, and predicted joints about the pelvis."""
        rig, evidence = self.rig, self.evidence
        landmarks = range(rig.landmark_count)
        camera, weights = (evidence.focal, evidence.centre), evidence.pixel_weights / evidence.counts.sqrt()
        terms = [Term.seen(landmarks, camera, (evidence.pixels, weights), evidence.counts, ROBUST)]
        for view in evidence.views:
            camera, target = (view.focal, view.principal_point), (view.keypoints, view.weights)
            axes = view.rotation, view.translation
            terms.append(Term.seen(landmarks, camera, target, torch.ones_like(view.weights), ROBUST, axes))
        lean = evidence.upright[..., None]
        upright = bone_ends(rig.joint_points, _UPRIGHT, rig.landmark_count)
        terms.append(Term.between(upright, torch.zeros_like(lean), lean, ROBUST_LEAN))
        if count := evidence.positions.shape[1]:
            about_pelvis: tuple[Bone, ...] = tuple(((name,), ("pelvis",)) for name in PREDICTED_JOINTS[:count])
            ends = bone_ends(rig.joint_points, about_pelvis, rig.landmark_count)
            terms.append(Term.between(ends, evidence.positions, evidence.position_weights, ROBUST, evidence.to_ray))
        return terms

    @cached_property
    def _bones(self) -> Term:
        """Vectors between world landmarks in axes of the viewing ray, up to their scale."""
        evidence, skeleton = self.evidence, self.rig.landmark_skeleton
        ends = bone_ends(skeleton.joint_names, bone_names(skeleton))
        return Term.between(ends, evidence.bones, evidence.bone_weights, ROBUST, evidence.to_ray)

    @cached_property
    def _pose_energy(self) -> AngleEnergy:
        """Pose prior, joint limits and the fallback of hidden limbs, which are energies of anatomical angles."""
        return AngleEnergy(self.evidence.fallback.contiguous(), self.evidence.fallback_weights, default_prior())

    @cached_property
    def _shape_term(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard deviation of shape and scale, by their prior and the prediction, and its least cost."""
        evidence = self.evidence
        scale = torch.full_like(evidence.betas[:, :1], SCALE_NOISE)
        precisions = [
            torch.cat((evidence.beta_sigma, scale), 1) ** -2,
            torch.nn.functional.pad(evidence.shape_sigma**-2, (0, 1)),
        ]
        means = [torch.nn.functional.pad(mean, (0, 1)) for mean in (evidence.betas, evidence.shape)]
        precision = precisions[0] + precisions[1]
        mean = (precisions[0] * means[0] + precisions[1] * means[1]) / precision
        costs = [0.5 * (p * (m - mean).square()).sum(-1) for p, m in zip(precisions, means, strict=True)]
        return mean, precision**-0.5, costs[0] + costs[1]

    def select(self, rows: Tensor | slice) -> KeypointProblem:
        """Restrict the problem to some rows."""
        return self.with_evidence(self.evidence.rows(rows))

    def with_evidence(self, evidence: FitEvidence) -> KeypointProblem:
        """Return the problem with other evidence."""
        return KeypointProblem(self.rig, evidence)

    def retract(self, state: FitState, step: Tensor) -> FitState:
        """Return the state after a step; see `retract_state`."""
        return retract_state(state, step)

    def linearise(self, state: FitState) -> NormalEquations:
        """Compute robust cost and normal equations over 72 rotation, 3 root, S shape and 1 scale parameter.

        The rig needs one free column for the scale.
        """
        return self.linearise_posed(state)[0]

    def linearise_posed(self, state: FitState) -> tuple[NormalEquations, PosedRig]:
        """Compute the normal equations, and the points that they come from with their Jacobian by the parameters."""
        posed_rig = self.rig.pose(state.rotations, state.root, state.betas, jacobian=True)
        assert posed_rig.jacobian is not None
        use_root_steps(posed_rig.jacobian, state.root)
        equations = NormalEquations.zeros(state.root, self.parameters)
        for term in self._terms:
            op.add_term(equations, term, posed_rig)
        op.add_term(equations, self._bones, posed_rig, state.log_scale)
        op.add_angles(equations, state.rotations, self._pose_energy)
        mean, sigma, cost = self._shape_term
        add_diagonal(equations, torch.cat((state.betas, state.log_scale), 1) - mean, sigma, self._first_beta)
        equations.cost.add_(cost)
        return equations, posed_rig
