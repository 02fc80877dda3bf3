"""How long tests wait for what must come: processes, files, threads.

The limit is more than 20 times what the slowest of these takes on a quiet machine, for busy ones: what
reaches it does not end at all. `tests/contracts/test_operations.py` refuses limits that are numbers of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 900.0  # seconds; what waits to be killed in a test sleeps as long


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition. AssertionError where it never comes true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
