"""Run the kernels of rotations, kinematics and skinning as torch functions that are differentiable once.

The signatures are those in `reference.py`. Inputs may be any views. A tensor is copied only if the numbers of a vector
or matrix are not contiguous. Gradients that are not received or not needed are neither read nor computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.launching import (
    Array,
    Constant,
    allocate,
    integers,
    launch,
    matrices,
    on_cpu,
    scalars,
    vectors,
)
from humanpose_cli.engine.skinning import kernel
from humanpose_cli.engine.skinning.products import product
from humanpose_cli.engine.skinning.reference import Blending, Joints, levels

# Vertices a thread on the CPU. Sums over vertices are cut there, whatever the number of threads.
_CPU_RUN = 2048
# Most threads of a CUDA launch; beyond it, a thread takes several vertices.
_MAX_THREADS = 1 << 30
# Threads of a body in kinematics on CUDA, a warp, and threads that share the sum of one bone there.
_LANES = 32
# Nanoseconds a vertex or joint on one CPU thread, for the decision to split a launch.
_SKIN_COST, _ADJOINT_COST, _JOINT_COST = 3, 5, 30


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


def _integers(tensor: Tensor) -> Array:
    return scalars(tensor.int())


def _new(like: Tensor, *shape: int) -> Tensor:
    """Allocate an uninitialised contiguous tensor; `new_empty` and `empty_like` would be two calls of torch."""
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _lanes(device: torch.device) -> int:
    return 1 if on_cpu(device) else _LANES


@lru_cache(maxsize=64)
def _nothing(array: Callable[[Tensor], Array], device: torch.device, *shape: int) -> Constant:
    return Constant(array(torch.empty(shape, dtype=torch.float32, device=device)))


def _optional(
    array: Callable[[Tensor], Array], tensor: Tensor | None, device: torch.device, *shape: int
) -> Array | Constant:
    """Wrap the tensor, or for None an empty one, which a kernel does not read."""
    return _nothing(array, device, *shape) if tensor is None else array(tensor)


@lru_cache(maxsize=64)
def _tree(parents: tuple[int, ...], device: torch.device) -> Constant:
    """Order a tree of joints as kernel.py expects it."""
    by_level = levels(parents)
    order = [joint for level in by_level for joint in level]
    starts = [0, *accumulate(map(len, by_level))]
    children = sorted((joint for joint in order if parents[joint] >= 0), key=lambda joint: parents[joint])
    child_starts = [0, *accumulate(parents.count(joint) for joint in range(len(parents)))]
    padding = [0] * (len(parents) - len(children))
    numbers = (*order, *parents, *child_starts, *children, *padding, *starts)
    with torch.inference_mode(False):
        return Constant(scalars(torch.tensor(numbers, dtype=torch.int32, device=device)))


def _joint_arguments(tree: Joints) -> list[Any]:
    """List the first arguments of both kinematics kernels."""
    rotations, device = tree.rotations, tree.device
    turns = rotations.ndim == 3
    return [
        _lanes(device),
        int(tree.absolute),
        _tree(tree.parents, device),
        _optional(_matrices, None if turns else rotations, device, 0, 0, 3, 3),
        _optional(_vectors, rotations if turns else None, device, 0, 0, 3),
        _optional(scalars, tree.scales, device, 0, 0),
        _optional(_matrices, tree.rest_rotations, device, 0, 3, 3),
    ]


def _weight_arguments(weights: Tensor | None, shapes: int, device: torch.device) -> tuple[Array | Constant, ...]:
    """Return weights (B, S [+ 9 (J − 1)]) of blend shapes, and those of pose features among them as matrices."""
    features = None
    if weights is not None and weights.shape[1] > shapes:
        batch, count = weights.shape
        features = weights.as_strided((batch, (count - shapes) // 9, 3, 3), (count, 9, 3, 1), shapes)
    return _optional(scalars, weights, device, 0, 0), _optional(_matrices, features, device, 0, 0, 3, 3)


class _Posed(NamedTuple):
    """The results of `_pose`, or gradients to them: `op.Kinematics`, maps (B, [parts,] J, 16), blend weights."""

    rotations: Tensor | None
    linear: Tensor | None
    positions: Tensor | None
    joints: Tensor | None = None
    maps: Tensor | None = None
    weights: Tensor | None = None


def _pose(tree: Joints, to_maps: bool, betas: Tensor | None = None, blending: Blending | None = None) -> _Posed:
    """Pose joints; with betas (B, S), shape them first, and compute the blend weights if there are pose features."""
    batch, count, device, like = len(tree.rotations), len(tree.parents), tree.device, tree.rotations
    rotations, linear, positions = (_new(like, batch, count, *n) for n in ((3, 3), (3, 3), (3,)))
    maps = _new(like, batch, count, 16) if to_maps else None
    joints, template, directions, weights = tree.joints, None, None, None
    if betas is not None and blending is not None:
        joints, template, directions = _new(like, batch, count, 3), tree.joints, blending.joint_directions
        features = len(blending.directions) - betas.shape[1]
        weights = _new(like, batch, betas.shape[1] + features) if features else None
    if batch * count:
        arguments = [
            *_joint_arguments(tree),
            _optional(_vectors, tree.translation, device, 0, 3),
            _optional(scalars, betas, device, 0, 0),
            _optional(_vectors, template, device, 0, 3),
            _optional(_vectors, directions, device, 0, 0, 3),
            _vectors(joints),
            *(_matrices(rotations), _matrices(linear), _vectors(positions)),
            _optional(_maps, maps, device, 0, 0, 16),
            *_weight_arguments(weights, 0 if betas is None else betas.shape[1], device),
        ]
        size, cost = batch * _lanes(device), batch * count * _JOINT_COST
        launch(kernel.pose_joints, size, arguments, device, cost)
    return _Posed(rotations, linear, positions, joints, maps, weights)


def _pose_adjoint(
    tree: Joints, posed: Sequence[Tensor], grads: _Posed, directions: Tensor | None = None, to_betas: bool = False
) -> tuple[Tensor | None, ...]:
    """Compute gradients to the five tensors of `tree`, there is none to rest_rotations, and to betas."""
    # `posed` are rotations, linear and the joints, `directions` (S, J, 3) those of the joints.
    joints, turns, shapes = posed[2], tree.rotations.ndim == 3, 0 if directions is None else len(directions)
    (batch, count), device = joints.shape[:2], joints.device
    to_matrices = _new(joints, batch, count, 3, 3)
    to_rotations = _new(joints, batch, count, 3) if turns else to_matrices
    to_joints, sum_positions = _new(joints, batch, count, 3), _new(joints, batch, count, 3)
    to_scales = None if tree.scales is None else _new(joints, batch, count)
    to_translation = None if tree.translation is None else _new(joints, batch, 3)
    out_betas = _new(joints, batch, shapes) if to_betas else None
    if batch * count:
        arguments = [
            *_joint_arguments(tree),
            *(_matrices(posed[0]), _matrices(posed[1]), _vectors(joints)),
            _optional(_vectors, directions, device, 0, 0, 3),
            _optional(_matrices, grads.rotations, device, 0, 0, 3, 3),
            _optional(_matrices, grads.linear, device, 0, 0, 3, 3),
            _optional(_vectors, grads.positions, device, 0, 0, 3),
            _optional(_vectors, grads.joints, device, 0, 0, 3),
            _optional(_maps, grads.maps, device, 0, 0, 0, 16),
            *_weight_arguments(grads.weights, shapes, device),
            *(_vectors(sum_positions), _matrices(to_matrices)),
            _optional(_vectors, to_rotations if turns else None, device, 0, 0, 3),
            _vectors(to_joints),
            _optional(scalars, to_scales, device, 0, 0),
            _optional(_vectors, to_translation, device, 0, 3),
            _optional(scalars, out_betas, device, 0, 0),
        ]
        size, cost = batch * _lanes(device), 2 * batch * count * _JOINT_COST
        launch(kernel.pose_joints_adjoint, size, arguments, device, cost)
    else:
        for gradient in (to_translation, out_betas):
            if gradient is not None:
                gradient.zero_()
    return to_rotations, to_joints, to_scales, None, to_translation, out_betas


def _map_bones(joints: Tensor, linear: Tensor, positions: Tensor) -> Tensor:
    """Compute the bones' maps (B, J, 16)."""
    batch, bones = joints.shape[:2]
    maps = _new(joints, batch, bones, 16)
    arguments = [_vectors(joints), _matrices(linear), _vectors(positions), _maps(maps)]
    launch(kernel.bone_maps, batch * bones, arguments, joints.device, batch * bones * _JOINT_COST)
    return maps


