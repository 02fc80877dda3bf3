"""Deformable registration of bodies to image-surface correspondences and 2-D keypoints, for many images at once.

After Yoshiyasu and Gamez, "Learning Body Shape and Pose from Dense Correspondences", section 4, equations 2 to 4:

    L = w_dense L_dense + w_KP L_KP + w_scale L_scale + w_joint L_joint + w_det L_det

minimised by Adam for θ = [a, S, R, s, t] (`body.scaled_body`). Image coordinates are normalised, so that the same
weights suit every image: the longer side of the person's box takes the share `inputs.FILL` of the crop.
For each image,

    L_dense = Σ_i c_i ρ(|p_i − x_i|) / Σ_i c_i            p_i pixels with correspondences, c_i confidence
    L_KP    = Σ_j c_j (|x_j − x̄_j|² + w_z (z_j − z̄_j)²)    z_j and z̄_j from the joints' weighted mean

The paper writes sums and speaks of mean squared errors. The mean over the correspondences makes the loss independent of
their number. The sum over the joints gives depths enough weight: with a mean, bodies with known true depths were
twice as far from the truth. Depths count from the joints' mean, since a weak-perspective camera does not
determine where a person is along its axis.

The paper has ρ(r) = r², w_dense = 1000 and w_z = 1 (`paper=True`). A body that has scales but no shape never
matches its correspondences exactly, and the weight 1000 lets them overrule exact keypoints. The defaults are
ρ(r) = r² / (1 + r²/σ²) of Geman and McClure, for which a limb that is mistaken for another is an outlier, a smaller
w_dense, and a smaller w_z if there are correspondences, since they also determine how limbs are turned, more reliably
than the lifter. docs/research/deform-and-learn.md shows the effect of each.

The other terms are defined in a supplement that is not public; these are our own:

    L_scale = Σ_(p,c) (s_c − s_p)² / 23 + Σ_(l,r) (s_l − s_r)² / 9 + (mean_j s_j − 1)²
        over the 23 bones and 9 pairs. Neighbours get similar scales (the paper: "segment scaling smoothness"), left and
        right even more so, since often only one is visible. The mean removes the ambiguity between S and the camera's
        s.
    L_joint = Σ_j |a_j|² / 23 + 1000 Σ_j |excess of j's angles over their anatomical ranges|² / 23
        The first part makes the body stiff if its weight is 1. At 0.001 it only settles what no other term determines,
        such as the twist of a limb whose image is a line. The second keeps knees and elbows from bending backwards:
        1000 makes it as strong as a keypoint in later rounds.
    L_det   = max(0, 1 − det M)², M being the matrix before its Gram-Schmidt normalisation
        The image of a reflected body is the image of the body from the other side, so no other term forbids it.
        Normalisation ignores lengths, so the margin of 1 costs nothing and keeps M far from singular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, gram_schmidt, in_image
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.similarity import fit_similarity

LARGEST_SCALE = 2.0
"""Registrations with segment scales above it, or below its inverse, are rejected."""

_LARGEST_BEND = 1.0  # radians beyond a joint's range: more is rejected
_LARGEST_ERROR = 0.1  # normalised units; of keypoints the root mean square, of correspondences the median or that
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "left_collar", "right_collar", "left_hip", "right_hip")
_PELVIS = SMPL24.index("pelvis")
_LIMITS = 1000.0  # how much more a radian beyond a joint's range costs than a radian within
_BETAS = (0.9, 0.999)  # of Adam
_TINY = 1e-8
_REFINEMENT_STEPS, _REFINEMENT_RATE = 120, 0.03  # of Adam; a prediction is nearer to the truth than other starts


class RegistrationWeights(NamedTuple):
    """Weights of equation 2.

    Attributes:
        dense: Weight of the correspondences.
        outlier: Normalised units. Distance above which a correspondence counts as an outlier, σ of Geman and McClure. 0
            means squared distances without a bound.
        depths: Weight of the keypoints' depths, times `keypoints`, for people with correspondences; for others it is 1.
        keypoints: Weight of the keypoints.
        scale: Weight of the segments' scales.
        joint: Weight of the joints' rotations.
        determinant: Weight of the determinants.
    """

    dense: float = 60.0
    outlier: float = 0.1
    depths: float = 0.3
    keypoints: float = 1.0
    scale: float = 10.0
    joint: float = 0.001
    determinant: float = 1.0

    @property
    def stiffer(self) -> RegistrationWeights:
        """These weights with the paper's scale and joint of the first round, for finding the global orientation."""
        return self._replace(scale=100.0, joint=1.0)


