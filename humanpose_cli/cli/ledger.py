"""`hpc ledger`: show the ledgers in an output folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import argument, option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode, InputError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from humanpose_cli.outputs.ledger import Entry

_FOLDER = argument("FOLDER", "Output folder of hpc fit, refine or repose.")
_ALL = option("--all", "List every item. Default: failed and unfinished ones.")


@command(
    columns=(
        ("command", "command", "Command that was run."),
        ("host", "host", "Machine that processed the item."),
        ("finished", "finished", "Time of the end, in UTC."),
        ("error", "error", "Why the item failed."),
    ),
    labels={Status.INTERRUPTED: "not finished"},
    examples=("hpc ledger hpc-out/fit", "hpc ledger hpc-out/fit --all --json"),
)
def ledger(session: Session, folder: Annotated[Path, _FOLDER], every: Annotated[bool, _ALL] = False) -> CommandResult:
    """Show what failed in an output folder, and how fast each machine was.

    The exit code is 0, also if items failed.
    """
    from humanpose_cli.outputs.ledger import Ledger

    entries = list(Ledger(folder).entries.values())
    if not entries:
        below = min((path.parent for path in folder.glob("*/ledger.*.jsonl")), default=None)
        remedy = f"there is one in {below}" if below else ""
        expected = "the output folder of fit, refine or repose"
        raise InputError(folder, "has no ledger with items", expected=expected, remedy=remedy)
    visible_entries = [entry for entry in entries if every or not entry.done]
    done_count = sum(entry.done for entry in entries)
    message = f"{done_count} of {len(entries)} done"
    return CommandResult(
        "ledger",
        Status.SUCCESS,
        tuple(map(_item, visible_entries)),
        (message,),
        extra={"machines": [_pace(*group) for group in _groups(entries)]},
        tables=(_table(entries),),
    )


def _item(entry: Entry) -> ItemResult:
    details: dict[str, Any] = {
        "command": entry.command,
        "host": entry.host,
        "finished": entry.finished[:19],
        "error": entry.error,
    }
    details |= {"memory_mb": entry.memory_mb, "threads": entry.threads}
    code = ExitCode(entry.exit_code)
    return ItemResult(entry.path, Status(entry.outcome), entry.outputs, entry.seconds, entry.error, code, details)


def _groups(entries: Iterable[Entry]) -> list[tuple[tuple[str, str], list[Entry]]]:
    """Group entries by command and machine."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.command, entry.host), []).append(entry)
    return sorted(groups.items())


def _pace(command_and_host: tuple[str, str], entries: Sequence[Entry]) -> dict[str, str | int | float]:
    """Summarize the work of a machine: items, finished items, seconds, and items per hour."""
    seconds = sum(entry.seconds for entry in entries)
    return {
        "command": command_and_host[0],
        "host": command_and_host[1],
        "items": len(entries),
        "done": sum(entry.done for entry in entries),
        "seconds": round(seconds, 3),
        "items_per_hour": round(3600 * len(entries) / seconds, 1) if seconds else 0.0,
        "memory_mb": max(entry.memory_mb for entry in entries),
        "threads": max(entry.threads for entry in entries),
        "last": max(entry.finished for entry in entries)[:19],
    }


def _table(entries: Iterable[Entry]) -> ResultTable:
    rows = []
    for group in _groups(entries):
        pace = _pace(*group)
        pace["last"] = str(pace["last"]).replace("T", " ")  # narrow terminals break it there
        rows.append([str(value) for value in pace.values()])
    columns = ("command", "host", "items", "done", "seconds", "items/h", "MB", "threads", "last")
    return ResultTable(
        "Who did what", columns, rows, ("Seconds are those of work on items, of all processes together.",)
    )
