"""Smooth edges by several samples a pixel, for pictures that people look at.

Samples, not analytic coverage: a pixel of a body's outline holds several faces, whose exact visible areas would need
clipping them against each other, while samples also average textures and the depths that decide who hides whom. Each
sample is a picture of its own from a camera shifted by a part of a pixel, so every operation on rasters works on
samples. No two samples share a row or column: n of them tell n + 1 degrees of coverage along the pixels' axes, where
n on a grid tell √n + 1. Over edges of all directions both err alike (0.092 and 0.089 RMS of the covered part with 4
samples); within 8 degrees of the axes, where edges show as long stairs and upright bodies have most of theirs, these
err by 0.075, a grid by 0.127. On the default body at 512×512 they take 9.9 ms on one thread, a grid of 2×2 takes 7.5.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, check_shape
from humanpose_cli.engine.rasterising.op import Raster, rasterise
from humanpose_cli.errors import UsageError

__all__ = ["average_samples", "coverage", "rasterise_samples", "sample_offsets"]


@lru_cache
def sample_offsets(samples: int) -> tuple[tuple[float, float], ...]:
    """Where in a pixel each sample lies: x, y in 0…1 from its top-left corner; (0.5, 0.5) for one.

    Of the patterns y = a·x modulo `samples` or `samples` + 1, the one whose samples keep farthest from each other,
    neighbouring pixels' included.
    """
    if samples < 1:
        raise UsageError("samples", "must be positive", expected="1 or more a pixel", got=str(samples))
    patterns = [
        [step * i % samples for i in range(samples)] for step in range(1, samples + 1) if gcd(step, samples) == 1
    ]
    patterns += [
        [step * (i + 1) % (samples + 1) - 1 for i in range(samples)]
        for step in range(1, samples + 1)
        if gcd(step, samples + 1) == 1
    ]
    best = max(patterns, key=_least_distance)
    return tuple(((x + 0.5) / samples, (y + 0.5) / samples) for x, y in enumerate(best))


def _least_distance(rows: list[int]) -> tuple[int, ...]:
    """Squared distances between the samples in steps, least first, on a picture of repeated pixels."""
    count = len(rows)
    distances = []
    for i in range(count):
        for j in range(i):
            x, y = i - j, abs(rows[i] - rows[j])
            distances.append(min(x, count - x) ** 2 + min(y, count - y) ** 2)
    return tuple(sorted(distances))


def rasterise_samples(
    vertices: Tensor,
    faces: Tensor,
    focal: Tensor,
    principal_point: Tensor,
    size: tuple[int, int],
    *,
    samples: int = 4,
    near: float = 0.05,
    cull_back_faces: bool = False,
    backend: Backend = "auto",
) -> Raster:
    """`rasterise` at several points of each pixel: the result is a batch of B·samples rasters.

    Row b·samples + s holds sample s of picture b. Attributes interpolated there (with vertices repeated alike where
    they differ from picture to picture) become a picture through `average_samples`. Other arguments as `rasterise`.
    """
    check_shape("vertices", vertices, "B", "V", 3)
    batch = vertices.shape[0]
    check_shape("focal", focal, batch)
    check_shape("principal_point", principal_point, batch, 2)
    offsets = principal_point.new_tensor(sample_offsets(samples))
    centres = (principal_point[:, None] + 0.5 - offsets).reshape(batch * samples, 2)
    return rasterise(
        vertices[:, None].expand(-1, samples, -1, -1).reshape(batch * samples, *vertices.shape[1:]),
        faces,
        focal.repeat_interleave(samples),
        centres,
        size,
        near=near,
        cull_back_faces=cull_back_faces,
        backend=backend,
    )


def average_samples(values: Tensor, samples: int) -> Tensor:
    """(B·samples, ...) → (B, ...), the mean over each pixel's samples; differentiable.

    Colours must be zero where no face is, as `interpolate` makes them: the mean then is multiplied by the coverage.
    UsageError for a batch that is no multiple of `samples`.
    """
    if samples < 1 or len(values) % samples:
        raise UsageError("samples", "do not divide the batch", expected=f"a divisor of {len(values)}", got=str(samples))
    return values.unflatten(0, (-1, samples)).mean(1)


def coverage(raster: Raster, samples: int) -> Tensor:
    """How much of each pixel is covered, 0…1: (B·samples, H, W) → (B, H, W) of the depth's type."""
    return average_samples((raster.face >= 0).to(raster.depth.dtype), samples)
