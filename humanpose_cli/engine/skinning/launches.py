"""Run the kernels of rotations, kinematics and skinning as torch functions that are differentiable once.

The signatures are those in `reference.py`. Inputs may be any views. A tensor is copied only if the numbers of a vector
or matrix are not contiguous. Gradients that are not received or not needed are neither read nor computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.launching import Array, allocate, finish, launch, matrices, on_cpu, scalars, vectors
from humanpose_cli.engine.skinning import kernel
from humanpose_cli.engine.skinning.reference import Joints, levels

# Vertices a thread on the CPU. Sums over vertices are cut there, whatever the number of threads.
_CPU_RUN = 2048
# Most threads of a CUDA launch; beyond it, a thread takes several vertices.
_MAX_THREADS = 1 << 30
# Threads of a body in kinematics on CUDA, a warp, and threads that share the sum of one bone there.
_LANES = 32
# Nanoseconds a vertex, joint or rotation on one CPU thread, for the decision to split a launch.
_SKIN_COST, _ADJOINT_COST, _JOINT_COST, _ROTATION_COST = 3, 5, 30, 20


class Bones(NamedTuple):
    """The bones that move each vertex, (V, K) int32, and their weights (V, K)."""

    indices: Tensor
    weights: Tensor


def _vectors(tensor: Tensor) -> Array:
    return vectors(tensor, wp.vec3)


def _matrices(tensor: Tensor) -> Array:
    return matrices(tensor, wp.mat33)


def _maps(tensor: Tensor) -> Array:
    return tensor, kernel.columns


def _like(tensor: Tensor) -> Tensor:
    """Allocate an uninitialised contiguous tensor of the same shape, whatever the strides of `tensor`."""
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _lanes(device: torch.device) -> int:
    return 1 if on_cpu(device) else _LANES


@lru_cache(maxsize=64)
def _empty(device: torch.device, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=device)


def _optional(tensor: Tensor | None, device: torch.device, *shape: int) -> Tensor:
    """Return the tensor, or for None an empty one, which a kernel does not read."""
    return _empty(device, *shape) if tensor is None else tensor


@lru_cache(maxsize=64)
def _tree(parents: tuple[int, ...], device: torch.device) -> tuple[Array, ...]:
    """Order a tree of joints: `order`, `starts`, `parents`, `child_starts` and `children` of kernel.py."""
    by_level = levels(parents)
    order = [joint for level in by_level for joint in level]
    starts = [0, *accumulate(map(len, by_level))]
    children = sorted((joint for joint in order if parents[joint] >= 0), key=lambda joint: parents[joint])
    child_starts = [0, *accumulate(parents.count(joint) for joint in range(len(parents)))]
    with torch.inference_mode(False):
        rows = (order, starts, parents, child_starts, children)
        return tuple(scalars(torch.tensor(numbers, dtype=torch.int32, device=device)) for numbers in rows)


def _joint_arguments(tree: Joints) -> list[Any]:
    """List the first arguments of both kinematics kernels."""
    rotations, joints, scales, rest_rotations, translation, parents, absolute = tree
    return [
        _lanes(rotations.device),
        _matrices(rotations),
        _vectors(joints),
        scalars(_optional(scales, rotations.device, 0, 0)),
        _matrices(_optional(rest_rotations, rotations.device, 0, 3, 3)),
        *_tree(parents, rotations.device),
        _vectors(_optional(translation, rotations.device, 0, 3)),
        int(absolute),
        int(scales is not None),
        int(rest_rotations is not None),
        int(translation is not None),
    ]


def _pose(tree: Joints, to_maps: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Compute rotations, linear and positions of `op.Kinematics`, and with `to_maps` the bones' maps (B, J, 16)."""
    rotations, joints = tree.rotations, tree.joints
    batch, count = joints.shape[:2]
    out_rotations, linear, positions = _like(rotations), _like(rotations), _like(joints)
    maps = rotations.new_empty((batch, count, 16)) if to_maps else None
    if batch * count:
        arguments = [
            *_joint_arguments(tree),
            int(to_maps),
            _matrices(out_rotations),
            _matrices(linear),
            _vectors(positions),
            _maps(_optional(maps, rotations.device, 0, 0, 16)),
        ]
        size, cost = batch * _lanes(rotations.device), batch * count * _JOINT_COST
        launch(kernel.pose_joints, size, arguments, rotations.device, cost)
    return out_rotations, linear, positions, maps


