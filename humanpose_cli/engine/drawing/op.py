"""Light the meshes of a `SampledImage`, colour them and draw them into an image; and convert images to YUV.

A pixel of a mesh is the mean of its samples, and a sample shows one mesh: the meshes of a pixel add up by their shares
of its samples.

`backend="auto"` runs the Warp kernels for float32 tensors on CPU and CUDA, otherwise the reference in plain torch.
`"kernel"` and `"reference"` force one of them. They agree within one grey level of 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.dispatch import Backend, as_int32, check_rows, check_shape, check_tensors, implementation
from humanpose_cli.engine.rasterising.op import MergedMesh, SampledImage

_PACKAGE = "humanpose_cli.engine.drawing"


@dataclass(frozen=True)
class Lighting:
    """A soft light that moves with the camera.

    Attributes:
        direction: Towards the light, in camera axes (x right, y down, z forward), of any length.
        ambient: The brightness of surfaces that the light does not reach.
        wrap: How far the light bends round the body: 0 is Lambert, 1 half-Lambert.
        rim: The brightening of surfaces at grazing angles.
    """

    direction: tuple[float, float, float] = (-0.45, -0.7, -0.75)
    ambient: float = 0.36
    wrap: float = 0.35
    rim: float = 0.16


class MeshPaint(NamedTuple):
    """The light and the colour of a mesh.

    Attributes:
        light: (V,) float. The brightness, 0 to 1, that turns the colour from shadow to highlight; factors on the
            colours of samples.
        colour: (3,) float, 0 to 1, RGB. None for the colours of samples.
        hatched: (V,) bool. Drawn in diagonal stripes; None for nowhere.
    """

    light: Tensor
    colour: Sequence[float] | None
    hatched: Tensor | None = None


class MergedPaint(NamedTuple):
    """The light and the colours of a merged mesh, for the implementations.

    Attributes:
        paints: (M, 4) float. Each mesh's colour and 1, or 0 for the colours of samples.
        lights: (ΣV, 2) float. Light, and 1 where hatched.
        samples: (S, H, W, 3) float. Colours of the samples; empty if no mesh has them.
        opacity: Of the meshes.
        stripe: Width of a stripe, pixels.
        phase: Pixels by which the stripes are moved to the left.
    """

    paints: Tensor
    lights: Tensor
    samples: Tensor
    opacity: float
    stripe: int
    phase: int


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return area-weighted unit normals.

    Args:
        vertices: (..., V, 3) float.
        faces: (F, 3) int.

    Returns:
        (..., V, 3) float. 0 at unused vertices.
    """
    index = faces.long()
    rows = vertices.movedim(-2, 0)  # vertices first: adding rows is three times as fast as adding along another axis
    a, b, c = (rows.index_select(0, index[:, k]) for k in range(3))
    cross = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    for k in range(3):
        normals.index_add_(0, index[:, k], cross)
    return torch.nn.functional.normalize(normals.movedim(0, -2), dim=-1)


def light_vertices(vertices: Tensor, faces: Tensor, lighting: Lighting, *, backend: Backend = "auto") -> Tensor:
    """Return the brightness of vertices: wrapped Lambert plus a rim. Not differentiable.

    A body's triangles are a few pixels wide, so this looks like brightness per pixel, and takes a third of the time.

    Args:
        vertices: (V, 3) float, metres in camera axes.
        faces: (F, 3) integer, counter-clockwise from outside.
        lighting: The light.
        backend: "auto", "kernel" or "reference".

    Returns:
        (V,) float, 0…1.

    Raises:
        UsageError: If shapes, dtypes or devices do not match.
    """
    check_shape("vertices", vertices, "V", 3)
    check_shape("faces", faces, "F", 3)
    check_tensors(faces, vertices=vertices)
    check_rows("faces", faces, len(vertices))
    unsupported = "" if vertices.dtype == torch.float32 else str(vertices.dtype)
    compute = implementation(_PACKAGE, backend, vertices.device, unsupported)
    with torch.no_grad():
        brightness: Tensor = compute.light_vertices(vertices, as_int32(faces), lighting)
    return brightness


def paint(
    image: SampledImage,
    meshes: MergedMesh,
    paints: Sequence[MeshPaint],
    target: Tensor,
    samples: Tensor | None = None,
    *,
    opacity: float = 1.0,
    stripe: int = 1,
    phase: int = 0,
) -> None:
    """Draw the meshes of an image into a target, in place, by the kernel if the kernel has found their samples.

    Args:
        image: The faces at the samples of one image.
        meshes: The merged mesh that was drawn.
        paints: The light and the colour of each of its meshes.
        target: (H, W, 3) uint8, RGB, that the meshes are blended into; or (H, W, 4), which becomes their colour and
            straight alpha where they are.
        samples: (S, H, W, 3) float, 0 to 1, RGB. The colours of samples of meshes without a colour.
        opacity: The opacity of the meshes in an RGB image.
        stripe: The width of the stripes of what is hatched, and of the gaps between them, pixels.
        phase: By how many pixels the stripes are moved to the left: the column and the row of a target that is part of
            an image, together.

    Raises:
        UsageError: If the target or a light has another shape.
    """
    if target.shape not in ((*image.size, 3), (*image.size, 4)) or target.dtype != torch.uint8:
        got = f"{tuple(target.shape)} {target.dtype}"
        raise UsageError("target", "has the wrong shape", expected="(H, W, 3) or (H, W, 4) uint8", got=got)
    lights = []
    for mesh, first, end in zip(paints, meshes.first_vertex, meshes.first_vertex[1:], strict=False):
        check_shape("light", mesh.light, end - first)
        hatched = torch.zeros_like(mesh.light) if mesh.hatched is None else mesh.hatched.to(mesh.light)
        lights.append(torch.stack((mesh.light, hatched), 1))
    table = [(0.0, 0.0, 0.0, 0.0) if mesh.colour is None else (*mesh.colour, 1.0) for mesh in paints]
    of_samples = meshes.vertices.new_zeros(0, 0, 0, 3) if samples is None else samples
    values = MergedPaint(meshes.vertices.new_tensor(table), torch.cat(lights), of_samples, opacity, stripe, phase)
    compute = implementation(_PACKAGE, "auto" if image.by_kernel else "reference", target.device)
    compute.paint(image, meshes, values, target)


YUV = torch.tensor(((5983, 20127, 2032), (-3298, -11094, 14392), (14392, -13073, -1319)), dtype=torch.int32)
"""(3, 3) int32. Y, U and V of red, green and blue by BT.709, in the range of video (16…235, 16…240), times 2¹⁵."""


def yuv420(image: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Convert an image to YUV 4:2:0 by BT.709, in the range of video; both backends give the same bytes.

    Args:
        image: (H, W, 3) uint8, RGB, with even height and width.
        backend: "auto", "kernel" or "reference".

    Returns:
        (3·H/2, W) uint8. The rows of Y, then those of U and V, of which two share a row. A sample of U and V is that
        of the mean of 2×2 pixels.

    Raises:
        UsageError: If the image has another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8 or any(n % 2 for n in image.shape[:2]):
        got = f"{tuple(image.shape)} {image.dtype}"
        raise UsageError("image", "has the wrong shape", expected="(H, W, 3) uint8 of even size", got=got)
    planes: Tensor = implementation(_PACKAGE, backend, image.device).yuv420(image.contiguous())
    return planes
