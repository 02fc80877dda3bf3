"""How far off the fit that refinement starts from may be: a noise level for each joint, from the fit's own evidence.

Fits of this program err by `USUAL_ERRORS`. How far another fit is off is estimated from the distances between its
landmarks and the keypoints: errors δ_j ~ N(0, q_j a_j²) of the joints, with usual errors a_j, move the landmarks by
J δ, and the keypoints have noise of their own. The factors q_j maximise the evidence (automatic relevance
determination; MacKay, Bayesian Interpolation, 1992):

    H = Jᵀ J + diag(1 / q_j a_j²)    δ = −H⁻¹ Jᵀ r    γ_j = 3 − trace (H⁻¹)_jj / q_j a_j²    q_j ← |δ_j|² / a_j² γ_j

with r the landmarks' distances and J in units of the keypoints' noise, and γ_j how many of a joint's three angles the
keypoints determine. A joint that they say little of has the factor of the track; a limb whose keypoints are far from
it becomes free. A fit of a method that was measured keeps a factor of 1 or more: one that was made from the keypoints
follows them whatever its errors are, and a network errs more in depth than across the view.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import joint_class
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.residuals import FitState, geman_mcclure, projection_rows, root_columns

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
"""Class of joint → radians: σ of the errors about each axis of keypoint fits and of Neural Body Fitting's network; 1.5
times that of the median error, since some limbs are far off (tools/measure_refinement_noise.py).
"""

_TRACK = 0.1  # how many well determined angles the expectation that a track's fit is a usual one is worth
_JOINT = 4.0  # the same for a joint and its track
_LIMIT = 2.25  # on the factor of a joint; that of a track is 1 at most, of a usual fit
_ITERATIONS = 8
_QUADRATIC = 1e6  # noise levels: robust scale without any effect
ROBUST_2D = 3.0
"""Noise levels: a displacement of this size counts half as outlier."""
_ROOT_NOISE = 0.01  # of the depth: difference of the pelvis' depth from a usual fit's
SHAPE_NOISE = 0.6
"""Difference of a shape component from a usual fit's."""


class AnchorNoise(NamedTuple):
    """σ of a fit's errors in N rows: rotation (N, 24) radians, root (N,) share of the depth, shape (N,)."""

    rotation: Tensor
    root: Tensor
    shape: Tensor


class Keypoints(NamedTuple):
    """Of N rows of a track, double: pixels (N, L, 2), weights (N, L) = 1 / σ, counts (N, L) as in `AlignmentEvidence`;
    focal (N,), centre (N, 2).
    """

    pixels: Tensor
    weights: Tensor
    counts: Tensor
    focal: Tensor
    centre: Tensor


def usual_errors() -> Tensor:
    """Return (24,) `USUAL_ERRORS` of each joint."""
    return torch.tensor([USUAL_ERRORS[joint_class(name)] for name in SMPL24.joint_names], dtype=torch.float64)


def anchor_noise(
    rig: LandmarkRig,
    state: FitState,
    segment_scales: Tensor,
    keypoints: Keypoints,
    *,
    measured: bool,
) -> AnchorNoise:
    """Estimate the noise levels of the rows of one track.

    Args:
        rig: Its last landmarks are the keypoints'.
        measured: Whether the fit is of a method that `USUAL_ERRORS` were measured of: no factor is below 1.
    """
    count, joints = len(state.rotations), len(SMPL24)
    points = slice(rig.landmark_count - keypoints.pixels.shape[1], rig.landmark_count)
    pose = rig.pose(state.rotations, state.root, state.betas, segment_scales, jacobian=True)
    assert pose.jacobian is not None
    root = 3 * joints
    pose.jacobian[..., root : root + 3] = root_columns(state.root)[:, :, None]
    camera, target = (keypoints.focal, keypoints.centre), (keypoints.pixels, keypoints.weights)
    J = pose.jacobian[:, :, points, : root + 3 + rig.shape_count]
    rows = projection_rows(pose.points[:, points], J, camera, target, _QUADRATIC)
    usual = usual_errors()
    other = rows.residual.new_tensor([1, 1, _ROOT_NOISE, *[SHAPE_NOISE] * rig.shape_count])
    track, factors = 1.0, torch.ones(count, joints, dtype=torch.float64)
    trust = keypoints.counts
    for _ in range(_ITERATIONS):
        precision = torch.cat((factors.sqrt() * usual, (track**0.5 * other).expand(count, -1)), 1) ** -2
        precision = torch.cat((precision[:, :joints].repeat_interleave(3, 1), precision[:, joints:]), 1)
        weighted_jacobian = rows.jacobian.mT * trust.repeat(1, 2)[:, None]
        inverse = torch.linalg.inv(weighted_jacobian @ rows.jacobian + torch.diag_embed(precision))
        step = -(inverse @ (weighted_jacobian @ rows.residual[..., None])).squeeze(-1)
        spread = (inverse.diagonal(dim1=1, dim2=2) * precision)[:, :root].unflatten(1, (joints, 3)).sum(-1)
        certainty = (3 - spread).clamp_min(0)
        error = step[:, :root].unflatten(1, (joints, 3)).square().sum(-1) / usual.square()
        # Errors of few joints do not make the others free: these are Student's t about the track's factor.
        like = (_JOINT + certainty) / (_JOINT + error / track)
        track = float(((like * error).sum(1).mean() + _TRACK) / ((like * certainty).sum(1).mean() + _TRACK))
        if measured:
            track = max(track, 1.0)
        factors = (error + _JOINT * track) / (certainty + _JOINT)
        if measured:
            factors = factors.clamp_min(1)
        track, factors = min(track, 1.0), factors.clamp(max=_LIMIT)
        # Keypoints that no error of the fit explains are outliers.
        left = (rows.residual + (rows.jacobian @ step[..., None]).squeeze(-1)).unflatten(1, (2, -1))
        _, slope = geman_mcclure(left.square().sum(1), ROBUST_2D)
        trust = keypoints.counts * slope
    of_track = torch.full((count,), track**0.5, dtype=torch.float64)
    return AnchorNoise(factors.sqrt() * usual, of_track * _ROOT_NOISE, of_track * SHAPE_NOISE)
