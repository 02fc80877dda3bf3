"""Products of blend weights and directions, by the faster of torch's two libraries.

torch multiplies float32 matrices with MKL, which does not use the widest vectors of other makers' processors. oneDNN,
which torch includes for convolutions, is 2 to 3 times faster for a pose's 207 shapes of a whole mesh.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from humanpose_cli.engine.launching import allocate

# Number of multiplications from which oneDNN is faster in spite of its start.
_LARGE_PRODUCT = 2_000_000
# Number of shapes up to which a product takes no longer than allocating its result.
_FEW_SHAPES = 48


def onednn_is_faster(a: Tensor, b: Tensor) -> bool:
    """Check whether oneDNN multiplies these matrices faster than torch does."""
    large = a.shape[0] * b.shape[0] * b.shape[1] > _LARGE_PRODUCT
    if not large or a.device.type != "cpu" or a.dtype != torch.float32:
        return False
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, transposed: bool = False) -> Tensor:
    """Compute a @ b + bias, or a @ bᵀ if `transposed`; not differentiable where oneDNN is faster."""
    if not onednn_is_faster(a, b):
        b = b.mT if transposed else b
        return torch.mm(a, b) if bias is None else torch.addmm(bias, a, b)
    if bias is not None and len(b) <= _FEW_SHAPES:
        # oneDNN offers no choice of where to write to.
        return torch.addmm(bias, a, b, out=allocate(a, (len(a), b.shape[1])))
    return torch.ops.mkldnn._linear_pointwise(a, b if transposed else b.mT, bias, "none", [], "")


class Product(torch.autograd.Function):
    """`product` with a large constant b; its gradient is such a product, too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(b)
        return product(a, b, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # type: ignore[override]
        (b,) = ctx.saved_tensors
        to_a = Product.apply(grad, b.mT, None) if ctx.needs_input_grad[0] else None
        return to_a, None, grad.sum(0) if ctx.needs_input_grad[2] else None
