"""Warp kernels of the part warp and its adjoints; `op.py` says what they compute.

A plan of 20 numbers a part comes first: its transform, and the box of sample positions from which any of its voxels
is reached. Samples outside are rejected before anything is read. Then there are two ways over the target:

- slabs, for the CPU: one thread takes a slice, finds for every row and part the span of voxels that can reach, and
  leaves the others alone (they are zeros already); a voxel's channels stay in vector registers, 64 at a time;
- voxels, for CUDA: one thread takes four channels of one voxel.

Both are the same pieces of C++, with another width. Rows of the volume are voxels, their columns channels. `winner`
says which part a channel came from: its number + 1, and 0 where the zero outside of all parts won. It is looked at
before an adjoint computes anything.
"""

from typing import Any

import warp as wp

from humanpose_cli.engine.warping import adjoint_pieces, pieces

__all__ = [
    "MODULE",
    "STORAGES",
    "adjoint_slabs",
    "adjoint_to_transforms",
    "adjoint_voxels",
    "plan_parts",
    "warp_slabs",
    "warp_voxels",
]

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

# How a volume's numbers are stored → the type they travel as.
STORAGES = {"float32": wp.float32, "bfloat16": wp.int16, "float16": wp.int16}


@wp.func_native(pieces.PLAN_PART.replace("PLAN_SIZE", str(pieces.PLAN_SIZE)))
def plan_part(
    t: int,
    parts: int,
    depth: int,
    height: int,
    width: int,
    planar: int,
    widened: int,
    softness: float,
    size_x: float,
    size_y: float,
    size_z: float,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    transforms: wp.array1d(dtype=wp.float32),
    plans: wp.array1d(dtype=wp.float32),
):
    """Writes the plan of one part."""


@wp.kernel
def plan_parts(
    first: int,
    parts: int,
    depth: int,
    height: int,
    width: int,
    planar: int,
    widened: int,
    softness: float,
    size_x: float,
    size_y: float,
    size_z: float,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    transforms: wp.array1d(dtype=wp.float32),
    plans: wp.array1d(dtype=wp.float32),
):
    t = first + wp.tid()
    plan_part(
        t, parts, depth, height, width, planar, widened, softness, size_x, size_y, size_z,
        capsules, part_of_capsule, transforms, plans,
    )  # fmt: skip


def _kernel(name: str, storage: str, written: str, *parts: str) -> Any:
    """A kernel of these pieces, for volumes stored in one way that writes numbers stored in another.

    Parameters of all: the first thread; stride, batch and slab say how the work is cut for the CPU; slices is the
    masks' depth, 1 if planar. Rows of volume, upstream (a gradient), winner and out are voxels.
    """
    array = wp.array2d(dtype=STORAGES[storage])
    out_array = wp.array2d(dtype=STORAGES[written])
    code = "".join((pieces.READ[storage], pieces.WRITE[written], pieces.SIZES, *parts))

    def work(
        t: int,
        stride: int,
        batch: int,
        slab: int,
        depth: int,
        height: int,
        width: int,
        slices: int,
        plans: wp.array3d(dtype=wp.float32),
        masks: wp.array1d(dtype=wp.float32),
        volume: array,
        upstream: array,
        winner: wp.array2d(dtype=wp.uint8),
        out: out_array,
    ):
        """What thread t does."""

    work.__name__ = work.__qualname__ = f"{name}_work_{storage}"
    work = wp.func_native(code.replace("PLAN_SIZE", str(pieces.PLAN_SIZE)))(work)

    def kernel(
        first: int,
        stride: int,
        batch: int,
        slab: int,
        depth: int,
        height: int,
        width: int,
        slices: int,
        plans: wp.array3d(dtype=wp.float32),
        masks: wp.array1d(dtype=wp.float32),
        volume: array,
        upstream: array,
        winner: wp.array2d(dtype=wp.uint8),
        out: out_array,
    ):
        t = first + wp.tid()
        work(t, stride, batch, slab, depth, height, width, slices, plans, masks, volume, upstream, winner, out)

    kernel.__name__ = kernel.__qualname__ = f"{name}_{storage}"
    return wp.kernel(kernel)


_COMMON = pieces.CORNERS + pieces.SAMPLE
# On the CPU: 16-bit volumes are converted there.
warp_slabs = _kernel("warp_slabs", "float32", "float32", _COMMON, pieces.GREATEST, pieces.SPAN, pieces.WARP_SLAB)
adjoint_slabs = _kernel("adjoint_slabs", "float32", "float32", _COMMON, pieces.SPAN, adjoint_pieces.ADJOINT_SLAB)
# By how the volume is stored. Gradients to volumes are added up in float32.
warp_voxels = {s: _kernel("warp_voxels", s, s, _COMMON, pieces.GREATEST, pieces.WARP_VOXEL) for s in STORAGES}
adjoint_voxels = {s: _kernel("adjoint_voxels", s, "float32", _COMMON, adjoint_pieces.ADJOINT_VOXEL) for s in STORAGES}
adjoint_to_transforms = {
    s: _kernel("adjoint_to_transforms", s, "float32", pieces.SAMPLE, pieces.SPAN, adjoint_pieces.ADJOINT_ROW)
    for s in STORAGES
}
