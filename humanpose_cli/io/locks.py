"""Locks that refuse a second process, where those of `atomic` let it wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.io.atomic import writing_error

try:
    import fcntl
except ImportError:  # Windows has no flock; a second process is then not noticed
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()


def lock_at_once(descriptor: int) -> bool:
    """Lock an open file until it is closed; False where another process has locked it.

    True without a lock where files cannot be locked: the check is a courtesy.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some network file systems cannot lock
    return True


@contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Context: whether no other process is inside for the same file, which is made, stays, and holds nothing.

    A process that is killed leaves it at once, also where children that it forked live on for a while.
    UnavailableError where the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise writing_error(path, error) or UnavailableError(path, "cannot be written", got=str(error)) from error
    _held.add(descriptor)
    try:
        yield lock_at_once(descriptor)
    finally:
        if descriptor in _held:  # a forked child has none
            _held.remove(descriptor)
            os.close(descriptor)


def _let_go() -> None:
    """In a forked child: its copies would hold the locks for as long as it lives."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
