"""Warp kernels of the part warp and its adjoints; `op.py` says what they compute.

A plan of 20 numbers a part comes first: its transform, and the box of sample positions from which any of its voxels
is reached. Samples outside are rejected before anything is read. Then there are two ways over the target:

- slabs, for the CPU (`slabs.py`): one thread processes a slice. For every row and part it finds the span of voxels that
  can reach and skips the others, which are zeros; a voxel's channels stay in vector registers, 64 at a time.
- voxels, for CUDA: one thread processes four channels of one voxel.

Both share the C++ headers beside this file, with different widths. Rows of the volume are voxels, their columns
channels. `winner` is the number of the part that a channel came from, plus 1, and 0 if the zero outside of all parts
won. It is checked before an adjoint computes anything.
"""

from pathlib import Path
from typing import Any

import warp as wp

from humanpose_cli.engine.native import native_kernel

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

WARP, ADJOINT = (Path(__file__).with_name(name) for name in ("warp.h", "adjoint.h"))

# Numbers a part in a plan: the transform's three rows (12), the bounds of the sample positions, in voxel indices, from
# which its voxels are reached (3 lower, 3 upper, none of them included), and two unused.
PLAN_SIZE = 20
# The stored dtype of a volume → the type that kernels receive.
STORAGES = {"float32": wp.float32, "bfloat16": wp.int16, "float16": wp.int16}


def volume_kernel(name: str, storage: str, output: str, header: Path, function: str, module: str = __name__) -> Any:
    """Define a kernel of native code for volumes stored as `storage` that writes numbers stored as `output`.

    All kernels have the same parameters: the first thread; stride, batch and slab, which say how the work is split for
    the CPU; slices, the masks' depth, 1 if planar. Rows of volume, upstream (a gradient), winner and out are voxels.

    Args:
        name: The name of the kernel, without its storage.
        storage: A key of `STORAGES`.
        output: A key of `STORAGES`.
        header: The header that defines the function.
        function: The name of the C++ function.
        module: The full name of the module that the kernel belongs to.

    Returns:
        The Warp kernel.
    """
    array = wp.array2d(dtype=STORAGES[storage])
    out_array = wp.array2d(dtype=STORAGES[output])
    macros = {"PLAN_SIZE": PLAN_SIZE, f"READ_{storage.upper()}": 1, f"WRITE_{output.upper()}": 1}

    def declaration(
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
    ): ...

    declaration.__name__ = declaration.__qualname__ = f"{name}_{storage}"
    declaration.__module__ = module
    return native_kernel(header, function, **macros)(declaration)


# By how the volume is stored. Gradients to volumes are added up in float32.
warp_voxels = {s: volume_kernel("warp_voxels", s, s, WARP, "warp_voxel") for s in STORAGES}
adjoint_voxels = {s: volume_kernel("adjoint_voxels", s, "float32", ADJOINT, "adjoint_voxel") for s in STORAGES}
adjoint_to_transforms = {
    s: volume_kernel("adjoint_to_transforms", s, "float32", ADJOINT, "adjoint_row") for s in STORAGES
}
