"""Blend shapes, forward kinematics and linear blend skinning.

Notation: a joint j has an absolute rotation R_j (body to camera), a scale s_j and a fixed rest rotation Q_j that turns
its rest frame to the T pose. Its bone applies L_j = s_j R_j Q_j to the rest body.

`backend="auto"` runs the Warp kernels for float32 tensors on CPU and CUDA, which is faster at every size (0.2 ms
forwards and backwards for one body's landmarks, 1.3 ms with the reference), otherwise the reference in plain torch.
`"kernel"` and `"reference"` force one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import (
    Backend,
    as_int32,
    cached_by_signature,
    check_rows,
    check_shape,
    check_tensors,
    implementation,
    without_autocast,
)
from humanpose_cli.engine.skinning.products import Product, onednn_is_faster
from humanpose_cli.engine.skinning.reference import Blending, Joints

_PACKAGE = "humanpose_cli.engine.skinning"


class Kinematics(NamedTuple):
    """The joints of posed bodies, and the map of each bone.

    Attributes:
        rotations: (B, J, 3, 3) float. The absolute rotations R, body to camera.
        linear: (B, J, 3, 3) float. s_j R_j Q_j, which acts on vectors of the rest body.
        positions: (B, J, 3) float, metres. The posed joints.
        rest_joints: (B, J, 3) float, metres. The joints before posing.
    """

    rotations: Tensor
    linear: Tensor
    positions: Tensor
    rest_joints: Tensor


def axis_angle_to_rotations(axis_angles: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Compute rotation matrices of axis-angles by Rodrigues' formula.

    Gives the same result as `geometry.rotations.axis_angle_to_matrix`, with a kernel: for the poses of many bodies, the
    dozens of small torch operations would take longer than the kinematics. Differentiable once.

    Args:
        axis_angles: (..., 3) float, radians.
        backend: "auto", "kernel" or "reference".

    Returns:
        (..., 3, 3) float. The rotation matrices.

    Raises:
        UsageError: If the last axis does not have length 3.
    """
    if axis_angles.shape[-1:] != (3,):
        raise UsageError("axis_angles", "has the wrong shape", expected="(..., 3)", got=str(tuple(axis_angles.shape)))
    # Trees of a single joint, wherever it is.
    turns = axis_angles.reshape(-1, 1, 3)
    rotations = forward_kinematics(turns, turns.detach(), (-1,), backend=backend).rotations
    return rotations.clone().view(*axis_angles.shape, 3)  # the kinematics' own must not be modified


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
    """Pose joint trees: q_root = j_root, and q_c = q_p + L_p (j_c − j_p) for a child c of p.

    Differentiable once to rotations, joints and scales; to rest_rotations only with the reference.

    Args:
        rotations: (B, J, 3, 3) float, or (B, J, 3) float, radians. Rotation matrices or axis-angles, relative to the
            parent: R_c = R_p · rotations_c. Absolute ones if `absolute` is set.
        joints: (B, J, 3) float, metres. The rest joints.
        parents: The row of each joint's parent, −1 for a root; in any order.
        scales: (B, J) float. Segment scales, which do not accumulate along the chain. None means 1.
        rest_rotations: (J, 3, 3) float. Rest rotations Q. None means the identity.
        absolute: Whether `rotations` are absolute.
        backend: "auto", "kernel" or "reference".

    Returns:
        The posed joints and the maps of their bones.

    Raises:
        UsageError: If shapes, dtypes or devices do not match, or if the parents are not a tree.
    """
    tree = Joints(rotations, joints, scales, rest_rotations, None, tuple(parents), absolute)
    _check_joints(False, *tree)
    unsupported = _unsupported(rotations, "rest_rotations", rest_rotations)
    compute = implementation(_PACKAGE, backend, rotations.device, unsupported)
    return Kinematics._make((*compute.forward_kinematics(tree), joints))


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
    """Skin vertices by linear blending over their bones: Σ_k w_k (q_k + L_k (x − j_k)).

    Differentiable once to vertices, joints, linear and positions; to bone_weights only with the reference.

    Args:
        vertices: (B, V, 3) or (1, V, 3) float, metres. The rest vertices x.
        joints: (B, J, 3) float, metres. The rest joints j.
        linear: (B, J, 3, 3) float. The bones' maps L, from `forward_kinematics`.
        positions: (B, J, 3) float, metres. The posed joints q, from `forward_kinematics`.
        bone_indices: (V, K) integer, 0 to J − 1. The bones of each vertex.
        bone_weights: (V, K) float. Their weights, which usually sum to 1.
        backend: "auto", "kernel" or "reference".

    Returns:
        (B, V, 3) float, metres. The posed vertices.

    Raises:
        UsageError: If shapes, dtypes or devices do not match.
    """
    _check_skinning(vertices, joints, linear, positions, bone_indices, bone_weights)
    check_rows("bone_indices", bone_indices, joints.shape[1])
    compute = implementation(_PACKAGE, backend, vertices.device, _unsupported(vertices, "bone_weights", bone_weights))
    points: Tensor = compute.skin_vertices(vertices, joints, linear, positions, as_int32(bone_indices), bone_weights)
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
    betas: Tensor | None = None,
    directions: Tensor | None = None,
    joint_directions: Tensor | None = None,
    *,
    absolute: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Kinematics]:
    """Run `forward_kinematics`, `blend_shapes` and `skin_vertices` in one step, with less overhead.

    Differentiable once to rotations, scales, translation, and to betas or without them to vertices and joints; to all
    others only with the reference.

    Args:
        vertices: (B, V, 3) or (1, V, 3) float, metres. The rest vertices; with `betas`, the template (V, 3).
        bone_indices: (V, K) integer, 0 to J − 1. The bones of each vertex.
        bone_weights: (V, K) float. Their weights, which sum to 1.
        rotations: (B, J, 3, 3) float, or (B, J, 3) float, radians. Rotation matrices or axis-angles, relative to the
            parent, or absolute ones if `absolute` is set.
        joints: (B, J, 3) float, metres. The rest joints; with `betas`, their template (J, 3).
        parents: The row of each joint's parent, −1 for a root.
        scales: (B, J) float. Segment scales. None means 1.
        rest_rotations: (J, 3, 3) float. Rest rotations Q. None means the identity.
        translation: (B, 3) float, metres. Added to all joints and vertices. None means 0.
        betas: (B, S) or (1, S) float. Weights of the first S directions. None means no blend shapes.
        directions: (S, 3 V) or (S + 9 (J − 1), 3 V) float, metres per weight, in any memory layout. The further rows
            are weighted by the relative rotations of all joints but the first minus the identity, row by row.
        joint_directions: (S, J, 3) float, metres per beta.
        absolute: Whether `rotations` are absolute.
        backend: "auto", "kernel" or "reference".

    Returns:
        The posed vertices (B, V, 3) in metres, and the kinematics with the translation in its positions.

    Raises:
        UsageError: If shapes, dtypes or devices do not match, or if the parents are not a tree.
    """
    tree = Joints(rotations, joints, scales, rest_rotations, translation, tuple(parents), absolute)
    _check_posing(vertices, bone_indices, bone_weights, betas, directions, joint_directions, *tree)
    check_rows("bone_indices", bone_indices, len(tree.parents))
    blending = None
    if directions is not None and joint_directions is not None:
        blending = Blending(directions, joint_directions)
    constants = {"bone_weights": bone_weights, "rest_rotations": rest_rotations}
    if blending is not None:
        constants |= {"vertices": vertices, "joints": joints, **blending._asdict()}
    unsupported = next(filter(None, (_unsupported(vertices, *constant) for constant in constants.items())), "")
    compute = implementation(_PACKAGE, backend, vertices.device, unsupported)
    points, *kinematics = compute.pose_vertices(vertices, as_int32(bone_indices), bone_weights, tree, betas, blending)
    return points, Kinematics(*kinematics)


