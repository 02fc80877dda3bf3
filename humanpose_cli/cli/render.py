"""Write results and failures to stdout and stderr, and choose the exit code.

A terminal gets a table of its width, a pipe or a file gets tab-separated lines below a header, and `--json` writes one
JSON document.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from humanpose_cli.batch.runner import explain
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.session import ResultColumn
from humanpose_cli.cli.stdout import escaped_for_stdout, write_stdout
from humanpose_cli.core.errors import ExitCode, HpcError, InterruptedRun, one_line, shortened
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status
from humanpose_cli.outputs.output_names import FIT_SUFFIX

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from humanpose_cli.cli.reporter import Reporter
    from humanpose_cli.cli.session import CommandInfo

_MAX_ROWS = 40
_MAX_FILES = 6
_MAX_WIDTH = 10_000  # characters of a row, by which it is measured
_STYLES = {
    Status.SUCCESS: "green",
    Status.SKIPPED: "dim",
    Status.PARTIAL: "yellow",
    Status.ERROR: "red",
    Status.INTERRUPTED: "yellow",
    Status.PLANNED: "cyan",
}
_LABELS = {
    Status.SUCCESS: "done",
    Status.SKIPPED: "done before",
    Status.PARTIAL: "in part",
    Status.ERROR: "failed",
    Status.INTERRUPTED: "interrupted",
    Status.PLANNED: "to do",
}


def failed(
    error: BaseException, name: str, reporter: Reporter, stop: StopSignals | None = None, out: Path | None = None
) -> CommandResult:
    """Build the result of a command that an exception ended.

    Args:
        error: The exception.
        name: Name of the command with its sub-command.
        reporter: Prints tracebacks of bugs.
        stop: The handler of signals.
        out: The output folder, for errors of the disk.
    """
    command = name.split()[0]
    if isinstance(error, KeyboardInterrupt) or (stop is not None and stop.requested):
        # After a signal anything may come up: an import that is interrupted in a class body raises RuntimeError.
        has_begun = stop is None or stop.has_begun
        return interrupted(command, (stop.signal_number if stop else None) or 2, has_begun=has_begun)
    from humanpose_cli.cli.usage_errors import usage_sentence

    if isinstance(error, HpcError):
        from humanpose_cli.cli.command import error_with_flags

        message = error_with_flags(name, error)
        return CommandResult(command, Status.ERROR, messages=(message,), exit_code=error.exit_code)
    if sentence := usage_sentence(error):
        return CommandResult(command, Status.ERROR, messages=(sentence,), exit_code=ExitCode.USAGE)
    failure = explain(error, out=out)
    if failure.exit_code is ExitCode.BUG:
        reporter.traceback(error)
    return CommandResult(command, Status.ERROR, messages=(failure.sentence,), exit_code=failure.exit_code)


def interrupted(command: str, signal_number: int, *, has_begun: bool = True) -> CommandResult:
    """Build the result of a command that a signal ended.

    Args:
        command: Name of the command.
        signal_number: Number of the signal.
        has_begun: Whether work on items had begun.
    """
    error = InterruptedRun(signal_number)
    message = str(error) if has_begun else "interrupted before any work was done"
    return CommandResult(command, Status.INTERRUPTED, messages=(message,), exit_code=error.exit_code)


def close(result: CommandResult, reporter: Reporter, *, as_json: bool, info: CommandInfo | None = None) -> int:
    """Write the result to stdout and its messages to stderr, and return the exit code."""
    result = _translated(result, reporter.translate)
    if as_json:
        warnings = tuple(text for text in reporter.warnings if text not in result.messages)
        write_stdout(json_text(replace(result, messages=(*result.messages, *warnings))) + "\n")
    elif (result.items or result.tables) and sys.stdout is not None:
        columns = info.columns if info else ()
        labels = {**_LABELS, **(info.labels if info else {})}
        write_stdout(result_text(result, columns, labels, terminal=sys.stdout.isatty()))
        if not sys.stdout.isatty() and len(result.items) > 1:
            reporter.info(_summary(result, columns, labels))
    if not as_json and result.status is not Status.SUCCESS:
        reporter.show_errors(result.items)
    for message in result.messages:
        if result.status is Status.ERROR and not result.items:
            reporter.error(message)
        else:
            reporter.info(message)
    return int(result.exit_code)


def _translated(result: CommandResult, translate: Callable[[str], str]) -> CommandResult:
    """Return the result with flags instead of arguments in its sentences."""
    items = [replace(item, error=translate(item.error)) if item.error else item for item in result.items]
    messages = map(translate, result.messages)
    return replace(result, items=tuple(items), messages=tuple(messages))


def json_values(value: Any) -> Any:
    """Convert `value` to JSON's own types: NaN and infinities become null, arrays lists, paths text."""
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
    """Write a result as one line of strict JSON that the encoding of stdout supports."""
    document = json_values(result.to_document())
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    if text == escaped_for_stdout(text):
        return text
    return json.dumps(document, ensure_ascii=True, allow_nan=False)  # an ASCII terminal, or undecodable file names


