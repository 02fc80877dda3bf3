"""What the C library is asked for."""

import ctypes
from types import SimpleNamespace

from humanpose_cli.core.heap import return_freed_memory, use_one_heap


def test_glibc_is_asked_for_one_heap_and_for_freed_memory(monkeypatch):
    calls = []
    glibc = SimpleNamespace(mallopt=lambda *given: calls.append(given), malloc_trim=lambda *given: calls.append(given))
    for library in (glibc, SimpleNamespace()):  # others lack the functions
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=library: library)
        use_one_heap()
        return_freed_memory()
    assert calls == [(-8, 1), (0,)]