def _pose_adjoint(
    tree: Joints, out_rotations: Tensor, linear: Tensor, grads: Sequence[Tensor | None], grad_maps: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Compute gradients to the five tensors of `tree`; there is none to rest_rotations."""
    # `grads` arrive at rotations, linear and positions, `grad_maps` (B, P, J, 16) in parts at the maps.
    rotations, joints = tree.rotations, tree.joints
    batch, count = joints.shape[:2]
    to_rotations, to_joints, sum_positions = _like(rotations), _like(joints), _like(joints)
    to_scales = None if tree.scales is None else rotations.new_empty((batch, count))
    to_translation = None if tree.translation is None else rotations.new_empty((batch, 3))
    if batch * count:
        from_rotations, from_linear, from_positions = grads
        arguments = [
            *_joint_arguments(tree),
            _matrices(out_rotations),
            _matrices(linear),
            _matrices(out_rotations if from_rotations is None else from_rotations),
            _matrices(linear if from_linear is None else from_linear),
            _vectors(joints if from_positions is None else from_positions),
            _maps(_optional(grad_maps, rotations.device, 0, 0, 0, 16)),
            *(int(grad is not None) for grad in (*grads, grad_maps)),
            _vectors(sum_positions),
            _matrices(to_rotations),
            _vectors(to_joints),
            scalars(_optional(to_scales, rotations.device, 0, 0)),
            _vectors(_optional(to_translation, rotations.device, 0, 3)),
        ]
        size, cost = batch * _lanes(rotations.device), 2 * batch * count * _JOINT_COST
        launch(kernel.pose_joints_adjoint, size, arguments, rotations.device, cost)
    elif to_translation is not None:
        to_translation.zero_()
    return to_rotations, to_joints, to_scales, None, to_translation


def _map_bones(joints: Tensor, linear: Tensor, positions: Tensor) -> Tensor:
    """Compute the bones' maps (B, J, 16)."""
    batch, bones = joints.shape[:2]
    maps = joints.new_empty((batch, bones, 16))
    arguments = [_vectors(joints), _matrices(linear), _vectors(positions), _maps(maps)]
    launch(kernel.bone_maps, batch * bones, arguments, joints.device, batch * bones * _JOINT_COST)
    return maps


def _map_bones_adjoint(joints: Tensor, linear: Tensor, grad_maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients to joints, linear and positions from the gradients to the maps in parts (B, P, J, 16)."""
    out_joints, out_linear, out_positions = _like(joints), _like(linear), _like(joints)
    arguments = [
        _vectors(joints),
        _matrices(linear),
        _maps(grad_maps),
        _vectors(out_joints),
        _matrices(out_linear),
        _vectors(out_positions),
    ]
    size = joints.shape[0] * joints.shape[1]
    launch(kernel.bone_maps_adjoint, size, arguments, joints.device, size * _JOINT_COST)
    return out_joints, out_linear, out_positions


def _runs(batch: int, count: int, device: torch.device) -> tuple[int, int]:
    """Return the runs of vertices per body, and the vertices a run; one thread handles one run."""
    run = _CPU_RUN if on_cpu(device) else 1 + batch * count // _MAX_THREADS
    return -(-count // run), run


def _skin(vertices: Tensor, maps: Tensor, bones: Bones) -> Tensor:
    """Move vertices (B, V, 3) by the maps (B, J, 16) of their bones."""
    batch, count, device = maps.shape[0], vertices.shape[1], vertices.device
    out = allocate(vertices, (batch, count, 3))
    runs, run = _runs(batch, count, device)
    arguments = [
        runs,
        run,
        _vectors(vertices),
        _maps(maps),
        scalars(bones.indices.contiguous()),
        scalars(bones.weights.contiguous()),
        _vectors(out),
    ]
    launch(kernel.skin, batch * runs, arguments, device, batch * count * _SKIN_COST)
    return out


def _pairs_by_bone(bone_indices: Tensor, bone_weights: Tensor, bones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort pairs by bone, then vertex: the start of each bone's pairs (J + 1), the pairs' vertices and weights."""
    bone, order = bone_indices.flatten().sort(stable=True)
    starts = torch.searchsorted(bone, bones, out_int32=True)
    vertex = torch.div(order, bone_indices.shape[1], rounding_mode="floor").int()
    return starts, vertex, bone_weights.flatten()[order]


_pairs = TensorMemo(_pairs_by_bone)


@lru_cache(maxsize=64)
def _bone_numbers(count: int, device: torch.device) -> Tensor:
    numbers = torch.arange(count + 1, dtype=torch.int32, device=device)
    finish(device)
    return numbers


def _skin_adjoint(
    vertices: Tensor, maps: Tensor, bones: Bones, grad: Tensor, to_vertices: bool, to_maps: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute gradients to vertices (B, V, 3), and to the bones' maps in parts (B, P, J, 16) to be summed."""
    (batch, count), joints, device = grad.shape[:2], maps.shape[1], grad.device
    runs, run = _runs(batch, count, device)
    out_vertices = allocate(grad, (batch, count, 3)) if to_vertices else None
    parts = runs if on_cpu(device) else _LANES
    out_maps = grad.new_zeros((batch, parts, joints, 16)) if to_maps else None
    if not batch * count:
        return out_vertices, out_maps
    out_maps_argument = _maps(_optional(out_maps, device, 0, 0, 0, 16))
    vertices_argument, grad_argument = _vectors(vertices), _vectors(grad)
    if to_vertices or on_cpu(device):
        arguments = [
            runs,
            run,
            vertices_argument,
            _maps(maps),
            scalars(bones.indices.contiguous()),
            scalars(bones.weights.contiguous()),
            grad_argument,
            int(to_vertices),
            int(to_maps and on_cpu(device)),
            grad_argument if out_vertices is None else _vectors(out_vertices),
            out_maps_argument,
        ]
        launch(kernel.skin_adjoint, batch * runs, arguments, device, batch * count * _ADJOINT_COST)
    if out_maps is not None and not on_cpu(device):
        # Many threads would collide in one bone's sum; sorted by bone, each has its own part of it.
        pairs = _pairs(bones.indices, bones.weights, _bone_numbers(joints, device))
        arguments = [vertices_argument, grad_argument, *map(scalars, pairs), out_maps_argument]
        launch(kernel.map_gradients_by_bone, batch * parts * joints, arguments, device)
        out_maps = out_maps.sum(1, keepdim=True)
    return out_vertices, out_maps


class _Rotations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, axis_angles: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(axis_angles)
        flat = axis_angles.reshape(-1, 3)
        out = axis_angles.new_empty((*axis_angles.shape, 3))
        arguments = [_vectors(flat), _matrices(out.view(-1, 3, 3))]
        launch(kernel.turn, len(flat), arguments, flat.device, len(flat) * _ROTATION_COST)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (axis_angles,) = ctx.saved_tensors
        flat = axis_angles.reshape(-1, 3)
        out = _like(flat)
        arguments = [_vectors(flat), _matrices(grad.reshape(-1, 3, 3)), _vectors(out)]
        launch(kernel.turn_adjoint, len(flat), arguments, flat.device, 2 * len(flat) * _ROTATION_COST)
        return out.view(axis_angles.shape)


def axis_angle_to_rotations(axis_angles: Tensor) -> Tensor:
    """Compute `op.axis_angle_to_rotations` with the kernel."""
    return _Rotations.apply(axis_angles)


def _needed_only(gradients: Sequence[Tensor | None], mask: Sequence[bool]) -> tuple[Tensor | None, ...]:
    return tuple(gradient if need else None for gradient, need in zip(gradients, mask, strict=True))


class _Kinematics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        rotations, linear, positions, _ = _pose(Joints(*inputs), to_maps=False)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:5], rotations, linear)
        ctx.tree = inputs[5:]
        return rotations, linear, positions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, rotations, linear = ctx.saved_tensors
        out = _pose_adjoint(Joints(*inputs, *ctx.tree), rotations, linear, grads, None)
        return *_needed_only(out, ctx.needs_input_grad[:5]), None, None


def forward_kinematics(tree: Joints) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `op.forward_kinematics` with the kernel."""
    return _Kinematics.apply(*tree)


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
        maps = _map_bones(joints, linear, positions)
        ctx.save_for_backward(vertices, joints, linear, maps, bone_indices, bone_weights)
        return _skin(vertices, maps, Bones(bone_indices, bone_weights))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        vertices, joints, linear, maps, *bones = ctx.saved_tensors
        to_vertices, *to_bones = ctx.needs_input_grad[:4]
        out_vertices, out_maps = _skin_adjoint(vertices, maps, Bones(*bones), grad, to_vertices, any(to_bones))
        if out_maps is None:
            return out_vertices, None, None, None, None, None
        return out_vertices, *_needed_only(_map_bones_adjoint(joints, linear, out_maps), to_bones), None, None


def skin_vertices(
    vertices: Tensor, joints: Tensor, linear: Tensor, positions: Tensor, bone_indices: Tensor, bone_weights: Tensor
) -> Tensor:
    """Compute `op.skin_vertices` with the kernel."""
    if vertices.shape[0] != joints.shape[0]:
        vertices = vertices.expand(joints.shape[0], -1, -1)
    return _Skinning.apply(vertices, joints, linear, positions, bone_indices, bone_weights)


class _Posing(torch.autograd.Function):
    """Kinematics and skinning in one function, with two launches each way."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, vertices: Tensor, bone_indices: Tensor, bone_weights: Tensor, *inputs: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rotations, linear, positions, maps = _pose(Joints(*inputs), to_maps=True)
        assert maps is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, bone_indices, bone_weights, maps, rotations, linear, *inputs[:5])
        ctx.tree = inputs[5:]
        return _skin(vertices, maps, Bones(bone_indices, bone_weights)), rotations, linear, positions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        vertices, bone_indices, bone_weights, maps, rotations, linear, *inputs = ctx.saved_tensors
        to_vertices, needs = ctx.needs_input_grad[0], ctx.needs_input_grad[3:8]
        out_vertices = out_maps = None
        if grad is not None:
            bones = Bones(bone_indices, bone_weights)
            out_vertices, out_maps = _skin_adjoint(vertices, maps, bones, grad, to_vertices, any(needs))
        if not any(needs):
            return out_vertices, *[None] * 9
        out = _pose_adjoint(Joints(*inputs, *ctx.tree), rotations, linear, grads, out_maps)
        return out_vertices, None, None, *_needed_only(out, needs), None, None


def pose_vertices(
    vertices: Tensor, bone_indices: Tensor, bone_weights: Tensor, tree: Joints
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `op.pose_vertices` with the kernels."""
    batch = len(tree.joints)
    if vertices.shape[0] != batch:
        vertices = vertices.expand(batch, -1, -1)
    return _Posing.apply(vertices, bone_indices, bone_weights, *tree)
