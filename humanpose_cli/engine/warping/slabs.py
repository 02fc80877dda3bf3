"""Warp kernels of the part warp and its adjoint over slabs, for the CPU; `kernel.py` says how they work.

They are a separate module, which no GPU loads: a thread keeps 7.7 kB on its stack, and CUDA would reserve as much
for all threads that a GPU can hold, about 2 GiB. 16-bit volumes are converted before.
"""

import warp as wp

from humanpose_cli.engine.warping.kernel import ADJOINT, WARP, volume_kernel

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

warp_slabs = volume_kernel("warp_slabs", "float32", "float32", WARP, "warp_slab", __name__)
adjoint_slabs = volume_kernel("adjoint_slabs", "float32", "float32", ADJOINT, "adjoint_slab", __name__)
