"""The heap of glibc, whose freed memory would otherwise grow with the frames of a video; other libraries need nothing.

Frames and tensors are allocated in one thread and freed in another, and small objects that stay lie between them: a fit
of 800 frames kept 2 GB of freed memory.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_ARENA_MAX = -8  # of `mallopt`: the number of heaps


def use_one_heap() -> None:
    """Let all threads of the process take memory from one heap, where each would have its own."""
    _call("mallopt", _ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return the freed memory to the system. It takes some milliseconds, and the next allocations are slower."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    with suppress(AttributeError, OSError, TypeError):  # no such function, or no library of the process
        getattr(ctypes.CDLL(None), function)(*arguments)
