"""Locks that refuse a second process, unlike the locks of `atomic`, which make it wait."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from humanpose_cli.io.atomic import writing_error
from humanpose_cli.io.file_locks import has_flock, try_lock, unlock, wait_lock
from humanpose_cli.io.protected import open_existing, presence

_LOOKS, _LOOK_INTERVAL = 5, 0.01  # seconds
_descriptors: set[int] = set()


def lock_at_once(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock.

    True, without a lock, if files cannot be locked.
    """
    try:
        return try_lock(descriptor)
    except OSError:  # some network file systems cannot lock
        return True


def is_locked(path: Path) -> bool:
    """Return whether another process, or another open file of this one, has locked or shares a file; False if unknown.

    Processes that look at the same time are not taken for one that holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        for _ in range(_LOOKS):
            if try_lock(descriptor):
                return False
            time.sleep(_LOOK_INTERVAL)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Lock a file, which is created, stays, and is empty; yields whether no other process holds the lock.

    A killed process releases the lock at once, even if its forked children live on for a while.
    Raises UnavailableError if the file cannot be created.
    """
    with _held_open(path) as descriptor:
        yield lock_at_once(descriptor)


@contextmanager
def passing_file(path: Path) -> Iterator[bool]:
    """Lock as `locked_file`, but remove the file at the end, which a killed process leaves without a lock."""
    while True:
        with _held_open(path) as descriptor:
            is_free = lock_at_once(descriptor)
            if is_free and presence(path) != presence(descriptor):
                continue  # the process before has removed it
            try:
                yield is_free
            finally:
                if is_free:
                    with suppress(OSError):  # Windows removes no open file
                        path.unlink()
            return


@contextmanager
def shared_file(path: Path, word: str) -> Iterator[bool]:
    """Share a lock file, as `locked_file`; yields whether all its holders gave the same word, which the file stores.

    Always yields True on Windows, which has no shared locks.
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
    """Share the lock with processes of the same word; a process without others writes the word."""
    if not has_flock():
        return True
    with suppress(OSError):  # files cannot be locked here
        is_shared = not lock_at_once(descriptor)
        while True:
            if not is_shared:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, word, 0)
            wait_lock(descriptor, shared=True)  # releases it for a moment: another process may write its word
            if os.pread(descriptor, len(word) + 1, 0) == word:
                return True
            if is_shared := not lock_at_once(descriptor):  # otherwise the process of the other word has left
                return False
    return True


def _close_copies() -> None:
    """Close a forked child's copies, which would hold the locks for as long as it lives."""
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
