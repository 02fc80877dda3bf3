"""Relative paths of many files: `os.path.relpath` takes 20 µs, most of the time of a finished item in a batch."""

from __future__ import annotations

import os


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