def result_text(
    result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str], *, terminal: bool
) -> str:
    """Write the tables of a result; the table of items is the last.

    Args:
        result: The result.
        columns: Columns of the command, in addition to input, status and seconds.
        labels: Names of a status.
        terminal: Whether to fit the width of the terminal; otherwise values are separated by tabs.
    """
    columns = [c for c in columns if not c.on_request or any(c.key in item.details for item in result.items)]
    draw_table, draw_items = (_drawn_table, _drawn_items) if terminal else (_separated_table, _separated_items)
    items = draw_items(result, columns, labels) if result.items else ""
    return "".join(draw_table(table) for table in result.tables) + items


def _cell(item: ItemResult, column: ResultColumn) -> str:
    return one_line(shortened(_shown(item.details.get(column.key))))


# For programs: tab-separated values


def _separated_table(table: ResultTable) -> str:
    """Write title and notes on lines that begin with #."""
    rows = [_separated(row) for row in (table.columns, *table.rows)]
    return "\n".join([f"# {one_line(table.title)}", *rows, *(f"# {one_line(note)}" for note in table.notes)]) + "\n\n"


def _separated_items(result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str]) -> str:
    """Write all items, with the names of the JSON document as the header."""
    rows = [["input", "status", *(column.key for column in columns), "seconds", "outputs"]]
    for item in result.items:
        cells = [_cell(item, column) for column in columns]
        rows.append([item.input, labels[item.status], *cells, f"{item.seconds:.1f}", _listed(item)])
    return "".join(_separated(row) + "\n" for row in rows)


def _separated(cells: Sequence[str]) -> str:
    return "\t".join(one_line(cell) for cell in cells)


# For people: as wide as the terminal


def _drawn_table(table: ResultTable) -> str:
    """Draw a table with its title above, its notes below and an empty line."""
    grid = _grid(table.columns, table.rows, justify=table.justify)
    return _drawn(_text(table.title, "bold"), grid, *map(_text, table.notes)) + "\n"


def _drawn_items(result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str]) -> str:
    """Draw the table of items, with all values in one column where the terminal is narrow, and the files below it."""
    items = _rows_to_show(result.items)
    values = {column.heading: [_cell(item, column) for item in items] for column in columns if not column.piped}
    seconds = [f"{item.seconds:.1f}" if item.seconds else "" for item in items]
    timed = {"seconds": seconds} if any(seconds) else {}
    grid = _item_grid(items, labels, {**values, **timed})
    options = _console().options
    if values and grid.__rich_measure__(_console(), options.update(max_width=_MAX_WIDTH)).maximum > options.max_width:
        rows = zip(*values.values(), strict=True)
        texts = [" · ".join(f"{name}: {cell}" for name, cell in zip(values, row, strict=True) if cell) for row in rows]
        grid = _item_grid(items, labels, {**timed, "result": texts})  # last, as it may take several lines
    parts: list[Any] = [grid]
    if hidden_count := len(result.items) - len(items):
        parts.append(_text(f"not shown: {hidden_count} more that went well; --json and a pipe list all", "dim"))
    if len(result.items) > 1:
        parts.append(_text(_summary(result, columns, labels)))
    if outputs := [output for item in result.items if item.status is not Status.PLANNED for output in item.outputs]:
        parts.append(_text(_where([*dict.fromkeys(outputs)])))
    return _drawn(*parts)


