"""Blend shapes, forward kinematics and linear blend skinning: the public operations.

Notation of the conventions: a joint j has an absolute rotation R_j (body to camera), a scale s_j and a fixed rest
rotation Q_j that turns its rest frame to the T pose; L_j = s_j R_j Q_j is what its bone does to the rest body.

`backend`: "auto" runs the Warp kernels for float32 on CPU and CUDA, which is the faster way at every size (0.2 ms
forwards and backwards for one body's landmarks, where the reference takes 1.3), else the reference in plain torch;
"kernel" and "reference" ask for one.

Blend shapes are one matrix product, through whichever of torch's CPU libraries is faster at it. torch multiplies single
precision with MKL, which on processors of other makers does without their widest vectors: oneDNN, which torch brings
along for convolutions, takes 2 to 3 times less for a pose's 207 shapes of a whole mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import (
    Backend,
    check_rows,
    check_shape,
    check_tensors,
    implementation,
    without_autocast,
)
from humanpose_cli.engine.launching import fresh
from humanpose_cli.engine.skinning.reference import Joints

_PACKAGE = "humanpose_cli.engine.skinning"

# Multiplications from which oneDNN's start is worth while.
_LARGE_PRODUCT = 2_000_000
# Up to so many shapes, a product costs as much as the memory that it writes to.
_FEW_SHAPES = 48


class Kinematics(NamedTuple):
    """The joints of posed bodies, and the map of each bone.

    Attributes:
        rotations: (B, J, 3, 3) absolute part rotations R, body to camera.
        linear: (B, J, 3, 3) s_j R_j Q_j, which acts on the rest body's vectors.
        positions: (B, J, 3) metres, the posed joints.
    """

    rotations: Tensor
    linear: Tensor
    positions: Tensor


def axis_angle_to_rotations(axis_angles: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Compute rotation matrices (..., 3, 3) of axis-angles (..., 3) in radians, by Rodrigues' formula.

    The same as `geometry.rotations.axis_angle_to_matrix`, with a kernel: for the poses of many bodies, whose dozens
    of small operations take longer than the kinematics. Differentiable once. Raises UsageError for vectors of another
    length.
    """
    if axis_angles.shape[-1:] != (3,):
        raise UsageError("axis_angles", "has the wrong shape", expected="(..., 3)", got=str(tuple(axis_angles.shape)))
    check_tensors(axis_angles=axis_angles)
    compute = implementation(_PACKAGE, backend, axis_angles.device, _unfit(axis_angles))
    rotations: Tensor = compute.axis_angle_to_rotations(axis_angles)
    return rotations


def forward_kinematics(
    rotations: Tensor,
    joints: Tensor,
    parents: Sequence[int],
    scales: Tensor | None = None,
    rest_rotations: Tensor | None = None,
    *,
    absolute: bool = False,
    backend: Backend = "auto",
) -> Kinematics:
    """Pose joint trees: q_root = j_root and q_c = q_p + L_p (j_c − j_p) for a child c of p; no translation.

    Differentiable (once) to rotations, joints and scales; to rest_rotations only by the reference. Raises UsageError
    for shapes that do not fit.

    Args:
        rotations: (B, J, 3, 3), parent-relative: R_c = R_p · rotations_c; with `absolute` they are R already.
        joints: (B, J, 3) metres, the rest joints.
        parents: Row of each joint's parent, −1 for a root; any order.
        scales: (B, J) segment scales, which do not accumulate along the chain; None for 1.
        rest_rotations: (J, 3, 3) rest rotations Q; None for the identity.
    """
    tree = Joints(rotations, joints, scales, rest_rotations, None, tuple(parents), absolute)
    _check_joints(tree)
    check_tensors(rotations=rotations, joints=joints, scales=scales, rest_rotations=rest_rotations)
    unfit = _unfit(rotations, "rest_rotations", rest_rotations)
    return Kinematics(*implementation(_PACKAGE, backend, rotations.device, unfit).forward_kinematics(tree))


