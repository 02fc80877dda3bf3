"""Warp kernel of heatmaps and their gradient; `op.py` says what it computes.

A thread visits a line of the volume: a slice with all joints on the CPU, a row with one joint on CUDA. It draws into
zeros, or sums over the line, so that the order of the sums is fixed.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_kernel

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

Joints, Volume, Sums = wp.array2d(dtype=wp.vec3), wp.array4d(dtype=wp.float32), wp.array3d(dtype=wp.vec3)


@native_kernel(Path(__file__).with_name("heatmaps.h"), "visit_line")
def visit_lines(
    t: int, lanes: int, sigma_x: float, sigma_y: float, sigma_z: float, joints: Joints, volume: Volume, sums: Sums
):
    """Visit what the Gaussians of one joint, or of all, reach in a line of the volume."""
