"""Warp kernels of the points, terms and angles of bodies; `op.py` says what they compute.

A thread handles one row and adds in a fixed order, so that no bit of a row depends on the other rows. The arrays are
double and contiguous.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_kernel
from humanpose_cli.fitting.linearising.op import MAX_PARAMETERS, MAX_SHAPE, MIN_DEPTH

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

_HEADER = Path(__file__).with_name("linearising.h")
A1, A2, A3, A4 = (wp.array(dtype=wp.float64, ndim=n) for n in (1, 2, 3, 4))
Integers, Pairs = wp.array1d(dtype=wp.int32), wp.array2d(dtype=wp.int32)


@native_kernel(_HEADER, "pose_points", MAX_SHAPE=MAX_SHAPE)
def pose_points(
    n: int, parents: Integers, rest_rotations: A3, rest: A2, slopes: A3, weights: A2,
    rotations: A4, root: A2, betas: A2, scales: A2,
    absolute: A4, joints: A3, points: A3, jacobian: A4,
):  # fmt: skip
    """Pose the points of a row and write their Jacobian."""


@native_kernel(_HEADER, "add_term", MAX_PARAMETERS=MAX_PARAMETERS, MIN_DEPTH=MIN_DEPTH)
def add_term(
    n: int, ends: Pairs, shares: A2, rotation: A3, translation: A2, target: A3, weights: A3, counts: A2, robust: A1,
    logs: A2, points: A3, jacobian: A4, cost: A1, gradient: A2, hessian: A3,
):  # fmt: skip
    """Add a term of a row to its normal equations."""


@native_kernel(_HEADER, "add_angles")
def add_angles(
    n: int, limit: wp.float64, strength: wp.float64, bend: wp.float64,
    axes: A3, handedness: A1, low: A2, high: A2, fallback: A3, fallback_weights: A2,
    columns: Pairs, means: A3, whitening: A4, offsets: A2,
    rotations: A4, cost: A1, gradient: A2, hessian: A3,
):  # fmt: skip
    """Add the energy of the anatomical angles of a row to its normal equations."""
