"""The files that a command reads, none of which its outputs may replace, by whatever name they are reached.

The command line protects the files among the values of every command, and readers of folders and patterns protect the
files that they find there. `io.atomic` and whatever else writes ask `refuse_input` before they write.
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
_pending: list[str | os.PathLike[str]] = []  # looked up when an output exists already: most runs never need to
_inputs: dict[tuple[int, int], str] = {}  # (device, inode) → name


@contextmanager
def protected_inputs() -> Iterator[None]:
    """Protect the inputs of one run of a command: what `protect` is called with inside is protected until its end."""
    global _active
    outer, _active = _active, True
    try:
        yield
    finally:
        _active = outer
        _pending.clear()
        _inputs.clear()


def protect(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Protect files; paths that are no files are ignored. Does nothing outside of `protected_inputs`."""
    if _active:
        _pending.extend(paths)


def check_output(out: str | os.PathLike[str]) -> None:
    """Raise UsageError for an output of the running command that is a link to a folder or to nothing, or an input."""
    if os.path.islink(out):
        if not os.path.exists(out):
            raise UsageError(out, "is a link to nothing", remedy="mend the link, or choose another file or folder")
        if os.path.isdir(out):
            remedy = f"name the folder itself: {shell_word(os.path.realpath(out))}"
            raise UsageError(out, "is a link to a folder", expected="a folder", remedy=remedy)
    refuse_input(out)


def refuse_input(output: str | os.PathLike[str]) -> None:
    """Raise UsageError if writing to `output` would replace a protected file: under its own or another spelling of its
    path, through a symbolic link, or as a hard link.
    """
    if not (_pending or _inputs) or (identity := _file_identity(output)) is None:
        return
    while _pending:
        path = _pending.pop()
        if (file := _file_identity(path)) is not None:
            _inputs[file] = os.fspath(path)
    if identity in _inputs:
        problem = f"would replace the input {_inputs[identity]}"
        raise UsageError(output, problem, remedy="choose another file or folder with `out`")


def refuse_link(output: Path) -> None:
    """Raise UsageError for a symbolic link: writing in place would change the file that it leads to."""
    if output.is_symlink():
        remedy = "remove the link, or choose another folder with `out`"
        raise UsageError(output, "is a symbolic link", expected="a file that hpc made", remedy=remedy)


def open_existing(output: Path, flags: int) -> int:
    """Open, as `os.open`, a file that is written in place, made if it is missing. Raises UsageError as `refuse_input`
    and `refuse_link`, OSError as the system raises it.
    """
    refuse_input(output)
    refuse_link(output)
    return os.open(output, flags | os.O_CREAT | _OPEN_FLAGS, 0o666)


def _file_identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def paths_in(value: object) -> Iterator[str | Path]:
    """Yield what may name files in an option's value: paths, text (of `smpl:FILE` also the end), and lists of these."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str):
        yield from (value, value.partition(":")[2])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from paths_in(entry)