def skin_vertices(
    vertices: Tensor,
    joints: Tensor,
    linear: Tensor,
    positions: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Skin vertices by linear blending: Σ_k w_k (q_k + L_k (x − j_k)) over their bones → (B, V, 3) metres.

    Differentiable (once) to vertices, joints, linear and positions; to bone_weights only by the reference.
    Raises UsageError for shapes that do not fit.

    Args:
        vertices: (B, V, 3) or (1, V, 3) metres, the rest vertices x.
        joints: (B, J, 3) rest joints; linear (B, J, 3, 3) and positions (B, J, 3) as of `forward_kinematics`.
        bone_indices: (V, K) int32, 0 to J − 1.
        bone_weights: (V, K) weights, usually of sum 1.
    """
    check_shape("linear", linear, "B", "J", 3, 3)
    batch, count = linear.shape[:2]
    check_shape("joints", joints, batch, count, 3)
    check_shape("positions", positions, batch, count, 3)
    _check_vertices(vertices, bone_indices, bone_weights, batch, count)
    check_tensors(
        bone_indices, vertices=vertices, joints=joints, linear=linear, positions=positions, bone_weights=bone_weights
    )
    compute = implementation(_PACKAGE, backend, vertices.device, _unfit(vertices, "bone_weights", bone_weights))
    points: Tensor = compute.skin_vertices(vertices, joints, linear, positions, bone_indices.int(), bone_weights)
    return points


def pose_vertices(
    vertices: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    rotations: Tensor,
    joints: Tensor,
    parents: Sequence[int],
    scales: Tensor | None = None,
    rest_rotations: Tensor | None = None,
    translation: Tensor | None = None,
    *,
    absolute: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Kinematics]:
    """Run `forward_kinematics` and `skin_vertices` in one step: less overhead, for whole bodies and small batches.

    The others are theirs. Returns the posed vertices (B, V, 3) metres, and the kinematics with the
    translation in its positions. Differentiable (once) to vertices, rotations, joints, scales and translation; to
    bone_weights and rest_rotations only by the reference. Raises UsageError for shapes that do not fit.

    Args:
        translation: (B, 3) metres, added to all positions and so to the vertices, whose weights sum to 1; None for
            0.
    """
    tree = Joints(rotations, joints, scales, rest_rotations, translation, tuple(parents), absolute)
    _check_joints(tree)
    batch, count = joints.shape[:2]
    _check_vertices(vertices, bone_indices, bone_weights, batch, count)
    check_tensors(
        bone_indices,
        rotations=rotations,
        joints=joints,
        scales=scales,
        rest_rotations=rest_rotations,
        translation=translation,
        vertices=vertices,
        bone_weights=bone_weights,
    )
    unfit = _unfit(vertices, "bone_weights", bone_weights) or _unfit(rotations, "rest_rotations", rest_rotations)
    compute = implementation(_PACKAGE, backend, vertices.device, unfit)
    points, *kinematics = compute.pose_vertices(vertices, bone_indices.int(), bone_weights, tree)
    return points, Kinematics(*kinematics)


def _check_joints(tree: Joints) -> None:
    count = len(tree.parents)
    check_shape("rotations", tree.rotations, "B", count, 3, 3)
    batch = tree.rotations.shape[0]
    check_shape("joints", tree.joints, batch, count, 3)
    if tree.scales is not None:
        check_shape("scales", tree.scales, batch, count)
    if tree.rest_rotations is not None:
        check_shape("rest_rotations", tree.rest_rotations, count, 3, 3)
    if tree.translation is not None:
        check_shape("translation", tree.translation, batch, 3)


def _check_vertices(vertices: Tensor, bone_indices: Tensor, bone_weights: Tensor, batch: int, joints: int) -> None:
    check_shape("vertices", vertices, "B", "V", 3)
    if vertices.shape[0] != 1:
        check_shape("vertices", vertices, batch, "V", 3)
    check_shape("bone_indices", bone_indices, vertices.shape[1], "K")
    check_shape("bone_weights", bone_weights, *bone_indices.shape)
    check_rows("bone_indices", bone_indices, joints)


def _unfit(tensor: Tensor, name: str = "", constant: Tensor | None = None) -> str:
    """Describe why the kernels cannot take these arguments; they differentiate to no constant."""
    if tensor.dtype != torch.float32:
        return str(tensor.dtype)
    if constant is not None and constant.requires_grad and torch.is_grad_enabled():
        return f"{name} that require a gradient"
    return ""


@without_autocast
def blend_shapes(template: Tensor, weights: Tensor, directions: Tensor) -> Tensor:
    """Compute vertices of shaped bodies, template + Σ_s weights_s directions_s → (B, V, 3) metres.

    Differentiable to all of them, any number of times. The last bits depend on the number of CPU threads, as those of
    torch's matrix products do. Raises UsageError for shapes that do not fit.

    Args:
        template: (V, 3) metres.
        weights: (B, S): betas, or the elements of relative rotations minus the identity, or both.
        directions: (S, 3 V) metres per weight, in any memory layout.
    """
    check_shape("template", template, "V", 3)
    check_shape("weights", weights, "B", "S")
    check_shape("directions", directions, weights.shape[1], template.numel())
    check_tensors(weights=weights, template=template, directions=directions)
    constant = not (directions.requires_grad and torch.is_grad_enabled())
    if constant and _onednn_is_faster(weights, directions):
        vertices = _Product.apply(weights, directions, template.reshape(-1))
    else:
        vertices = torch.addmm(template.reshape(-1), weights, directions)
    return vertices.view(len(weights), len(template), 3)


def _onednn_is_faster(a: Tensor, b: Tensor) -> bool:
    large = a.shape[0] * b.shape[0] * b.shape[1] > _LARGE_PRODUCT
    if not large or a.device.type != "cpu" or a.dtype != torch.float32:
        return False
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b.mT, bias, "none", [], "")


class _Product(torch.autograd.Function):
    """a @ b + bias for a large constant b, and its gradient, which is such a product too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(b)
        if bias is not None and len(b) <= _FEW_SHAPES:
            # oneDNN offers no choice of where to write to.
            return torch.addmm(bias, a, b, out=fresh(a, (len(a), b.shape[1])))
        return _onednn(a, b, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # type: ignore[override]
        (b,) = ctx.saved_tensors
        to_a = _Product.apply(grad, b.mT, None) if ctx.needs_input_grad[0] else None
        return to_a, None, grad.sum(0) if ctx.needs_input_grad[2] else None
