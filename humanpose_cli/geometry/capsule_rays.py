"""Where rays first meet capsules: the points within a radius of a segment. Plain torch, any device."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Hits", "first_hits"]

_TINY = 1e-12


class Hits(NamedTuple):
    """Of rays (...) with capsules.

    along   (...) t of the first point o + t d that the capsule holds; infinite where there is none
    within  (...) radius less the distance between the ray's line and the segment: 0 where a ray grazes the capsule; 0
            without a hit too
    """

    along: Tensor
    within: Tensor


def first_hits(origin: Tensor, direction: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> Hits:
    """The first point of each ray o + t d, t of any sign, in one capsule each.

    origin, direction  (3, ...), direction of any length, broadcastable
    start, end         (3, ...); radius (...): of the capsule, broadcastable to the rays

    Capsules with a number that is not finite are met nowhere, and a direction of zero meets nothing.
    """
    axis = end - start
    length = (axis * axis).sum(0)
    unit = axis / length.clamp_min(_TINY).sqrt()
    from_start = origin - start
    forward, across = (direction * unit).sum(0), (from_start * unit).sum(0)
    # The cylinder, seen along its axis.
    speed = (direction * direction).sum(0) - forward * forward
    closing = (from_start * direction).sum(0) - across * forward
    apart = (from_start * from_start).sum(0) - across * across
    side = _roots(speed, closing, apart, radius)
    place = across + side.along * forward
    hit = _between(place, length)
    nearest = across - closing / speed.clamp_min(_TINY) * forward  # where on the axis the line comes nearest
    best = Hits(
        torch.where(hit, side.along, math.inf),
        torch.where(_between(nearest, length) & (speed > _TINY), side.within, 0.0),
    )
    for centre in (start, end):
        offset = origin - centre
        ball = _roots((direction * direction).sum(0), (offset * direction).sum(0), (offset * offset).sum(0), radius)
        best = Hits(torch.minimum(best.along, ball.along), torch.maximum(best.within, ball.within))
    return best


def _between(place: Tensor, length: Tensor) -> Tensor:
    """Whether places along a segment of that squared length are on it."""
    return (place >= 0) & (place * place <= length) & (length > _TINY)


def _roots(speed: Tensor, closing: Tensor, apart: Tensor, radius: Tensor) -> Hits:
    """The first t at which |o + t d|² = apart + 2 t closing + t² speed falls to radius²."""
    known = speed > _TINY
    speed = torch.where(known, speed, 1.0)
    inside = (radius * radius - apart) + closing * closing / speed  # radius² less the least distance²
    hit = known & (inside > 0)
    along = torch.where(hit, (-closing - (inside * speed).clamp_min(0).sqrt()) / speed, math.inf)
    within = torch.where(hit, radius - (radius * radius - inside).clamp_min(0).sqrt(), 0.0)
    return Hits(along, within)
