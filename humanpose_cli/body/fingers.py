"""The fingers of the default body: a layer that bends the resting surface before its 24 joints are posed.

The layer leaves SMPL24 as it is: joints, landmarks and skinning weights of the 24 joints do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24, SMPL24_FINGERS
from humanpose_cli.engine.skinning.op import blend_shapes, forward_kinematics, skin_vertices


def _root_of(joint: str) -> int:
    row = SMPL24_FINGERS.index(joint)
    while row >= len(SMPL24):
        row = SMPL24_FINGERS.parents[row]
    return row


_HANDS = 2
_BONES = len(FINGERS)
_JAW = _HANDS * _BONES
_STILL = _JAW + 1  # a bone of what the layer does not move
_TIPS = slice(_JAW + 1, None)
_WRISTS = SMPL24.indices(["left_wrist", "right_wrist"])
_PARENTS = (*(_STILL if bone % 3 == 0 else bone - 1 for bone in range(_JAW)), _STILL, -1)
# Rows of a hand's points, 15 joints and 5 tips, in the order of HAND21 without the wrist.
_ORDER = [
    _BONES + FINGERS.index(f"{n[:-1]}1") // 3 if n[-1] == "4" else FINGERS.index(n) for n in HAND21.joint_names[1:]
]

ROOTS = [_root_of(joint) for joint in SMPL24_FINGERS.joint_names[len(SMPL24) :]]
"""The joint of SMPL24 that each finger joint hangs on."""


class FingerLayer(torch.nn.Module):
    """The fingers of both hands of a body with V vertices and S shape components.

    A finger joint's rotation is relative to its parent, in the axes of the T pose (x to the person's left, y up,
    z forward, palms down), as in SMPL-H and SMPL-X. The identity is the hand of the template: fingers nearly straight.

    Args:
        arrays: The arrays `fingers.*` of the default body's file.
        rest_rotations: (24, 3, 3) float. The body's rest rotations Q.
    """

    joint_template: Tensor
    joint_directions: Tensor
    vertices: Tensor
    bone_indices: Tensor
    bone_weights: Tensor
    to_rest: Tensor

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], rest_rotations: Tensor) -> None:
        super().__init__()
        weights = torch.from_numpy(arrays["fingers.bone_weights"].astype(np.float32) / np.iinfo(np.uint16).max)
        indices = torch.from_numpy(arrays["fingers.bone_indices"].astype(np.int32))
        still = torch.full_like(indices[:, :1], _STILL)
        self.register_buffer("joint_template", torch.from_numpy(arrays["fingers.joint_template"]))
        self.register_buffer("joint_directions", torch.from_numpy(arrays["fingers.joint_directions"]))
        self.register_buffer("vertices", torch.from_numpy(arrays["fingers.vertices"].astype(np.int64)))
        self.register_buffer("bone_indices", torch.cat((indices, still), 1))
        self.register_buffer("bone_weights", torch.cat((weights, 1 - weights.sum(1, keepdim=True)), 1))
        of_hands = rest_rotations[_WRISTS].repeat_interleave(_BONES, 0)
        self.register_buffer("to_rest", torch.cat((of_hands, torch.eye(3)[None])).mT.contiguous())

    def bend(
        self,
        vertices: Tensor,
        betas: Tensor,
        hands: Tensor,
        of: Tensor | None = None,
    ) -> Tensor:
        """Bend the fingers of resting bodies, or of surfaces on them.

        Args:
            vertices: (B, V, 3) or (1, V, 3) float, metres. The rest vertices.
            betas: (B, S) or (1, S) float. The shapes.
            hands: (B, 2, 15, 3, 3) float. Rotations of the joints `FINGERS` of the left and the right hand.
            of: (V,) int64. The vertex of the body that each vertex moves with. None means the vertices of the body.

        Returns:
            (B, V, 3) float, metres. The rest vertices with bent fingers.
        """
        joints, linear, positions = self._bones(betas, hands)
        rows, own = self.vertices, torch.arange(len(self.vertices), device=self.vertices.device)
        if of is not None:
            own = torch.searchsorted(self.vertices, of).clamp_max(len(own) - 1)
            rows = (self.vertices[own] == of).nonzero()[:, 0]
            own = own[rows]
        indices, weights = self.bone_indices[own], self.bone_weights[own]
        moved = skin_vertices(vertices[:, rows], joints, linear, positions, indices, weights)
        result = vertices.expand(len(moved), -1, -1).clone()
        result[:, rows] = moved
        return result

    def skin(self, bone_indices: Tensor, bone_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bones of the vertices and their weights in `SMPL24_FINGERS`, for programs with one layer of bones.

        Args:
            bone_indices: (V, K) int. The bones of SMPL24.
            bone_weights: (V, K) float. Their weights.

        Returns:
            (V, K + 4) int and float. Where all of a vertex moves with one hand, posing is the same as with two layers.
        """
        own, weights = self.bone_indices[:, :-1], self.bone_weights[:, :-1]
        weights = torch.where(own < _JAW, weights, 0.0)
        below = own.new_tensor(ROOTS)[own.long().clamp_max(_JAW - 1)]
        left = bone_weights[self.vertices] - (
            (below[:, None] == bone_indices[self.vertices, :, None]) * weights[:, None]
        ).sum(-1)
        indices = torch.nn.functional.pad(bone_indices, (0, own.shape[1]))
        all_weights = torch.nn.functional.pad(bone_weights, (0, own.shape[1]))
        indices[self.vertices, -own.shape[1] :] = torch.where(own < _JAW, own + len(SMPL24), 0).int()
        all_weights[self.vertices] = torch.cat((left.clamp_min(0), weights), 1)
        return indices, all_weights / all_weights.sum(1, keepdim=True)

    def points(self, betas: Tensor, hands: Tensor | None = None) -> Tensor:
        """Compute the landmarks of the hands of a resting body, `HAND21` without the wrists.

        Args:
            betas: (B, S) or (1, S) float. The shapes.
            hands: (B, 2, 15, 3, 3) float. Rotations of the fingers. None leaves them as they are.

        Returns:
            (B, 2, 20, 3) float, metres in axes of the rest pose.
        """
        joints, linear, positions = self._bones(betas, hands)
        tips = self._shaped(betas)[:, _TIPS].unflatten(1, (_HANDS, -1))
        last = torch.arange(2, _JAW, 3, device=tips.device).view(_HANDS, -1)
        tips = positions[:, last] + (linear[:, last] @ (tips - joints[:, last])[..., None])[..., 0]
        return torch.cat((positions[:, :_JAW].unflatten(1, (_HANDS, -1)), tips.expand(len(positions), -1, -1, -1)), 2)[
            :, :, _ORDER
        ]

    def joints(self, betas: Tensor) -> Tensor:
        """Return the finger joints (B, 30, 3) of resting bodies, metres, for betas (B, S)."""
        return self._shaped(betas)[:, :_JAW]

    def _shaped(self, betas: Tensor) -> Tensor:
        return blend_shapes(self.joint_template, betas, self.joint_directions.flatten(0, 1).mT.contiguous())

    def _bones(self, betas: Tensor, hands: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return rest joints, linear maps and positions of the 32 bones; the last two, jaw and body, are still."""
        count = len(betas) if hands is None else len(hands)
        rotations = torch.eye(3).to(self.to_rest).repeat(count, _STILL + 1, 1, 1)
        if hands is not None:
            rotations[:, :_JAW] = hands.flatten(1, 2)
        rotations[:, :_STILL] = self.to_rest @ rotations[:, :_STILL] @ self.to_rest.mT
        joints = self._shaped(betas)[:, : _JAW + 1].expand(count, -1, -1)
        joints = torch.cat((joints, torch.zeros_like(joints[:, :1])), 1).contiguous()
        kinematics = forward_kinematics(rotations, joints, _PARENTS)
        return joints, kinematics.linear, kinematics.positions
