"""The unpickler that runs nothing: what it reads, what it refuses, what it survives."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import subprocess
import sys
import zlib
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io import unpacking
from humanpose_cli.io.npz_files import read_npy
from humanpose_cli.io.restricted_pickle import as_array, read_pickle

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


def write(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name: str, protocol: int, tmp_path: Path) -> None:
    read = read_pickle(write(tmp_path / "a.pkl", {"value": VALUES[name]}, protocol))["value"]
    assert type(read) is (dict if name == "ordered" else type(VALUES[name]))
    if isinstance(read, np.ndarray):
        assert read.dtype == VALUES[name].dtype
        assert read.flags.writeable
    np.testing.assert_equal(read, VALUES[name])


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_come_dense(kind: str, layout: str, protocol: int, tmp_path: Path) -> None:
    dense = np.array([[0, 1.5, 0], [2, 0, -3]])
    sparse = getattr(scipy.sparse, f"{layout}_{kind}")(dense)
    np.testing.assert_array_equal(read_pickle(write(tmp_path / "a.pkl", sparse, protocol)), dense)


def test_arrays_of_objects_and_structure_are_kept(tmp_path: Path) -> None:
    objects = np.empty(2, dtype=object)
    objects[:] = [np.ones(3), np.zeros(3)]
    shared = [np.arange(3)]
    read = read_pickle(write(tmp_path / "a.pkl", {"objects": objects, "a": shared, "b": shared}))
    np.testing.assert_equal(read["objects"][0], np.ones(3))
    assert read["a"] is read["b"]


def test_python_2_names_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    modern = pickle.dumps(np.arange(3), protocol=2)
    path.write_bytes(modern.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    np.testing.assert_array_equal(read_pickle(path), np.arange(3))


def test_chumpy_selection_is_followed(tmp_path: Path) -> None:
    """A chumpy.reordering.Select chooses entries of another array: how shape components are cut to ten."""
    state = {"a": np.arange(12.0).reshape(3, 4), "idxs": np.array([0, 4, 8, 1]), "preferred_shape": (2, 2)}
    body = pickle.dumps(state, protocol=2)[2:-1]
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02cchumpy.reordering\nSelect\n)\x81" + body + b"b.")
    np.testing.assert_array_equal(read_pickle(path), [[0, 4], [8, 1]])


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\neval",
        "builtins\ngetattr",
        "numpy\nload",
        "scipy.sparse\nload_npz",
        "chumpy\na.b",
        "pandas\neval",
    ],
)
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02c" + name.encode() + b"\n(X\x01\x00\x00\x00atR.")
    with raises(InputError, subject="a.pkl", problem="is refused, because it is a pickle that would run code"):
        read_pickle(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("protocol", range(6))
def test_bombs_are_refused(protocol: int, tmp_path: Path) -> None:
    with raises(InputError, problem="would run code"):
        read_pickle(write(tmp_path / "a.pkl", [Bomb()], protocol))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # a bytearray of a terabyte
        b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.",  # a frame of a terabyte
        b"\x80\x02Pabc\n.",
        b"",
        b"no pickle",
    ],
)
def test_hostile_opcodes_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with raises(InputError, subject="a.pkl", problem="is not a readable pickle"):
        read_pickle(path)


def test_a_memo_slot_far_out_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")
    assert read_pickle(path) is None


def test_an_array_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(np.zeros(7), protocol=2)
    path = tmp_path / "a.pkl"
    path.write_bytes(content.replace(b"K\x07\x85", b"J\xff\xff\xff\x7f\x85"))
    with pytest.raises(InputError):
        read_pickle(path)


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    value: list[Any] = [1.0]
    for _ in range(10):
        value = [value, value]
    read = read_pickle(write(tmp_path / "a.pkl", value))
    assert read[0] is read[1]
    with pytest.raises(ValueError, match="numbers expected"):
        as_array(read)


@pytest.mark.slow
def test_reading_does_not_import_what_a_file_names(tmp_path: Path) -> None:
    """Stand-ins take the place of scipy: its modules are not loaded by a name in a file."""
    path = write(tmp_path / "a.pkl", scipy.sparse.csc_matrix(np.eye(2)))
    code = (
        "import sys, pathlib; from humanpose_cli.io.restricted_pickle import read_pickle;"
        f"read_pickle(pathlib.Path({str(path)!r})); assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_random_damage_is_an_input_error_or_read(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps(
        {"a": np.arange(20.0).reshape(4, 5), "m": scipy.sparse.csc_matrix(np.eye(4)), "s": {1}}, protocol=protocol
    )
    path = tmp_path / "a.pkl"
    outcomes, messages = set(), []
    for seed in range(150):
        rng = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_pickle(path)
            outcomes.add("read")
        except InputError as error:
            outcomes.add("refused")
            messages.append(str(error))
    assert outcomes == {"read", "refused"}
    assert not any("\n" in message for message in messages)


def test_what_joblib_wrote_is_read() -> None:
    """The file is of joblib 1.6.0: arrays' bytes stand between opcodes, an array of objects is a pickle inside."""
    read = read_pickle(Path(__file__).parent / "data" / "values.joblib")
    np.testing.assert_array_equal(read["fortran"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read["objects"][0], np.ones(2))
    np.testing.assert_array_equal(read["big"], [0, 1, 2])
    np.testing.assert_array_equal(read["tensor"], np.arange(6.0).reshape(2, 3).T)
    assert read["empty"].shape == (0, 3)
    assert read["flag"].shape == ()
    assert read["objects"][1] == "a"
    assert read["list"] == [3, 0.5, {"a": (1, None)}]


@pytest.mark.parametrize("stop", range(0, 1494, 83))
def test_joblib_files_cut_short_are_refused(stop: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes((Path(__file__).parent / "data" / "values.joblib").read_bytes()[:stop])
    with raises(InputError, problem="is not a readable pickle"):
        read_pickle(path)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_compressed_pickles_are_read_and_bombs_and_stubs_refused(pack: Any, tmp_path: Path) -> None:
    path, packed = tmp_path / "a.pkl", pack(pickle.dumps(np.arange(1000)))
    path.write_bytes(packed)
    np.testing.assert_array_equal(read_pickle(path), np.arange(1000))
    path.write_bytes(packed[: len(packed) // 2])
    with raises(InputError, got="cut short"):
        read_pickle(path)
    path.write_bytes(pack(pickle.dumps(Bomb())))
    with raises(InputError, problem="would run code"):
        read_pickle(path)


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


def test_tensors_beyond_their_storage_are_refused(tmp_path: Path) -> None:
    content = pickle.dumps(torch.zeros(7, 3), protocol=2)
    path = tmp_path / "a.pkl"
    assert content.count(b"K\x07K\x03\x86") == 1
    path.write_bytes(content.replace(b"K\x07K\x03\x86", b"K\xffK\x03\x86"))
    with raises(InputError, problem="is not a readable pickle"):
        read_pickle(path)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def integer(number: int) -> bytes:
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


FLOATS = named("numpy", "dtype") + b"(" + text("f8") + b"tR"
FROM_BUFFER = named("numpy._core.numeric", "_frombuffer")
NESTED = b"K\x01\x85" + b"2\x86" * 22
"""Tuples of twice the same tuple: of a few bytes, four million numbers in their hash and their text."""


def times(count: int, made: bytes) -> bytes:
    """A list of what these opcodes make, `count` times."""
    return b"(" + count * made + b"l."


@pytest.mark.parametrize(
    "content",
    [
        b"}" + NESTED + b"Ns.",
        b"}(" + NESTED + b"Nu.",
        b"(" + NESTED + b"Nd.",
        b"\x8f(" + NESTED + b"\x90.",
        b"(" + NESTED + b"\x91.",
        named("builtins", "set") + b"(" + NESTED + b"\x85tR.",
        named("builtins", "frozenset") + b"(" + NESTED + b"\x85t\x81.",
        named("builtins", "dict") + b"](" + NESTED + b"N\x86e\x85R.",
        named("collections", "OrderedDict") + b"](" + NESTED + b"N\x86e\x85R.",
        b"}" + b"\x8b\x00\x02\x00\x00" + 511 * b"\x00" + b"\x01Ns.",  # a number of 4096 bits
    ],
    ids=["item", "items", "table", "set", "frozen", "set()", "frozen()", "table()", "ordered()", "number"],
)
def test_keys_with_a_slow_hash_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + content)
    with pytest.raises(InputError, match=r"as a key|is too large unpacked"):
        read_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "content",
    [
        FROM_BUFFER + b"(C\x08" + bytes(8) + FLOATS + NESTED + text("C") + b"tR.",
        FROM_BUFFER + b"(" + NESTED + FLOATS + b")" + text("C") + b"tR.",
        named("numpy", "dtype") + b"(" + NESTED + b"tR.",
        named("_codecs", "encode") + b"(" + NESTED + text("latin1") + b"tR.",
        named("_codecs", "encode") + b"(" + text("a") + NESTED + b"tR.",
        named("scipy.sparse", "csc_matrix") + b")\x81}(" + text("_shape") + NESTED + b"K\x02\x86ub.",
        b"](K\x01e2" + named("builtins", "slice") + b"K\x00K\x00\x86R2s.",  # elements in front of the list itself
        b"]2a.",  # a list that holds itself
    ],
    ids=["order", "shape", "type", "text", "encoding", "sparse", "slice", "itself"],
)
def test_texts_of_errors_and_copies_stay_small(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + content)
    with pytest.raises(InputError, match=r"is not a readable pickle|is too large unpacked") as raised:
        read_pickle(tmp_path / "a.pkl")
    assert len(str(raised.value)) < 500


SHARED = b"(" + 2000 * b"N" + b"lq\x00"  # a list that is used again
LONG = text(2000 * "a") + b"q\x00"
ENCODED = named("_codecs", "encode") + b"(h\x00" + text("latin1") + b"tR"
NO_NUMBERS = FROM_BUFFER + b"(C\x00" + FLOATS + b"K\x00\x85" + text("C") + b"tR"
SPARSE = (
    *(named("scipy.sparse", "csc_matrix"), b")\x81}(", text("_shape"), integer(1 << 14), b"2\x86"),
    *(text("data"), NO_NUMBERS, text("indices"), NO_NUMBERS, text("indptr"), NO_NUMBERS, b"ub."),
)


@pytest.mark.parametrize(
    "content",
    [
        SHARED + times(100, named("builtins", "list") + b"h\x00\x85R"),
        SHARED + times(100, named("builtins", "frozenset") + b"h\x00\x85R"),
        LONG + times(1000, ENCODED),
        LONG + times(1000, b"h\x00"),
        times(1, text(2000 * "a") + 5000 * b"\x8c\x00"),  # of which numpy makes texts of one length
        b"".join(SPARSE),
        times(5000, b"]"),
        b"N" + 20000 * b"\x94" + b".",
        NESTED + b".",
    ],
    ids=["list", "frozenset", "bytes", "text", "texts", "sparse", "empty", "memo", "nested"],
)
def test_a_few_bytes_that_stand_for_many_are_refused(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + content)
    with raises(InputError, problem="is too large unpacked"):
        read_pickle(tmp_path / "a.pkl")


def test_a_number_is_no_buffer_of_that_length(tmp_path: Path) -> None:
    content = FROM_BUFFER + b"(" + integer(2**22) + FLOATS + b"(" + integer(2**19) + b"t" + text("C") + b"tR."
    (tmp_path / "a.pkl").write_bytes(b"\x80\x05" + content)
    with raises(InputError, problem="is not a readable pickle", got="an array without contents"):
        read_pickle(tmp_path / "a.pkl")


def test_tensors_and_packed_zeros_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.pkl", torch.zeros(1).expand(1000, 1000))
    assert read_pickle(path).shape == (1000, 1000)
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    with raises(InputError, problem="is too large unpacked", expected="at most 1 MiB"):
        read_pickle(path)
    assert read_pickle(path, more=4 << 20).shape == (1000, 1000)
    path.write_bytes(zlib.compress(pickle.dumps(bytes(2 << 20))))
    with raises(InputError, problem="is too large unpacked", expected="at most 1 MiB"):
        read_pickle(path)