@cached_by_signature
def _check_posing(
    vertices: Tensor,
    bone_indices: Tensor,
    bone_weights: Tensor,
    betas: Tensor | None,
    directions: Tensor | None,
    joint_directions: Tensor | None,
    *joints: Any,
) -> None:
    tree = Joints(*joints)
    count = len(tree.parents)
    if betas is not None and directions is not None and joint_directions is not None:
        check_shape("vertices", vertices, "V", 3)
        check_shape("joints", tree.joints, count, 3)
        check_shape("betas", betas, 1 if len(betas) == 1 else len(tree.rotations), "S")
        rows = betas.shape[1] + (9 * (count - 1) if len(directions) > betas.shape[1] else 0)
        check_shape("directions", directions, rows, vertices.numel())
        check_shape("joint_directions", joint_directions, betas.shape[1], count, 3)
    elif not (betas is directions is joint_directions is None):
        raise UsageError("betas", "need directions", expected="betas, directions and joint_directions, or none of them")
    _check_joints(betas is not None, *tree)
    _check_vertices(vertices, bone_indices, bone_weights, len(tree.rotations))
    blending = {"betas": betas, "directions": directions, "joint_directions": joint_directions}
    tensors = {**dict(zip(tree._fields[:5], tree[:5], strict=True)), "vertices": vertices, "bone_weights": bone_weights}
    check_tensors(bone_indices, **tensors, **blending)


