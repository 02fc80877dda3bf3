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
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from humanpose_cli.batch.runner import BatchProgress
from humanpose_cli.cli.progress import Clock, RunProgress, progress_bar
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


class Reporter(BatchProgress, logging.Handler):
    """Writes messages and progress to stderr: a context manager, the listener of a batch, and a handler of log records.

    As a handler on the root logger it also keeps Python from printing the records.

    Args:
        label: Name of the command, at the beginning of progress lines.
        translate: Translates the library's sentences, which name arguments, for an interface.
        stream: The stream to write to. None is stderr.
        quiet: Write only errors.
        verbose: Also write debug messages, warnings of other libraries, and tracebacks.
        log_json: Write JSON objects instead of text.
        interval: Seconds between two progress lines without a terminal, in the first minute.
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
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__()
        self.label = label
        self.quiet = quiet
        self.verbose = verbose
        self.interval = interval
        self.log_json = log_json
        self.translate = translate
        self.stream = stream or sys.stderr or _nowhere()
        self.step = FractionalProgress(self._step)
        self.failed_items: set[str] = set()  # whose errors are written
        self._clock = clock
        self._run = RunProgress(0, clock, "starting")
        self._bar: Progress | None = None
        self._start = clock()
        self._due = self._start + interval  # when progress is written next
        self._lock = self.lock or threading.RLock()  # a second thread writes progress too; logging renews it in forks
        self._process = os.getpid()
        self._end = threading.Event()
        self._is_paused = False
        self._levels: dict[str, str] = {}  # levels of the messages and warnings so far, by text

    @property
    def warnings(self) -> tuple[str, ...]:
        """The distinct warnings so far, in their order."""
        return tuple(self.translate(text) for text, level in self._levels.items() if level == "warning")

    def __enter__(self) -> Reporter:
        logging.getLogger().addHandler(self)
        package = logging.getLogger(_PACKAGE)
        self._level_before = package.level
        package.setLevel(logging.DEBUG if self.verbose else logging.INFO)
        self._showwarning_before = warnings.showwarning
        warnings.showwarning = self._show_warning  # type: ignore[assignment]
        interlude_listeners.append(self._interlude)
        threading.Thread(target=self._keep_showing, daemon=True).start()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._end.set()
        self.finish()
        interlude_listeners.remove(self._interlude)
        warnings.showwarning = self._showwarning_before
        logging.getLogger(_PACKAGE).setLevel(self._level_before)
        logging.getLogger().removeHandler(self)

    # Messages

    def info(self, text: str) -> None:
        """Write a message, each text once; an empty one is ignored."""
        self._write_once(text, "info")

    def warn(self, text: str) -> None:
        """Write a warning, each text once."""
        self._write_once(text, "warning")

    def error(self, text: str) -> None:
        """Write an error."""
        self._write(one_line(text), "error")

    def debug(self, text: str) -> None:
        """Write a message with --verbose."""
        if self.verbose:
            self._write(text)

    def traceback(self, error: BaseException) -> None:
        """Write the traceback of an exception with --verbose."""
        self.debug("".join(traceback.format_exception(error)).rstrip())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of the package by its level, and those of other libraries with --verbose."""
        text = record.getMessage()
        if self._is_paused:
            return
        if record.name.partition(".")[0] != _PACKAGE:
            self.debug(f"{record.name}: {text}")
            return
        methods = {logging.ERROR: self.error, logging.WARNING: self.warn, logging.INFO: self.info}
        next((write for level, write in methods.items() if record.levelno >= level), self.debug)(text)

    # Progress of a batch, and within its items

    def start(self, total: int) -> None:
        """Begin a batch of `total` items."""
        if self.quiet or not total:
            return
        with self._lock:
            self.finish()
            self._run = RunProgress(total, self._clock)
            if self.log_json:
                self._record("info", "start", total=total)
            elif self._is_drawn:
                self._bar = progress_bar(self.stream, self.label, self._run)

    def preparing(self, names: Collection[str]) -> None:
        """Show that preparation of several items begins."""
        self._run.preparing(map(one_line, names))

    def item_started(self, name: str, short: str = "") -> None:
        """Show that work on an item begins; `short` is its name for people."""
        name = one_line(name)
        self.debug(f"{name}: started")
        self._run.item_started(name, "" if name == self.label else one_line(short) or name)
        if self.log_json:
            self._record("info", "item", item=name, status="started")
        else:
            self.tick()

    def item_finished(self, result: ItemResult) -> None:
        """Show that an item was finished, failed or skipped; of several items, each is written."""
        name = one_line(result.input)
        self._run.item_finished(name)
        if result.error:
            self.failed_items.add(result.input)
        if self.log_json:
            end = {"status": result.status.value, "seconds": round(result.seconds, 3), "error": result.error}
            self._record("error" if result.error else "info", "item", item=name, **end)
        elif result.error:
            self.error(result.error if name in result.error else f"{name}: {result.error}")
        elif self._run.total > 1 and result.status is not Status.SKIPPED:
            self.info(f"{name}: {result.seconds:.1f} s")
        else:
            self.tick()

    def show_errors(self, results: Iterable[ItemResult]) -> None:
        """Write the errors of items that were not written yet."""
        for result in results:
            if result.error and result.input not in self.failed_items:
                self.item_finished(result)

    def finish(self) -> None:
        """End the batch."""
        with self._lock:
            bar, self._bar = self._bar, None
            if bar is not None:
                bar.stop()
            self._run = RunProgress(0, self._clock, "finishing")
            self._due = self._clock() + self._spacing()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the display while something else shows progress."""
        self.finish()
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def tick(self) -> None:
        """Show progress if it is due: that of the batch, or the work outside of one."""
        with self._lock:
            if self.quiet or self._is_paused or self._bar or self._clock() < self._due or self._is_forked:
                return
            self._due = self._clock() + self._spacing()
            if self._is_drawn:
                self._bar = progress_bar(self.stream, self.label, self._run)
            elif self.log_json:
                self._record("info", "progress", **self._run.document())
            else:
                self._write_line(f"{self.label}: {self._run.text()}")

    # Within

    @property
    def _is_forked(self) -> bool:
        """Whether this is a fork, which has neither the threads of the bar nor the holders of its locks."""
        return os.getpid() != self._process

    @property
    def _is_drawn(self) -> bool:
        """Whether progress is a bar."""
        return not self.log_json and _is_drawable(self.stream)

    def _step(self, fraction: float, count: int, total: int | None, unit: str) -> None:
        self._run.step(fraction, count, total, unit)
        self.tick()

    def _interlude(self, what: str) -> None:
        self._run.interlude(what)
        self.tick()

    def _spacing(self) -> float:
        """Return the seconds between two progress lines."""
        late = self._clock() - self._start >= _FIRST and not self.log_json and not self._is_drawn
        return max(self.interval, _LATER) if late else self.interval

    def _keep_showing(self) -> None:
        """Show progress from a thread while the work reports nothing."""
        while not self._end.wait(1.0):
            self.tick()

    def _write_once(self, text: str, level: str) -> None:
        if text and text not in self._levels:
            self._levels[text] = level
            if not self.quiet:
                self._write(one_line(text), level)

    def _write(self, text: str, level: str = "info") -> None:
        text = self.translate(text)
        if self.log_json:
            self._record(level, "message", message=text)
            return
        start = f"{level}: " if level in _COLOURS else ""
        if start and _is_drawable(self.stream) and "NO_COLOR" not in os.environ:
            start = f"\x1b[1;{_COLOURS[level]}m{level}:\x1b[0m "
        if self._bar is None or self._is_forked:
            self._write_line(start + text)
        else:
            from rich.text import Text

            self._bar.console.print(Text.from_ansi(start + text), soft_wrap=True)

    def _record(self, level: str, event: str, **values: Any) -> None:
        """Write a line of --log-json."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        document = {"time": now, "command": self.label, "level": level, "event": event, **values}
        self._write_line(json.dumps(document, ensure_ascii=False))

    def _write_line(self, line: str) -> None:
        # stderr may be closed, and there is nowhere else to write.
        with self._lock, suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()

    def _show_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        if filename.startswith(_PACKAGE_FOLDER):
            self.warn(str(message))
        else:
            self.debug(f"{filename}:{lineno}: {category.__name__}: {message}")


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
