"""Forward kinematics and skinning through the kernels, as differentiable torch functions.

Same signatures as in `reference.py`. Inputs may be any views: only a vector's or matrix's own numbers must lie
together, else that tensor is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.launching import Array, launch, matrices, plain, vectors
from humanpose_cli.engine.memo import TensorMemo
from humanpose_cli.engine.skinning import kernel
from humanpose_cli.engine.skinning.tree import levels

__all__ = ["forward_kinematics", "skin_vertices"]

# Vertices a thread on the CPU. Sums over vertices are cut there, whatever the number of threads.
_CPU_RUN = 2048
# Most threads of a CUDA launch; beyond it, a thread takes several vertices.
_MOST_THREADS = 1 << 30
# Threads that share the sum of one bone on CUDA.
_LANES = 32
# Nanoseconds a vertex or joint on one CPU thread, for the decision to split a launch.
_SKIN_COST, _ADJOINT_COST, _JOINT_COST = 6, 10, 30


def _vectors(tensor: Tensor) -> Array:
    return vectors(tensor, wp.vec3)


def _matrices(tensor: Tensor) -> Array:
    return matrices(tensor, wp.mat33)


@lru_cache(maxsize=64)
def _tree(parents: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Joints in an order from the roots down, and their parents, as int32 tensors."""
    order = [joint for level in levels(parents) for joint in level]
    return (
        torch.tensor(order, dtype=torch.int32, device=device),
        torch.tensor(parents, dtype=torch.int32, device=device),
    )


def _tree_arguments(
    rotations: Tensor,
    joints: Tensor,
    scales: Tensor | None,
    rest_rotations: Tensor | None,
    parents: tuple[int, ...],
    absolute: bool,
) -> list[Any]:
    """What both kinematics kernels take first; a tensor not given is stood in for by one they do not read."""
    order, parent_rows = _tree(parents, rotations.device)
    return [
        _matrices(rotations),
        _vectors(joints),
        plain(joints[..., 0] if scales is None else scales),
        _matrices(rotations[0] if rest_rotations is None else rest_rotations),
        plain(order),
        plain(parent_rows),
        int(absolute),
        int(scales is not None),
        int(rest_rotations is not None),
    ]


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
        batch, count = rotations.shape[:2]
        posed, linear = rotations.new_empty(rotations.shape), rotations.new_empty(rotations.shape)
        positions = rotations.new_empty(joints.shape)
        if rotations.numel():
            inputs = _tree_arguments(rotations, joints, scales, rest_rotations, parents, absolute)
            outputs = [_matrices(posed), _matrices(linear), _vectors(positions)]
            cost = batch * count * _JOINT_COST
            launch(kernel.pose_joints, batch, [*inputs, *outputs], rotations.device, cost)
        ctx.save_for_backward(rotations, joints, scales, rest_rotations, posed, linear)
        ctx.tree = parents, absolute
        return posed, linear, positions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rotations, joints, scales, rest_rotations, posed, linear = ctx.saved_tensors
        batch, count = rotations.shape[:2]
        to_rotations, sum_linear = rotations.new_empty(rotations.shape), rotations.new_empty(rotations.shape)
        to_joints, sum_positions = rotations.new_empty(joints.shape), rotations.new_empty(joints.shape)
        to_scales = rotations.new_empty((batch, count))
        if rotations.numel():
            arguments = [
                *_tree_arguments(rotations, joints, scales, rest_rotations, *ctx.tree),
                _matrices(posed),
                _matrices(linear),
                _matrices(grads[0]),
                _matrices(grads[1]),
                _vectors(grads[2]),
                _matrices(sum_linear),
                _vectors(sum_positions),
                _matrices(to_rotations),
                _vectors(to_joints),
                plain(to_scales),
            ]
            cost = 2 * batch * count * _JOINT_COST
            launch(kernel.pose_joints_adjoint, batch, arguments, rotations.device, cost)
        needed = ctx.needs_input_grad
        return (
            to_rotations if needed[0] else None,
            to_joints if needed[1] else None,
            to_scales if needed[2] else None,
            None,
            None,
            None,
        )


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


def _on_cpu(device: torch.device) -> bool:
    return device.type == "cpu"


