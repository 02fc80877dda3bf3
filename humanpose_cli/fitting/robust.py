"""Robust functions ρ of squared residuals: what an outlier costs, and how much it still weighs.

Each takes squared residuals and the length of a residual that counts half as outlier, and returns ρ and its derivative
ρ' = dρ / d r². By iteratively reweighted least squares, rows and their Jacobian are scaled by the square root of ρ'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

RobustFunction: TypeAlias = Callable[[Tensor, "float | Tensor"], tuple[Tensor, Tensor]]


def geman_mcclure(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² r² / (c² + r²) and ρ': outliers cost c² at most, and far ones weigh nothing."""
    c2 = scale * scale
    ratio = c2 / (c2 + square)
    return ratio * square, ratio * ratio


def cauchy(square: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return ρ = c² log(1 + r² / c²) and ρ': its heavy tails leave kicks, claps and landings their peaks."""
    c2 = scale * scale
    ratio = square / c2
    return c2 * ratio.log1p(), 1 / (1 + ratio)
