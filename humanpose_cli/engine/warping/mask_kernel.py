"""Warp kernel of capsule masks and of the part warp's plans; `op.py` and `kernel.py` say what it computes.

One thread fills its block of one slice of one part's mask, capsule after capsule and only inside each one's box: a
whole slice on the CPU, a voxel on CUDA. Products and sums are not fused and have the order of `reference.py`, so
both decide alike about voxels on a capsule's surface.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code
from humanpose_cli.engine.warping.kernel import PLAN_SIZE, WARP

wp.set_module_options({"enable_backward": False, "fuse_fp": False})
MODULE = wp.get_module(__name__)


@wp.func_native(native_code(Path(__file__).with_name("masks.h"), "fill_block"))
def fill_block(
    t: int,
    rows: int,
    columns: int,
    parts: int,
    depth: int,
    height: int,
    width: int,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    softness: float,
    sharpness: float,
    size_x: float,
    size_y: float,
    size_z: float,
    masks: wp.array1d(dtype=wp.float32),
):
    """Fill the masks in block t of `rows` × `columns` voxels of one slice."""


@wp.func_native(native_code(WARP, "plan_part", PLAN_SIZE=PLAN_SIZE))
def plan_part(
    t: int,
    parts: int,
    depth: int,
    height: int,
    width: int,
    planar: int,
    softness: float,
    size_x: float,
    size_y: float,
    size_z: float,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    transforms: wp.array1d(dtype=wp.float32),
    plans: wp.array1d(dtype=wp.float32),
):
    """Write the plan of one part."""


@wp.kernel
def fill_masks(
    first: int,
    blocks: int,
    rows: int,
    columns: int,
    parts: int,
    slices: int,
    depth: int,
    height: int,
    width: int,
    planar: int,
    softness: float,
    sharpness: float,
    size_x: float,
    size_y: float,
    size_z: float,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    transforms: wp.array1d(dtype=wp.float32),
    plans: wp.array1d(dtype=wp.float32),
    masks: wp.array1d(dtype=wp.float32),
):
    # The threads after the blocks write the parts' plans.
    t = first + wp.tid()
    if t < blocks:
        fill_block(
            t, rows, columns, parts, slices, height, width,
            capsules, part_of_capsule, softness, sharpness, size_x, size_y, size_z, masks,
        )  # fmt: skip
    else:
        plan_part(
            t - blocks, parts, depth, height, width, planar, softness, size_x, size_y, size_z,
            capsules, part_of_capsule, transforms, plans,
        )  # fmt: skip
