"""Rasterising triangle meshes, several in one z-buffer, several samples a pixel: the public operations.

A face shows its front if its corners run counter-clockwise on screen: there the normal (v₁ − v₀) × (v₂ − v₀)
points to the camera.

`backend`: "auto" runs the Warp kernels for float32 on CPU and CUDA, else the reference in plain torch; "kernel" and
"reference" ask for one. Both decide every pixel alike, to the bit.

Several people, or a person and things, are drawn as one merged mesh: visibility is decided exactly for
each sample, also where bodies touch or pass through each other; equal depths go to the mesh named first. Images of a
batch may hold different numbers of people: a mesh whose vertices are NaN is in no image.

Smooth edges take several samples a pixel, not analytic coverage: a pixel of a body's outline holds several faces, whose
exact visible areas would need clipping them against each other, while samples also average textures and depths. Each
sample is an image from a camera shifted by a part of a pixel, so every operation on rasters works on samples.

No two samples share a row or column: n of them distinguish n + 1 degrees of coverage along the pixels' axes, where n on
a grid distinguish √n + 1. Over edges of all directions both err alike (0.092 and 0.089 RMS of the covered part with 4
samples); within 8 degrees of the axes, where edges show as long stairs and upright bodies have most of theirs, these
err by 0.075, a grid by 0.127.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import (
    Backend,
    check_rows,
    check_shape,
    check_size,
    check_tensors,
    implementation,
    made_between,
)

_PACKAGE = "humanpose_cli.engine.rasterising"


class Raster(NamedTuple):
    """The face behind each pixel's centre.

    Attributes:
        face: (B, H, W) int32, the nearest face; −1 where there is none.
        barycentrics: (B, H, W, 3) perspective-correct weights of its corners, 0 to 1; zero where there is none.
        depth: (B, H, W) metres along the camera's z axis; inf where there is none.
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor


def rasterise(
    vertices: Tensor,
    faces: Tensor,
    focal: Tensor,
    principal_point: Tensor,
    size: tuple[int, int],
    *,
    near: float = 0.05,
    cull_back_faces: bool = False,
    backend: Backend = "auto",
) -> Raster:
    """Find the nearest face at every pixel centre (x + 0.5, y + 0.5) of B images of `size` (height, width).

    Equal depths go to the lowest face id, so the result never depends on the order of work. Neighbouring faces
    leave no gap. Faces with a corner that is not finite are left out. Not differentiable; gradients to
    attributes come from `interpolate`. Raises UsageError for shapes that do not fit.

    Args:
        vertices: (B, V, 3) metres, camera axes.
        faces: (F, 3) integer, the same mesh in every image.
        focal: (B,) pixels, positive; principal_point (B, 2) pixels.
        near: Metres; nothing nearer is visible, and faces that cross this depth are cut there.
        cull_back_faces: Leaves out faces that show their back.
    """
    return draw_samples(
        vertices,
        faces,
        focal,
        principal_point,
        size,
        samples=1,
        near=near,
        cull_back_faces=cull_back_faces,
        backend=backend,
    ).raster


