"""Relative paths."""

import os
from pathlib import Path

import pytest

from humanpose_cli.files.paths import relative_path

FOLDERS = ("/data/in", "/data/in/", "/data", "/", "data", "data/in", ".", "..", "../data", "/data/./in", "")
PATHS = (
    *("/data/in/a.jpg", "/data/in/sub/a.jpg", "/data/in", "/data/in/", "/data/inside/a.jpg", "/data/in/../a.jpg"),
    *("/data/in//a.jpg", "/data/in/./a.jpg", "/data/in/..a/b.jpg", "data/in/a.jpg", "../data/in/a.jpg", "a.jpg", "."),
)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("path", PATHS)
def test_it_is_relpath(path: str, folder: str) -> None:
    assert relative_path(path, folder or None) == os.path.relpath(path, folder or None)
    assert relative_path(Path(path), Path(folder)) == os.path.relpath(path, folder or None)


def test_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative_path(tmp_path / "sub" / "a.jpg") == "sub/a.jpg"
    assert relative_path(tmp_path.parent / "a.jpg") == "../a.jpg"
