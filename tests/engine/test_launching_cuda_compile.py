"""Every kernel compiles for an sm_90 GPU, without local memory, also on machines without one."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
import torch

from humanpose_cli import engine
from humanpose_cli.engine import launching

_FOLDER = Path(engine.__file__).parent
MODULES = sorted(".".join(file.relative_to(_FOLDER).with_suffix("").parts) for file in _FOLDER.rglob("*kernel.py"))


# Beyond 100,000 radians CUDA's own sine reduces its argument in an array, which no joint's angle reaches.
STACK_BYTES = dict.fromkeys(("turn", "turn_adjoint", "pose_joints", "pose_joints_adjoint"), 32)


def stacks(cubin: bytes) -> dict[str, int]:
    """Bytes of local memory a thread of each function, spilled registers included: EIATTR_FRAME_SIZE of an ELF's
    .nv.info, as cuobjdump --dump-elf shows it.
    """
    offset, (size, count, names) = struct.unpack_from("<Q", cubin, 0x28)[0], struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + i * size) for i in range(count)]

    def name(strings: int, at: int) -> str:
        begin = sections[strings][4] + at
        return cubin[begin : cubin.index(b"\0", begin)].decode()

    (symbols,) = [section for section in sections if section[1] == 2]  # SHT_SYMTAB
    (info,) = [section for section in sections if name(names, section[0]) == ".nv.info"]
    found, at = {}, info[4]
    while at < info[4] + info[5]:
        form, attribute, length = struct.unpack_from("<BBH", cubin, at)
        if form == 4 and attribute == 0x11:  # a symbol's index and its value
            symbol, value = struct.unpack_from("<II", cubin, at + 4)
            (text,) = struct.unpack_from("<I", cubin, symbols[4] + 24 * symbol)
            found[name(symbols[6], text)] = value
        at += 4 + (length if form == 4 else 0)
    return found


def test_every_module_of_kernels_is_listed():
    defining = [file for file in _FOLDER.rglob("*.py") if "\nMODULE = " in file.read_text("utf-8")]
    assert {f"{file.parent.name}.{file.stem}" for file in defining} == {*MODULES, "warping.slabs"}


@pytest.mark.extensive
@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_compiles_for_sm_90_into_registers_alone(module, tmp_path):
    wp = launching.start()
    name = f"humanpose_cli.engine.{module}"
    assert launching.ready(name, torch.device("cpu")) is None
    kernels = wp.get_module(name)
    wp.compile_aot_module(kernels, arch=90, module_dir=tmp_path, use_ptx=False)
    (cubin,) = tmp_path.glob("*.cubin")
    assert cubin.stat().st_size > 10_000
    assert kernels.kernels
    stack = stacks(cubin.read_bytes())
    for kernel in kernels.kernels:
        entry = re.compile(rf"{kernel}_[0-9a-f]+_cuda_kernel_forward")
        assert [size for name, size in stack.items() if entry.fullmatch(name)] == [STACK_BYTES.get(kernel, 0)]


def test_what_needs_a_large_stack_is_not_compiled_for_a_gpu():
    from humanpose_cli.engine.warping import kernel, slabs

    assert {key for key in kernel.MODULE.kernels if "slab" in key} == set()
    assert set(slabs.MODULE.kernels) == {slabs.warp_slabs.key, slabs.adjoint_slabs.key}
