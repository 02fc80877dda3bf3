"""Rotations as 3x3 matrices that act on column vectors; names read source_to_target.

Every function takes any leading batch shape, float32 or float64, and has finite gradients everywhere it is
defined (also at the identity and at equal singular values).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError


def skew(vectors: Tensor) -> Tensor:
    """Return cross-product matrices: (..., 3) → (..., 3, 3)."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


@lru_cache(maxsize=16)
def _generators(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the flattened cross-product matrices of the axes: (3, 9)."""
    with torch.inference_mode(False):  # later calls may differentiate, whichever call is first
        # Copied, not computed there: a copy is synchronous, and the next caller may be on another stream.
        return skew(torch.eye(3, dtype=dtype)).flatten(1).to(device)


class _AxisAngleToMatrix(torch.autograd.Function):
    """R = cos θ I + a K + b v vᵀ with a = sin θ / θ and b = (1 − cos θ) / θ², and its gradient in closed form."""

    # Few operations, since most calls are small. The gradient consists of differentiable ones, so that derivatives of
    # any order and torch.func work; only forward-mode differentiation is refused, by torch itself.

    generate_vmap_rule = True

    @staticmethod
    def forward(axis_angle: Tensor) -> Tensor:  # type: ignore[override]
        v = axis_angle.reshape(-1, 3)
        angle = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        a, half = torch.sinc(angle * (1 / math.pi)), torch.sinc(angle * (0.5 / math.pi))
        outer = (0.5 * half * half * v)[:, :, None] * v[:, None, :]
        matrix = torch.addmm(outer.view(-1, 9), a * v, _generators(v.dtype, v.device))
        matrix[:, ::4] += angle.cos()
        return matrix  # flat (N, 9): a view made here could not be changed in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (axis_angle,) = ctx.saved_tensors
        v, G = axis_angle.reshape(-1, 3), grad.reshape(-1, 9)
        norm_squared = (v * v).sum(-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        angle = norm_squared.sqrt()
        a, half = torch.sinc(angle * (1 / math.pi)), torch.sinc(angle * (0.5 / math.pi))
        twice_b = half * half
        cosine = 1 - 0.5 * norm_squared * twice_b
        to_K = G @ _generators(v.dtype, v.device).mT
        square = G.view(-1, 3, 3)
        to_outer = ((square + square.mT) @ v[:, :, None]).squeeze(-1)
        # For small θ the differences below are rounding, divided by θ²; but they are multiplied by v twice.
        along_a = (v * to_K).sum(-1, keepdim=True) * (cosine - a)
        along_b = (v * to_outer).sum(-1, keepdim=True) * (0.5 * (a - twice_b))
        along = (along_a + along_b) / norm_squared - a * G[:, ::4].sum(-1, keepdim=True)
        return torch.addcmul(torch.addcmul(a * to_K, 0.5 * twice_b, to_outer), along, v).view(axis_angle.shape)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Convert axis-angles to rotation matrices by Rodrigues' formula.

    Coefficients come from sinc functions, whose gradients are finite at zero.

    Args:
        axis_angle: (..., 3) float, radians.

    Returns:
        (..., 3, 3) float.

    Raises:
        UsageError: If the last axis does not have length 3.
    """
    if axis_angle.shape[-1:] != (3,):
        raise UsageError("axis_angle", "has the wrong shape", expected="(..., 3)", got=str(tuple(axis_angle.shape)))
    return _AxisAngleToMatrix.apply(axis_angle).view(*axis_angle.shape, 3)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Convert (..., 3, 3) to unit quaternions (..., 4), order w x y z, w ≥ 0 except for rounding.

    Uses the best conditioned of the four classical formulas for each matrix.
    """
    m = matrix.flatten(-2)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m.unbind(-1)
    four_squares = torch.stack((1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22), -1)
    w = torch.stack((four_squares[..., 0], m21 - m12, m02 - m20, m10 - m01), -1)
    x = torch.stack((m21 - m12, four_squares[..., 1], m10 + m01, m02 + m20), -1)
    y = torch.stack((m02 - m20, m10 + m01, four_squares[..., 2], m12 + m21), -1)
    z = torch.stack((m10 - m01, m20 + m02, m21 + m12, four_squares[..., 3]), -1)
    candidates = torch.stack((w, x, y, z), -2)
    best = four_squares.argmax(-1)[..., None, None].expand(*m.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Convert quaternions (..., 4), order w x y z, any length but zero, to (..., 3, 3)."""
    q = torch.nn.functional.normalize(quaternion, dim=-1)
    w, v = q[..., :1, None], q[..., 1:]
    identity = torch.eye(3, dtype=q.dtype, device=q.device)
    return (2 * w * w - 1) * identity + 2 * w * skew(v) + 2 * v[..., :, None] * v[..., None, :]


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Convert (..., 3, 3) to (..., 3) radians, at most π long."""
    quaternion = matrix_to_quaternion(matrix)
    w, v = quaternion[..., :1], quaternion[..., 1:]
    norm_squared = (v * v).sum(-1, keepdim=True)
    tiny = norm_squared < torch.finfo(matrix.dtype).eps
    sine = torch.where(tiny, torch.ones_like(norm_squared), norm_squared).sqrt()
    factor = torch.where(tiny, 2 / w.clamp_min(0.5), 2 * torch.atan2(sine, w) / sine)
    return factor * v


class _ProjectToRotation(torch.autograd.Function):
    """The nearest rotation by SVD, with the analytic gradient, which is finite at equal singular values."""

    # With M = U S Vᵀ and R = U D Vᵀ (D corrects the determinant), the differential is
    # dR = U (E ∘ (Uᵀ dM V D − (Uᵀ dM V D)ᵀ)) D Vᵀ, E_ij = 1 / (s_i d_i + s_j d_j) off the diagonal. The sum
    # vanishes only if the nearest rotation is not unique; those directions get no gradient.

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, matrix: Tensor) -> Tensor:  # type: ignore[override]
        u, s, vh = torch.linalg.svd(matrix)
        sign = torch.ones_like(s)
        sign[..., 2] = torch.linalg.det(u @ vh).sign()
        ctx.save_for_backward(u, s * sign, sign, vh)
        return u @ (sign[..., None] * vh)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:  # type: ignore[override]
        u, s, sign, vh = ctx.saved_tensors  # type: ignore[attr-defined]
        local = u.mT @ grad @ (vh.mT * sign[..., None, :])
        total = s[..., :, None] + s[..., None, :]

        unique = total.abs() > 1e-6 * s[..., :1, None].abs()
        inverse = torch.where(unique, 1 / torch.where(unique, total, torch.ones_like(total)), 0.0)
        return u @ ((local - local.mT) * inverse) @ (sign[..., None] * vh)


def project_to_rotation(matrix: Tensor) -> Tensor:
    """Return the nearest rotation in the Frobenius norm, never a reflection: (..., 3, 3) → (..., 3, 3)."""
    return _ProjectToRotation.apply(matrix)


def rotation_between(source: Tensor, target: Tensor) -> Tensor:
    """Return the smallest rotation from one direction to another.

    Opposite directions give a rotation by π about a perpendicular axis; zero vectors give the identity.

    Args:
        source: (..., 3) float. The first direction.
        target: (..., 3) float. The second direction.

    Returns:
        (..., 3, 3) float.
    """
    a, b = torch.nn.functional.normalize(source, dim=-1), torch.nn.functional.normalize(target, dim=-1)
    a, b = torch.broadcast_tensors(a, b)
    cosine = (a * b).sum(-1, keepdim=True)
    # Half-way quaternion: scalar 1 + cos, vector a × b; opposite vectors take any perpendicular axis.
    helper = torch.nn.functional.one_hot(a.abs().argmin(-1), 3).to(a.dtype)
    perpendicular = torch.linalg.cross(a, helper)
    opposite = cosine < -1 + 1e-7
    vector = torch.where(opposite, perpendicular, torch.linalg.cross(a, b))
    scalar = torch.where(opposite, torch.zeros_like(cosine), 1 + cosine)
    return quaternion_to_matrix(torch.cat((scalar, vector), -1))


def viewing_rotation(pixel: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Return the rotation from the optical axis to the ray through a pixel.

    It maps axes of a camera that looks straight at the pixel to axes of the image's camera.

    Args:
        pixel: (N, 2) float, pixels. The pixel.
        focal: (N,) float, pixels. The focal length.
        principal_point: (N, 2) float, pixels. The principal point.

    Returns:
        (N, 3, 3) float.
    """
    ray = torch.nn.functional.pad((pixel - principal_point) / focal[:, None], (0, 1), value=1.0)
    return rotation_between(ray.new_tensor([0.0, 0.0, 1.0]), ray)


def geodesic_angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle of the rotation from a to b.

    Args:
        a: (..., 3, 3) float. The first rotation.
        b: (..., 3, 3) float. The second rotation.

    Returns:
        (...) float, radians, 0 to π.
    """
    relative = a.mT @ b
    twice_skew = relative - relative.mT
    vector = twice_skew[..., [2, 0, 1], [1, 2, 0]]
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(torch.linalg.vector_norm(vector, dim=-1), trace - 1)