ROBUST_WEIGHTS = RegistrationWeights()
PAPER_WEIGHTS = RegistrationWeights(dense=1000.0, outlier=0.0, depths=1.0)


@dataclass(frozen=True)
class RegistrationOptions(Options):
    """Weights of equation 2, and the schedule.

    `paper` sets the paper's weights, but not its schedule, which is `stiff` 1 and `falling` 0.
    """

    paper: bool = option(
        False,
        "Use the paper's term for correspondences: squared distances with the weight 1000; depths have the weight 1.",
    )
    learning_rate: float = option(0.1, "Learning rate of Adam.", above=0)
    steps: int = option(200, "Steps of Adam.", minimum=1)
    stiff: float = option(
        0.5,
        "Fraction of the steps, from the first on, that move a T-pose with the paper's weights of the first round (1 "
        "in the paper).",
        minimum=0,
        maximum=1,
    )
    falling: float = option(
        0.5,
        "Fraction of the steps, up to the last, in which the learning rate falls to zero along half a cosine (0 in the"
        " paper).",
        minimum=0,
        maximum=1,
    )

    @property
    def weights(self) -> RegistrationWeights:
        """The weights of equation 2."""
        return PAPER_WEIGHTS if self.paper else ROBUST_WEIGHTS


@dataclass(frozen=True, eq=False)
class RegistrationEvidence:
    """The evidence in B images of one person each, in normalised image units. Confidence 0 means unknown.

    Attributes:
        joints: (J, 96) float. Rows of the keypoints' points (`ScaledBody.landmarks`).
        keypoints: (B, J, 2) float. x right, y down.
        confidence: (B, J) float, 0 to 1. The keypoints' confidence.
        points: (B, N, 2) float. Pixels with correspondences; N may be 0.
        point_rows: (B, N, 96) float. Their points of the surface.
        point_confidence: (B, N) float, 0 to 1. Their confidence.
        depths: (B, J) float. The keypoints' depths, away from the camera, from any origin.
    """

    joints: Tensor
    keypoints: Tensor
    confidence: Tensor
    points: Tensor
    point_rows: Tensor
    point_confidence: Tensor
    depths: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.confidence)


class Registration(NamedTuple):
    """B registered bodies.

    Attributes:
        pose: The bodies.
        dense_error: (B,) float, normalised units. The median distance of the correspondences, or the root mean square
            if squares were fitted; 0 without correspondences.
        keypoint_error: (B,) float, normalised units. The root mean square distance of the keypoints.
        accepted: (B,) bool. Whether a network may learn from it.
    """

    pose: ScaledPose
    dense_error: Tensor
    keypoint_error: Tensor
    accepted: Tensor


def register(
    body: ScaledBody,
    evidence: RegistrationEvidence,
    start: ScaledPose | None = None,
    options: RegistrationOptions | None = None,
) -> Registration:
    """Register a body to each image; images do not influence each other.

    Args:
        body: The body.
        evidence: The evidence in the images.
        start: The initial poses, such as a network's predictions. None starts with T poses from `initial_pose`, which
            are stiff at first.
        options: The options. None means the defaults.
    """
    settings = options or RegistrationOptions()
    vector = (start or initial_pose(body, evidence)).vector.detach().clone()
    mean, square = torch.zeros_like(vector), torch.zeros_like(vector)
    for step in range(1, settings.steps + 1):
        is_stiff = start is None and step <= settings.stiff * settings.steps
        weights = settings.weights.stiffer if is_stiff else settings.weights
        with torch.enable_grad():
            variable = vector.detach().requires_grad_()
            loss = registration_loss(body, evidence, ScaledPose.from_vector(variable), weights).sum()
            (gradient,) = torch.autograd.grad(loss, variable)
        # Adam (Kingma & Ba 2015). torch.optim loads torch's compiler first, which takes longer than a batch.
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square(), 1 - _BETAS[1])
        rate = settings.learning_rate * _rate_factor(step / settings.steps, settings.falling) / (1 - _BETAS[0] ** step)
        vector.addcdiv_(mean, (square / (1 - _BETAS[1] ** step)).sqrt_().add_(_TINY), value=-rate)
    with torch.no_grad():
        return _assess(body, evidence, ScaledPose.from_vector(vector), settings)


