"""Torch's files whose pickles would never end, or fill the memory."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io import unpacking
from humanpose_cli.io.foreign_fits import read_foreign_fits
from humanpose_cli.io.restricted_pickle import read_pickle
from humanpose_cli.io.torch_pickles import check_torch_pickles
from humanpose_cli.lab.train.trainer import read_checkpoint
from humanpose_cli.networks.weights import read_tensors

NESTED = b"K\x01\x85q\x00" + b"h\x00\x86q\x00" * 22
ATTACKS = {
    "key": b"\x80\x02}" + NESTED + b"Ns.",
    "set": b"\x80\x02cbuiltins\nset\n](" + NESTED + b"e\x85R.",
    "table": b"\x80\x02ccollections\nOrderedDict\n](](" + NESTED + b"Nee\x85R.",
    "bytes": b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x01\x85R.",
}


def with_pickle(path: Path, content: bytes) -> Path:
    """A file of torch.save with another pickle in the place of its own."""
    torch.save({"a": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, content if name.endswith("data.pkl") else data)
    return path


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("read", [read_tensors, read_foreign_fits, lambda path: read_checkpoint(path, {})])
def test_pickles_that_would_not_end_are_refused(tmp_path: Path, name: str, read) -> None:
    with pytest.raises(InputError, match=r"as a key|bytes of a length"):
        read(with_pickle(tmp_path / "x.pt", ATTACKS[name]))


def test_many_objects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_pickle(tmp_path / "x.pt", b"\x80\x02(" + 10_000 * b"]" + b"l.")
    check_torch_pickles(path)
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    with raises(InputError, problem="is too large unpacked"):
        check_torch_pickles(path)


def test_storages_in_pickles_are_checked(tmp_path: Path) -> None:
    load = b"\x80\x04ctorch.storage\n_load_from_bytes\nB"
    content = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})) + ATTACKS["key"]
    (tmp_path / "x.pkl").write_bytes(load + len(content).to_bytes(4, "little") + content + b"\x85R.")
    with raises(InputError, got="as a key"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("legacy", [False, True])
def test_complete_files_pass(tmp_path: Path, legacy: bool) -> None:
    """Optimisers, state dicts with their versions, sets, numpy's numbers and tensors of several types."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    document = {
        "model": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "other": OrderedDict(a={1, 2}, b=(torch.float16, torch.Size((2, 3)), b"x", bytearray(b"y"))),
        "half": torch.zeros(2, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
    }
    torch.save(document, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    check_torch_pickles(tmp_path / "x.pt")
    assert read_tensors(tmp_path / "x.pt").keys() == module.state_dict().keys()
