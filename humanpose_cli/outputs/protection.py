"""Files that the outputs of a command may not replace because it reads them, also through links.

The command line protects the files among the values of every command, and readers of folders and patterns protect the
files that they find.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from humanpose_cli.core.errors import UsageError, shell_word

_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_active = False
_pending: list[str | os.PathLike[str]] = []  # looked up only if an output exists already
_inputs: dict[tuple[int, int], str] = {}  # (device, inode) → name


@contextmanager
def protected_inputs() -> Iterator[None]:
    """Protect the files that `protect` receives inside this context until its end, one run of a command."""
    global _active
    outer, _active = _active, True
    try:
        yield
    finally:
        _active = outer
        _pending.clear()
        _inputs.clear()


def is_command() -> bool:
    """Return whether a command is running, not a program that uses the library."""
    return _active


def protect(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Protect files; other paths are ignored. Has no effect outside `protected_inputs`."""
    if _active:
        _pending.extend(paths)


def check_output(out: str | os.PathLike[str]) -> None:
    """Raise UsageError if an output of the running command is a link, an input, or below a file."""
    folders = [*Path(out).parents, *[Path(out)] * (not Path(out).suffix)]  # files that are written have endings
    if file := next((folder for folder in folders if folder.is_file()), None):
        raise UsageError(file, "is a file, not a folder", remedy="choose another `out`")
    if os.path.islink(out):
        if not os.path.exists(out):
            raise UsageError(out, "is a link to nothing", remedy="mend the link, or choose another file or folder")
        if os.path.isdir(out):
            remedy = f"name the folder itself: {shell_word(os.path.realpath(out))}"
            raise UsageError(out, "is a link to a folder", expected="a folder", remedy=remedy)
    refuse_input(out)


def refuse_input(output: str | os.PathLike[str]) -> None:
    """Raise UsageError if writing to `output` would replace a protected file, also through a link."""
    if not (_pending or _inputs) or (identity := _file_identity(output)) is None:
        return
    while _pending:
        path = _pending.pop()
        if (file := _file_identity(path)) is not None:
            _inputs[file] = os.fspath(path)
    if identity in _inputs:
        problem = f"would replace the input {_inputs[identity]}"
        raise UsageError(output, problem, remedy="choose another file or folder with `out`")


def check_in_place(output: Path) -> None:
    """Raise UsageError if a file that is written in place is an input or a symbolic link, whose target would change."""
    refuse_input(output)
    if output.is_symlink():
        remedy = "remove the link, or choose another folder with `out`"
        raise UsageError(output, "is a symbolic link", expected="a file that hpc made", remedy=remedy)


def open_existing(output: Path, flags: int) -> int:
    """Open a file that is written in place, as `os.open`; it is created if it is missing.

    Raises UsageError as `check_in_place`, and OSError.
    """
    check_in_place(output)
    return os.open(output, flags | os.O_CREAT | _OPEN_FLAGS, 0o666)


def _file_identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing, or an impossible name
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def paths_in(value: object) -> Iterator[str | Path]:
    """Yield possible names of files in an option's value: paths, texts, the ends of `smpl:FILE`, also in lists."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str):
        yield from (value, value.partition(":")[2])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from paths_in(entry)
