"""Warp kernel of heatmaps and their gradient; `op.py` says what it computes.

A thread visits a line of the volume: a slice with all joints on the CPU, a row with one joint on CUDA. It draws into
zeros, or sums over the line, so that the order of the sums is fixed.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

_HEADER = Path(__file__).with_name("heatmaps.h")
Joints, Volume, Sums = wp.array2d(dtype=wp.vec3), wp.array4d(dtype=wp.float32), wp.array3d(dtype=wp.vec3)


@wp.func_native(native_code(_HEADER, "visit_line"))
def visit_line(line: int, joint: int, run: int, rows: int, sigma: wp.vec3, joints: Joints, volume: Volume, sums: Sums):
    """Visit what the Gaussians of a run of joints reach in a line of the volume."""


@wp.kernel
def visit_lines(
    first: int, lanes: int, sigma_x: float, sigma_y: float, sigma_z: float, joints: Joints, volume: Volume, sums: Sums
):
    t = first + wp.tid()
    run = joints.shape[1] / lanes
    rows = wp.where(lanes == 1, volume.shape[1], 1)
    sigma = wp.vec3(sigma_x, sigma_y, sigma_z)
    visit_line(t // lanes, (t % lanes) * run, run, rows, sigma, joints, volume, sums)
