"""MATLAB files against scipy's writer and reader; damage and what is not read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from scipy.io import loadmat, savemat

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.mat_files import read_mat

CELLS = np.empty((1, 2), object)
CELLS[:] = [[np.eye(2), np.arange(3.0)]]
STORED: dict[str, Any] = {
    **{kind: np.arange(24).reshape(2, 3, 4).astype(kind) for kind in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u8")},
    "short": np.array([[3]], np.int16),
    "cells": CELLS,
    "other": "text",
}


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_are_scipys(tmp_path: Path, packed: bool) -> None:
    savemat(tmp_path / "x.mat", STORED, do_compression=packed)
    names = [name for name in STORED if name not in ("cells", "other")]
    expected, found = loadmat(tmp_path / "x.mat"), read_mat(tmp_path / "x.mat", names)
    for name in names:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name])
    for name in ("cells", "other"):
        with raises(InputError, problem=f"{name} holds no numbers"):
            read_mat(tmp_path / "x.mat", (name,))
    with raises(InputError, problem="lacks more"):
        read_mat(tmp_path / "x.mat", ("f8", "more"))