def interpolate(raster: Raster, faces: Tensor, attributes: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Interpolate attributes of the visible surface: (B, H, W, C), zero where no face is.

    Differentiable (once) to attributes; to barycentrics only by the reference. Raises UsageError for shapes that do not
    fit.

    Args:
        raster: Of `rasterise`.
        faces: (F, 3) integer rows into `attributes`: the mesh's own faces, or its UV faces.
        attributes: (B, N, C) or (1, N, C), for example colours, normals or texture coordinates.
    """
    check_shape("faces", faces, "F", 3)
    check_shape("attributes", attributes, "B", "N", "C")
    if attributes.shape[0] != 1:
        check_shape("attributes", attributes, raster.face.shape[0], "N", "C")
    check_tensors(faces, raster.face, attributes=attributes, barycentrics=raster.barycentrics)
    check_shape("raster.barycentrics", raster.barycentrics, *raster.face.shape, 3)
    check_rows("faces", faces, attributes.shape[1])
    check_rows("raster.face", raster.face, faces.shape[0], min_value=-1)
    faces = faces.int()
    unfit = _unfit(attributes)
    if not unfit and raster.barycentrics.requires_grad and torch.is_grad_enabled():
        unfit = "barycentrics that require a gradient"
    compute = implementation(_PACKAGE, backend, attributes.device, unfit)
    values: Tensor = compute.interpolate(raster.face.int(), raster.barycentrics, faces, attributes)
    return values


def _unfit(tensor: Tensor) -> str:
    """Describe why the kernels cannot take these arguments; "" if they can."""
    return "" if tensor.dtype == torch.float32 else str(tensor.dtype)


@dataclass(frozen=True)
class MergedMesh:
    """M meshes as one, for `rasterise`.

    Attributes:
        vertices: (B, ΣV, 3) metres, camera axes: those of the first mesh, then those of the second….
        faces: (ΣF, 3) int32, in the same order.
        first_vertex: (M + 1) where each mesh's vertices begin, and their number.
        first_face: (M + 1) where each mesh's faces begin, and their number.
    """

    vertices: Tensor
    faces: Tensor
    first_vertex: tuple[int, ...]
    first_face: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.first_face) - 1

    def faces_of(self, face: Tensor, mesh: int) -> Tensor:
        """Convert face ids of the merged mesh, of any shape, to those of one mesh, −1 where that mesh is not
        visible.
        """
        if len(self) == 1:
            return face
        first, end = self.first_face[mesh], self.first_face[mesh + 1]
        return torch.where((face >= first) & (face < end), face - first, -1)


def merge_meshes(vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> MergedMesh:
    """Merge meshes of any topologies.

    Raises UsageError for shapes that do not fit.

    Args:
        vertices: M of (B, V, 3) metres, camera axes; V differs from mesh to mesh, B does not.
        faces: M of (F, 3) integer rows into the vertices of the same mesh.
    """
    if not vertices or len(vertices) != len(faces):
        raise UsageError("faces", "do not match the vertices", expected=f"{len(vertices)} ≥ 1", got=str(len(faces)))
    for points, corners in zip(vertices, faces, strict=True):
        check_shape("vertices", points, vertices[0].shape[0], "V", 3)
        check_shape("faces", corners, "F", 3)
        check_tensors(corners, vertices=vertices[0], others=points)
        check_rows("faces", corners, points.shape[1])
    first_vertex = (0, *accumulate(points.shape[1] for points in vertices))
    return MergedMesh(
        vertices=torch.cat(list(vertices), 1),
        faces=torch.cat([corners.int() + first for corners, first in zip(faces, first_vertex, strict=False)]),
        first_vertex=first_vertex,
        first_face=(0, *accumulate(len(corners) for corners in faces)),
    )


@lru_cache
def sample_offsets(samples: int) -> tuple[tuple[float, float], ...]:
    """Compute each sample's position in its pixel: x, y in 0…1 from its top-left corner; (0.5, 0.5) for one.

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
    best = max(patterns, key=_sorted_distances)
    return tuple(((x + 0.5) / samples, (y + 0.5) / samples) for x, y in enumerate(best))


def _sorted_distances(rows: list[int]) -> tuple[int, ...]:
    """Sort the squared distances between the samples, in steps, on an image of repeated pixels."""
    count = len(rows)
    distances = []
    for i in range(count):
        for j in range(i):
            x, y = i - j, abs(rows[i] - rows[j])
            distances.append(min(x, count - x) ** 2 + min(y, count - y) ** 2)
    return tuple(sorted(distances))


class SampledImage:
    """The nearest faces at several points of each pixel, of B images; `draw_samples` makes it.

    Args:
        compute, drawing: The operation's implementation, and what its `draw` returned.
    """

    def __init__(self, compute: Any, drawing: Any, face_count: int) -> None:
        self._compute, self._drawing, self._face_count = compute, drawing, face_count

    @cached_property
    def raster(self) -> Raster:
        """A batch of B·samples rasters: row b·samples + s holds sample s of image b.

        Attributes interpolated there (with vertices repeated alike where they differ from image to image) become an
        image through `average_samples`.
        """
        face, *others = self._compute.read(self._drawing)
        return Raster(made_between(face, -1, self._face_count - 1), *others)

    def means(self, meshes: MergedMesh, mesh: int, attributes: Tensor, rows: slice, columns: slice) -> Tensor:
        """Average one of the merged meshes over the samples of each pixel in a part of the images: (B, h, w, 1 + C),
        the share of samples that show it, and its attributes (B, V, C), zero where it is not visible.

        `interpolate` and `average_samples` give the same to the bit, in several times the time and memory. Not
        differentiable.
        """
        first_vertex, end_vertex = meshes.first_vertex[mesh : mesh + 2]
        check_shape("attributes", attributes, len(meshes.vertices), end_vertex - first_vertex, "C")
        faces = range(*meshes.first_face[mesh : mesh + 2])
        result: Tensor = self._compute.means(self._drawing, faces, first_vertex, attributes, rows, columns)
        return result


def draw_samples(
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
) -> SampledImage:
    """Draw several points of each pixel; arguments as `rasterise`."""
    check_shape("vertices", vertices, "B", "V", 3)
    check_shape("faces", faces, "F", 3)
    check_shape("focal", focal, vertices.shape[0])
    check_shape("principal_point", principal_point, vertices.shape[0], 2)
    check_tensors(faces, vertices=vertices, focal=focal, principal_point=principal_point)
    pixels = check_size(size, "height", "width")
    if not near > 0:
        raise UsageError("near", "must be positive", expected="metres", got=str(near))
    check_rows("faces", faces, vertices.shape[1])
    points = principal_point[:, None]
    if samples != 1:
        points = points + 0.5 - principal_point.new_tensor(sample_offsets(samples))
    faces = faces.int()
    compute = implementation(_PACKAGE, backend, vertices.device, _unfit(vertices))
    with torch.no_grad():
        drawing = compute.draw(vertices, faces, focal, points, pixels, near, cull_back_faces)
    return SampledImage(compute, drawing, len(faces))


def average_samples(values: Tensor, samples: int) -> Tensor:
    """Average over each pixel's samples, (B·samples, ...) → (B, ...); differentiable.

    Colours must be zero where no face is, as `interpolate` makes them: the mean then is multiplied by the coverage.
    Raises UsageError if the batch is not a multiple of `samples`.
    """
    if samples < 1 or len(values) % samples:
        raise UsageError("samples", "do not divide the batch", expected=f"a divisor of {len(values)}", got=str(samples))
    return values.unflatten(0, (-1, samples)).mean(1)


def coverage(raster: Raster, samples: int) -> Tensor:
    """Compute the covered share of each pixel, 0…1: (B·samples, H, W) → (B, H, W) of the depth's type."""
    return average_samples((raster.face >= 0).to(raster.depth.dtype), samples)
