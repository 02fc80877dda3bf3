"""The folder of the user's data, and relative paths: `os.path.relpath` takes 20 µs, most of a finished item's time."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def relative_path(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> str:
    """Return the path from a folder, by default the working folder, to a file, as `os.path.relpath`.

    Raises ValueError on Windows if they are on different drives.
    """
    text, start = os.fspath(path), os.getcwd() if folder is None else os.fspath(folder)
    below = text[len(start) + 1 :]
    if (
        text.startswith(start + os.sep)
        and os.path.normpath(below) == below
        and not below.startswith((os.pardir, os.sep))
    ):
        return below
    return os.path.relpath(text, start)


def data_folder() -> Path:
    """Return the folder of hpc's own files in the user's home. Raises RuntimeError without a home."""
    usual = {"win32": "AppData/Local", "darwin": "Library/Application Support"}.get(sys.platform, ".local/share")
    folder = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not folder.is_absolute():
        folder = Path.home() / usual
    return folder / "humanpose-cli"
