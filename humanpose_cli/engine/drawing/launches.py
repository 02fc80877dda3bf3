"""Run the kernels of light and colours, with the signatures of `reference.py`."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.drawing import kernel
from humanpose_cli.engine.drawing.op import YUV, Lighting, MergedPaint
from humanpose_cli.engine.launching import integers, launch, scalars, vectors
from humanpose_cli.engine.rasterising.launches import pixel_runs
from humanpose_cli.engine.rasterising.op import MergedMesh, SampledImage

# Nanoseconds a vertex, a sample and a pixel of YUV on one CPU thread, for the decision to split a launch.
_VERTEX_COST, _SAMPLE_COST, _YUV_COST = 60, 3, 1


@TensorMemo  # faces do not change from image to image
def _corners_by_vertex(faces: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Sort the corners 3·f + k of faces by vertex: return where those of each vertex number start, and their order."""
    vertices, order = faces.flatten().sort(stable=True)
    return torch.searchsorted(vertices, numbers, out_int32=True), order


def light_vertices(vertices: Tensor, faces: Tensor, lighting: Lighting) -> Tensor:
    """Compute `op.light_vertices` with the kernel."""
    out = vertices.new_empty(len(vertices))
    direction = torch.nn.functional.normalize(vertices.new_tensor(lighting.direction), dim=0).tolist()
    light = vertices.new_tensor((*direction, lighting.ambient, lighting.wrap, lighting.rim))
    numbers = map(scalars, (light, *_corners_by_vertex(faces, integers(len(vertices) + 1, faces.device))))
    arguments = [*numbers, vectors(faces, wp.vec3i), vectors(vertices, wp.vec3), scalars(out)]
    launch(kernel.light_vertices, len(out), arguments, out.device, len(out) * _VERTEX_COST)
    return out


def paint(image: SampledImage, meshes: MergedMesh, values: MergedPaint, target: Tensor) -> None:
    """Compute `op.paint` with the kernel."""
    (height, width), drawing = image.size, image.drawing
    if not height * width:
        return
    device = target.device
    runs, run = pixel_runs(1, height, width, device)
    arguments = [
        *(run, drawing.samples, values.stripe, values.phase, values.opacity),
        *((array.contiguous(), dtype) for array, dtype in drawing.mesh),
        *(*drawing.points, scalars(drawing.keys)),
        scalars(torch.tensor(meshes.first_face, dtype=torch.int32, device=device)),
        *(vectors(values.paints, wp.vec4), vectors(values.lights, wp.vec2)),
        *(vectors(values.samples, wp.vec3), scalars(target)),
    ]
    cost = height * width * drawing.samples * _SAMPLE_COST
    launch(kernel.paint_runs, height * runs, arguments, device, cost)


def yuv420(image: Tensor) -> Tensor:
    """Compute `op.yuv420` with the kernel."""
    (height, width, _), device = image.shape, image.device
    planes = image.new_empty(3 * height // 2, width)
    arrays = [*map(scalars, (YUV.to(device), image, planes))]
    launch(kernel.yuv_rows, height // 2, arrays, device, planes.numel() * _YUV_COST)
    return planes
