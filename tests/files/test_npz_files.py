"""`.npz` and `.npy` from strangers: unpickled only by the given reader, never believed about their size."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import unpacking
from humanpose_cli.files.npz_files import check_archive, npz_names, read_npy, read_npz


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array("ü"), np.zeros((0, 3))]
)
def test_round_trip(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), array)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", a=array, b=array)
        assert npz_names(tmp_path / "x.npz") == {"a", "b"}
        assert read_npz(tmp_path / "x.npz", ["b", "c"]).keys() == {"b"}
        np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["a"], array)


def test_pickles_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez("x.npz", a=np.array([Bomb()], dtype=object))
    for read, name in ((read_npy, "y.npy"), (read_npz, "y.npz")):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with raises(InputError, "a Python pickle"):
            read(tmp_path / name)
        with raises(InputError, "pickled Python objects"):
            read(tmp_path / name.replace("y", "x", 1))
    assert not (tmp_path / "ran").exists()


def test_what_unpacks_to_much_more_than_it_is_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(100_000), b=np.zeros(100_000))
    with raises(InputError, problem="too large unpacked", expected="at most 1 MiB"):
        read_npz(tmp_path / "x.npz")
    assert read_npz(tmp_path / "x.npz", {"a"})["a"].shape == (100_000,)
    np.savez(tmp_path / "y.npz", a=np.zeros(100_000), b=np.zeros(100_000))
    assert read_npz(tmp_path / "y.npz").keys() == {"a", "b"}


def test_headers_that_promise_more_than_the_file_holds(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + bytes(64))
    with raises(InputError, problem="damaged"):
        read_npy(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())
    with raises(InputError, problem="damaged"):
        read_npz(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(9))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFFE)
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(InputError):
        read_npz(tmp_path / "x.npz")


def test_archives_of_very_many_arrays_are_refused(tmp_path):
    path, row = tmp_path / "x.npz", io.BytesIO()
    np.save(row, np.zeros(1))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", row.getvalue())
    for read in (read_npz, npz_names, check_archive):
        with raises(InputError, problem="holds too many arrays", expected="at most 10,000", got="10,001"):
            read(path)
