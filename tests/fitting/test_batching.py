"""Images that are fitted together: the seconds of each are its own."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import no_progress
from humanpose_cli.fitting import batching
from humanpose_cli.fitting.batching import fit_images_together
from humanpose_cli.io.inputs import InputItem


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.setattr(InputItem, "frames", lambda item: iter([SimpleNamespace(name=item.key)]))
    return [InputItem(name, "image", tmp_path / name, (tmp_path / name,), tmp_path) for name in ("a", "b", "c")]


class Clock(threading.local):
    """Seconds of each thread, which its work adds to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize("threads", [1, 3])
def test_the_seconds_of_an_image_are_those_of_that_image(items, threads, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(batching, "time", clock)

    def detect(frame):
        clock.now += {"a": 30.0, "b": 2.0, "c": 2.0}[frame.name]
        if frame.name == "c":
            raise InputError("c", "is broken")
        return [None] * {"a": 1, "b": 3}[frame.name]

    def fit(images):
        found = list(images)
        clock.now += 40.0
        return [frame.name for frame, _ in found]

    def waited(*_):
        clock.now += 17.0 / 3

    results, seconds = fit_images_together(items, detect, fit, threads, waited)
    a, b, c = (item.path for item in items)
    assert (results[a], results[b], str(results[c])) == ("a", "b", "c: is broken")
    # Of the search, which took 17 seconds, a takes 30 parts in 34; of the solve, with one of four people, a quarter.
    assert seconds == pytest.approx({a: 15.0 + 10.0, b: 1.0 + 30.0, c: 1.0})


def test_a_failed_solve_is_shared_by_the_images_with_people(items):
    def fit(images):
        list(images)
        raise RuntimeError

    results, seconds = fit_images_together(items, lambda _: [], fit, 1, no_progress)
    assert results == {}
    assert set(seconds) == {item.path for item in items}
