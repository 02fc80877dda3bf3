"""Confidence of joints and people: the probability that a fitted joint is right.

A joint is right if it is within 10 cm of the true one when the pelvises are aligned. The probability is a logistic
regression on the logarithms of three noise levels, which `tools/build_confidence.py` fits on rendered crowds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS, SMPL24, Skeleton
from humanpose_cli.fitting.evidence import joint_evidence, landmark_variance
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.solver import NormalEquations

MIN_NOISE, MAX_NOISE = 0.003, 0.5  # metres; noise is clipped to this range, whose end stands for hidden landmarks


class JointNoise(NamedTuple):
    """Noise levels of the 24 joints of N people. NaN if unknown.

    Attributes:
        posterior: (N, 24) metres. The joint about the pelvis, from the fit's equations or a network's prediction.
        landmarks: (N, 24) metres. The least certain of the landmarks that locate the joint.
        depth: (N, 24) metres. The positions of these landmarks in space over the detector's passes.
    """

    posterior: Tensor
    landmarks: Tensor
    depth: Tensor


# Log odds of a joint to be right, printed by tools/build_confidence.py: the slope by the logarithm of each noise level,
# the level that replaces an unknown one, and the log odds at a noise of 1 m in all three.
_SLOPES = (1.30, 0.25, 0.63)
_USUAL = (0.030, 0.036, 0.040)
_BASE = {
    "pelvis": -5.5,
    "hip": -5.5,
    "knee": -7.2,
    "ankle": -8.0,
    "foot": -7.9,
    "spine1": -5.3,
    "spine2": -5.1,
    "spine3": -6.1,
    "neck": -7.4,
    "head": -7.4,
    "collar": -7.1,
    "shoulder": -7.0,
    "elbow": -7.1,
    "wrist": -7.4,
    "hand": -7.2,
}
_PREDICTION_FACTOR = 3.0  # noise predicted by a network over the fit's posterior, for joints that are right as often


def probability_right(noise: JointNoise) -> Tensor:
    """Compute the probability (N, 24) that a joint is within 10 cm of the true one."""
    logits = torch.tensor([_BASE[name.split("_")[-1]] for name in SMPL24.joint_names], dtype=torch.float64)
    for slope, usual, values in zip(_SLOPES, _USUAL, noise, strict=True):
        level = torch.where(values.isnan(), usual, values.double()).clamp(MIN_NOISE, MAX_NOISE)
        logits = logits - slope * level.log()
    return torch.sigmoid(logits)


def person_confidence(joints: Tensor) -> Tensor:
    """Average the confidence of joints (N, 24) over shoulders, elbows, wrists, hips, knees and ankles: (N,)."""
    return joints[:, SMPL24.indices(LIMB_JOINTS)].mean(-1)


def posterior_noise(equations: NormalEquations, rig: LandmarkRig, state: FitState) -> Tensor:
    """Compute the standard deviation of each joint about the pelvis, over all axes together.

    The inverse of the Gauss-Newton matrix at the minimum is the covariance of the parameters (Laplace's approximation).

    Args:
        equations: The equations of the fit at `state`, over the parameters of `rig`.
        rig: A rig whose points end with all joints of SMPL24.
        state: The solution.

    Returns:
        (N, 24) metres. Infinite if the equations are singular.
    """
    jacobian = rig.pose(state.rotations, state.root, state.betas, jacobian=True).jacobian
    assert jacobian is not None
    joints = jacobian[:, :, -len(SMPL24) :]
    about_pelvis = (joints - joints[:, :, [SMPL24.index("pelvis")]]).flatten(1, 2)  # (N, 72, P)
    diagonal = equations.hessian.diagonal(dim1=-2, dim2=-1)
    # A tiny ridge, because parameters without constraints, such as the scale without world landmarks, are singular.
    factor, info = torch.linalg.cholesky_ex(
        equations.hessian + torch.diag_embed(1e-9 * diagonal.amax(-1, keepdim=True).expand_as(diagonal) + 1e-12)
    )
    factor = torch.where((info == 0)[:, None, None], factor, torch.eye(factor.shape[-1], dtype=factor.dtype))
    half = torch.linalg.solve_triangular(factor, about_pelvis.mT, upper=False)
    deviation = half.square().sum(1).unflatten(-1, (3, len(SMPL24))).sum(1).sqrt()
    return torch.where((info == 0)[:, None], deviation, torch.inf)


def noise_of_joints(skeleton: Skeleton, noise: Tensor) -> Tensor:
    """Find the noise (N, 24) of each joint's least certain witness from landmarks (N, L). Infinite without any."""
    return 1 / joint_evidence(skeleton, 1 / noise.clamp_min(1e-9))


def explained_confidence(
    confidence: Tensor, apart: Tensor, depth: Tensor, focal: Tensor, predicted_noise: Tensor | None = None
) -> Tensor:
    """Compute the confidence of bodies that were not fitted to the detected landmarks.

    Args:
        confidence: (N, 33) 0 to 1. The confidence of the landmarks.
        apart: (N, 33) pixels. The distance between landmarks and projected body, which counts as noise.
        depth: (N, 33) or (N, 1) metres. The depth of the body.
        focal: (N, 1) pixels.
        predicted_noise: (N, 24, 2) metres. The expected absolute error of each joint across and along the viewing ray.

    Returns:
        (N, 24) 0 to 1.
    """
    sigma = landmark_variance(BLAZEPOSE33, confidence.clamp(0, 1).double()).sqrt()
    away = noise_of_joints(BLAZEPOSE33, (apart * depth / focal).double().clamp_min(1e-9))
    spread = torch.full_like(away, _USUAL[0])
    if predicted_noise is not None:
        # Mean absolute errors, across in a plane's two axes together and along the ray, as σ of three axes.
        across, along = (predicted_noise.double() / _PREDICTION_FACTOR).unbind(-1)
        spread = (2 * (0.8 * across).square() + (1.25 * along).square()).sqrt()
    posterior = (away.square() + spread.square()).sqrt()
    landmarks = noise_of_joints(BLAZEPOSE33, sigma)
    visible = (confidence > 0).any(-1, keepdim=True)
    noise = JointNoise(posterior, landmarks, torch.full_like(landmarks, torch.nan))
    return torch.where(visible, probability_right(noise), 0.0)
