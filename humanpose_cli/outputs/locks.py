"""Locks that refuse a second process, unlike `outputs.atomic.folder_lock`, which makes it wait.

A killed process loses its locks at once, even if its forked children live on for a while.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from humanpose_cli.outputs.atomic import writing_error
from humanpose_cli.outputs.protection import open_existing

_LOOKS, _LOOK_INTERVAL = 5, 0.01  # seconds
_descriptors: set[int] = set()


@contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Lock a file, which is created and removed at the end; yields whether no other process holds the lock.

    Yields True, without a lock, if files cannot be locked. Raises UnavailableError if the file cannot be created.
    """
    descriptor, is_free = _open(path), False
    try:
        is_free = _lock(descriptor)
        while is_free and not _is_named(descriptor, path):  # the process before has removed it
            _close(descriptor)
            descriptor = _open(path)
            is_free = _lock(descriptor)
        yield is_free
    finally:
        if is_free:
            with suppress(OSError):  # Windows removes no open file
                path.unlink()
        _close(descriptor)


@contextmanager
def shared_folder(folder: Path, group: str, word: str) -> Iterator[str]:
    """Join the processes that work in a folder.

    Args:
        folder: The folder, which gets a hidden file for each process.
        group: Name of the group of processes, such as that of a command.
        word: What all processes of the group must agree on.

    Yields:
        The word of a running process that does not agree; "" if there is none. If two processes join at once, at least
        one finds the other, because each has its file before it looks for others.
    """
    prefix = f".running-{group}."
    with locked_file(folder / f"{prefix}{word}.hpc-{secrets.token_hex(4)}.partial"):
        words = {path: path.name.removeprefix(prefix).rpartition(".hpc-")[0] for path in folder.glob(f"{prefix}*")}
        yield next((other for path, other in words.items() if other != word and _is_held(path)), "")


def _is_held(path: Path) -> bool:
    """Return whether a process holds a lock. One that only looks at it at the same moment does not."""
    for _ in range(_LOOKS):
        with locked_file(path) as is_free:
            if is_free:
                return False
        time.sleep(_LOOK_INTERVAL)
    return True


def _open(path: Path) -> int:
    try:
        descriptor = open_existing(path, os.O_RDWR)
    except OSError as error:
        raise writing_error(path, error) from error
    _descriptors.add(descriptor)
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # some network file systems cannot lock
        return True


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _close(descriptor: int) -> None:
    if descriptor in _descriptors:  # a forked child has none
        _descriptors.remove(descriptor)
        with suppress(OSError):
            unlock_descriptor(descriptor)
        os.close(descriptor)


def _close_copies() -> None:
    """Close a forked child's copies, which would hold the locks for as long as it lives."""
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
