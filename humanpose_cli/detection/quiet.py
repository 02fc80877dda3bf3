"""Keeps the start-up chatter of native libraries off stderr without losing anybody else's words."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["native_chatter_kept_off_stderr"]

# Informative lines of TensorFlow Lite and of absl's log (severities I and W; E and F are passed on).
_CHATTER = re.compile(
    rb"^(INFO: (Created|Initialized) TensorFlow|INFO: Applying \d+ TensorFlow"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} [\d:. ]+\S+\.(cc|h|mm):\d+\] )"
)
_lock = threading.Lock()


@contextmanager
def native_chatter_kept_off_stderr() -> Iterator[None]:
    """Catch what is written to file descriptor 2 inside the block; afterwards pass on all but known chatter.

    The descriptor belongs to the whole process, so what other threads write meanwhile is caught as well: it
    arrives late, but it arrives. Blocks of several threads follow one another.
    """
    with _lock, tempfile.TemporaryFile() as caught:
        try:
            stderr = os.dup(2)
        except OSError:  # a process without stderr has nothing to keep clean
            yield
            return
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            kept = b"".join(line for line in caught if not _CHATTER.match(line))
            if kept:
                os.write(2, kept)
