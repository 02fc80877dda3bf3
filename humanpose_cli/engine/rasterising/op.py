"""Rasterise triangle meshes with a z-buffer, with one or several samples a pixel.

A face shows its front if its corners run counter-clockwise on screen: there the normal (v₁ − v₀) × (v₂ − v₀)
points to the camera.

`backend="auto"` runs the Warp kernels for float32 tensors on CPU and CUDA, otherwise the reference in plain torch.
`"kernel"` and `"reference"` force one of them. Both give the same result for every pixel, to the bit.

Several people, or a person and objects, are drawn as one merged mesh. Visibility is exact for each sample, also if
bodies touch or intersect. At equal depths the first mesh is visible. Images of a batch may hold different numbers of
people: set the vertices of a mesh to NaN to leave it out of an image.

Smooth edges come from several samples a pixel, not from analytic coverage: a pixel on an outline holds several
faces, and their exact visible areas would need clipping against each other. Each sample is an image from a camera that
is shifted by a fraction of a pixel, so every operation on rasters also works on samples.

No two samples of a pixel share a row or column: n of them distinguish n + 1 degrees of coverage along the pixel axes,
n on a grid only √n + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, combinations
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import (
    Backend,
    as_int32,
    cached_by_signature,
    check_rows,
    check_shape,
    check_size,
    check_tensors,
    implementation,
    record_bounds,
)

_PACKAGE = "humanpose_cli.engine.rasterising"


class Raster(NamedTuple):
    """The face behind each pixel centre.

    Attributes:
        face: (B, H, W) int32. The nearest face, −1 if there is none.
        barycentrics: (B, H, W, 3) float, 0 to 1. Perspective-correct weights of the corners, 0 if there is no face.
        depth: (B, H, W) float, metres along the camera's z axis. inf if there is no face.
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
    """Find the nearest face at every pixel centre (x + 0.5, y + 0.5).

    At equal depths the lowest face index is visible, so the result does not depend on the order of work. Neighbouring
    faces leave no gap. Faces with a corner that is not finite are skipped. Not differentiable: gradients to attributes
    come from `interpolate`.

    Args:
        vertices: (B, V, 3) float, metres in camera axes. The vertices of each image's mesh.
        faces: (F, 3) integer. Vertex indices, the same for all images.
        focal: (B,) float, pixels. The focal lengths, positive.
        principal_point: (B, 2) float, pixels. The principal points x, y.
        size: Height and width of the images in pixels.
        near: Metres. Nothing nearer is visible; faces that cross this depth are clipped.
        cull_back_faces: Whether to skip faces that show their back.
        backend: "auto", "kernel" or "reference".

    Returns:
        The faces, barycentrics and depths of all pixels.

    Raises:
        UsageError: If shapes, dtypes or devices do not match.
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
    """Interpolate vertex attributes over the visible surface.

    If attributes or barycentrics require a gradient, the reference runs.

    Args:
        raster: The result of `rasterise`.
        faces: (F, 3) integer. Rows of `attributes`: the faces of the mesh, or its UV faces.
        attributes: (B, N, C) or (1, N, C) float. For example colours, normals or texture coordinates.
        backend: "auto", "kernel" or "reference".

    Returns:
        (B, H, W, C) float. The attributes, 0 where no face is visible.

    Raises:
        UsageError: If shapes, dtypes or devices do not match.
    """
    _check_interpolation(raster.face, raster.barycentrics, faces, attributes)
    check_rows("faces", faces, attributes.shape[1])
    check_rows("raster.face", raster.face, faces.shape[0], min_value=-1)
    faces = as_int32(faces)
    unsupported = _unsupported(attributes)
    if torch.is_grad_enabled() and (attributes.requires_grad or raster.barycentrics.requires_grad):
        unsupported = "a tensor that requires a gradient"
    compute = implementation(_PACKAGE, backend, attributes.device, unsupported)
    values: Tensor = compute.interpolate(as_int32(raster.face), raster.barycentrics, faces, attributes)
    return values


@cached_by_signature
def _check_interpolation(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> None:
    check_shape("faces", faces, "F", 3)
    check_shape("attributes", attributes, "B", "N", "C")
    if attributes.shape[0] != 1:
        check_shape("attributes", attributes, face.shape[0], "N", "C")
    check_tensors(faces, face, attributes=attributes, barycentrics=barycentrics)
    check_shape("raster.barycentrics", barycentrics, *face.shape, 3)


def _unsupported(tensor: Tensor) -> str:
    """Describe why the kernels cannot take this tensor, "" if they can."""
    return "" if tensor.dtype == torch.float32 else str(tensor.dtype)


@dataclass(frozen=True)
class MergedMesh:
    """Several meshes joined into one, for `rasterise`.

    Attributes:
        vertices: (B, ΣV, 3) float, metres in camera axes. The vertices of the first mesh, then of the second, and so
            on.
        faces: (ΣF, 3) int32. The faces in the same order.
        first_vertex: M + 1 integers. The first vertex of each mesh, and the total.
        first_face: M + 1 integers. The first face of each mesh, and the total.
    """

    vertices: Tensor
    faces: Tensor
    first_vertex: tuple[int, ...]
    first_face: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.first_face) - 1

    def faces_of(self, face: Tensor, mesh: int) -> Tensor:
        """Convert face indices of the merged mesh to face indices of one mesh.

        Args:
            face: Integer, any shape. Face indices of the merged mesh, as in `Raster.face`.
            mesh: The index of the mesh.

        Returns:
            The face indices in that mesh, −1 where it is not visible.
        """
        if len(self) == 1:
            return face
        first, end = self.first_face[mesh], self.first_face[mesh + 1]
        return torch.where((face >= first) & (face < end), face - first, -1)


def merge_meshes(vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> MergedMesh:
    """Join meshes with any numbers of vertices and faces.

    Args:
        vertices: For each mesh (B, V, 3) float, metres in camera axes. V may differ between meshes, B may not.
        faces: For each mesh (F, 3) integer. Vertex indices within the same mesh.

    Returns:
        The merged mesh.

    Raises:
        UsageError: If the meshes' shapes, dtypes or devices do not match.
    """
    if not vertices or len(vertices) != len(faces):
        raise UsageError("faces", "do not match the vertices", expected=f"{len(vertices)} ≥ 1", got=str(len(faces)))
    for points, corners in zip(vertices, faces, strict=True):
        check_shape("vertices", points, vertices[0].shape[0], "V", 3)
        check_shape("faces", corners, "F", 3)
        check_tensors(corners, vertices=vertices[0], other_vertices=points)
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
    """Return each sample's x, y in its pixel, 0 to 1 from the top-left corner; (0.5, 0.5) for a single sample.

    Among the patterns y = a·x modulo `samples` or `samples` + 1, it is the one with the largest distances between
    samples, including those of neighbouring pixels.

    Args:
        samples: The number of samples a pixel.

    Raises:
        UsageError: If `samples` is not positive.
    """
    if samples < 1:
        raise UsageError("samples", "must be positive", expected="1 or more a pixel", got=str(samples))
    steps = range(1, samples + 1)
    patterns = [[step * i % samples for i in range(samples)] for step in steps if gcd(step, samples) == 1]
    modulus = samples + 1
    patterns += [[step * i % modulus - 1 for i in range(1, modulus)] for step in steps if gcd(step, modulus) == 1]
    best = max(patterns, key=_sorted_distances)
    return tuple(((x + 0.5) / samples, (y + 0.5) / samples) for x, y in enumerate(best))


def _sorted_distances(rows: list[int]) -> tuple[int, ...]:
    """Sort the squared distances between samples, in steps, on an image of repeated pixels."""
    count = len(rows)
    pairs = [(j - i, abs(rows[j] - rows[i])) for i, j in combinations(range(count), 2)]
    return tuple(sorted(min(x, count - x) ** 2 + min(y, count - y) ** 2 for x, y in pairs))


class SampledImage:
    """The nearest faces at several points of each pixel of B images, as `draw_samples` returns them.

    Attributes:
        size: Height and width in pixels.
        drawing: What the implementation has drawn.
        by_kernel: Whether that is the kernel's.
    """

    def __init__(self, compute: Any, drawing: Any, size: tuple[int, ...], face_count: int) -> None:
        self.size = size
        self.drawing = drawing
        self.by_kernel = compute.__name__.endswith(".launches")
        self._compute = compute  # the operation's implementation
        self._face_count = face_count

    @cached_property
    def raster(self) -> Raster:
        """A batch of B·S rasters: row b·S + s holds sample s of image b.

        Attributes interpolated there become an image when the samples are averaged: `values.unflatten(0, (-1,
        S)).mean(1)`.
        """
        raster = Raster(*self._compute.read(self.drawing))
        record_bounds(raster.face, -1, self._face_count - 1)
        return raster


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
    """Find the nearest face at several points of each pixel.

    Args:
        vertices: (B, V, 3) float, metres in camera axes. The vertices of each image's mesh.
        faces: (F, 3) integer. Vertex indices, the same for all images.
        focal: (B,) float, pixels. The focal lengths, positive.
        principal_point: (B, 2) float, pixels. The principal points x, y.
        size: Height and width of the images in pixels.
        samples: The number of samples a pixel.
        near: Metres. Nothing nearer is visible; faces that cross this depth are clipped.
        cull_back_faces: Whether to skip faces that show their back.
        backend: "auto", "kernel" or "reference".

    Returns:
        The image of samples.

    Raises:
        UsageError: If shapes, dtypes or devices do not match, or if `samples` or `near` is not positive.
    """
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
    faces = as_int32(faces)
    compute = implementation(_PACKAGE, backend, vertices.device, _unsupported(vertices))
    with torch.no_grad():
        drawing = compute.draw(vertices, faces, focal, points, pixels, near, cull_back_faces)
    return SampledImage(compute, drawing, pixels, len(faces))
