"""Forward kinematics and linear blend skinning: the public operations.

Notation of the conventions: a joint j has an absolute rotation R_j (body to camera), a scale s_j and a fixed rest
rotation Q_j that turns its rest frame to the T pose; L_j = s_j R_j Q_j is what its bone does to the rest body.

`backend`: "auto" runs the Warp kernels for float32 on CPU and CUDA, which is the faster way at every size (0.2 ms
forwards and backwards for one body's landmarks, where the reference takes 1.3), else the reference in plain torch;
"kernel" and "reference" ask for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, check_rows, check_shape, check_tensors, uses_kernel
from humanpose_cli.engine.skinning import reference

__all__ = ["Kinematics", "forward_kinematics", "skin_vertices"]

_KERNELS = "humanpose_cli.engine.skinning.kernel"


class Kinematics(NamedTuple):
    """Where the joints of posed bodies are, and what each bone does.

    rotations  (B, J, 3, 3) absolute part rotations R, body to camera
    linear     (B, J, 3, 3) s_j R_j Q_j, which acts on the rest body's vectors
    positions  (B, J, 3) metres, the posed joints
    """

    rotations: Tensor
    linear: Tensor
    positions: Tensor


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
    """Poses joint trees: q_root = j_root and q_c = q_p + L_p (j_c − j_p) for a child c of p; no translation.

    rotations       (B, J, 3, 3), parent-relative: R_c = R_p · rotations_c; with `absolute` they are R already
    joints          (B, J, 3) metres, the rest joints
    parents         row of each joint's parent, −1 for a root; any order
    scales          (B, J) segment scales, which do not accumulate along the chain; None for 1
    rest_rotations  (J, 3, 3) rest rotations Q; None for the identity

    Differentiable (once) to rotations, joints and scales; to rest_rotations only by the reference. UsageError for
    shapes that do not fit.
    """
    count = len(parents)
    check_shape("rotations", rotations, "B", count, 3, 3)
    batch = rotations.shape[0]
    check_shape("joints", joints, batch, count, 3)
    if scales is not None:
        check_shape("scales", scales, batch, count)
    if rest_rotations is not None:
        check_shape("rest_rotations", rest_rotations, count, 3, 3)
    check_tensors(rotations=rotations, joints=joints, scales=scales, rest_rotations=rest_rotations)
    if uses_kernel(backend, _KERNELS, rotations.device, _unfit(rotations, "rest_rotations", rest_rotations)):
        from humanpose_cli.engine.skinning import autograd

        compute = autograd.forward_kinematics
    else:
        compute = reference.forward_kinematics
    return Kinematics(*compute(rotations, joints, parents, scales, rest_rotations, absolute))


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
    """Linear blend skinning: Σ_k w_k (q_k + L_k (x − j_k)) over each vertex's bones → (B, V, 3) metres.

    vertices      (B, V, 3) or (1, V, 3) metres, the rest vertices x
    joints        (B, J, 3) rest joints; linear (B, J, 3, 3) and positions (B, J, 3) as of `forward_kinematics`
    bone_indices  (V, K) int32, 0 to J − 1
    bone_weights  (V, K) weights, usually of sum 1

    Differentiable (once) to vertices, joints, linear and positions; to bone_weights only by the reference.
    UsageError for shapes that do not fit.
    """
    check_shape("linear", linear, "B", "J", 3, 3)
    batch, count = linear.shape[:2]
    check_shape("joints", joints, batch, count, 3)
    check_shape("positions", positions, batch, count, 3)
    check_shape("vertices", vertices, "B", "V", 3)
    if vertices.shape[0] != 1:
        check_shape("vertices", vertices, batch, "V", 3)
    check_shape("bone_indices", bone_indices, vertices.shape[1], "K")
    check_shape("bone_weights", bone_weights, *bone_indices.shape)
    check_tensors(
        bone_indices,
        vertices=vertices,
        joints=joints,
        linear=linear,
        positions=positions,
        bone_weights=bone_weights,
    )
    check_rows("bone_indices", bone_indices, count)
    bone_indices = bone_indices.int()
    if uses_kernel(backend, _KERNELS, vertices.device, _unfit(vertices, "bone_weights", bone_weights)):
        from humanpose_cli.engine.skinning import autograd

        compute = autograd.skin_vertices
    else:
        compute = reference.skin_vertices
    return compute(vertices, joints, linear, positions, bone_indices, bone_weights)


def _unfit(tensor: Tensor, name: str, constant: Tensor | None) -> str:
    """Why the kernels cannot take these arguments; they differentiate to no constant."""
    if tensor.dtype != torch.float32:
        return str(tensor.dtype)
    if constant is not None and constant.requires_grad and torch.is_grad_enabled():
        return f"{name} that require a gradient"
    return ""
