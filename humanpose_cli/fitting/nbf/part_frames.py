"""Where the detector's world landmarks say that each part points: what a body network on `proxy` need only correct.

Rotations told relative to these frames are small wherever the detector is right, so the network learns its errors and
the twists that no landmark shows, instead of learning anew for every part what a turned person looks like.
"""

from __future__ import annotations

import torch
from torch import Tensor

from humanpose_cli.bodies.body import default_body
from humanpose_cli.bodies.limb_rotations import limb_rotations
from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.fitting.nbf.parameters import relative_to_absolute

__all__ = ["part_frames", "zero_pose_joints"]


def zero_pose_joints() -> Tensor:
    """(24, 3) metres: the default body's joints in the T pose, body axes."""
    body = default_body()
    zero = torch.zeros(1, body.shape_count)
    still = torch.eye(3).expand(1, len(body.joint_template), 3, 3)
    return body.pose(still, zero, vertices=False).joints[0].cpu()


def part_frames(zero: Tensor, world: Tensor, confidence: Tensor) -> Tensor:
    """Absolute rotations (N, 24, 3, 3), body to camera, of world landmarks (N, 33, 3) and their confidence (N, 33).

    zero  (24, 3) joints in the T pose. Parts that no landmark orients stand as in a person with hanging arms.
    """
    return relative_to_absolute(limb_rotations(zero, BLAZEPOSE33, world, confidence))
