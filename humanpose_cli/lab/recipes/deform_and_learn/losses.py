"""Losses of deform-and-learn's network (section 5).

It learns from the registered parameters (equation 6), and from the evidence itself: pixels with known vertices, and
joints in the image with the lifter's depths (equation 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.body.scaled_body import POSE_SIZE, ScaledBody, ScaledPose, in_image
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.core.options import Options, option

_SCALES_AND_CAMERA = [*range(24), *range(POSE_SIZE - 3, POSE_SIZE)]  # of a pose's vector


@dataclass(frozen=True)
class RegressorLosses(Options):
    """Weights of equation 5; the defaults are the paper's α, β and γ."""

    regress: float = option(1.0, "Weight of body parameters.")
    dense: float = option(10.0, "Weight of correspondences.")
    keypoints: float = option(1.0, "Weight of joints with the lifter's depths.")
    parameters: Literal["smooth-l1", "l2", "absolute"] = option(
        "smooth-l1",
        "Loss of body parameters; l2 is the paper's control, absolute compares rotations in camera axes and joints.",
    )


class RegressorTargets(NamedTuple):
    """Targets of B people in the image units of their crops.

    Attributes:
        parameters: (B, 105) float. Registered parameters with an orthonormal R.
        accepted: (B,) float. 1 for accepted registrations, else 0.
        keypoints: (B, J, 3) float. x, y, and 1 for known joints, else 0.
        depths: (B, J) float. The lifter's depths relative to the middle of the hips.
        points: (B, P, 2) float. Pixels of the correspondences.
        vertices: (B, P) int. Vertices of the correspondences, −1 for none.
    """

    parameters: Tensor
    accepted: Tensor
    keypoints: Tensor
    depths: Tensor
    points: Tensor
    vertices: Tensor


def regressor_losses(
    pose: ScaledPose, targets: RegressorTargets, body: ScaledBody, skeleton: Skeleton, options: RegressorLosses
) -> Mapping[str, Tensor]:
    """Compute the losses of a batch.

    The term of the parameters is a sum over the parameters (equation 6), the others are means over points and joints.
    With a mean over the parameters, the evidence would outweigh them a hundred times, and a network that cannot yet
    distinguish front from back learns flat bodies.

    Args:
        pose: Predictions for B people.
        targets: Their targets.
        body: The body.
        skeleton: Skeleton of the keypoints.
        options: Weights of the losses.

    Returns:
        loss: the weighted sum; and its unweighted terms.
    """
    bones = body.bones(pose)
    weights = targets.accepted[:, None]
    # Equation 6: the registration's parameters, of people whose registration was accepted.
    if options.parameters == "absolute":
        errors = _absolute_errors(body, bones, pose, ScaledPose.from_vector(targets.parameters))
    else:
        compare = nn.functional.smooth_l1_loss if options.parameters == "smooth-l1" else nn.functional.mse_loss
        errors = compare(pose.vector, targets.parameters, reduction="none")
    regress = (errors * weights).sum() / weights.sum().clamp_min(1)
    # Correspondences: the named vertices in the image against their pixels.
    has_vertex = (targets.vertices >= 0)[..., None].float()
    pixels = in_image(body.vertices(targets.vertices.clamp_min(0).long()) @ bones, pose)[..., :2]
    dense = ((pixels - targets.points).square() * has_vertex).sum() / (2 * has_vertex.sum().clamp_min(1))
    # Joints in the image with the lifter's depths, both relative to the middle of the hips.
    joints = in_image(body.landmarks(skeleton.name) @ bones, pose)
    hips = [skeleton.index(f"{side}_hip") for side in ("left", "right")]
    depths = joints[..., 2] - joints[:, hips, 2].mean(1, keepdim=True)
    predicted = torch.cat((joints[..., :2], depths[..., None]), -1)
    goals = torch.cat((targets.keypoints[..., :2], targets.depths[..., None]), -1)
    label_weights = targets.keypoints[..., 2:]
    keypoints = ((predicted - goals).square() * label_weights).sum() / (3 * label_weights.sum().clamp_min(1))
    loss = options.regress * regress + options.dense * dense + options.keypoints * keypoints
    return {"loss": loss, "regress": regress, "dense": dense, "keypoints": keypoints}


def _absolute_errors(body: ScaledBody, bones: Tensor, pose: ScaledPose, true: ScaledPose) -> Tensor:
    """Compare scaled rotations in camera axes, joints in space, scales and camera with registered ones: (B, ...)."""
    true_bones = body.bones(true)
    turns = (bones - true_bones).unflatten(1, (-1, 4))[:, :, :3].flatten(1).square() / 2
    rows = body.landmarks(SMPL24.name)
    joints = (in_image(rows @ bones, pose) - in_image(rows @ true_bones, true)).flatten(1).abs()
    rest = (pose.vector - true.vector)[:, _SCALES_AND_CAMERA].square()
    return torch.cat((turns, joints, rest), 1)
