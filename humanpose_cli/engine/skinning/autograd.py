"""Rotations, kinematics and skinning through the kernels, as torch functions that are differentiable once.

Same signatures as in `reference.py`. Gradients that nobody sends or asks for are neither made nor read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.skinning import launches
from humanpose_cli.engine.skinning.launches import Bones, Joints

__all__ = ["axis_angle_to_rotations", "forward_kinematics", "pose_vertices", "skin_vertices"]


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, axis_angles: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(axis_angles)
        return launches.turn(axis_angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (axis_angles,) = ctx.saved_tensors
        return launches.turn_adjoint(axis_angles, grad)


def axis_angle_to_rotations(axis_angles: Tensor) -> Tensor:
    """See `op.axis_angle_to_rotations`."""
    return _Turn.apply(axis_angles)


class _Kinematics(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        rotations: Tensor,
        joints: Tensor,
        scales: Tensor | None,
        rest_rotations: Tensor | None,
        parents: tuple[int, ...],
        absolute: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        given = Joints(rotations, joints, scales, rest_rotations, None, parents, absolute)
        posed, linear, positions, _ = launches.pose(given, to_maps=False)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rotations, joints, scales, rest_rotations, posed, linear)
        ctx.tree = parents, absolute
        return posed, linear, positions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *given, posed, linear = ctx.saved_tensors
        rotations, joints, scales, rest_rotations = given
        start = Joints(rotations, joints, scales, rest_rotations, None, *ctx.tree)
        found = launches.pose_adjoint(start, posed, linear, (grads[0], grads[1], grads[2]), None)
        needed = zip(found[:3], ctx.needs_input_grad, strict=False)
        return *(gradient if need else None for gradient, need in needed), None, None, None


def forward_kinematics(
    rotations: Tensor,
    joints: Tensor,
    parents: Sequence[int],
    scales: Tensor | None,
    rest_rotations: Tensor | None,
    absolute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `op.forward_kinematics`."""
    return _Kinematics.apply(rotations, joints, scales, rest_rotations, tuple(parents), absolute)


class _Skinning(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        vertices: Tensor,
        joints: Tensor,
        linear: Tensor,
        positions: Tensor,
        bone_indices: Tensor,
        bone_weights: Tensor,
    ) -> Tensor:
        maps = launches.map_bones(joints, linear, positions)
        ctx.save_for_backward(vertices, joints, linear, maps, bone_indices, bone_weights)
        return launches.skin(vertices, maps, Bones(bone_indices, bone_weights))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        vertices, joints, linear, maps, *bones = ctx.saved_tensors
        to_vertices, *to_bones = ctx.needs_input_grad[:4]
        out_vertices, out_maps = launches.skin_adjoint(vertices, maps, Bones(*bones), grad, to_vertices, any(to_bones))
        if out_maps is None:
            return out_vertices, None, None, None, None, None
        outputs = launches.map_bones_adjoint(joints, linear, out_maps)
        return out_vertices, *(o if n else None for o, n in zip(outputs, to_bones, strict=True)), None, None


def skin_vertices(
    vertices: Tensor,
    joints: Tensor,
    linear: Tensor,
    positions: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
) -> Tensor:
    """See `op.skin_vertices`."""
    if vertices.shape[0] != joints.shape[0]:
        vertices = vertices.expand(joints.shape[0], -1, -1)
    return _Skinning.apply(vertices, joints, linear, positions, bone_indices, bone_weights)


class _Posing(torch.autograd.Function):
    """Kinematics and skinning in one: two launches each way, and the bones' maps never leave it."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        vertices: Tensor,
        bone_indices: Tensor,
        bone_weights: Tensor,
        rotations: Tensor,
        joints: Tensor,
        scales: Tensor | None,
        rest_rotations: Tensor | None,
        translation: Tensor | None,
        parents: tuple[int, ...],
        absolute: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        given = Joints(rotations, joints, scales, rest_rotations, translation, parents, absolute)
        posed, linear, positions, maps = launches.pose(given, to_maps=True)
        assert maps is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, bone_indices, bone_weights, maps, posed, linear, *given[:5])
        ctx.tree = parents, absolute
        return launches.skin(vertices, maps, Bones(bone_indices, bone_weights)), posed, linear, positions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        vertices, bone_indices, bone_weights, maps, posed, linear, *given = ctx.saved_tensors
        to_vertices, needed = ctx.needs_input_grad[0], ctx.needs_input_grad[3:8]
        out_vertices = out_maps = None
        if grad is not None:
            bones = Bones(bone_indices, bone_weights)
            out_vertices, out_maps = launches.skin_adjoint(vertices, maps, bones, grad, to_vertices, any(needed))
        if not any(needed):
            return out_vertices, *[None] * 9
        found = launches.pose_adjoint(Joints(*given, *ctx.tree), posed, linear, grads, out_maps)  # type: ignore[arg-type]
        outputs = (found.rotations, found.joints, found.scales, None, found.translation)
        chosen = (output if need else None for output, need in zip(outputs, needed, strict=True))
        return out_vertices, None, None, *chosen, None, None


def pose_vertices(
    vertices: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    rotations: Tensor,
    joints: Tensor,
    parents: Sequence[int],
    scales: Tensor | None,
    rest_rotations: Tensor | None,
    translation: Tensor | None,
    absolute: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `op.pose_vertices`."""
    if vertices.shape[0] != joints.shape[0]:
        vertices = vertices.expand(joints.shape[0], -1, -1)
    return _Posing.apply(
        vertices,
        bone_indices,
        bone_weights,
        rotations,
        joints,
        scales,
        rest_rotations,
        translation,
        tuple(parents),
        absolute,
    )
