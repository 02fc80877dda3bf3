"""Capsules: all points within a radius of a segment. A segment of length zero makes a sphere."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_distances_squared(points: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Compute squared distances of points to segments.

    |p − a − t (b − a)|² with t = clamp((p − a)·(b − a) / |b − a|², 0, 1), and t = 0 for a segment of length zero. Sums
    run from the first axis to the last, as in the kernels, so both decide alike about points on the surface.

    Args:
        points: (..., n) float. The points p.
        starts: (..., n) float. The starts a of the segments.
        ends: (..., n) float. Their ends b.

    Returns:
        (...) float. The squared distances of the broadcast arguments.
    """
    p, s = (points - starts).unbind(-1), (ends - starts).unbind(-1)
    length, along = s[0] * s[0], p[0] * s[0]
    for i in range(1, len(s)):
        length, along = length + s[i] * s[i], along + p[i] * s[i]
    t = (along / torch.where(length > 0, length, torch.ones_like(length))).clamp(0, 1)
    total = torch.zeros_like(t)
    for i in range(len(s)):
        offset = p[i] - t * s[i]
        total = total + offset * offset
    return total


def capsule_coverage(squared_distances: Tensor, radii: Tensor, softness: float) -> Tensor:
    """Compute how much capsules cover points.

    Distances and radii that are NaN cover nothing.

    Args:
        squared_distances: (...) float. Squared distances to the capsules' segments.
        radii: (...) float. The radii.
        softness: With 0, the coverage is 1 if the distance is ≤ the radius, so a negative radius covers nothing.
            Otherwise clamp((radius − distance) / softness + 1/2, 0, 1), an edge of that width centred on the surface.

    Returns:
        (...) float, 0 to 1. The coverage.
    """
    if softness == 0:
        return ((radii >= 0) & (squared_distances <= radii * radii)).to(squared_distances.dtype)
    return ((radii - squared_distances.sqrt()) * (1 / softness) + 0.5).nan_to_num(0.0).clamp(0, 1)
