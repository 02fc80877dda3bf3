"""From a CommandResult to stdout: a table for people, one JSON document with `--json`."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

__all__ = ["json_text", "json_values", "write_people", "write_stdout"]

Columns = Sequence[tuple[str, str]]
Words = Mapping[Status, str]
_MOST_ROWS, _MOST_FILES = 40, 6
_STYLES = {
    Status.SUCCESS: "green",
    Status.SKIPPED: "dim",
    Status.PARTIAL: "yellow",
    Status.ERROR: "red",
    Status.INTERRUPTED: "yellow",
}
_WORDS = {
    Status.SUCCESS: "done",
    Status.SKIPPED: "done before",
    Status.PARTIAL: "in part",
    Status.ERROR: "failed",
    Status.INTERRUPTED: "interrupted",
}
_NO_WORDS: Words = {}


def json_values(value: Any) -> Any:
    """`value` with nothing but JSON's own types: NaN and infinities become null, arrays lists, paths text."""
    if isinstance(value, Enum):
        return json_values(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): json_values(entry) for name, entry in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_values(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy
        return json_values(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_values(entry) for entry in value]
    return str(value)


def json_text(result: CommandResult) -> str:
    """The envelope as one line of strict JSON, in characters that stdout can carry."""
    document = json_values(result.to_document())
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    if text == _printable(text):
        return text
    return json.dumps(document, ensure_ascii=True, allow_nan=False)  # an ASCII terminal, or undecodable file names


def write_stdout(text: str) -> None:
    """Write to stdout and flush.

    A reader that has gone (`| head`) or a closed stdout is no failure: nobody wants the rest. UnavailableError if
    it cannot be written for another reason, such as a full disk behind `> file`.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(_printable(text))
        sys.stdout.flush()
    except BrokenPipeError:
        _stop_writing_to_stdout()
    except OSError as error:
        _stop_writing_to_stdout()
        told = error.strerror or str(error)
        raise UnavailableError("stdout", "cannot be written", got=told, remedy="send it elsewhere") from error


def _printable(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _stop_writing_to_stdout() -> None:
    """Point stdout at nothing, or what is left in its buffer fails once more when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()


def write_people(result: CommandResult, columns: Columns = (), words: Words = _NO_WORDS) -> None:
    """A table of the items, as wide as the terminal, and a line that sums it up.

    columns  (key of the items' details, heading) of what this command shows beside input, status and outputs
    words    what to call a status, where the usual words do not fit
    """
    if result.items and sys.stdout is not None:
        terminal = sys.stdout.isatty()
        for table in result.tables:
            write_stdout(_extra_text(table, terminal=terminal))
        write_stdout(_table_text(result, columns, {**_WORDS, **words}, terminal=terminal))


def _extra_text(table: ResultTable, *, terminal: bool) -> str:
    """A table of its own, with its title above, its notes below and an empty line."""
    from rich import box
    from rich.table import Table

    text, console = _console(terminal)
    drawn = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False)
    for number, heading in enumerate(table.columns):
        drawn.add_column(_cell(heading), justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    console.print(_cell(table.title, "bold"))
    console.print(drawn)
    for note in table.notes:
        console.print(_cell(note), soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines()) + "\n"


def _console(terminal: bool) -> tuple[io.StringIO, Any]:
    """Where text is drawn: off the terminal a line holds a row, however long, for grep and awk."""
    from rich.console import Console

    text = io.StringIO()
    width = shutil.get_terminal_size().columns if terminal else 100_000
    return text, Console(file=text, force_terminal=terminal, width=width)


def _table_text(result: CommandResult, columns: Columns, words: Words, *, terminal: bool) -> str:
    from rich import box
    from rich.table import Table

    text, console = _console(terminal)
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False)
    table.add_column("input", overflow="fold")
    table.add_column("status", no_wrap=True)
    for _, heading in columns:
        table.add_column(heading, overflow="fold")
    timed = any(item.seconds for item in result.items)
    if timed:
        table.add_column("seconds", justify="right", no_wrap=True)
    written = [output for item in result.items for output in item.outputs]
    if written and not terminal:
        table.add_column("written", overflow="fold")
    for item in _rows_to_show(result.items):
        cells = [_cell(item.input), _cell(words[item.status], _STYLES[item.status])]
        cells += [_cell(_shown(item.details.get(key))) for key, _ in columns]
        if timed:
            cells.append(_cell(f"{item.seconds:.1f}" if item.seconds else ""))
        if written and not terminal:
            cells.append(_cell(" ".join(item.outputs)))
        table.add_row(*cells)
    console.print(table)
    if len(result.items) > 1:
        console.print(_summary(result.items, words), highlight=False)
    if written and terminal:
        console.print(_cell(_where(written)), soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _where(outputs: Sequence[str]) -> str:
    """A few files by name, many by the folder they are all in."""
    if len(outputs) <= _MOST_FILES:
        return "\n".join(f"result: {output}" for output in outputs)
    return f"results: {len(outputs)} files in {os.path.commonpath(outputs)}"


def _rows_to_show(items: Sequence[ItemResult]) -> Sequence[ItemResult]:
    """All items of a short list; of a long one the first few and everything that went wrong."""
    if len(items) <= _MOST_ROWS:
        return items
    fine = {Status.SUCCESS, Status.SKIPPED}
    return [item for i, item in enumerate(items) if i < _MOST_ROWS // 2 or item.status not in fine]


def _summary(items: Sequence[ItemResult], words: Words) -> str:
    counts = Counter(item.status for item in items)
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return f"{len(items)} items: {', '.join(parts)}"


def _cell(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style)  # as text: file names may hold what rich takes for markup


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(entry) for entry in value)
    return str(value)
