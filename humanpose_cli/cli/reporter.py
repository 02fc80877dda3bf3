"""Write messages, warnings, errors and progress to stderr.

Library code never prints. It raises, returns, or logs under `humanpose_cli`; this module shows log records: INFO as a
message, WARNING as a warning, once. Logs and warnings of other libraries are shown with `--verbose` only.

Progress counts the items and the work inside them. It is a rich bar in a terminal, and otherwise a line every 5 seconds
(every 30 after the first minute), which a thread also writes while the work reports nothing. With --log-json, each line
is a JSON object with `time`, `command`, `level`, `event` and the values of the event:

    message   message
    start     total: items
    item      item, status (`started`, then those of results); seconds and error once it is over
    progress  percent of the run and seconds_left (null: unknown); of the item: done, total (null: unknown), unit, item
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from humanpose_cli.batch.runner import BatchProgress
from humanpose_cli.cli.progress import Clock, RunProgress, interval, progress_bar
from humanpose_cli.core.errors import one_line
from humanpose_cli.core.progress import FractionalProgress, interlude_listeners
from humanpose_cli.core.result import ItemResult, Status

if TYPE_CHECKING:
    from rich.progress import Progress

_PACKAGE = "humanpose_cli"
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[1]) + os.sep
_FIRST = 60.0  # seconds of the beginning of a run
_LATER = 30.0  # seconds between two lines after the beginning
_COLOURS = {"error": 31, "warning": 33}  # red and yellow without rich, whose import costs 0.1 s


@contextmanager
def private_stderr() -> Iterator[TextIO]:
    """Open stderr on a new descriptor, so that silencing descriptor 2 around native code does not silence `hpc`."""
    try:
        copy = os.dup(2) if sys.stderr.fileno() == 2 else None
    except (OSError, ValueError, AttributeError):  # stderr is closed, or replaced by something without a descriptor
        copy = None
    if copy is None:
        yield sys.stderr or _nowhere()
        return
    stream = os.fdopen(copy, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1)
    try:
        yield stream
    finally:
        with suppress(OSError):  # a full disk behind `2>log` loses messages, and no result
            stream.close()


def _nowhere() -> TextIO:
    """Open the null device in place of a closed stderr."""
    return open(os.devnull, "w", encoding="utf-8")


class Reporter(BatchProgress):
    """Writes messages and progress to stderr; a context manager, and the listener of a batch.

    Args:
        label: Name of the command, at the beginning of progress lines.
        translate: Translates the library's sentences, which name arguments, for an interface.
        stream: The stream to write to. None is stderr.
        quiet: Write only errors.
        verbose: Also write debug messages, warnings of other libraries, and tracebacks.
        log_json: Write JSON objects instead of text.
        interval: Seconds between two progress lines without a terminal, in the first minute.
        brief: Describes the details of a finished item in a few words. With it, finished items are listed.
        clock: Returns seconds.
    """

    def __init__(
        self,
        label: str = "hpc",
        translate: Callable[[str], str] = str,
        *,
        stream: TextIO | None = None,
        quiet: bool = False,
        verbose: bool = False,
        log_json: bool = False,
        interval: float = 5.0,
        brief: Callable[[Mapping[str, Any]], str] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.label = label
        self.quiet = quiet
        self.verbose = verbose
        self.interval = interval
        self.log_json = log_json
        self.translate = translate
        self.stream = stream or sys.stderr or _nowhere()
        self.step = FractionalProgress(self._step)
        self._brief = brief
        self._clock = clock
        self._run = RunProgress(0, clock, "starting")
        self._bar: Progress | None = None
        self._start = self._item_began = clock()
        self._due = self._start + interval  # when progress is written next
        self._continues = False  # whether the next batch is the rest of the one that is shown
        self._lock = threading.RLock()  # of what is written: a second thread writes progress too
        self._end = threading.Event()
        self._is_paused = False
        self.failed_items: set[str] = set()  # whose errors are written
        self._warnings: dict[str, None] = {}
        self._info_texts: set[str] = set()
        self._handler = _LogHandler(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The distinct warnings so far, in their order."""
        return tuple(map(self.translate, self._warnings))

    def __enter__(self) -> Reporter:
        root = logging.getLogger()
        root.addHandler(self._handler)
        package = logging.getLogger(_PACKAGE)
        self._level_before = package.level
        package.setLevel(logging.DEBUG if self.verbose else logging.INFO)
        self._showwarning_before = warnings.showwarning
        warnings.showwarning = self._show_warning  # type: ignore[assignment]
        interlude_listeners.append(self._interlude)
        threading.Thread(target=self._keep_showing, daemon=True).start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_forget_bar, weakref.ref(self)))
        return self

    def __exit__(self, *problem: Any) -> None:
        self._end.set()
        self.finish()
        interlude_listeners.remove(self._interlude)
        warnings.showwarning = self._showwarning_before
        logging.getLogger(_PACKAGE).setLevel(self._level_before)
        logging.getLogger().removeHandler(self._handler)

    # Messages

    def info(self, text: str) -> None:
        """Write a message."""
        if not self.quiet:
            self._write(one_line(text))

    def info_once(self, text: str) -> None:
        """Write a message that holds for many items once; an empty one is ignored."""
        if text and text not in self._info_texts:
            self._info_texts.add(text)
            self.info(text)

    def debug(self, text: str) -> None:
        """Write a message with --verbose."""
        if self.verbose:
            self._write(text)

    def warn(self, text: str) -> None:
        """Write a warning, each text once."""
        if text not in self._warnings:
            self._warnings[text] = None
            if not self.quiet:
                self._write(one_line(text), "warning")

    def error(self, text: str) -> None:
        """Write an error."""
        self._write(one_line(text), "error")

    def traceback(self, error: BaseException) -> None:
        """Write the traceback of an exception with --verbose."""
        self.debug("".join(traceback.format_exception(error)).rstrip())

    # Progress of a batch, and within its items

    @property
    def draws(self) -> bool:
        """Whether progress is a bar: stderr is a terminal that can be drawn over."""
        return not self.quiet and not self.log_json and _is_drawable(self.stream)

    def start(self, total: int) -> None:
        """Begin a batch of `total` items, or continue a batch after its first item."""
        if self._continues:
            self._run.total = self._run.finished_count + total
            self._continues = False
            return
        if self.quiet or not total:
            return
        with self._lock:
            self.finish()
            self._run = RunProgress(total, self._clock)
            if self.log_json:
                self._record("info", "start", {"total": total})
            elif self.draws:
                self._bar = progress_bar(self.stream, self.label, self._run)
            self._due = self._clock() + self._spacing()

    def preparing(self, names: Collection[str]) -> None:
        """Show that preparation of several items begins."""
        self._run.preparing(map(one_line, names))

    def item_started(self, name: str, short: str = "") -> None:
        """Show that work on an item begins; `short` is its name for people."""
        name = one_line(name)
        self.debug(f"{name}: started")
        self._run.item_started(name, "" if name == self.label else one_line(short) or name)
        self._item_began = self._clock()
        self._item_event(name, "started")

    def _step(self, fraction: float, count: int, total: int | None, unit: str) -> None:
        self._run.step(fraction, count, total, unit)
        self.tick()

    def _interlude(self, what: str) -> None:
        self._run.interlude(what)
        self.tick()

    def item_finished(self, result: ItemResult) -> None:
        """Show that an item was finished, failed or skipped; failures are written at once."""
        if result.error:
            self.failed_items.add(result.input)
        batch = self._run.total > (1 if self.draws else 0)  # the table of a terminal lists a single item at once
        self._run.item_finished(one_line(result.input))
        self._item_event(one_line(result.input), result.status.value, result.seconds, result.error)
        if self.log_json and self._run.total:
            return
        if result.error:
            self.error(_item_error(result))
        elif self._brief is not None and result.status is Status.SUCCESS and batch:
            text = ", ".join(filter(None, [self._brief(result.details), f"{result.seconds:.1f} s"]))
            self.info(f"{result.shown}  {text}")

    def item_over(self, *, keep: bool) -> None:
        """Show that an item without a result is finished; with `keep`, further items follow."""
        if self.log_json:
            self._item_event(self._run.name, Status.SUCCESS.value, self._clock() - self._item_began)
        if keep:
            self._run.item_finished(self._run.name)
            self._continues = True
        else:
            self.finish()

    def finish(self) -> None:
        """End the batch."""
        with self._lock:
            bar, self._bar = self._bar, None
            if bar is not None:
                bar.stop()
            self._run = RunProgress(0, self._clock, "finishing")
            self._due = self._clock() + self._spacing()
            self._continues = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the display while something else shows progress."""
        self.finish()
        self._is_paused = True
        logging.getLogger().removeHandler(self._handler)
        try:
            yield
        finally:
            logging.getLogger().addHandler(self._handler)
            self._is_paused = False

    def tick(self) -> None:
        """Show progress if it is due: that of the batch, or the work outside of one."""
        with self._lock:
            if self._bar is not None or self.quiet or self._is_paused or self._clock() < self._due:
                return
            if self.draws:
                self._bar = progress_bar(self.stream, self.label, self._run)
                return
            self._due = self._clock() + self._spacing()
            if not self._run.total:
                self._write(f"{self.label}: {self._run.work}, {interval(self._clock() - self._start)} so far")
            elif self.log_json:
                self._record("info", "progress", self._run.document())
            else:
                self._write_line(f"{self.label}: {self._run.text()}")

    # Within

    def _spacing(self) -> float:
        """Return the seconds between two progress lines."""
        late = self._clock() - self._start >= _FIRST and not self.log_json and not self.draws
        return max(self.interval, _LATER) if late else self.interval

    def _keep_showing(self) -> None:
        """Show progress from a thread while the work reports nothing."""
        while not self._end.wait(1.0):
            self.tick()

    def _write(self, text: str, kind: str = "") -> None:
        text = self.translate(text)
        if self.log_json:
            self._record(kind or "info", "message", {"message": text})
            return
        line = f"{kind}: {text}" if kind else text
        if kind and _is_drawable(self.stream) and "NO_COLOR" not in os.environ:
            line = f"\x1b[1;{_COLOURS[kind]}m{kind}:\x1b[0m {text}"
        bar = self._bar
        if bar is None:
            self._write_line(line)
        else:
            from rich.text import Text

            bar.console.print(Text.from_ansi(line), soft_wrap=True)

    def _item_event(self, name: str, status: str, seconds: float | None = None, error: str | None = None) -> None:
        """Show an event of an item in a batch: as an object, or in the progress if that is due."""
        if not self._run.total:
            return
        if not self.log_json:
            self.tick()
            return
        end = {} if seconds is None else {"seconds": round(seconds, 3), "error": error}
        self._record("error" if error else "info", "item", {"item": name, "status": status, **end})

    def _record(self, level: str, event: str, values: Mapping[str, Any]) -> None:
        """Write a line of --log-json."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        document = {"time": now, "command": self.label, "level": level, "event": event, **values}
        self._write_line(json.dumps(document, ensure_ascii=False))

    def _write_line(self, line: str) -> None:
        # stderr may be closed, and there is nowhere else to write.
        with self._lock, suppress(OSError, ValueError):
            if not self._run.total:  # outside of a batch, a line is shown after silence only
                self._due = self._clock() + self._spacing()
            self.stream.write(line + "\n")
            self.stream.flush()

    def _show_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        if filename.startswith(_PACKAGE_FOLDER):
            self.warn(str(message))
        else:
            self.debug(f"{filename}:{lineno}: {category.__name__}: {message}")


class _LogHandler(logging.Handler):
    """Passes log records to the reporter; a handler on the root logger keeps Python from printing them."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        ours = record.name == _PACKAGE or record.name.startswith(_PACKAGE + ".")
        reporter = self._reporter
        if not ours:
            reporter.debug(f"{record.name}: {text}")
            return
        methods = {logging.ERROR: reporter.error, logging.WARNING: reporter.warn, logging.INFO: reporter.info}
        next((write for level, write in methods.items() if record.levelno >= level), reporter.debug)(text)


def _forget_bar(reporter: weakref.ref[Reporter]) -> None:
    """Forget the bar in a forked process; its threads and the holder of its lock exist only in the parent."""
    if (parent := reporter()) is not None:
        parent._lock = threading.RLock()
        parent._bar = None
        parent._is_paused = True


def _item_error(result: ItemResult) -> str:
    """Format the error of an item, with the name of the item if the sentence lacks it."""
    error = result.error or ""
    return error if one_line(result.input) in error else f"{result.input}: {error}"


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
