"""Decoding ahead: in order, bounded, and gone when nobody listens any more."""

from __future__ import annotations

import threading
import time

import pytest

from humanpose_cli.io.prefetch import prefetch


def no_thread_left() -> bool:
    deadline = time.monotonic() + 5
    while any(thread.name == "decode-ahead" for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_same_items_same_order(ahead):
    assert list(prefetch(range(50), ahead)) == list(range(50))
    assert list(prefetch([], ahead)) == []
    assert no_thread_left()


def test_it_never_runs_further_ahead_than_told():
    made = []

    def source():
        for i in range(30):
            made.append(i)
            yield i

    ahead = prefetch(source(), 3)
    assert made == []
    for taken in range(1, 11):
        next(ahead)
        time.sleep(0.01)
        assert len(made) <= taken + 3 + 1
    ahead.close()
    assert no_thread_left()


def test_errors_come_after_the_items_before_them():
    def source():
        yield 1
        yield 2
        raise ValueError("third")

    ahead = prefetch(source())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(ahead)
    assert no_thread_left()


def test_leaving_early_closes_the_source_and_ends_the_thread():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    for _ in prefetch(endless()):
        break
    assert closed.wait(5)
    assert no_thread_left()