def _item_grid(items: Sequence[ItemResult], labels: Mapping[Status, str], values: Mapping[str, Sequence[str]]) -> Table:
    """Build the table of items with their values by heading."""
    table: dict[str, Sequence[Any]] = {
        "input": [item.shown for item in items],
        "status": [_text(labels[item.status], _STYLES[item.status]) for item in items],
        **values,
    }
    return _grid([*table], zip(*table.values(), strict=True))


def _grid(headings: Sequence[str], rows: Iterable[Sequence[Any]], justify: Literal["left", "right"] = "left") -> Table:
    """Lay texts out below headings, in columns that fit the terminal."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        grid.add_column(_text(heading), justify=justify if number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_text(one_line(cell)) if isinstance(cell, str) else cell for cell in row))
    return grid


def _drawn(*parts: Any) -> str:
    from rich.text import Text

    console = _console()
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text), highlight=False)  # text stays whole, to be copied
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _console() -> Console:
    from rich.console import Console

    return Console(force_terminal=True, width=shutil.get_terminal_size().columns)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)  # as text: file names may hold what rich takes for markup


def _listed(item: ItemResult) -> str:
    """List an item's outputs with spaces between them, or name their folder if it is the item's own."""
    folder = _common_folder(item.outputs) if item.outputs else ""
    stem = os.path.basename(item.input).removesuffix(FIT_SUFFIX)
    return folder if os.path.basename(folder).startswith(f"{stem}.") else " ".join(item.outputs)


def _common_folder(outputs: Sequence[str]) -> str:
    with suppress(ValueError):  # Windows: several drives
        return os.path.commonpath([os.path.dirname(output) for output in outputs])
    return ""


def _where(outputs: Sequence[str]) -> str:
    """List a few files below their common folder, or only count many files."""
    folder = _common_folder(outputs)
    if len(outputs) > _MAX_FILES:
        return f"results: {len(outputs)} files" + (f" in {one_line(folder)}" if folder else "")
    if len(outputs) == 1 or not folder:
        return "\n".join(f"result: {one_line(output)}" for output in outputs)
    below = [one_line(os.path.relpath(output, folder)) for output in outputs]
    return "\n".join([f"results in {one_line(folder)}:", *(f"  {name}" for name in below)])


def _rows_to_show(items: Sequence[ItemResult]) -> Sequence[ItemResult]:
    """Select all items of a short list, or the first ones and all failures of a long list."""
    if len(items) <= _MAX_ROWS:
        return items
    fine = {Status.SUCCESS, Status.SKIPPED}
    return [item for i, item in enumerate(items) if i < _MAX_ROWS // 2 or item.status not in fine]


def _summary(result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str]) -> str:
    counts = Counter(item.status for item in result.items)
    parts = [f"{counts[status]} {word}" for status, word in labels.items() if counts[status]]
    for column in columns:
        if column.is_counted and (count := sum(bool(item.details.get(column.key)) for item in result.items)):
            parts.append(f"{count} {column.heading}")
    pace = result.extra.get("summary", {})
    if pace.get("items_per_second"):
        parts.append(f"{pace['seconds']:.1f} s, {pace['items_per_second']:.3g} items/s")
    return f"{len(result.items)} items: {', '.join(parts)}"


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
