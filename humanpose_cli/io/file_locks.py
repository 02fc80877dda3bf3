"""The system's locks of open files: `flock` on POSIX, `msvcrt.locking` on Windows; elsewhere none.

A lock belongs to the open file and ends when the file is closed, also by the end of the process. On Windows all locks
are exclusive and `shared` is ignored: processes that only check a lock may disturb each other for a moment.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import Any

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # POSIX
    msvcrt = None

WINDOWS_OFFSET = 2**40
"""Offset of the byte that is locked on Windows, where locks forbid reading: no file of this program is as long."""

_WAIT_INTERVAL = 0.05  # seconds


def has_flock() -> bool:
    """Return whether locks can be shared, and open files locked and renamed, as on POSIX."""
    return fcntl is not None


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed.

    Args:
        descriptor: The open file.
        shared: Whether other shared locks are allowed at the same time.

    Returns:
        False if another open file holds the lock.

    Raises:
        OSError: If the file system cannot lock, as some network mounts.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        elif msvcrt is not None:
            _lock_byte(descriptor)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno in (errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def unlock(descriptor: int) -> None:
    """Release a lock, also if a forked child still has the open file."""
    if fcntl is not None:
        with suppress(OSError):  # some network file systems cannot lock
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def wait_lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock as `try_lock`, but wait until the lock is free."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        return
    while not try_lock(descriptor):
        time.sleep(_WAIT_INTERVAL)


def _lock_byte(descriptor: int) -> None:
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, WINDOWS_OFFSET, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
