"""Every kernel compiles for an sm_90 GPU, also on machines without one."""

from __future__ import annotations

import pytest
import torch

from humanpose_cli.engine import runtime


@pytest.mark.parametrize("op", ["skinning", "rasterising", "warping", "warping.masks"])
def test_every_kernel_compiles_for_sm_90(op, tmp_path):
    wp = runtime.start()
    assert runtime.ready(f"humanpose_cli.engine.{op}.kernel", torch.device("cpu")) is None
    module = wp.get_module(f"humanpose_cli.engine.{op}.kernel")
    wp.compile_aot_module(module, arch=90, module_dir=tmp_path, use_ptx=False)
    (cubin,) = tmp_path.glob("*.cubin")
    assert cubin.stat().st_size > 10_000
    for kernel in module.kernels:
        assert kernel.encode() in cubin.read_bytes()
