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


@without_autocast
def axis_angle_to_rotations(axis_angles: Tensor) -> Tensor:
    """Compute `op.axis_angle_to_rotations` in plain torch."""
    return axis_angle_to_matrix(axis_angles)


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


@without_autocast
def forward_kinematics(tree: Joints) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `op.forward_kinematics` in plain torch, all joints of one level of the tree together."""
    rotations, joints, scales, rest_rotations, translation, parents, absolute = tree
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


def pose_vertices(
    vertices: Tensor, bone_indices: Tensor, bone_weights: Tensor, tree: Joints
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `op.pose_vertices` in plain torch."""
    rotations, linear, positions = forward_kinematics(tree)
    points = skin_vertices(vertices, tree.joints, linear, positions, bone_indices, bone_weights)
    return points, rotations, linear, positions
