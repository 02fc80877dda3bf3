"""The system's locks of open files: `flock` on POSIX, `msvcrt.locking` on Windows; elsewhere none.

A lock belongs to the open file and ends when it is closed, also by the end of the process. Windows has exclusive locks
alone here: `shared` is not heard there, so that processes that only look may get in each other's way for a moment.
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
"""The byte that is locked on Windows, whose locks forbid reading: no file of ours has one there."""

_WAIT_INTERVAL = 0.05  # seconds


def has_flock() -> bool:
    """Return whether several processes can hold a lock, and open files be locked and renamed, as on POSIX."""
    return fcntl is not None


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where another open file has locked it.

    Raises OSError if the file system cannot lock, as some network mounts.

    Args:
        shared: Several may hold the lock, but none beside one that is not shared.
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
    """Release a lock also where a child that is being forked still has the open file."""
    if fcntl is not None:
        with suppress(OSError):  # some network file systems cannot lock
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def wait_lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock as `try_lock`, but wait until the lock can be had."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        return
    while not try_lock(descriptor):
        time.sleep(_WAIT_INTERVAL)


def _lock_byte(descriptor: int) -> None:
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, WINDOWS_OFFSET, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
