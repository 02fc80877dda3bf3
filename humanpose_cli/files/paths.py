"""Names of files as users write them, and relative paths."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from functools import lru_cache
from itertools import chain

_QUOTES = " \"'\u201c\u201d\u2018\u2019"


def normal(name: str) -> str:
    """Return a name as all names are compared: in NFC, as macOS decomposes letters, and with forward slashes."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def found_path(name: str) -> str:
    """Return the path that a name means: without quotes, with / for \\, or as the disk spells it; else the name."""
    bare = name.strip(_QUOTES)
    readings = chain((name,), map(_spelled, (name, bare, bare.replace("\\", "/"))))
    return next((reading for reading in readings if os.path.lexists(reading)), name)


def _spelled(path: str) -> str:
    """Spell a path as its folders do, which may have its letters in another Unicode form."""
    folder, name = os.path.split(path)
    if not name or path.isascii() or os.path.lexists(path):
        return path
    folder = _spelled(folder)
    with suppress(OSError, ValueError):  # there is no such folder
        name = _names(folder or ".", os.stat(folder or ".").st_mtime_ns).get(normal(name), name)
    return os.path.join(folder, name)


@lru_cache(maxsize=8)
def _names(folder: str, _: int) -> dict[str, str]:
    return {normal(name): name for name in os.listdir(folder)}


def relative_path(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> str:
    """Return the path from a folder, by default the working folder, to a file, as `os.path.relpath`, which takes 20 µs.

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
