"""Starting points in closed form: least squares gives the position in front of the camera.

Several starts per row go through the first stage of the fit together and the best one survives: the detector's depth
as it is, its mirror image along the viewing ray (depth read the wrong way round), and upright neutral poses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from humanpose_cli.geometry.rotations import rotation_between
from humanpose_cli.optimisation.landmark_rig import LandmarkRig

__all__ = ["place_before_camera", "viewing_rotation", "zero_joints"]

_NEAREST = 0.3  # metres


def zero_joints(rig: LandmarkRig) -> Tensor:
    """(24, 3) joints of the T pose, body axes."""
    still = torch.eye(3, dtype=rig.joints.dtype).expand(1, len(rig.joints), 3, 3)
    origin, shape = rig.joints.new_zeros(1, 3), rig.joints.new_zeros(1, rig.shape_count)
    return rig.pose(still, origin, shape).joints[0]


def viewing_rotation(pixel: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Rotation (N, 3, 3) that turns the optical axis to the ray through a pixel (N, 2)."""
    xy = (pixel - principal_point) / focal[:, None]
    ray = torch.cat((xy, torch.ones_like(xy[:, :1])), -1)
    return rotation_between(ray.new_tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)


def place_before_camera(
    points: Tensor,
    keypoints: Tensor,
    weights: Tensor,
    focal: Tensor,
    principal_point: Tensor,
    usual_depth: Tensor,
) -> Tensor:
    """Translations (N, 3) that bring root-relative points (N, L, 3) under their pixels (N, L, 2).

    Least squares on the equations (X + t_x) − u (Z + t_z) = 0 with u the normalised image coordinate, which are
    linear in t. `usual_depth` (N,) metres enters as one faint equation and decides where the landmarks do not.
    """
    uv = (keypoints - principal_point[:, None]) / focal[:, None, None]
    zeros, ones = torch.zeros_like(uv[..., 0]), torch.ones_like(uv[..., 0])
    A = torch.stack((torch.stack((ones, zeros, -uv[..., 0]), -1), torch.stack((zeros, ones, -uv[..., 1]), -1)), -2)
    b = uv * points[..., 2:] - points[..., :2]
    A, b = A * weights[..., None, None], b * weights[..., None]
    A, b = A.flatten(1, 2), b.flatten(1, 2)
    faint = 1e-3
    prior = torch.tensor([1e-10, 1e-10, faint**2], dtype=points.dtype)
    normal = A.mT @ A + torch.diag(prior)
    right = (A.mT @ b[..., None]).squeeze(-1)
    right[:, 2] += faint**2 * usual_depth
    t = torch.linalg.solve(normal, right)
    # Few or contradictory landmarks may ask for a place behind the camera; hold the depth and fit the rest.
    behind = t[:, 2] + points[..., 2].amin(-1) < _NEAREST
    depth = torch.where(behind, usual_depth, t[:, 2])
    sideways = right[:, :2] - normal[:, :2, 2] * depth[:, None]
    held = torch.linalg.solve(normal[:, :2, :2], sideways)
    return torch.where(behind[:, None], torch.cat((held, depth[:, None]), -1), t)