def _map_bones_adjoint(joints: Tensor, linear: Tensor, grad_maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients to joints, linear and positions from the gradients to the maps in parts (B, P, J, 16)."""
    out_joints, out_linear, out_positions = (_new(joints, *n) for n in (joints.shape, linear.shape, joints.shape))
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


@TensorMemo
def _pairs_by_bone(bone_indices: Tensor, bone_weights: Tensor, bones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort pairs by bone, then vertex: the start of each bone's pairs (J + 1), the pairs' vertices and weights."""
    bone, order = bone_indices.flatten().sort(stable=True)
    starts = torch.searchsorted(bone, bones, out_int32=True)
    vertex = torch.div(order, bone_indices.shape[1], rounding_mode="floor").int()
    return starts, vertex, bone_weights.flatten()[order]


def _skin_adjoint(
    vertices: Tensor, maps: Tensor, bones: Bones, grad: Tensor, to_vertices: bool, to_maps: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute gradients to vertices (B, V, 3), and to the bones' maps in parts (B, P, J, 16) to be summed."""
    (batch, count), joints, device = grad.shape[:2], maps.shape[1], grad.device
    runs, run = _runs(batch, count, device)
    out_vertices = allocate(grad, (batch, count, 3)) if to_vertices else None
    out_maps = _new(grad, batch, runs if on_cpu(device) else 1, joints, 16) if to_maps else None
    if not batch * count:
        return out_vertices, None if out_maps is None else out_maps.zero_()
    threads = size = batch * runs
    pairs: list[Array | Constant] = [_nothing(array, device, 0) for array in (_integers, _integers, scalars)]
    if not on_cpu(device):
        # Many threads would collide in one bone's sum; sorted by bone, each has its own part of it. Whole warps sum.
        threads = size = -(-threads // _LANES) * _LANES if to_vertices else 0
        if to_maps:
            size += batch * joints * _LANES
            pairs = [*map(scalars, _pairs_by_bone(bones.indices, bones.weights, integers(joints + 1, device)))]
    vertices_argument, grad_argument = _vectors(vertices), _vectors(grad)
    arguments = [
        *(runs, run, threads, _LANES),
        vertices_argument,
        _maps(maps),
        scalars(bones.indices.contiguous()),
        scalars(bones.weights.contiguous()),
        *pairs,
        grad_argument,
        int(to_vertices),
        int(to_maps and on_cpu(device)),
        grad_argument if out_vertices is None else _vectors(out_vertices),
        _optional(_maps, out_maps, device, 0, 0, 0, 16),
    ]
    launch(kernel.skin_adjoint, size, arguments, device, batch * count * _ADJOINT_COST)
    return out_vertices, out_maps


def _needed_only(gradients: Sequence[Tensor | None], mask: Sequence[bool]) -> tuple[Tensor | None, ...]:
    return tuple(gradient if need else None for gradient, need in zip(gradients, mask, strict=True))


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
    """Rotations, kinematics, blend shapes and skinning in one function: two launches each way and a product.

    Without bones, kinematics alone.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        vertices: Tensor | None,
        betas: Tensor | None,
        blending: Blending | None,
        bones: Bones | None,
        *inputs: Any,
    ) -> tuple[Tensor, ...]:
        tree = Joints(*inputs)
        batch = len(tree.rotations)
        posed = _pose(tree, bones is not None, None if betas is None else _rows(betas, batch), blending)
        if betas is not None and blending is not None and vertices is not None:
            weights = betas if posed.weights is None else posed.weights
            vertices = product(weights, blending.directions, vertices.reshape(-1)).view(-1, *vertices.shape[-2:])
        vertices = None if vertices is None else _rows(vertices, batch)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, posed.maps, *posed[:2], posed.joints, *inputs[:5])
        ctx.tree, ctx.blending, ctx.bones = inputs[5:], blending, bones
        ctx.alike = betas is not None and len(betas) != batch
        outputs: tuple[Any, ...] = posed[:3] if betas is None else posed[:4]
        if bones is None or vertices is None or posed.maps is None:
            return outputs
        return *outputs, _skin(vertices, posed.maps, bones)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        vertices, maps, rotations, linear, joints, *inputs = ctx.saved_tensors
        (to_vertices, to_betas), needs = ctx.needs_input_grad[:2], ctx.needs_input_grad[4:9]
        out_vertices = out_maps = from_weights = None
        if ctx.bones is not None:
            grads, grad = grads[:-1], grads[-1]
            to_blend = ctx.blending is not None and (to_betas or needs[0])
            if grad is not None:
                to_maps = to_betas or any(needs)
                out_vertices, out_maps = _skin_adjoint(
                    vertices, maps, ctx.bones, grad, to_vertices or to_blend, to_maps
                )
            if to_blend and out_vertices is not None:
                rows = out_vertices.view(len(out_vertices), 3 * vertices.shape[1])
                from_weights, out_vertices = product(rows, ctx.blending.directions, transposed=True), None
        tree, out_betas = Joints(*inputs, *ctx.tree), None
        if to_betas or any(needs):
            directions = None if ctx.blending is None else ctx.blending.joint_directions
            arrived = _Posed(*grads)._replace(maps=out_maps, weights=from_weights)
            *out, out_betas = _pose_adjoint(tree, (rotations, linear, joints), arrived, directions, to_betas)
            inputs = [gradient if need else None for gradient, need in zip(out, needs, strict=True)]
        else:
            inputs = [None] * 5
        if out_betas is not None and ctx.alike:
            out_betas = out_betas.sum(0, keepdim=True)
        return out_vertices, out_betas, None, None, *inputs, None, None


def _rows(tensor: Tensor, batch: int) -> Tensor:
    return tensor if len(tensor) == batch else tensor.expand(batch, *tensor.shape[1:])


def forward_kinematics(tree: Joints) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `op.forward_kinematics` with the kernel."""
    return _Posing.apply(None, None, None, None, *tree)


def pose_vertices(
    vertices: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    tree: Joints,
    betas: Tensor | None = None,
    blending: Blending | None = None,
) -> tuple[Tensor, ...]:
    """Compute `op.pose_vertices` with the kernels."""
    if betas is None:
        vertices = _rows(vertices, len(tree.rotations))
    *kinematics, points = _Posing.apply(vertices, betas, blending, Bones(bone_indices, bone_weights), *tree)
    return points, *kinematics, *([tree.joints] if betas is None else [])
