"""The losses of deform-and-learn's network (section 5).

It learns from what the registration found (equation 6), and from the evidence itself: pixels whose vertex is known and
joints in the image, with the depth lifter's depths (equation 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class RegressorLosses(Options):
    """Equation 5; the defaults are the paper's α, β and γ."""

    regress: float = option(1.0, "Weight of body parameters.")
    dense: float = option(10.0, "Weight of correspondences.")
    keypoints: float = option(1.0, "Weight of joints with the lifter's depths.")
    parameters: Literal["smooth-l1", "l2"] = option(
        "smooth-l1", "How body parameters are compared: smooth L1, or L2 (the paper's control)."
    )


class RegressorTargets(NamedTuple):
    """Of B people, in the image units of their crops.

    Attributes:
        parameters: (B, 105) the registration's, R orthonormal; accepted (B,) 1, or 0 where it failed.
        keypoints: (B, J, 3) x, y, and 1 or 0 where not known; depths (B, J) the lifter's, from the middle of the
            hips.
        points: (B, P, 2), vertices (B, P), −1 for none.
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
    """Compute the loss and its parts: a sum over the parameters, as equation 6 writes it, and means over points and
    joints.

    Were the parameters' a mean too, the evidence in the image would outweigh them a hundred times, and a network that
    cannot yet distinguish front from back learns bodies that are flat: with the true parameters to learn from, 375
    steps ended at 184 mm after Procrustes so, at 147 with ten times that weight; the mean pose has 141.
    """
    bones = body.bones(pose)
    weights = targets.accepted[:, None]
    # Equation 6: the registration's parameters, of people whose registration was accepted.
    compare = nn.functional.smooth_l1_loss if options.parameters == "smooth-l1" else nn.functional.mse_loss
    regress = (compare(pose.vector, targets.parameters, reduction="none") * weights).sum()
    regress = regress / weights.sum().clamp_min(1)
    # Correspondences: the named vertices in the image against their pixels.
    has_vertex = (targets.vertices >= 0)[..., None].float()
    pixels = in_image(body.vertices(targets.vertices.clamp_min(0).long()) @ bones, pose)[..., :2]
    dense = ((pixels - targets.points).square() * has_vertex).sum() / (2 * has_vertex.sum().clamp_min(1))
    # Joints in the image with the lifter's depths, both from the middle of the hips.
    joints = in_image(body.landmarks(skeleton.name) @ bones, pose)
    hips = [skeleton.index(f"{side}_hip") for side in ("left", "right")]
    depths = joints[..., 2] - joints[:, hips, 2].mean(1, keepdim=True)
    there, label_weights = torch.cat((joints[..., :2], depths[..., None]), -1), targets.keypoints[..., 2:]
    goals = torch.cat((targets.keypoints[..., :2], targets.depths[..., None]), -1)
    keypoints = ((there - goals).square() * label_weights).sum() / (3 * label_weights.sum().clamp_min(1))
    loss = options.regress * regress + options.dense * dense + options.keypoints * keypoints
    return {"loss": loss, "regress": regress, "dense": dense, "keypoints": keypoints}
