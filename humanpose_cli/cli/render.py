"""Write results and failures to stdout and stderr, and choose the exit code.

A terminal gets a table of its width, a pipe or a file gets tab-separated lines below a header, and `--json` writes one
JSON document.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanpose_cli.batch.runner import Failure, explain
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.session import ResultColumn
from humanpose_cli.cli.stdout import escaped_for_stdout, write_stdout
from humanpose_cli.core.errors import ExitCode, HpcError, InterruptedRun, one_line, shortened
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status
from humanpose_cli.io.output_names import FIT_SUFFIX

if TYPE_CHECKING:
    from humanpose_cli.cli.reporter import Reporter
    from humanpose_cli.cli.session import CommandInfo

_MAX_ROWS = 40
_MAX_FILES = 6
_MIN_WRAPPED = 20  # characters of the one column of a terminal's table that may be wrapped
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


_ERROR = ResultColumn("error", "error")  # of `ItemResult`, for every command


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
    if isinstance(error, HpcError):
        from humanpose_cli.cli.command import error_with_flags

        message = error_with_flags(name, error)
        return CommandResult(command, Status.ERROR, messages=(message,), exit_code=error.exit_code)
    failure = _usage_failure(error) or explain(error, out=out)
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
        terminal = sys.stdout.isatty()
        has_errors = any(item.error and (terminal or item.input not in reporter.failed_items) for item in result.items)
        write_stdout(result_text(result, columns, labels, terminal=terminal, has_errors=has_errors))
        if not terminal and len(result.items) > 1:
            reporter.info(_summary(result, columns, labels))
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


def _usage_failure(error: BaseException) -> Failure | None:
    """Explain an error of typer's parser in one sentence; None for any other exception."""
    import typer

    # typer carries its own copy of click since 0.26 and used click itself before: take the class from what it exports
    if not isinstance(error, typer.BadParameter.__bases__[0]):
        return None
    from humanpose_cli.cli.command import build_command
    from humanpose_cli.cli.help import HelpCommand, long_flags
    from humanpose_cli.cli.mistakes import option_remedy, value_remedy
    from humanpose_cli.cli.settings import settings_origin
    from humanpose_cli.cli.table import command_names

    # "Invalid value for '--height': …", "No such option: --gpu (Possible options: …)", "Option '--out' requires …"
    sentence = re.sub(r"\s+", " ", error.format_message()).strip().rstrip(".")  # type: ignore[attr-defined]
    sentence = sentence.replace(": Value error, ", ": ")  # the validator's own word for its kind of error
    context = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    if context is None:
        return Failure(sentence, ExitCode.USAGE)
    remedy = ""
    option = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        sentence = sentence.partition(" (Possible")[0]  # click's are similar in some letters only
        name = " ".join(context.command_path.split()[1:]) or "hpc"
        remedy = option_remedy(
            name, option, command_names(), lambda each: long_flags(build_command(each, lambda _: 0).params)
        )
    elif option:
        parameter = next((each for each in context.command.params if option in each.opts), None)
        value = getattr(parameter, "metavar", "") or "VALUE"
        page = f"see {context.command_path} --help-all"
        remedy = f"type {option} {value}, {page}" if "requires" in sentence else f"type {option} alone"
    elif "Input should" in sentence:  # the words of pydantic, by which newer versions of typer check numbers
        text = str(error.__cause__.errors()[0]["input"])  # type: ignore[union-attr]
        sentence = f"{sentence.partition(', unable')[0]}, found '{text}'"
        remedy = value_remedy(text, parameter.metavar or "")
    elif number := re.search(r"'([^']*)' is not a valid", sentence):
        remedy = value_remedy(number[1], parameter.metavar or "")
    if parameter is not None and (origin := settings_origin(context, parameter.name)):
        sentence += f" (from {origin})"
    if not remedy:
        is_about_option = bool(option) or getattr(parameter, "param_type_name", "") == "option"
        page = "--help-all" if is_about_option and isinstance(context.command, HelpCommand) else "--help"
        remedy = f"see {context.command_path} {page}"
    sentence += f"; {remedy}"
    return Failure(sentence, ExitCode.USAGE)


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
    result: CommandResult,
    columns: Sequence[ResultColumn],
    labels: Mapping[Status, str],
    *,
    terminal: bool,
    has_errors: bool,
) -> str:
    """Write the tables of a result; the table of items is the last.

    Args:
        result: The result.
        columns: Columns of the command, in addition to input, status and seconds.
        labels: Names of a status.
        terminal: Whether to fit the width of the terminal; otherwise values are separated by tabs.
        has_errors: Whether the items have a column of errors, which a pipe only needs for those not on stderr.
    """
    columns = [c for c in columns if not c.on_request or any(c.key in item.details for item in result.items)]
    if has_errors and all(column.key != _ERROR.key for column in columns):
        columns.append(_ERROR)
    draw_table, draw_items = (_drawn_table, _drawn_items) if terminal else (_separated_table, _separated_items)
    items = draw_items(result, columns, labels) if result.items else ""
    return "".join(draw_table(table) for table in result.tables) + items


def _cells(item: ItemResult, columns: Sequence[ResultColumn]) -> list[str]:
    values = (item.error if column is _ERROR else item.details.get(column.key) for column in columns)
    return [shortened(_shown(value)) for value in values]


# For programs: tab-separated values


def _separated_table(table: ResultTable) -> str:
    """Write title and notes on lines that begin with #."""
    rows = [_separated(row) for row in (table.columns, *table.rows)]
    return "\n".join([f"# {one_line(table.title)}", *rows, *(f"# {one_line(note)}" for note in table.notes)]) + "\n\n"


