"""Warp kernels of the light of vertices, of the colours of pixels and of YUV; `op.py` says what they compute."""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_kernel

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

PAINT = Path(__file__).with_name("paint.h")
Integers, Numbers, Faces = wp.array1d(dtype=wp.int32), wp.array1d(dtype=wp.float32), wp.array1d(dtype=wp.vec3i)


@native_kernel(PAINT, "light_vertex")
def light_vertices(
    v: int,
    lighting: Numbers,
    starts: Integers,
    corners: wp.array1d(dtype=wp.int64),
    faces: Faces,
    vertices: wp.array1d(dtype=wp.vec3),
    out: Numbers,
): ...


@native_kernel(PAINT, "paint_run")
def paint_runs(
    t: int,
    run: int,
    samples: int,
    stripe: int,
    phase: int,
    opacity: float,
    vertices: wp.array2d(dtype=wp.vec3),
    faces: Faces,
    focals: Numbers,
    points_x: wp.array2d(dtype=wp.float32),
    points_y: wp.array2d(dtype=wp.float32),
    keys: wp.array3d(dtype=wp.int64),
    first_faces: Integers,
    paints: wp.array1d(dtype=wp.vec4),
    lights: wp.array1d(dtype=wp.vec2),
    texels: wp.array3d(dtype=wp.vec3),
    target: wp.array3d(dtype=wp.uint8),
): ...


@native_kernel(PAINT, "yuv_rows")
def yuv_rows(
    t: int,
    weights: wp.array2d(dtype=wp.int32),
    image: wp.array3d(dtype=wp.uint8),
    planes: wp.array2d(dtype=wp.uint8),
): ...
