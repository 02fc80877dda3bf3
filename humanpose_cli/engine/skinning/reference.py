"""Forward kinematics and skinning in plain torch: the oracle for the kernels.

Works with any floating dtype; torch computes the gradients. `op.py` checks the shapes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import without_autocast
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


class Joints(NamedTuple):
    """The arguments of `op.forward_kinematics`, and a translation (B, 3) in metres."""

    rotations: Tensor
    joints: Tensor
    scales: Tensor | None
    rest_rotations: Tensor | None
    translation: Tensor | None
    parents: tuple[int, ...]
    absolute: bool

    @property
    def device(self) -> torch.device:
        return self.rotations.device


@lru_cache(maxsize=64)
def levels(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Group joints by their distance from a root, roots first.

    Args:
        parents: The index of each joint's parent, −1 for a root; children may come before their parents.

    Returns:
        The joint indices of each level.

    Raises:
        UsageError: If a parent does not exist, or if joints form a cycle.
    """
    count = len(parents)
    for joint, parent in enumerate(parents):
        if not -1 <= parent < count:
            raise UsageError(
                "parents", f"joint {joint} has no such parent", expected=f"-1 to {count - 1}", got=f"{parent}"
            )
    tree: list[tuple[int, ...]] = []
    level = tuple(j for j in range(count) if parents[j] == -1)
    while level:
        tree.append(level)
        level = tuple(j for j in range(count) if parents[j] in level)
    if sum(map(len, tree)) != count:
        disconnected = sorted(set(range(count)).difference(*tree))
        raise UsageError("parents", "joints are not connected to a root", got=f"joints {disconnected}")
    return tuple(tree)


@lru_cache(maxsize=64)
def _level_rows(parents: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """List the joints of each level, and the index of each joint's parent within the level above."""
    rows: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    above: tuple[int, ...] = ()
    for joints in levels(parents):
        rows.append((joints, tuple(above.index(parents[j]) for j in joints) if above else ()))
        above = joints
    return tuple(rows)


def _matrices(rotations: Tensor) -> Tensor:
    return axis_angle_to_matrix(rotations) if rotations.ndim == 3 else rotations


@without_autocast
def forward_kinematics(tree: Joints) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `op.forward_kinematics` in plain torch, all joints of one level of the tree together."""
    rotations, joints, scales, rest_rotations, translation, parents, absolute = tree
    rotations = _matrices(rotations)
    if not len(parents):
        return rotations, rotations, joints
    rows = _level_rows(parents)
    order = [j for level, _ in rows for j in level]
    inverse = sorted(range(len(order)), key=order.__getitem__)

    if not absolute:
        chain: list[Tensor] = []
        for level, above in rows:
            relative = rotations[:, list(level)]  # [B, n, 3, 3]
            chain.append(chain[-1][:, list(above)] @ relative if above else relative)
        rotations = torch.cat(chain, 1)[:, inverse]
    linear = rotations if rest_rotations is None else rotations @ rest_rotations
    if scales is not None:
        linear = scales[..., None, None] * linear

    by_level: list[Tensor] = []
    previous: tuple[int, ...] = ()
    for level, above in rows:
        points = joints[:, list(level)]  # [B, n, 3]
        if above:
            parent = [previous[i] for i in above]
            bone = (linear[:, parent] @ (points - joints[:, parent])[..., None]).squeeze(-1)
            points = by_level[-1][:, list(above)] + bone
        by_level.append(points)
        previous = level
    positions = torch.cat(by_level, 1)[:, inverse]
    return rotations, linear, positions if translation is None else positions + translation[:, None]


@without_autocast
def skin_vertices(
    vertices: Tensor, joints: Tensor, linear: Tensor, positions: Tensor, bone_indices: Tensor, bone_weights: Tensor
) -> Tensor:
    """Compute `op.skin_vertices` in plain torch."""
    result = positions.new_zeros((len(positions), vertices.shape[1], 3))
    for bone, weight in zip(bone_indices.long().unbind(1), bone_weights.unbind(1), strict=True):
        local = vertices - joints.index_select(1, bone)  # [B, V, 3]
        offsets = (linear.index_select(1, bone) @ local[..., None]).squeeze(-1)
        result = result + weight[:, None] * (offsets + positions.index_select(1, bone))
    return result


class Blending(NamedTuple):
    """Directions (S [+ 9 (J − 1)], 3 V) of the vertices, and those of the joints (S, J, 3)."""

    directions: Tensor
    joint_directions: Tensor


@without_autocast
def _pose_features(rotations: Tensor, parents: tuple[int, ...], absolute: bool) -> Tensor:
    """Compute the relative rotations of all joints but the first minus the identity: (B, J, 3, 3) → (B, 9 (J − 1))."""
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    if absolute:
        above = [rotations[:, p] if p >= 0 else identity.expand_as(rotations[:, 0]) for p in parents]
        rotations = torch.stack(above, 1).mT @ rotations
    return (rotations[:, 1:] - identity).flatten(1)


@without_autocast
def pose_vertices(
    vertices: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    tree: Joints,
    betas: Tensor | None = None,
    blending: Blending | None = None,
) -> tuple[Tensor, ...]:
    """Compute `op.pose_vertices` in plain torch."""
    tree = tree._replace(rotations=_matrices(tree.rotations))
    if betas is not None and blending is not None:
        weights, batch = betas.expand(len(tree.rotations), -1), len(tree.rotations)
        rest_joints = torch.addmm(tree.joints.flatten(), weights, blending.joint_directions.flatten(1))
        tree = tree._replace(joints=rest_joints.view(batch, *tree.joints.shape))
        if len(blending.directions) > betas.shape[1]:
            weights = torch.cat((weights, _pose_features(tree.rotations, tree.parents, tree.absolute)), 1)
        vertices = torch.addmm(vertices.flatten(), weights, blending.directions).view(batch, *vertices.shape)
    rotations, linear, positions = forward_kinematics(tree)
    points = skin_vertices(vertices, tree.joints, linear, positions, bone_indices, bone_weights)
    return points, rotations, linear, positions, tree.joints