def _separated_items(result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str]) -> str:
    """Write all items, with the names of the JSON document as the header."""
    rows = [["input", "status", *(column.key for column in columns), "seconds", "outputs"]]
    for item in result.items:
        cells = _cells(item, columns)
        rows.append([item.input, labels[item.status], *cells, f"{item.seconds:.1f}", _listed(item)])
    return "".join(_separated(row) + "\n" for row in rows)


def _separated(cells: Sequence[str]) -> str:
    return "\t".join(one_line(cell) for cell in cells)


# For people: as wide as the terminal


def _drawn_table(table: ResultTable) -> str:
    """Draw a table with its title above, its notes below and an empty line."""
    title = _text(table.title, "bold")
    notes = [_text(note) for note in table.notes]
    justify = ["left", *[table.justify] * (len(table.columns) - 1)]
    rows = [[_text(one_line(cell)) for cell in row] for row in table.rows]
    return _drawn(title, _grid(table.columns, rows, justify), *notes) + "\n"


def _drawn_items(result: CommandResult, columns: Sequence[ResultColumn], labels: Mapping[Status, str]) -> str:
    items = _rows_to_show(result.items)
    has_times = any(item.seconds for item in result.items)
    headings = ["input", "status", *(column.heading for column in columns), *(["seconds"] if has_times else [])]
    rows = []
    for item in items:
        row = [_text(one_line(item.shown)), _text(labels[item.status], _STYLES[item.status])]
        row += [_text(one_line(cell)) for cell in _cells(_with_short_error(item), columns)]
        rows.append([*row, *([_text(f"{item.seconds:.1f}" if item.seconds else "")] if has_times else [])])
    optional = {2 + i for i, column in enumerate(columns) if column.optional}
    # Reasons of doubt are compared from row to row, on one line each; the columns on request only stand in few rows.
    unbroken = {2 + i for i, column in enumerate(columns) if column.is_counted and not column.on_request}
    parts: list[Any] = list(_fitted(headings, rows, optional, unbroken))
    if hidden_count := len(result.items) - len(items):
        parts.append(_text(f"not shown: {hidden_count} more that went well; --json and a pipe list all", "dim"))
    if len(result.items) > 1:
        parts.append(_text(_summary(result, columns, labels)))
    if output_paths := [
        output for item in result.items if item.status is not Status.PLANNED for output in item.outputs
    ]:
        parts.append(_text(_where([*dict.fromkeys(output_paths)])))
    return _drawn(*parts)


def _with_short_error(item: ItemResult) -> ItemResult:
    """Return the item with its name removed from the error, since it is in the same row."""
    error = item.error or ""
    for name in (item.input, os.path.abspath(item.input)):
        error = error.removeprefix(f"{one_line(name)}: ")
    return replace(item, error=error) if item.error else item


def _fitted(headings: list[str], rows: list[list[Any]], optional: set[int], unbroken: set[int]) -> list[Any]:
    """Lay out rows as a table without optional columns if it is too wide, or else as stacked lines."""
    # optional, unbroken: numbers of the columns that may be omitted, the last one first, and of those that may not be
    # wrapped, as names and the status.
    width = _terminal_width()
    columns = list(range(len(headings)))
    left_out: list[str] = []
    while True:
        widths = {i: max(len(headings[i]), *(row[i].cell_len for row in rows)) for i in columns}
        wrapped_column = max((i for i in columns[2:] if i not in unbroken), key=lambda i: widths[i], default=None)
        room = width - sum(widths.values()) - 3 * (len(columns) - 1)
        fits = room >= 0 or (wrapped_column is not None and widths[wrapped_column] + room >= _MIN_WRAPPED)
        droppable = [i for i in columns if i in optional]
        if room >= 0 or not droppable:
            break
        left_out.insert(0, headings[droppable[-1]])
        columns.remove(droppable[-1])
    if not fits:
        return [_stacked(headings, row) for row in rows]
    justify = ["right" if heading == "seconds" else "left" for heading in (headings[i] for i in columns)]
    wrap = columns.index(wrapped_column) if wrapped_column is not None and room < 0 else None
    parts = [_grid([headings[i] for i in columns], [[row[i] for i in columns] for row in rows], justify, wrap)]
    if left_out:
        parts.append(_text(f"not shown at this width: {', '.join(left_out)}", "dim"))
    return parts


def _stacked(headings: Sequence[str], row: Sequence[Any]) -> Any:
    """Write an item as lines: its name and status, then a line for each value."""
    from rich.text import Text

    lines = [Text.assemble(row[0], "  ", row[1])]
    lines += [
        Text.assemble((f"  {heading}: ", "dim"), value)
        for heading, value in zip(headings[2:], row[2:], strict=True)
        if value.plain
    ]
    return Text("\n").join(lines)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[Any]], justify: Sequence[Any], wrap: int | None = -1) -> Any:
    """Build a rich table; `wrap` is the column that may be wrapped (-1 for any, None for none)."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, (heading, side) in enumerate(zip(headings, justify, strict=True)):
        grid.add_column(_text(heading), justify=side, overflow="fold", no_wrap=wrap not in (-1, number))
    for row in rows:
        grid.add_row(*row)
    return grid


def _drawn(*parts: Any) -> str:
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=_terminal_width())
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text), highlight=False)  # text stays whole, to be copied
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns


def _text(text: str, style: str = "") -> Any:
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
