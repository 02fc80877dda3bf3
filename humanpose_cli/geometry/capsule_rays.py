"""Where rays first meet capsules and plates: the points within a radius of a segment, or of a triangle. Plain torch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Hits", "first_hits", "plate_hits"]

_TINY = 1e-12


class Hits(NamedTuple):
    """Of rays (...) with capsules.

    along   (...) t of the first point o + t d that the capsule holds; infinite where there is none
    within  (...) radius less the distance between the ray's line and the segment: 0 where a ray grazes the capsule; 0
            without a hit too
    order   (...) which of several bodies a ray shows, the least one: t as if the body were a cone of the same axis and
            twice the steepness, so that the rim of a thick body does not hide the middle of a slim one that it reaches
            into, as parts do at a joint; infinite without a hit
    """

    along: Tensor
    within: Tensor
    order: Tensor


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
    between = _between(nearest, length) & (speed > _TINY)
    best = Hits(
        torch.where(hit, side.along, math.inf),
        torch.where(between, side.within, 0.0),
        torch.where(
            between & (side.within > 0), -closing / speed.clamp_min(_TINY) + _cone(side, direction, radius), math.inf
        ),
    )
    for centre in (start, end):
        offset = origin - centre
        squared, towards = (direction * direction).sum(0), (offset * direction).sum(0)
        ball = _roots(squared, towards, (offset * offset).sum(0), radius)
        order = torch.where(
            ball.within > 0, -towards / squared.clamp_min(_TINY) + _cone(ball, direction, radius), math.inf
        )
        best = Hits(
            torch.minimum(best.along, ball.along),
            torch.maximum(best.within, ball.within),
            torch.minimum(best.order, order),
        )
    return best


def _cone(hits: _Roots, direction: Tensor, radius: Tensor) -> Tensor:
    """From where the ray is nearest to the axis to the cone round it: −radius on the axis, +radius at the rim."""
    return (radius - 2 * hits.within) / direction.norm(dim=0).clamp_min(1e-6)


def plate_hits(origin: Tensor, direction: Tensor, a: Tensor, b: Tensor, c: Tensor, radius: Tensor) -> Hits:
    """The first point of each ray on the two faces of a plate: the triangle a, b, c moved by `radius` either way.

    Its rims are not there: capsules along the edges make them. `within` is the radius where the ray's line passes
    through the triangle itself, else 0, and `order` that of such a line. Else as `first_hits`, of three corners
    (3, ...).
    """
    normal = torch.linalg.cross(b - a, c - a, dim=0)
    area = (normal * normal).sum(0).sqrt()
    unit = normal / area.clamp_min(_TINY)
    slope, height = (direction * unit).sum(0), ((origin - a) * unit).sum(0)
    flat = (area > _TINY) & (slope.abs() > 1e-6)
    slope = torch.where(flat, slope, 1.0)
    through = -height / slope
    along = through - radius / slope.abs()
    hit = flat & _inside(origin + along * direction, a, b, c, unit)
    core = flat & _inside(origin + through * direction, a, b, c, unit)
    order = through - radius / direction.norm(dim=0).clamp_min(1e-6)
    return Hits(torch.where(hit, along, math.inf), torch.where(core, radius, 0.0), torch.where(hit, order, math.inf))


def _inside(point: Tensor, a: Tensor, b: Tensor, c: Tensor, unit: Tensor) -> Tensor:
    """Whether points lie in a triangle, seen along its normal."""
    inside = torch.ones_like(point[0], dtype=torch.bool)
    for start, end in ((a, b), (b, c), (c, a)):
        inwards = torch.linalg.cross(unit.expand_as(end - start), end - start, dim=0)
        inside = inside & (((point - start) * inwards).sum(0) >= 0)
    return inside


def _between(place: Tensor, length: Tensor) -> Tensor:
    """Whether places along a segment of that squared length are on it."""
    return (place >= 0) & (place * place <= length) & (length > _TINY)


class _Roots(NamedTuple):
    along: Tensor
    within: Tensor


def _roots(speed: Tensor, closing: Tensor, apart: Tensor, radius: Tensor) -> _Roots:
    """The first t at which |o + t d|² = apart + 2 t closing + t² speed falls to radius²."""
    known = speed > _TINY
    speed = torch.where(known, speed, 1.0)
    inside = (radius * radius - apart) + closing * closing / speed  # radius² less the least distance²
    hit = known & (inside > 0)
    along = torch.where(hit, (-closing - (inside * speed).clamp_min(0).sqrt()) / speed, math.inf)
    within = torch.where(hit, radius - (radius * radius - inside).clamp_min(0).sqrt(), 0.0)
    return _Roots(along, within)
