"""Every kernel compiles for an sm_90 GPU, also on machines without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from humanpose_cli import engine
from humanpose_cli.engine import launching

_FOLDER = Path(engine.__file__).parent
MODULES = sorted(".".join(file.relative_to(_FOLDER).with_suffix("").parts) for file in _FOLDER.rglob("*kernel.py"))


def test_every_module_of_kernels_is_known():
    defining = {file for file in _FOLDER.rglob("*.py") if "wp.kernel" in file.read_text("utf-8")}
    assert {".".join(file.relative_to(_FOLDER).with_suffix("").parts) for file in defining} == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_compiles_for_sm_90(module, tmp_path):
    wp = launching.start()
    name = f"humanpose_cli.engine.{module}"
    assert launching.ready(name, torch.device("cpu")) is None
    kernels = wp.get_module(name)
    wp.compile_aot_module(kernels, arch=90, module_dir=tmp_path, use_ptx=False)
    (cubin,) = tmp_path.glob("*.cubin")
    assert cubin.stat().st_size > 10_000
    assert kernels.kernels
    for kernel in kernels.kernels:
        assert kernel.encode() in cubin.read_bytes()


def test_what_needs_a_large_stack_is_not_compiled_for_a_gpu():
    from humanpose_cli.engine.warping import kernel, slabs

    assert {key for key in kernel.MODULE.kernels if "slab" in key} == set()
    assert set(slabs.MODULE.kernels) == {slabs.warp_slabs.key, slabs.adjoint_slabs.key}


def test_volumes_of_16_bits_have_kernels():
    from humanpose_cli.engine.warping import kernel

    for table in (kernel.warp_voxels, kernel.adjoint_voxels, kernel.adjoint_to_transforms):
        assert {"float32", "bfloat16", "float16"} == set(table)
        assert all(entry.key in kernel.MODULE.kernels for entry in table.values())
