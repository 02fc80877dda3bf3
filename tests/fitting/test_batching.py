"""Images that are fitted together: the seconds of each are its own."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import no_progress
from humanpose_cli.fitting.batching import fit_images_together
from humanpose_cli.io.inputs import InputItem


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.setattr(InputItem, "frames", lambda item: iter([SimpleNamespace(name=item.key)]))
    return [InputItem(name, "image", tmp_path / name, (tmp_path / name,), tmp_path) for name in ("a", "b", "c")]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_seconds_of_an_image_are_its_own(items, threads):
    def detect(frame):
        time.sleep({"a": 0.3, "b": 0.02, "c": 0.02}[frame.name])
        if frame.name == "c":
            raise InputError("c", "is broken")
        return [None] * {"a": 1, "b": 3}[frame.name]

    def fit(images):
        found = list(images)
        time.sleep(0.4)
        return [frame.name for frame, _ in found]

    started = time.perf_counter()
    results, seconds = fit_images_together(items, detect, fit, threads, no_progress)
    passed = time.perf_counter() - started
    a, b, c = (item.path for item in items)
    assert (results[a], results[b], str(results[c])) == ("a", "b", "c: is broken")
    assert sum(seconds.values()) == pytest.approx(passed, abs=0.05)
    # Of the search a takes 30 parts in 34; of the solve, with one of four people, a quarter.
    assert 0.3 < seconds[a] < 0.5
    assert 0.3 < seconds[b] < 0.45
    assert seconds[c] < 0.1


def test_a_failed_solve_is_shared_by_those_whose_people_were_found(items):
    def fit(images):
        list(images)
        raise RuntimeError

    results, seconds = fit_images_together(items, lambda _: [], fit, 1, no_progress)
    assert results == {}
    assert set(seconds) == {item.path for item in items}
