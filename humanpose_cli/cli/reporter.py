"""Everything on stderr: messages, warnings, errors and progress.

Library code never prints. It raises, returns, or logs under `humanpose_cli`; log records are shown here: INFO as a
message, WARNING as a warning, once. What other libraries log or warn about is shown with `--verbose` only.

Progress is a rich bar in a terminal, and elsewhere a line of tqdm's every few seconds. It counts items; where there
is but one, it counts the steps of that item. With --log-json all of it is one JSON object a line instead: `time`,
`command`, `level` and `event`, and what belongs to the event:

    message   message
    start     total: items
    item      item, status (`started`, then those of results); seconds and error once it is over
    progress  done, total (null: unknown), unit, item
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from humanpose_cli.batch.runner import BatchProgress
from humanpose_cli.core.errors import HpcError, one_line
from humanpose_cli.core.result import ItemResult, Status

if TYPE_CHECKING:
    from rich.progress import TaskID


_PACKAGE = "humanpose_cli"
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[1]) + os.sep
_STYLES = {"error": "bold red", "warning": "bold yellow"}
_CODES = {"error": 31, "warning": 33}  # the same colours without rich, whose import costs 0.1 s


@contextmanager
def private_stderr() -> Iterator[TextIO]:
    """stderr on a descriptor of its own, so that silencing descriptor 2 around native code does not silence us."""
    try:
        copy = os.dup(2) if sys.stderr.fileno() == 2 else None
    except (OSError, ValueError, AttributeError):  # stderr is closed, or replaced by something without a descriptor
        copy = None
    if copy is None:
        yield sys.stderr or _nowhere()
        return
    encoding, errors = sys.stderr.encoding, "backslashreplace"
    stream = os.fdopen(copy, "w", encoding=encoding, errors=errors, buffering=1)
    try:
        yield stream
    finally:
        with suppress(OSError):  # a full disk behind `2>log` loses messages, and no result
            stream.close()


def _nowhere() -> TextIO:
    """Stands in for a closed stderr as long as the process lives."""
    return open(os.devnull, "w", encoding="utf-8")


class Translation:
    """Turns sentences of the library, which name arguments, into those of an interface; this one leaves them."""

    def text(self, text: str) -> str:
        """A message."""
        return text

    def error(self, error: HpcError) -> str:
        """An error's sentence."""
        return str(error)


