"""Checks of files and of what they hold name the file, the field and what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field, checked_array, existing_file, existing_folder
from humanpose_cli.files.text_files import read_json_object


def write(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def test_files_and_folders(tmp_path: Path) -> None:
    file = write(tmp_path / "c.txt", "x")
    assert existing_file(file, "a list") == file
    assert existing_folder(tmp_path, "a folder") == tmp_path
    with raises(InputError, subject="c.txt", problem="is no folder"):
        existing_folder(file, "a folder")
    with raises(InputError, problem="is a folder", expected="a list"):
        existing_file(tmp_path, "a list")
    with raises(InputError, subject="none.txt", problem="does not exist"):
        existing_file(tmp_path / "none.txt", "a list")


def test_json(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", '{"a": 1}')
    assert read_json_object(file) == {"a": 1}
    for content, problem in (("[1]", "holds other JSON"), ('{"a":\n', "is no JSON from line 2 on"), (" ", "is empty")):
        with raises(InputError, subject="a.json", problem=problem):
            read_json_object(write(file, content))


@pytest.mark.parametrize(
    ("value", "problem", "got"),
    [
        (np.zeros((2, 2)), "has the wrong shape", "(2, 2)"),
        (np.full((1, 3), np.inf), "holds values that are not finite", ""),
        ("text", "cannot be read", "numbers expected, found str"),
        (np.zeros((1, 3), complex), "cannot be read", ""),
    ],
)
def test_arrays_are_checked(value: Any, problem: str, got: str) -> None:
    with raises(InputError, subject="f (x)", problem=problem, got=got):
        array_field({"x": value}, "x", Path("f"), (None, 3))


def test_a_missing_array_is_named() -> None:
    with raises(InputError, subject="f", problem="lacks x", expected="a table with x", got="y"):
        array_field({"y": 1}, "x", Path("f"), (3,))
    assert checked_array([1, 2, 3], "f", (3,), dtype=np.int64).dtype == np.int64
