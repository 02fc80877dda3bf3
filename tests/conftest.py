"""Modules, tests and their parameters stay to the end: the garbage collector need not look through them every time."""

from __future__ import annotations

import gc

gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
