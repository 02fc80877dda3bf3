"""Warp kernel of capsule masks; `op.py` says what it computes.

One thread fills its block of one slice of one part's mask, capsule after capsule and only inside each one's box: a
whole slice on the CPU, a voxel on CUDA. Products and sums are not fused and have the order of `reference.py`, so
both decide alike about voxels on a capsule's surface.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code

wp.set_module_options({"enable_backward": False, "fuse_fp": False})
MODULE = wp.get_module(__name__)


@wp.func_native(native_code(Path(__file__).with_name("masks.h"), "fill_block"))
def fill_block(
    t: int, rows: int, columns: int, parts: int, depth: int, height: int, width: int,
    capsules: wp.array3d(dtype=wp.float32), part_of_capsule: wp.array1d(dtype=wp.int32), softness: float,
    sharpness: float, size_x: float, size_y: float, size_z: float, masks: wp.array1d(dtype=wp.float32),
):  # fmt: skip
    """Fill the masks in block t of `rows` × `columns` voxels of one slice."""


@wp.kernel
def fill_masks(
    first: int, rows: int, columns: int, parts: int, depth: int, height: int, width: int,
    capsules: wp.array3d(dtype=wp.float32), part_of_capsule: wp.array1d(dtype=wp.int32), softness: float,
    sharpness: float, size_x: float, size_y: float, size_z: float, masks: wp.array1d(dtype=wp.float32),
):  # fmt: skip
    t = first + wp.tid()
    fill_block(
        t, rows, columns, parts, depth, height, width,
        capsules, part_of_capsule, softness, sharpness, size_x, size_y, size_z, masks,
    )  # fmt: skip
