"""Shape and rotations as the regressor gives them, and the ways between these and a file's poses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

__all__ = ["BodyParameters", "absolute_to_relative", "poses_to_rotations", "relative_to_absolute", "rotations_to_poses"]

_ROOT = SMPL24.index("pelvis")
_CHILDREN = [joint for joint, parent in enumerate(SMPL24.parents) if parent >= 0]
_PARENTS = [SMPL24.parents[joint] for joint in _CHILDREN]


class BodyParameters(NamedTuple):
    """What a network says about B people.

    betas      (B, 10) shape
    rotations  (B, 24, 3, 3) absolute: each part's body axes to camera axes
    log_noise  (B, 24, 2) logarithm of the expected absolute error of each joint, metres, across and along the line of
               sight, relative to the pelvis; None where the network does not tell
    """

    betas: Tensor
    rotations: Tensor
    log_noise: Tensor | None = None


def absolute_to_relative(rotations: Tensor) -> Tensor:
    """Part rotations (..., 24, 3, 3), body to camera → relative to each parent's; the pelvis keeps its own."""
    relative = rotations.clone()
    relative[..., _CHILDREN, :, :] = rotations[..., _PARENTS, :, :].mT @ rotations[..., _CHILDREN, :, :]
    return relative


def relative_to_absolute(rotations: Tensor) -> Tensor:
    """The inverse of `absolute_to_relative`."""
    absolute = list(rotations.unbind(-3))
    for joint, parent in zip(_CHILDREN, _PARENTS, strict=True):  # parents come before their children
        absolute[joint] = absolute[parent] @ absolute[joint]
    return torch.stack(absolute, -3)


def poses_to_rotations(poses: Tensor) -> Tensor:
    """A file's poses (..., 72) axis-angle, parent-relative → absolute part rotations (..., 24, 3, 3)."""
    return relative_to_absolute(axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3))))


def rotations_to_poses(rotations: Tensor) -> Tensor:
    """The inverse of `poses_to_rotations`; axis-angles are at most π long."""
    return matrix_to_axis_angle(absolute_to_relative(rotations)).flatten(-2)
