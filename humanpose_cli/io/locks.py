"""Locks that refuse a second process, where those of `atomic` let it wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from humanpose_cli.io.atomic import writing_error
from humanpose_cli.io.file_locks import has_flock, try_lock, unlock, wait_lock
from humanpose_cli.io.protected import open_existing

_descriptors: set[int] = set()


def lock_at_once(descriptor: int) -> bool:
    """Lock an open file until it is closed; False where another process has locked it.

    True without a lock where files cannot be locked: the check is a courtesy.
    """
    try:
        return try_lock(descriptor)
    except OSError:  # some network file systems cannot lock
        return True


def is_locked(path: Path) -> bool:
    """Return whether another process, or another open file of this one, has locked a file; False if unknown."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Lock a file, which is made, stays, and holds nothing; yields whether no other process is inside for it.

    A process that is killed leaves it at once, also where children that it forked live on for a while.
    Raises UnavailableError if the file cannot be made.
    """
    with _held_open(path) as descriptor:
        yield lock_at_once(descriptor)


@contextmanager
def shared_file(path: Path, word: str) -> Iterator[bool]:
    """Share a file; yields whether all processes inside for it came with the same word, which the file holds.

    Otherwise as `locked_file`. True on Windows, which has no shared locks.
    """
    with _held_open(path) as descriptor:
        yield _agrees(descriptor, word.encode())


@contextmanager
def _held_open(path: Path) -> Iterator[int]:
    try:
        descriptor = open_existing(path, os.O_RDWR)
    except OSError as error:
        raise writing_error(path, error) from error
    _descriptors.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _descriptors:  # a forked child has none
            _descriptors.remove(descriptor)
            unlock(descriptor)
            os.close(descriptor)


def _agrees(descriptor: int, word: bytes) -> bool:
    """Share the lock with processes of the same word; a process that is alone writes the word."""
    if not has_flock():
        return True
    with suppress(OSError):  # where files cannot be locked
        others = not lock_at_once(descriptor)
        while True:
            if not others:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, word, 0)
            wait_lock(descriptor, shared=True)  # which lets go for a moment: another may have written its word
            if os.pread(descriptor, len(word) + 1, 0) == word:
                return True
            if others := not lock_at_once(descriptor):  # otherwise who wrote that word has left
                return False
    return True


def _let_go() -> None:
    """Close a forked child's copies, which would hold the locks for as long as it lives."""
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