@cached_by_signature
def _check_joints(shaped: bool, *joints: Any) -> None:
    tree = Joints(*joints)
    count = len(tree.parents)
    check_shape("rotations", tree.rotations, "B", count, *((3,) if tree.rotations.ndim == 3 else (3, 3)))
    batch = tree.rotations.shape[0]
    if not shaped:
        check_shape("joints", tree.joints, batch, count, 3)
    if tree.scales is not None:
        check_shape("scales", tree.scales, batch, count)
    if tree.rest_rotations is not None:
        check_shape("rest_rotations", tree.rest_rotations, count, 3, 3)
    if tree.translation is not None:
        check_shape("translation", tree.translation, batch, 3)
    check_tensors(**dict(zip(tree._fields[:5], tree[:5], strict=True)))


@cached_by_signature
def _check_skinning(
    vertices: Tensor, joints: Tensor, linear: Tensor, positions: Tensor, bone_indices: Tensor, bone_weights: Tensor
) -> None:
    check_shape("linear", linear, "B", "J", 3, 3)
    batch, count = linear.shape[:2]
    check_shape("joints", joints, batch, count, 3)
    check_shape("positions", positions, batch, count, 3)
    _check_vertices(vertices, bone_indices, bone_weights, batch)
    check_tensors(
        bone_indices, vertices=vertices, joints=joints, linear=linear, positions=positions, bone_weights=bone_weights
    )


def _check_vertices(vertices: Tensor, bone_indices: Tensor, bone_weights: Tensor, batch: int) -> None:
    if vertices.ndim != 2:
        check_shape("vertices", vertices, 1 if vertices.shape[:1] == (1,) else batch, "V", 3)
    check_shape("bone_indices", bone_indices, vertices.shape[-2], "K")
    check_shape("bone_weights", bone_weights, *bone_indices.shape)


def _unsupported(tensor: Tensor, name: str = "", constant: Tensor | None = None) -> str:
    """Describe why the kernels cannot take these arguments; they have no gradient to `constant`."""
    if tensor.dtype != torch.float32:
        return str(tensor.dtype)
    if constant is not None and constant.requires_grad and torch.is_grad_enabled():
        return f"{name} that require a gradient"
    return ""


@without_autocast
def blend_shapes(template: Tensor, weights: Tensor, directions: Tensor) -> Tensor:
    """Compute the vertices of shaped bodies: template + Σ_s weights_s directions_s.

    Differentiable any number of times. The last bits depend on the number of CPU threads, as in torch's matrix
    products.

    Args:
        template: (V, 3) float, metres. The mean vertices.
        weights: (B, S) float. Betas, or the elements of relative rotations minus the identity, or both.
        directions: (S, 3 V) float, metres per weight, in any memory layout.

    Returns:
        (B, V, 3) float, metres. The shaped vertices.

    Raises:
        UsageError: If shapes, dtypes or devices do not match.
    """
    check_shape("template", template, "V", 3)
    check_shape("weights", weights, "B", "S")
    check_shape("directions", directions, weights.shape[1], template.numel())
    check_tensors(weights=weights, template=template, directions=directions)
    constant = not (directions.requires_grad and torch.is_grad_enabled())
    if constant and onednn_is_faster(weights, directions):
        vertices = Product.apply(weights, directions, template.reshape(-1))
    else:
        vertices = torch.addmm(template.reshape(-1), weights, directions)
    return vertices.view(len(weights), len(template), 3)
