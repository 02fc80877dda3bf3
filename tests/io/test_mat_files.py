"""MATLAB files against scipy's writer and reader; damage and what is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.errors import raises
from scipy.io import loadmat, savemat

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.mat_files import read_mat, read_mat73, read_optional_mat73

CELLS = np.empty((2, 2), object)
CELLS[:] = [[np.eye(2), np.arange(3.0)], [np.zeros((0, 0)), np.float32([[7]])]]
STORED: dict[str, Any] = {
    **{kind: np.arange(24).reshape(2, 3, 4).astype(kind) for kind in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u8")},
    "short": np.array([[3]], np.int16),
    "cells": CELLS,
    "other": "text",
}


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_and_cells_are_scipys(tmp_path: Path, packed: bool) -> None:
    savemat(tmp_path / "x.mat", STORED, do_compression=packed)
    names = [name for name in STORED if name != "other"]
    expected, found = loadmat(tmp_path / "x.mat"), read_mat(tmp_path / "x.mat", names)
    for name in names:
        assert found[name].dtype == expected[name].dtype
        pairs = zip(found[name].flat, expected[name].flat, strict=True)
        for a, b in pairs if name == "cells" else [(found[name], expected[name])]:
            np.testing.assert_array_equal(a, b)
    with raises(InputError, problem="other holds no numbers"):
        read_mat(tmp_path / "x.mat", ("other",))
    with raises(InputError, problem="lacks more"):
        read_mat(tmp_path / "x.mat", ("f8", "more"))


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False])
def test_every_cut_is_a_sentence(tmp_path: Path, packed: bool) -> None:
    """scipy's reader ends the process at some of them."""
    savemat(tmp_path / "x.mat", {"cells": CELLS, "f8": STORED["f8"]}, do_compression=packed)
    data = (tmp_path / "x.mat").read_bytes()
    for cut in range(0, len(data), 3):
        (tmp_path / "x.mat").write_bytes(data[:cut])
        with pytest.raises(InputError):
            read_mat(tmp_path / "x.mat", ("cells", "f8"))


def test_numbers_in_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = np.arange(3.0)
    (tmp_path / "raw").write_bytes(np.arange(3.0).tobytes())
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "a", (3,))
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file["a"] = np.arange(3.0)
        file["alias"] = file["a"]
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        file["soft"] = h5py.SoftLink("/a")
        file["nowhere"] = h5py.SoftLink("/none")
        file.create_dataset("raw", (3,), "f8", external=[(str(tmp_path / "raw"), 0, 24)])
        file.create_virtual_dataset("virtual", layout)
        file.create_group("group")
    for name in ("a", "alias"):
        np.testing.assert_array_equal(read_mat73(tmp_path / "x.mat", name), np.arange(3.0))
    for name in ("external", "soft", "nowhere", "raw", "virtual"):
        with raises(InputError, problem=f"has {name} in another file"):
            read_mat73(tmp_path / "x.mat", name)
    assert read_optional_mat73(tmp_path / "x.mat", "group") is None
    assert read_optional_mat73(tmp_path / "x.mat", "none") is None