def _runs(batch: int, count: int, device: torch.device) -> tuple[int, int]:
    """Runs of vertices per body, and vertices a run: one thread handles one run."""
    run = _CPU_RUN if _on_cpu(device) else 1 + batch * count // _MOST_THREADS
    return -(-count // run), run


def _pairs_by_bone(bone_indices: Tensor, bone_weights: Tensor, bones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each bone's pairs start (J + 1), and the pairs' vertices and weights, sorted by bone, then vertex."""
    bone, order = bone_indices.flatten().sort(stable=True)
    starts = torch.searchsorted(bone, bones, out_int32=True)
    vertex = torch.div(order, bone_indices.shape[1], rounding_mode="floor").int()
    return starts, vertex, bone_weights.flatten()[order]


_known_pairs = TensorMemo(_pairs_by_bone)


@lru_cache(maxsize=64)
def _bone_numbers(count: int, device: torch.device) -> Tensor:
    return torch.arange(count + 1, dtype=torch.int32, device=device)


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
        (batch, bones), count, device = joints.shape[:2], vertices.shape[1], vertices.device
        maps = vertices.new_empty((batch, bones, 16))
        out = vertices.new_empty((batch, count, 3))
        if out.numel():
            runs, run = _runs(batch, count, device)
            bone_arguments = [_vectors(joints), _matrices(linear), _vectors(positions), (maps, kernel.columns)]
            launch(kernel.bone_maps, batch * bones, bone_arguments, device, batch * bones * _JOINT_COST)
            arguments = [
                runs,
                run,
                _vectors(vertices),
                (maps, kernel.columns),
                plain(bone_indices.contiguous()),
                plain(bone_weights.contiguous()),
                _vectors(out),
            ]
            launch(kernel.skin, batch * runs, arguments, device, batch * count * _SKIN_COST)
        ctx.save_for_backward(vertices, joints, linear, maps, bone_indices, bone_weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        vertices, joints, linear, maps, bone_indices, bone_weights = ctx.saved_tensors
        to_vertices, *to_bones = ctx.needs_input_grad[:4]
        out_vertices, out_maps = _skin_adjoint(
            (vertices, maps, bone_indices, bone_weights), grad, to_vertices, any(to_bones)
        )
        if out_maps is None:
            return out_vertices, None, None, None, None, None
        # Not empty_like, which would keep a view's order of strides.
        out_joints, out_positions = joints.new_empty(joints.shape), joints.new_empty(joints.shape)
        out_linear = linear.new_empty(linear.shape)
        arguments = [
            _vectors(joints),
            _matrices(linear),
            (out_maps, kernel.columns),
            _vectors(out_joints),
            _matrices(out_linear),
            _vectors(out_positions),
        ]
        size = joints.shape[0] * joints.shape[1]
        launch(kernel.bone_maps_adjoint, size, arguments, joints.device, size * _JOINT_COST)
        outputs = (out_joints, out_linear, out_positions)
        return out_vertices, *(o if n else None for o, n in zip(outputs, to_bones, strict=True)), None, None


def _skin_adjoint(
    saved: tuple[Tensor, Tensor, Tensor, Tensor], grad: Tensor, to_vertices: bool, to_maps: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to vertices (B, V, 3), and to the bones' maps in parts (B, P, J, 16) that are yet to be added."""
    vertices, maps, bone_indices, bone_weights = saved
    (batch, count), bones, device = grad.shape[:2], maps.shape[1], grad.device
    runs, run = _runs(batch, count, device)
    out_vertices = grad.new_empty((batch, count, 3)) if to_vertices else None
    on_cpu = _on_cpu(device)
    parts = runs if on_cpu else _LANES
    out_maps = grad.new_zeros((batch, parts, bones, 16)) if to_maps else None
    if not batch * count:
        return out_vertices, out_maps
    vertices_argument, grad_argument = _vectors(vertices), _vectors(grad)
    maps_argument = (maps, kernel.columns)
    out_maps_argument = (maps[:, None] if out_maps is None else out_maps, kernel.columns)
    if to_vertices or on_cpu:
        arguments = [
            runs,
            run,
            vertices_argument,
            maps_argument,
            plain(bone_indices.contiguous()),
            plain(bone_weights.contiguous()),
            grad_argument,
            int(to_vertices),
            int(to_maps and on_cpu),
            grad_argument if out_vertices is None else _vectors(out_vertices),
            out_maps_argument,
        ]
        launch(kernel.skin_adjoint, batch * runs, arguments, device, batch * count * _ADJOINT_COST)
    if to_maps and not on_cpu:
        # Many threads would collide in one bone's sum; sorted by bone, each has its own part of it.
        pairs = _known_pairs(bone_indices, bone_weights, _bone_numbers(bones, device))
        arguments = [vertices_argument, grad_argument, *map(plain, pairs), out_maps_argument]
        launch(kernel.map_gradients_by_bone, batch * parts * bones, arguments, device)
    return out_vertices, out_maps


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
