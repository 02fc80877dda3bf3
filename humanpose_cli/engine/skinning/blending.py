"""Blend shapes as one matrix product, through whichever of torch's CPU libraries is faster at it.

torch multiplies single precision with MKL, which on processors of other makers does without their widest vectors:
oneDNN, which torch brings along for convolutions, takes 2 to 3 times less for a pose's 207 shapes of a whole mesh.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import check_shape, check_tensors, without_autocast
from humanpose_cli.engine.launching import fresh

__all__ = ["blend_shapes"]

# Multiplications from which oneDNN's start is worth while.
_LARGE_PRODUCT = 2_000_000
# Up to so many shapes, what a product costs is the memory that it writes to.
_FEW_SHAPES = 48


@without_autocast
def blend_shapes(template: Tensor, weights: Tensor, directions: Tensor) -> Tensor:
    """Vertices of shaped bodies, template + Σ_s weights_s directions_s → (B, V, 3) metres.

    template    (V, 3) metres
    weights     (B, S): betas, or the elements of relative rotations minus the identity, or both
    directions  (S, 3 V) metres per weight, in any memory layout

    Differentiable to all of them, any number of times. The last bits depend on the number of CPU threads, as those of
    torch's matrix products do. UsageError for shapes that do not fit.
    """
    check_shape("template", template, "V", 3)
    check_shape("weights", weights, "B", "S")
    check_shape("directions", directions, weights.shape[1], template.numel())
    check_tensors(weights=weights, template=template, directions=directions)
    constant = not (directions.requires_grad and torch.is_grad_enabled())
    if constant and _onednn_is_faster(weights, directions):
        blended = _Product.apply(weights, directions, template.reshape(-1))
    else:
        blended = torch.addmm(template.reshape(-1), weights, directions)
    return blended.view(len(weights), len(template), 3)


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