class Reporter(BatchProgress):
    """Context manager that writes to stderr; also the listener of a batch.

    label     the command's name, at the head of progress
    translation  of all messages
    quiet     write errors only
    verbose   write debug messages, other libraries' warnings, and tracebacks too
    log_json  write JSON objects in place of text
    interval  seconds between two lines of progress where there is no terminal
    """

    def __init__(
        self,
        label: str = "hpc",
        translation: Translation | None = None,
        *,
        stream: TextIO | None = None,
        quiet: bool = False,
        verbose: bool = False,
        log_json: bool = False,
        interval: float = 5.0,
    ) -> None:
        self.label, self.quiet, self.verbose, self.interval = label, quiet, verbose, interval
        self.log_json = log_json
        self.translation = translation or Translation()
        self.stream = stream or sys.stderr or _nowhere()
        self._display: BarDisplay | LineDisplay | JsonDisplay | None = None
        self._said: dict[str, None] = {}
        self._handler = _LogHandler(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings so far, each once, in the order they came."""
        return tuple(map(self.translation.text, self._said))

    def __enter__(self) -> Reporter:
        root = logging.getLogger()
        root.addHandler(self._handler)
        package = logging.getLogger(_PACKAGE)
        self._level_before = package.level
        package.setLevel(logging.DEBUG if self.verbose else logging.INFO)
        self._showwarning_before = warnings.showwarning
        warnings.showwarning = self._show_warning  # type: ignore[assignment]
        return self

    def __exit__(self, *problem: Any) -> None:
        self.finish()
        warnings.showwarning = self._showwarning_before
        logging.getLogger(_PACKAGE).setLevel(self._level_before)
        logging.getLogger().removeHandler(self._handler)

    # Messages

    def info(self, text: str) -> None:
        """A message."""
        if not self.quiet:
            self._write(one_line(text))

    def debug(self, text: str) -> None:
        """A message for finding faults, with --verbose."""
        if self.verbose:
            self._write(text)

    def warn(self, text: str) -> None:
        """A warning: a result may be worse; each text once a run."""
        if text not in self._said:
            self._said[text] = None
            if not self.quiet:
                self._write(one_line(text), "warning")

    def error(self, text: str) -> None:
        """An error."""
        self._write(one_line(text), "error")

    def traceback(self, error: BaseException) -> None:
        """Where an exception came from, for --verbose."""
        self.debug("".join(traceback.format_exception(error)).rstrip())

    # Progress of a batch, and within its items

    @property
    def draws(self) -> bool:
        """Whether stderr is a terminal that can be drawn over."""
        return self.stream.isatty() and os.environ.get("TERM") != "dumb" and not self.quiet

    def start(self, total: int) -> None:
        """A batch of `total` items begins."""
        if not self.quiet and total:
            if self.log_json:
                self._display = JsonDisplay(self._record, total, self.interval)
            elif self.stream.isatty() and os.environ.get("TERM") != "dumb":
                self._display = BarDisplay(self.stream, self.label, total)
            else:
                self._display = LineDisplay(self.stream, self.label, total, self.interval)

    def item_started(self, name: str) -> None:
        """Work on an item begins."""
        name = one_line(name)
        self.debug(f"{name}: started")
        if self._display is not None:
            self._display.item_started(name)

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Progress within the item: `done` of `total` units; the total may be unknown."""
        if self._display is not None:
            self._display.step(done, total, unit)

    def item_finished(self, result: ItemResult) -> None:
        """An item is done, failed or skipped; failures are written at once."""
        if self._display is not None:
            self._display.item_finished(result)
        if result.error and not isinstance(self._display, JsonDisplay):  # which has said it
            self.error(_about(result))

    def bug(self, error: BaseException) -> None:
        """An unexpected exception in an item; its sentence comes with the item's result."""
        self.traceback(error)

    def finish(self) -> None:
        """No more items."""
        display, self._display = self._display, None
        if display is not None:
            display.close()

    # Within

    def _write(self, text: str, kind: str = "") -> None:
        text = self.translation.text(text)
        if self.log_json:
            self._record(kind or "info", "message", {"message": text})
            return
        if self._display is not None and self._display.write(text, kind, _STYLES.get(kind, "")):
            return
        line = f"{kind}: {text}" if kind else text
        if kind and _colours(self.stream):
            line = f"\x1b[1;{_CODES[kind]}m{kind}:\x1b[0m {text}"
        self._write_line(line)

    def _record(self, level: str, event: str, more: Mapping[str, Any]) -> None:
        """A line of --log-json."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        document = {"time": now, "command": self.label, "level": level, "event": event, **more}
        self._write_line(json.dumps(document, ensure_ascii=False))

    def _write_line(self, line: str) -> None:
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            return  # stderr is closed, and there is nowhere else to write

    def _show_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        if filename.startswith(_PACKAGE_FOLDER):
            self.warn(str(message))
        else:
            self.debug(f"{filename}:{lineno}: {category.__name__}: {message}")


class _LogHandler(logging.Handler):
    """Hands log records to the reporter; with a handler on the root logger, Python prints none by itself."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        ours = record.name == _PACKAGE or record.name.startswith(_PACKAGE + ".")
        if not ours:
            self._reporter.debug(f"{record.name}: {text}")
        elif record.levelno >= logging.ERROR:
            self._reporter.error(text)
        elif record.levelno >= logging.WARNING:
            self._reporter.warn(text)
        elif record.levelno >= logging.INFO:
            self._reporter.info(text)
        else:
            self._reporter.debug(text)


def _about(result: ItemResult) -> str:
    """The item's error, with the item in front where the sentence does not name it."""
    error = result.error or ""
    return error if one_line(result.input) in error else f"{result.input}: {error}"


def _colours(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class BarDisplay:
    """A bar for the items and one for the steps within an item; of a single item only its steps."""

    def __init__(self, stream: TextIO, label: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text
        from tqdm import tqdm

        class Count(MofNCompleteColumn):
            """As `12/40`; nothing before the first step says of how many."""

            def render(self, task: Task) -> Text:
                return super().render(task) if task.total is not None or task.completed else Text("")

        class Left(ProgressColumn):
            """The time left at the mean pace so far, as in tqdm's lines. Items end many at a time, after minutes
            of none: rich's own column, which looks at the last 30 seconds, is wrong by orders of magnitude.
            """

            max_refresh = 0.5  # seconds

            def render(self, task: Task) -> Text:
                if task.total is None:
                    return Text("")
                paced = task.completed - task.fields["skipped"]
                left = (task.elapsed or 0.0) / paced * (task.total - task.completed) if paced > 0 else None
                return Text("--:--" if left is None else tqdm.format_interval(left), style="progress.remaining")

        name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True))
        self._progress = Progress(
            name,
            BarColumn(bar_width=20),
            Count(),
            TextColumn("{task.fields[unit]}"),
            Left(),
            console=Console(file=stream),
            transient=True,
            expand=True,
        )
        self._label = label
        self._single = total == 1
        self._items = self._progress.add_task(
            label, total=None if self._single else total, unit="" if self._single else "items", skipped=0
        )
        self._steps: TaskID | None = self._items if self._single else None
        self._unit, self._skipped = "", 0
        self._progress.start()

    def item_started(self, name: str) -> None:
        self._progress.update(self._items, description=f"{self._label} {name}")

    def step(self, done: int, total: int | None, unit: str) -> None:
        if self._steps is None:
            self._steps = self._progress.add_task("", total=total, unit=unit, skipped=0)
        elif unit != self._unit:
            self._progress.reset(self._steps)  # other work, at a pace of its own
        self._unit = unit
        self._progress.update(self._steps, completed=done, total=total, unit=unit)

    def item_finished(self, result: ItemResult) -> None:
        if self._single:
            return
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None
        self._skipped += result.status is Status.SKIPPED  # skipped items say nothing about the pace
        self._progress.update(self._items, advance=1, skipped=self._skipped)

    def write(self, text: str, kind: str, style: str) -> bool:
        """Print a line above the bar."""
        from rich.text import Text

        line = Text.assemble((f"{kind}:", style), " ", text) if kind else Text(text)
        self._progress.console.print(line, soft_wrap=True)
        return True

    def close(self) -> None:
        self._progress.stop()


class LineDisplay:
    """tqdm's lines, such as `fit: 12/40 30% [00:30<01:10,  2.50s/item, photos/a.jpg]`, one every `interval` seconds;
    `fit: 0/40 0% [00:02, photos/a.jpg]` until an item is done, which gives the pace.
    """

    _COUNT = "{desc}: {n_fmt}/{total_fmt} {percentage:.0f}% "

    def __init__(self, stream: TextIO, label: str, total: int, interval: float) -> None:
        from tqdm import tqdm

        class Bar(tqdm):
            monitor_interval = 0  # no thread that watches over the pace: `miniters` is fixed

        self.bar = Bar(
            desc=label,
            total=total,
            unit="item",
            file=_Lines(stream),
            mininterval=interval,
            delay=interval,
            miniters=0,
            smoothing=0,
            leave=False,
        )
        self._name = ""

    def item_started(self, name: str) -> None:
        self._name = name
        self._say_if_due(name)

    def step(self, done: int, total: int | None, unit: str) -> None:
        self._say_if_due(f"{self._name} ({unit}: {done}/{total})" if total else f"{self._name} ({unit}: {done})")

    def item_finished(self, result: ItemResult) -> None:
        self.bar.initial += result.status is Status.SKIPPED  # skipped items say nothing about the pace
        self._update(1)

    def write(self, text: str, kind: str, style: str) -> bool:
        """False: a line may simply be written."""
        return False

    def close(self) -> None:
        self.bar.close()

    def _say_if_due(self, name: str) -> None:
        self.bar.set_postfix_str(name.lstrip(), refresh=False)
        self._update(0)

    def _update(self, count: int) -> None:
        pace = "<{remaining}, {rate_fmt}" if self.bar.n + count > self.bar.initial else ""
        self.bar.bar_format = f"{self._COUNT}[{{elapsed}}{pace}{{postfix}}]"
        self.bar.update(count)


class JsonDisplay:
    """Progress as objects: each item's beginning and end, and its steps every `interval` seconds.

    record  writes an object: level, event, what belongs to it
    """

    def __init__(self, record: Callable[[str, str, Mapping[str, Any]], None], total: int, interval: float) -> None:
        self._record, self._interval = record, interval
        self._name, self._due = "", time.monotonic() + interval
        record("info", "start", {"total": total})

    def item_started(self, name: str) -> None:
        self._name = name
        self._record("info", "item", {"item": name, "status": "started"})

    def step(self, done: int, total: int | None, unit: str) -> None:
        if (now := time.monotonic()) >= self._due:
            self._due = now + self._interval
            self._record("info", "progress", {"done": done, "total": total, "unit": unit, "item": self._name})

    def item_finished(self, result: ItemResult) -> None:
        level = "error" if result.error else "info"
        details = {"status": result.status.value, "seconds": round(result.seconds, 3), "error": result.error}
        self._record(level, "item", {"item": one_line(result.input), **details})

    def write(self, text: str, kind: str, style: str) -> bool:
        """False: messages are objects of their own."""
        return False

    def close(self) -> None:
        """Nothing is left to say."""


class _Lines:
    """A stream for tqdm on which each of its redrawings becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            if line := text.strip():
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            return  # stderr is closed

    def flush(self) -> None:
        """Each line is flushed when it is written."""
