"""The reporter: who hears what, in a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import logging
import re
from datetime import datetime

import pytest

from humanpose_cli.cli.reporter import BarDisplay, LineDisplay, Reporter, private_stderr
from humanpose_cli.core.result import ItemResult, Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


DONE = ItemResult("a.jpg", Status.SUCCESS)
SKIPPED = ItemResult("c.jpg", Status.SKIPPED)
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


def test_lines_without_a_terminal():
    stream = io.StringIO()
    batch(Reporter("fit", stream=stream, interval=0.0))
    lines = stream.getvalue().splitlines()
    assert any(line == "fit: 0/3 0% [00:00, a.jpg (frames: 5/10)]" for line in lines)
    assert any(line.startswith("fit: 1/3 33% [00:00<00:00, ") for line in lines)
    assert lines[-2:] == ["error: b.jpg: is empty", "warning: it is dark"]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_json_is_one_object_a_line():
    stream = io.StringIO()
    batch(Reporter("fit", stream=stream, log_json=True, interval=0.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["command"] for line in lines} == {"fit"}
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)
    common = {"time", "command"}
    assert [{name: value for name, value in line.items() if name not in common} for line in lines] == [
        {"level": "info", "event": "start", "total": 3},
        {"level": "info", "event": "item", "item": "a.jpg", "status": "started"},
        {"level": "info", "event": "progress", "done": 5, "total": 10, "unit": "frames", "item": "a.jpg"},
        {"level": "info", "event": "item", "item": "a.jpg", "status": "success", "seconds": 0.0, "error": None},
        {"level": "info", "event": "item", "item": "b.jpg", "status": "started"},
        {"level": "error", "event": "item", "item": "b.jpg", "status": "error", "seconds": 0.0, "error": FAILED.error},
        {"level": "warning", "event": "message", "message": "it is dark"},
    ]


def test_lines_come_every_few_seconds_only():
    stream = io.StringIO()
    batch(Reporter("fit", stream=stream, interval=60.0))
    assert stream.getvalue() == "error: b.jpg: is empty\nwarning: it is dark\n"


def test_the_line_tells_pace_and_time_left():
    display = LineDisplay(io.StringIO(), "fit", 40, 5.0)
    for _ in range(4):
        display.item_finished(DONE)
    display.item_finished(SKIPPED)  # skipped items say nothing about the pace
    display.item_started("clip.mp4")
    display.step(120, None, "frames")
    display.bar.start_t -= 10.0
    assert str(display.bar) == "fit: 5/40 12% [00:10<01:27,  2.50s/item, clip.mp4 (frames: 120)]"
    display.bar.start_t -= 3690.0
    assert "[1:01:40<" in str(display.bar)
    display.bar.start_t += 3690.0
    for _ in range(20):
        display.item_finished(DONE)
    assert " 2.40item/s" in str(display.bar)
    display.close()


def test_a_bar_in_a_terminal_leaves_only_messages(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    batch(Reporter("fit", stream=stream))
    text = stream.getvalue()
    assert "\x1b[1;31merror:\x1b[0m b.jpg: is empty\n" in text
    assert "\x1b[?25h" in text  # the cursor is shown again


def test_a_single_item_shows_its_steps_in_place_of_a_bar_at_0_of_1(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with Reporter("fit", stream=stream) as reporter:
        reporter.start(1)
        reporter.item_started("a.jpg")
        reporter._display._progress.refresh()
        assert "/" not in stream.getvalue()  # nothing is known of how many
        reporter.step(1, 3, "drawing")
        reporter._display._progress.refresh()
        reporter.item_finished(DONE)
    assert re.search(r"fit a\.jpg .*1/3.* drawing ", stream.getvalue())
    assert "items" not in stream.getvalue()


def test_the_bar_tells_the_time_left_at_the_mean_pace(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    display = BarDisplay(stream, "fit", 40)

    def shown() -> list[str]:
        """The ends of the bars' lines."""
        stream.seek(0)
        stream.truncate()
        display._progress.refresh()
        return re.findall(r"(?:items|frames|people) +(\S+)", re.sub(r"\x1b\[[0-9;]*\w", "", stream.getvalue()))

    def age(seconds: float) -> None:
        for task in display._progress.tasks:
            task.start_time -= seconds
        for column in display._progress.columns:
            column._renderable_cache.clear()  # which holds for half a second

    assert shown() == ["--:--"]
    age(100.0)
    for _ in range(4):  # all at once, as those of a batch
        display.item_finished(DONE)
    display.item_finished(SKIPPED)
    age(0.0)
    assert shown() == ["14:35"]  # 35 items of 25 s
    age(300.0)
    display.step(5, 20, "frames")
    age(40.0)
    assert shown() == ["1:04:10", "02:00"]
    display.step(1, 3, "people")
    age(5.0)
    assert shown()[1] == "00:10"  # other steps have another pace
    display.close()


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    batch(Reporter("fit", stream=stream, interval=0.0))
    assert "\x1b" not in stream.getvalue()


def test_quiet_says_errors_only():
    stream = io.StringIO()
    reporter = Reporter("fit", stream=stream, quiet=True, interval=0.0)
    batch(reporter)
    assert stream.getvalue() == "error: b.jpg: is empty\n"
    assert reporter.warnings == ("it is dark",)


def test_each_message_is_one_line():
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    reporter.info("new\nline.jpg: nobody was found")
    reporter.item_finished(ItemResult("new\nline.jpg", Status.ERROR, error=r"new\nline.jpg: is empty"))
    assert stream.getvalue() == "new\\nline.jpg: nobody was found\nerror: new\\nline.jpg: is empty\n"


def test_an_error_names_its_item():
    stream = io.StringIO()
    Reporter(stream=stream).item_finished(ItemResult("c.jpg", Status.ERROR, error="ValueError: 3"))
    assert stream.getvalue() == "error: c.jpg: ValueError: 3\n"


def test_nobody_listening_is_no_failure():
    reporter = Reporter("fit", stream=Gone(), interval=0.0)
    batch(reporter)
    assert reporter.warnings == ("it is dark",)  # still said in the result


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
    import os
    import sys

    with capfd.disabled():
        if sys.stderr is None or sys.stderr.fileno() != 2:
            pytest.skip("stderr is not descriptor 2 here")
        with private_stderr() as stream:
            assert stream.fileno() != 2
            assert os.path.sameopenfile(stream.fileno(), 2)
