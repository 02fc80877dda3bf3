"""Warp kernel of capsule masks and of the part warp's plans; `op.py` and `kernel.py` say what it computes.

One thread fills its block of one slice of one part's mask, capsule after capsule and only inside each one's box: a
whole slice on the CPU, a voxel on CUDA. Products and sums are not fused and have the order of `reference.py`, so
both decide alike about voxels on a capsule's surface.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_kernel
from humanpose_cli.engine.warping.kernel import PLAN_SIZE

wp.set_module_options({"enable_backward": False, "fuse_fp": False})
MODULE = wp.get_module(__name__)


@native_kernel(Path(__file__).with_name("masks.h"), "fill_masks", PLAN_SIZE=PLAN_SIZE)
def fill_masks(
    t: int,
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
    """Fill a block of one slice of a part's mask; the threads after the `blocks` write the parts' plans."""
