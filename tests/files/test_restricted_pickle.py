"""The unpickler that runs nothing: what it reads, what it refuses, what it survives."""

import gzip
import os
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import reader_process
from humanpose_cli.files.npz_files import read_npy
from humanpose_cli.files.restricted_pickle import check_torch_pickles, read_pickle

VALUES: dict[str, Any] = {
    "doubles": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "strided": np.arange(16)[::3],
    "big endian": np.arange(5, dtype=">i4"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "number": np.float32(2.5),
    "text": "left",
    "nested": [{"a": (1, 2.5, None)}, [np.ones(2), np.zeros(3)]],
    "ordered": OrderedDict(a=1),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(value: object, protocol: int = 2) -> Path:
        content = value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol)
        (tmp_path / "a.pkl").write_bytes(content)
        return tmp_path / "a.pkl"

    return to_file


@pytest.mark.extensive
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name: str, protocol: int, write) -> None:
    read = read_pickle(write({"value": VALUES[name]}, protocol))["value"]
    assert type(read) is (dict if name == "ordered" else type(VALUES[name]))
    if isinstance(read, np.ndarray):
        assert read.dtype == VALUES[name].dtype.newbyteorder("=") or protocol == 5
        assert read.flags.writeable
    np.testing.assert_equal(read, VALUES[name])


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_come_dense(kind: str, layout: str, protocol: int, write) -> None:
    dense = np.array([[0, 1.5, 0], [2, 0, -3]])
    sparse = getattr(scipy.sparse, f"{layout}_{kind}")(dense)
    np.testing.assert_array_equal(read_pickle(write(sparse, protocol)), dense)


def test_arrays_of_objects_are_kept(write) -> None:
    objects = np.empty(2, dtype=object)
    objects[:] = [np.ones(3), np.zeros(3)]
    read = read_pickle(write(objects))
    np.testing.assert_equal(read[0], np.ones(3))
    assert read.dtype == object


def test_python_2_names_are_accepted(write) -> None:
    modern = pickle.dumps(np.arange(3), protocol=2)
    assert b"numpy._core.multiarray" in modern
    old = write(modern.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(read_pickle(old), np.arange(3))


def test_chumpy_selection_is_followed(write) -> None:
    """A chumpy.reordering.Select chooses entries of another array: how shape components are cut to ten."""
    state = {"a": np.arange(12.0).reshape(3, 4), "idxs": np.array([0, 4, 8, 1]), "preferred_shape": (2, 2)}
    body = pickle.dumps(state, protocol=2)[2:-1]
    path = write(b"\x80\x02cchumpy.reordering\nSelect\n)\x81" + body + b"b.")
    np.testing.assert_array_equal(read_pickle(path), [[0, 4], [8, 1]])


@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\ngetattr", "numpy\nload", "scipy.sparse\nload_npz", "chumpy\na.b", "pandas\neval"]
)
def test_other_names_are_refused(name: str, write) -> None:
    with raises(InputError, subject="a.pkl", problem="is refused, because it is a pickle that would run code"):
        read_pickle(write(b"\x80\x02c" + name.encode() + b"\n(X\x01\x00\x00\x00atR."))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("protocol", range(6))
def test_bombs_are_refused(protocol: int, write) -> None:
    with raises(InputError, problem="would run code"):
        read_pickle(write([Bomb()], protocol))


def test_what_joblib_wrote_is_read() -> None:
    """The file is of joblib 1.6.0: arrays' bytes stand between opcodes, an array of objects is a pickle inside."""
    read = read_pickle(Path(__file__).parent / "data" / "values.joblib")
    np.testing.assert_array_equal(read["fortran"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read["objects"][0], np.ones(2))
    np.testing.assert_array_equal(read["big"], [0, 1, 2])
    np.testing.assert_array_equal(read["tensor"], np.arange(6.0).reshape(2, 3).T)
    assert (read["empty"].shape, read["flag"].shape, read["objects"][1]) == ((0, 3), (), "a")
    assert read["list"] == [3, 0.5, {"a": (1, None)}]


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_compressed_pickles_are_read_and_bombs_and_stubs_refused(pack: Any, write) -> None:
    packed = pack(pickle.dumps(np.arange(1000)))
    np.testing.assert_array_equal(read_pickle(write(packed)), np.arange(1000))
    with raises(InputError, got="cut short"):
        read_pickle(write(packed[: len(packed) // 2]))
    with raises(InputError, problem="would run code"):
        read_pickle(write(pack(pickle.dumps(Bomb()))))


def test_objects_in_npy_files_and_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    half = torch.arange(4, dtype=torch.bfloat16)
    np.save(path, {"t": torch.arange(12.0).view(3, 4)[1:, ::2], "half": half, "n": 2})  # type: ignore[arg-type]
    read = read_npy(path, partial(read_pickle, path)).item()
    np.testing.assert_array_equal(read["t"], [[4, 6], [8, 10]])
    np.testing.assert_array_equal(read["half"], [0, 1, 2, 3])
    np.save(path, {"bomb": Bomb()})  # type: ignore[arg-type]
    with raises(InputError, problem="would run code"):
        read_npy(path, partial(read_pickle, path))


def test_tensors_beyond_their_storage_are_refused(write) -> None:
    content = pickle.dumps(torch.zeros(7, 3), protocol=2)
    assert content.count(b"K\x07K\x03\x86") == 1
    with raises(InputError, problem="is not a readable pickle"):
        read_pickle(write(content.replace(b"K\x07K\x03\x86", b"K\xffK\x03\x86")))


@pytest.mark.extensive
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_are_scanned_before_torch_reads_them(tmp_path: Path, monkeypatch, legacy: bool) -> None:
    """Optimisers, sets, numbers and tensors of several types pass; the hash of tuples in tuples never ends."""
    document = {
        "optimiser": torch.optim.Adam([torch.zeros(2, requires_grad=True)]).state_dict(),
        "other": OrderedDict(a={1, 2}, b=(torch.float16, torch.Size((2, 3)), b"x", bytearray(b"y"))),
        "parameter": torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16)),
    }
    path = tmp_path / "x.pt"
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    check_torch_pickles(path)
    monkeypatch.setattr(reader_process, "_SECONDS", 1)
    slow = b"\x80\x02}K\x01\x85q\x00" + b"h\x00\x86q\x00" * 40 + b"Ns."
    path.write_bytes(slow)
    if not legacy:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", slow)
    with raises(InputError, problem="is not a readable pickle", got="of work"):
        check_torch_pickles(path)