def refine_predictions(body: ScaledBody, pose: ScaledPose, landmarks: Tensor) -> ScaledPose:
    """Register a network's B bodies to the detector's landmarks in their crops, the refinement of section 6.2.

    The landmarks get the depths of the predicted bodies. A rejected registration leaves its prediction unchanged.

    Args:
        body: The body.
        pose: The predictions.
        landmarks: (B, 33, 3) float. x, y in image units and confidence of BLAZEPOSE33, 0 or NaN if unknown.
    """
    rows = body.landmarks(BLAZEPOSE33.name)
    landmarks = torch.where(landmarks.isfinite().all(-1, keepdim=True), landmarks, 0.0).to(pose.scale)
    no_points = landmarks[:, :0]
    evidence = RegistrationEvidence(
        joints=rows,
        keypoints=landmarks[..., :2],
        confidence=landmarks[..., 2].clamp(0, 1),
        points=no_points[..., :2],
        point_rows=rows.new_zeros(len(landmarks), 0, rows.shape[1]),
        point_confidence=no_points[..., 2],
        depths=in_image(body.points(pose, rows), pose)[..., 2],
    )
    registration = register(
        body, evidence, pose, RegistrationOptions(steps=_REFINEMENT_STEPS, learning_rate=_REFINEMENT_RATE)
    )
    refined = torch.where(registration.accepted[:, None], registration.pose.vector, pose.vector)
    return ScaledPose.from_vector(refined)


def _rate_factor(progress: float, share: float) -> float:
    """Return 1, and in the last `share` of the steps half a cosine down to 0; `progress` is 0 to 1."""
    part = (progress - 1 + share) / share if share else 0.0
    return 0.5 + 0.5 * math.cos(math.pi * max(part, 0.0))


def registration_loss(
    body: ScaledBody, evidence: RegistrationEvidence, pose: ScaledPose, weights: RegistrationWeights
) -> Tensor:
    """Compute equation 2 of each image, (B,)."""
    squares, flat, deep = _distances(body, evidence, pose)
    robust = squares / (1 + squares / weights.outlier**2) if weights.outlier else squares
    depth_weight = torch.where((evidence.point_confidence > 0).any(1), weights.depths, 1.0)
    return (
        weights.dense * _mean_of_points(robust, evidence)
        + weights.keypoints * (flat + depth_weight * deep)
        + weights.scale * scale_loss(pose.segment_scales)
        + weights.joint * joint_loss(pose)
        + weights.determinant * determinant_loss(pose.orientation)
    )


def scale_loss(segment_scales: Tensor) -> Tensor:
    """Compute L_scale (B,) of segment scales (B, 24)."""
    children, parents, left, right = _relations(segment_scales.device)
    bones = (segment_scales[:, children] - segment_scales[:, parents]).square().mean(1)
    sides = (segment_scales[:, left] - segment_scales[:, right]).square().mean(1)
    return bones + sides + (segment_scales.mean(1) - 1).square()


def joint_loss(pose: ScaledPose) -> Tensor:
    """Compute L_joint (B,)."""
    joints = pose.axis_angles.shape[1]
    excess = limit_excess(rotations_to_angles(pose.rotations))[:, 1:].to(pose.scale)
    return (pose.axis_angles.square().sum((1, 2)) + _LIMITS * excess.square().sum((1, 2))) / joints


def determinant_loss(orientation: Tensor) -> Tensor:
    """Compute L_det (B,) of orientations (B, 9)."""
    return (1 - torch.linalg.det(orientation.unflatten(1, (3, 3)))).clamp_min(0).square()


def initial_pose(body: ScaledBody, evidence: RegistrationEvidence) -> ScaledPose:
    """Place T poses with their trunks on the trunks in the images, in closed form.

    It is the similarity of the trunk's keypoints with their depths.

    Args:
        body: The body.
        evidence: The evidence in the images.
    """
    batch = len(evidence)
    at_rest = ScaledPose.t_pose(1, device=evidence.keypoints.device)
    joints = body.points(at_rest, evidence.joints).expand(batch, -1, -1)
    weights = evidence.confidence * _trunk_share(evidence.joints)
    positions = torch.cat((evidence.keypoints, evidence.depths[..., None]), 2)
    scale, turn, _ = fit_similarity(joints, positions, weights)
    scale = scale.clamp_min(0.05)
    start = ScaledPose.t_pose(batch, device=scale.device)
    upright = gram_schmidt(start.orientation)
    trunk = scale[:, None, None] * (joints @ turn.mT)[..., :2]
    total = weights.sum(1).clamp_min(_TINY)[:, None]
    translation = (weights[..., None] * (evidence.keypoints - trunk)).sum(1) / total
    return start._replace(orientation=(turn @ upright).flatten(1), scale=scale, translation=translation)


