"""The reporter: who hears what, in a terminal and elsewhere."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import re
import signal
import sys
import threading
import warnings
from datetime import datetime

import pytest
from helpers.patience import PATIENCE

from humanpose_cli.cli.reporter import Reporter, private_stderr
from humanpose_cli.core.result import ItemResult, Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


DONE = ItemResult("a.jpg", Status.SUCCESS)
SKIPPED = ItemResult("c.jpg", Status.SKIPPED)
FIVE_OF_TEN = {"done": 5, "total": 10, "unit": "frames", "item": "a.jpg"}
FAILED = ItemResult("b.jpg", Status.ERROR, error="b.jpg: is empty")


def batch(reporter: Reporter) -> None:
    with reporter:
        reporter.start(3)
        reporter.item_started("a.jpg")
        reporter.step(5, 10, "frames")
        reporter.item_finished(DONE)
        reporter.item_started("b.jpg")
        reporter.item_finished(FAILED)
        reporter.warn("it is dark")
        reporter.finish()


@pytest.mark.parametrize(("kind", "term"), [(io.StringIO, "xterm"), (Terminal, "dumb")])
def test_lines_without_a_terminal(monkeypatch, kind, term):
    monkeypatch.setenv("TERM", term)
    stream = kind()
    batch(Reporter("fit", stream=stream, interval=0.0))
    lines = stream.getvalue().splitlines()
    assert "fit: 16 %, 0/3 items, 00:00 so far, a.jpg: 5/10 frames" in lines
    assert "fit: 33 %, 1/3 items, 00:00 left, b.jpg" in lines
    assert lines[-2:] == ["error: b.jpg: is empty", "warning: it is dark"]
    assert not {"\r", "\x1b"} & set(stream.getvalue())


def test_json_is_one_object_a_line():
    stream = io.StringIO()
    batch(Reporter("fit", stream=stream, log_json=True, interval=0.0, clock=lambda: 7.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["command"] for line in lines} == {"fit"}
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)
    common = {"time", "command"}
    assert [{name: value for name, value in line.items() if name not in common} for line in lines] == [
        {"level": "info", "event": "start", "total": 3},
        {"level": "info", "event": "item", "item": "a.jpg", "status": "started"},
        {"level": "info", "event": "progress", "percent": 16.67, "seconds_left": None, **FIVE_OF_TEN},
        {"level": "info", "event": "item", "item": "a.jpg", "status": "success", "seconds": 0.0, "error": None},
        {"level": "info", "event": "item", "item": "b.jpg", "status": "started"},
        {"level": "error", "event": "item", "item": "b.jpg", "status": "error", "seconds": 0.0, "error": FAILED.error},
        {"level": "warning", "event": "message", "message": "it is dark"},
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interval": 60.0}, "a.jpg: 0.0 s\nerror: b.jpg: is empty\nwarning: it is dark\n"),
        ({"interval": 0.0, "quiet": True}, "error: b.jpg: is empty\n"),
        ({"interval": 0.0, "stream": Gone()}, ""),
    ],
    ids=["lines come every few seconds", "quiet", "a closed reader is no failure"],
)
def test_what_a_batch_writes_and_its_warnings(options, text):
    stream = io.StringIO()
    reporter = Reporter("fit", **{"stream": stream, **options})
    batch(reporter)
    assert stream.getvalue() == text
    assert reporter.warnings == ("it is dark",)  # also in the result


@pytest.mark.parametrize(("log_json", "later"), [(False, [30, 30]), (True, [5, 5])])
def test_a_slow_item_reports_more_percent_every_few_seconds_and_in_text_less_often_later(clock, log_json, later):
    stream = io.StringIO()
    reporter = Reporter("fit", stream=stream, clock=clock, log_json=log_json)
    reporter.start(2)
    reporter.item_started("clip.mp4")
    times, percents = [0.0], []
    for frame in range(1, 131):
        clock.now += 1.0
        before = len(stream.getvalue())
        reporter.step(frame, 130, "frames")
        for line in stream.getvalue()[before:].splitlines():
            times.append(clock.now)
            found = json.loads(line)["percent"] if log_json else float(re.match(r"fit: (\d+) %, 0/2", line)[1])
            percents.append(found)
    passed = [after - before for before, after in itertools.pairwise(times)]
    assert passed[:12] == [5] * 12
    assert passed[12:14] == later
    assert percents == sorted(set(percents))  # each more than the one before
    assert 0 < percents[0] < 10
    assert percents[-1] == pytest.approx(50, abs=5)


def test_work_that_reports_nothing_is_shown_by_the_clock_alone(clock):
    stream = io.StringIO()
    reporter = Reporter("fit", stream=stream, clock=clock)

    def pass_time(seconds: int) -> list[str]:
        before = len(stream.getvalue())
        for _ in range(seconds):
            clock.now += 1.0
            reporter.tick()
        return stream.getvalue()[before:].splitlines()

    assert pass_time(10) == ["fit: 00:05 so far, starting", "fit: 00:10 so far, starting"]
    reporter.step(0, None, "loading models")
    assert pass_time(5) == ["fit: 00:15 so far, loading models"]
    reporter.start(1)
    reporter.item_started("clip.mp4")
    reporter.step(1, 4, "frames")  # from here on the pace is known
    clock.now += 4.0
    reporter.step(2, 4, "frames")
    reporter.step(0, None, "fitting bodies")
    assert pass_time(20)[-1] == "fit: 50 %, 00:40 left, clip.mp4: fitting bodies"
    reporter.item_finished(DONE)
    reporter.finish()
    times = ("00:05", "00:10", "00:15", "00:20", "00:25", "00:55", "01:25")  # rarer after the first minute
    assert pass_time(100) == [f"fit: {time} so far, finishing" for time in times]


def test_a_terminal_shows_a_bar_instead_of_silence_unless_something_else_is_drawn(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    reporter = Reporter("refine", stream=stream, clock=clock)
    clock.now = 4.0
    reporter.tick()
    assert stream.getvalue() == ""
    with reporter.paused():
        clock.now = 90.0
        reporter.tick()
        assert stream.getvalue() == ""
    reporter.tick()
    assert "finishing" in stream.getvalue()
    reporter.start(2)
    assert stream.getvalue().count("\x1b[?25h") == 1  # the first bar is closed
    reporter.finish()
    assert stream.getvalue().count("\x1b[?25h") == 2


@pytest.mark.posix("fork")
def test_a_forked_process_writes_though_its_parent_held_the_lock():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, Reporter("train", stream=stream) as reporter:
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with reporter._lock:
                held.set()
                release.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, of forks beside threads
            child = os.fork()
        if child == 0:
            signal.alarm(round(PATIENCE))  # ends the process where it hangs
            reporter.warn("from the child")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        release.set()
        thread.join()
    assert status == 0
    assert b"warning: from the child" in os.read(reading, 1000)
    os.close(reading)


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_has_the_percentage_the_time_left_and_the_work_below(clock, monkeypatch, width):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    with Reporter("fit", stream=stream, clock=clock) as reporter:
        reporter.start(4)
        reporter.item_finished(FAILED)
        reporter.item_started("a.mp4" + 90 * "4")
        reporter.step(10, 100, "frames")
        clock.now = 2.6
        reporter.step(30, 100, "frames")
        reporter._bar.refresh()
    assert "\x1b[1;31merror:\x1b[0m b.jpg: is empty\n" in stream.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*\w", "", stream.getvalue()).replace("\r", "\n").splitlines()
    assert any(line.rstrip().endswith(" 32 %, 1/4 items, 00:35 left") for line in lines)
    assert max(map(len, lines)) <= width
    (*_, below) = (line for line in lines if "a.mp4" in line)
    assert ("30/100 frames" in below) == (width == 120)


@pytest.mark.parametrize(
    ("name", "error", "line"),
    [
        ("new\nline.jpg", r"new\nline.jpg: is empty", r"error: new\nline.jpg: is empty"),
        ("c.jpg", "ValueError: 3", "error: c.jpg: ValueError: 3"),
    ],
)
def test_an_error_names_its_item_on_one_line(name, error, line):
    stream = io.StringIO()
    Reporter(stream=stream).item_finished(ItemResult(name, Status.ERROR, error=error))
    assert stream.getvalue() == f"{line}\n"


def test_errors_of_items_are_written_once():
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    reporter.item_finished(FAILED)
    reporter.show_errors([DONE, FAILED, ItemResult("d.npz", Status.ERROR, error="is not a fit")])
    assert stream.getvalue() == "error: b.jpg: is empty\nerror: d.npz: is not a fit\n"


def test_logging_and_warnings_are_put_back():
    before = logging.getLogger().handlers[:], logging.getLogger("humanpose_cli").level
    with Reporter(stream=io.StringIO()):
        assert logging.getLogger().handlers[:] != before[0]
    assert (logging.getLogger().handlers[:], logging.getLogger("humanpose_cli").level) == before


@pytest.mark.parametrize("name", ["humanpose_cli", "humanpose_cli.engine.op"])
def test_the_librarys_log_is_heard_by_level(name):
    stream = io.StringIO()
    with Reporter(stream=stream):
        logging.getLogger(name).info("one %d", 1)
        logging.getLogger(name).error("two")
        logging.getLogger("humanpose_client").error("somebody else's")
    assert stream.getvalue() == "one 1\nerror: two\n"


def test_a_private_stderr_is_not_silenced_with_descriptor_2(capfd):
    with capfd.disabled():
        if sys.stderr is None or sys.stderr.fileno() != 2:
            pytest.skip("stderr is not descriptor 2 here")
        with private_stderr() as stream:
            assert stream.fileno() != 2
            assert os.path.sameopenfile(stream.fileno(), 2)
