"""Noise levels of the fit that refinement starts from, for each joint, from the fit's own evidence.

Fits of this program err by `USUAL_ERRORS`. How far another fit is off is estimated from the distances between its
landmarks and the
keypoints: errors δ_j ~ N(0, q_j a_j²) of the joints, with usual errors a_j, move the landmarks by J δ, and the
    keypoints have noise of
their own. The factors q_j maximise the evidence (automatic relevance determination; MacKay, Bayesian Interpolation,
1992):

    H = Jᵀ J + diag(1 / q_j a_j²)    δ = −H⁻¹ Jᵀ r    γ_j = 3 − trace (H⁻¹)_jj / q_j a_j²    q_j ← |δ_j|² / a_j² γ_j

with r the landmarks' distances and J in units of the keypoints' noise, and γ_j how many of a joint's three angles the
keypoints determine. A joint without keypoints has the factor of the track. A limb whose keypoints are far from it
becomes free. A fit of a measured method keeps a factor of 1 or more: one that was made from the keypoints follows them
whatever its errors are, and a network errs more in depth than across the view.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import joint_class
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising.op import QUADRATIC, Term
from humanpose_cli.fitting.residuals import FitState, geman_mcclure, use_root_steps, whitened_errors

USUAL_ERRORS = {
    "trunk": 0.16,
    "hip": 0.2,
    "knee": 0.24,
    "ankle": 0.2,
    "foot": 0.03,
    "collar": 0.15,
    "shoulder": 0.5,
    "elbow": 0.4,
    "wrist": 0.4,
    "hand": 0.6,
}
"""Class of joint to radians: σ about each axis of the errors of keypoint fits and of Neural Body Fitting's network. It
is 1.5 times the σ of the median error, because some limbs are far off (docs/research/refine.md)."""

_TRACK_WEIGHT = 0.1  # number of well determined angles that the prior of a track's factor is worth
_JOINT_WEIGHT = 4.0  # number of well determined angles that the prior of a joint's factor is worth
_MAX_FACTOR = 2.25  # of a joint; the factor of a track is 1 at most
_ITERATIONS = 8
ROBUST_2D = 3.0
"""Noise levels at which a displacement counts half as outlier."""
_ROOT_NOISE = 0.01  # of the depth, σ of the pelvis' depth of a usual fit
SHAPE_NOISE = 0.6
"""σ of the shape components of a usual fit."""


class AnchorNoise(NamedTuple):
    """σ of a fit's errors in N rows.

    Attributes:
        rotation: (N, 24) radians.
        root: (N,). Share of the depth.
        shape: (N,).
    """

    rotation: Tensor
    root: Tensor
    shape: Tensor


class CameraTargets(NamedTuple):
    """The targets of N rows in one camera; double.

    Attributes:
        rotation: (3, 3). Axes of the fit, which are the first camera's, to axes of this one.
        translation: (3,) metres.
        focal: (N,) pixels.
        centre: (N, 2) pixels.
        pixels: (N, M, 2) pixels of the frame.
        weights: (N, M) 1 / pixels. 1 / σ, zero for hidden points.
        counts: (N, M). How many independent points each stands for, because errors correlate on a part of the body.
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    centre: Tensor
    pixels: Tensor
    weights: Tensor
    counts: Tensor

    def rows(self, rows: slice) -> CameraTargets:
        """Restrict the targets to some rows."""
        return CameraTargets._make((self.rotation, self.translation, *(values[rows] for values in self[2:])))

    def points(self, points: Tensor) -> CameraTargets:
        """Restrict the targets to some points, (K,) of M."""
        columns = (values[:, points] for values in (self.pixels, self.weights, self.counts))
        return CameraTargets._make((*self[:4], *columns))

    def moved(self, points: Tensor) -> Tensor:
        """Transform points (N, M, 3) to this camera's axes."""
        return points @ self.rotation.mT + self.translation


def usual_errors() -> Tensor:
    """Return `USUAL_ERRORS` (24,) of each joint in radians."""
    return torch.tensor([USUAL_ERRORS[joint_class(name)] for name in SMPL24.joint_names], dtype=torch.float64)


def anchor_noise(
    rig: LandmarkRig, state: FitState, segment_scales: Tensor, keypoints: CameraTargets, *, measured: bool
) -> AnchorNoise:
    """Estimate the noise levels of the rows of one track.

    Args:
        rig: A rig whose last landmarks are the keypoints'.
        state: The fit.
        segment_scales: (N, 24). The fit's factors on the segments' sizes.
        keypoints: The keypoints.
        measured: Whether `USUAL_ERRORS` were measured for the method of the fit. Then no factor is below 1.
    """
    count = len(state.rotations)
    joints = len(SMPL24)
    points = slice(rig.landmark_count - keypoints.pixels.shape[1], rig.landmark_count)
    pose = rig.pose(state.rotations, state.root, state.betas, segment_scales, jacobian=True)
    assert pose.jacobian is not None
    root = 3 * joints
    use_root_steps(pose.jacobian, state.root)
    camera, target = (keypoints.focal, keypoints.centre), (keypoints.pixels, keypoints.weights)
    term = Term.seen(range(rig.landmark_count)[points], camera, target, keypoints.counts, QUADRATIC)
    residual, J = (values.flatten(1, 2) for values in whitened_errors(term, pose))
    J = J[..., : root + 3 + rig.shape_count]
    usual = usual_errors()
    root_and_shape = residual.new_tensor([1, 1, _ROOT_NOISE, *[SHAPE_NOISE] * rig.shape_count])
    track = 1.0
    factors = torch.ones(count, joints, dtype=torch.float64)
    trust = keypoints.counts
    for _ in range(_ITERATIONS):
        precision = torch.cat((factors.sqrt() * usual, (track**0.5 * root_and_shape).expand(count, -1)), 1) ** -2
        precision = torch.cat((precision[:, :joints].repeat_interleave(3, 1), precision[:, joints:]), 1)
        weighted_jacobian = J.mT * trust.repeat_interleave(2, 1)[:, None]
        inverse = torch.linalg.inv(weighted_jacobian @ J + torch.diag_embed(precision))
        step = -(inverse @ (weighted_jacobian @ residual[..., None])).squeeze(-1)
        spread = (inverse.diagonal(dim1=1, dim2=2) * precision)[:, :root].unflatten(1, (joints, 3)).sum(-1)
        certainty = (3 - spread).clamp_min(0)
        error = step[:, :root].unflatten(1, (joints, 3)).square().sum(-1) / usual.square()
        # Student's t about the track's factor, so that errors of few joints do not make the others free.
        weight = (_JOINT_WEIGHT + certainty) / (_JOINT_WEIGHT + error / track)
        track = float(
            ((weight * error).sum(1).mean() + _TRACK_WEIGHT) / ((weight * certainty).sum(1).mean() + _TRACK_WEIGHT)
        )
        if measured:
            track = max(track, 1.0)
        factors = (error + _JOINT_WEIGHT * track) / (certainty + _JOINT_WEIGHT)
        if measured:
            factors = factors.clamp_min(1)
        track = min(track, 1.0)
        factors = factors.clamp(max=_MAX_FACTOR)
        # Keypoints that no error of the fit explains are outliers.
        unexplained = (residual + (J @ step[..., None]).squeeze(-1)).unflatten(1, (-1, 2))
        _, slope = geman_mcclure(unexplained.square().sum(-1), ROBUST_2D)
        trust = keypoints.counts * slope
    scale = torch.full((count,), track**0.5, dtype=torch.float64)
    return AnchorNoise(factors.sqrt() * usual, scale * _ROOT_NOISE, scale * SHAPE_NOISE)