def _trunk_share(rows: Tensor) -> Tensor:
    """Return the trunk's share (...) of the skinning weights of points (..., 96)."""
    return rows.unflatten(-1, (len(SMPL24), 4))[..., SMPL24.indices(_TRUNK), 3].sum(-1)


def _distances(body: ScaledBody, evidence: RegistrationEvidence, pose: ScaledPose) -> tuple[Tensor, Tensor, Tensor]:
    """Compute squared distances (B, N) of the points, and the two parts of L_KP (B,), in the image and in depth."""
    bones = body.bones(pose)
    points = in_image(evidence.point_rows @ bones, pose)[..., :2]
    joints = in_image(evidence.joints @ bones, pose)
    weight = evidence.confidence / evidence.confidence.sum(1, keepdim=True).clamp_min(_TINY)
    dense = (points - evidence.points).square().sum(-1)
    flat = (evidence.confidence * (joints[..., :2] - evidence.keypoints).square().sum(-1)).sum(1)
    offsets = joints[..., 2] - evidence.depths
    offsets = offsets - (weight * offsets).sum(1, keepdim=True)
    return dense, flat, (evidence.confidence * offsets.square()).sum(1)


def _mean_of_points(values: Tensor, evidence: RegistrationEvidence) -> Tensor:
    """Average values (B, N) to (B,), weighted by the points' confidence; 0 without points."""
    weight = evidence.point_confidence
    return (weight * values).sum(1) / weight.sum(1).clamp_min(_TINY)


def _median_of_points(values: Tensor, evidence: RegistrationEvidence) -> Tensor:
    """Compute the median (B,) of values (B, N), weighted by the points' confidence; 0 without points."""
    if not values.shape[1]:
        return values.new_zeros(len(values))
    ordered, order = values.sort(1)
    weight = evidence.point_confidence.gather(1, order).cumsum(1)
    total = weight[:, -1:]
    middle = torch.searchsorted(weight, total / 2).clamp(max=values.shape[1] - 1)
    return torch.where(total > 0, ordered.gather(1, middle), 0.0)[:, 0]


def _assess(
    body: ScaledBody, evidence: RegistrationEvidence, pose: ScaledPose, options: RegistrationOptions
) -> Registration:
    squares, flat, _ = _distances(body, evidence, pose)
    average = _mean_of_points if options.paper else _median_of_points
    dense_error = average(squares, evidence).sqrt()
    keypoint_error = (flat / evidence.confidence.sum(1).clamp_min(_TINY)).sqrt()
    bend = limit_excess(rotations_to_angles(pose.rotations))[:, 1:].abs().amax((1, 2))
    scales, limit = pose.segment_scales, LARGEST_SCALE
    determinant = torch.linalg.det(pose.orientation.unflatten(1, (3, 3)))
    upright = (determinant > 0) & (pose.scale > 0) & (scales.amin(1) > 1 / limit) & (scales.amax(1) < limit)
    close = (dense_error <= _LARGEST_ERROR) & (keypoint_error <= _LARGEST_ERROR)
    has_evidence = (evidence.confidence > 0).any(1) | (evidence.point_confidence > 0).any(1)
    return Registration(pose, dense_error, keypoint_error, upright & close & has_evidence & (bend <= _LARGEST_BEND))


@lru_cache(maxsize=4)
def _relations(device: torch.device) -> tuple[Tensor, ...]:
    """Return rows of SMPL24: children and their parents, then left joints and their right counterparts."""
    children = [child for child, parent in enumerate(SMPL24.parents) if parent >= 0]
    left = [row for row, name in enumerate(SMPL24.joint_names) if name.startswith("left_")]
    tables = (children, [SMPL24.parents[c] for c in children], left, [SMPL24.mirror[row] for row in left])
    return tuple(torch.tensor(table, device=device) for table in tables)
