"""Run the z-buffer and interpolation kernels, with the signatures of `reference.py`."""

from __future__ import annotations

from typing import NamedTuple

import torch
import warp as wp
from torch import Tensor

from humanpose_cli.engine.launching import Array, allocate, launch, on_cpu, scalars, vectors
from humanpose_cli.engine.rasterising import kernel
from humanpose_cli.engine.rasterising.reference import BOUNDS_SLACK

# Threads that share the rows of one face on CUDA: more where faces are few, and so perhaps large.
_LANES, _FULL_GPU = 8, 1 << 17
# Most threads of a CUDA launch; beyond it, a thread takes several faces or pixels.
_MAX_THREADS = 1 << 30
# Points beyond a row that the CPU's vectors reach.
_PADDING = 8
# Points of the image for each face from which a second pass costs less than the pixels that it leaves out.
_POINTS_OF_TWO_PASSES = 16
# Nanoseconds a face or pixel on one CPU thread, for the decision to split a launch.
_FACE_COST, _PIXEL_COST = 100, 5


class Drawing(NamedTuple):
    """The z-buffer of B images, and the arrays that its readers need.

    Attributes:
        keys: (B, H, W·S + padding) int64. The samples of a pixel are neighbours, so a face touches few cache lines.
        mesh: Vertices, faces and focal lengths.
        points: x and y of each row's samples.
        samples: The number of samples a pixel, S.
    """

    keys: Tensor
    mesh: list[Array]
    points: list[Array]
    samples: int


def draw(
    vertices: Tensor,
    faces: Tensor,
    focal: Tensor,
    principal_points: Tensor,
    size: tuple[int, int],
    near: float,
    cull_back_faces: bool,
) -> Drawing:
    """Compute `op.draw_samples` with the kernel."""
    height, width = size
    batch, samples, _ = principal_points.shape
    count, device = faces.shape[0], vertices.device
    # The padding is written by vectors that reach beyond the image, and never read.
    shape = batch, height, width * samples + _PADDING
    keys = allocate(torch.empty(0, dtype=torch.int64, device=device), shape).fill_(kernel.FAR)
    columns = torch.arange(width + _PADDING, dtype=vertices.dtype, device=device)[:, None] + 0.5
    points_x = scalars((columns - principal_points[:, None, :, 0]).flatten(1).contiguous())
    points_y = scalars(principal_points[..., 1].repeat(1, len(columns)))
    centres = vectors(torch.cat((principal_points.amin(1), principal_points.amax(1)), 1), wp.vec4)
    mesh = [vectors(vertices, wp.vec3), vectors(faces, wp.vec3i), scalars(focal)]
    drawing = Drawing(keys, mesh, [points_x, points_y], samples)
    if not batch * height * width:
        return drawing
    if on_cpu(device):
        # A thread goes through all faces but owns its rows: those of one image, or every n-th of them.
        lanes = 1 if batch >= torch.get_num_threads() else torch.get_num_threads()
        chunks, chunk, passes = 1, count, 1 + (height * width * samples > _POINTS_OF_TWO_PASSES * count)
    else:
        lanes = max(_LANES, min(height, _FULL_GPU // max(1, batch * count)))
        chunk = 1 + batch * count * lanes // _MAX_THREADS
        chunks, passes = -(-count // chunk), 1
    options = [near, int(cull_back_faces), BOUNDS_SLACK]
    counts = [chunks, chunk, lanes, passes, width, samples]
    arguments = [*counts, *mesh, centres, *drawing.points, *options, scalars(keys)]
    launch(kernel.draw_faces, batch * chunks * lanes, arguments, device, batch * samples * count * _FACE_COST)
    return drawing


def read(drawing: Drawing) -> tuple[Tensor, Tensor, Tensor]:
    """Compute face, barycentrics and depth of all samples with the kernel."""
    keys, mesh, points, samples = drawing
    (batch, height, columns), like = keys.shape, mesh[0][0]
    shape = batch * samples, height, (columns - _PADDING) // samples
    face = torch.empty(shape, dtype=torch.int32, device=keys.device)
    barycentrics, depth = allocate(like, (*shape, 3)), allocate(like, shape)
    if face.numel():
        runs, run = pixel_runs(batch, *shape[1:], keys.device)
        outputs = [scalars(face), vectors(barycentrics, wp.vec3), scalars(depth)]
        arguments = [runs, run, samples, *mesh, *points, scalars(keys), *outputs]
        launch(kernel.read_faces, batch * height * runs, arguments, keys.device, face.numel() * _PIXEL_COST)
    return face, barycentrics, depth


def pixel_runs(batch: int, height: int, width: int, device: torch.device) -> tuple[int, int]:
    """Return the runs a row and the pixels a run; one thread handles one run, a complete row on the CPU."""
    run = width if on_cpu(device) else 1 + batch * height * width // _MAX_THREADS
    return -(-width // run), run


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Compute `op.interpolate` with the kernel."""
    (batch, height, width), channels = face.shape, attributes.shape[2]
    out = allocate(attributes, (batch, height, width, channels))
    if out.numel():
        runs, run = pixel_runs(batch, height, width, face.device)
        raster = [scalars(face), vectors(barycentrics, wp.vec3), vectors(faces, wp.vec3i)]
        arguments = [runs, run, *raster, scalars(attributes.expand(batch, -1, -1)), scalars(out)]
        cost = face.numel() * (_PIXEL_COST + channels)
        launch(kernel.interpolate, batch * height * runs, arguments, face.device, cost)
    return out
