"""Results of commands: frozen values that the command line renders as text or one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from humanpose_cli.core.errors import ExitCode
from humanpose_cli.version import __version__


class Status(str, Enum):
    """Outcome of an item or a command.

    `SKIPPED` is an item that an earlier run finished, `PLANNED` an item that a dry run would do.
    """

    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    PLANNED = "planned"


@dataclass(frozen=True)
class ItemResult:
    """The result of one item (an image or one sequence).

    Attributes:
        input: Path of the item.
        status: Outcome of the item.
        outputs: Paths of the files written, in the order written.
        seconds: Time of the work.
        error: One sentence, or None.
        exit_code: Exit code of the command if it had only this failure.
        details: Further JSON values.
        name: Short form of the path, relative to the folder of all inputs; "" if there is none.
    """

    input: str
    status: Status
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    exit_code: ExitCode = ExitCode.OK
    details: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def shown(self) -> str:
        """The short form, or the input if there is none."""
        return self.name or self.input

    def to_document(self) -> dict[str, Any]:
        """Convert the item to JSON values; details do not replace fixed names."""
        fields = {
            "input": self.input,
            "status": self.status.value,
            "outputs": list(self.outputs),
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }
        return {**self.details, **fields}


@dataclass(frozen=True)
class ResultTable:
    """A table for users; programs find its numbers in `CommandResult.extra`.

    Attributes:
        title: Title.
        columns: Headings of the columns.
        rows: Texts of the cells.
        notes: Sentences below the table.
        justify: Alignment of all columns but the first: "right" for numbers, "left" for phrases.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    justify: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class CommandResult:
    """The result of a command, for the text output and `--json`.

    Attributes:
        command: Name of the command.
        status: Outcome of the command.
        items: Results of the items.
        messages: Sentences for the user.
        exit_code: Exit code.
        extra: Further JSON values.
        tables: Further tables for users.
    """

    command: str
    status: Status
    items: tuple[ItemResult, ...] = ()
    messages: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    extra: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[ResultTable, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values: command, status, items, messages, version, and `extra`."""
        fields = {
            "command": self.command,
            "status": self.status.value,
            "items": [item.to_document() for item in self.items],
            "messages": list(self.messages),
            "version": __version__,
        }
        return {**self.extra, **fields}


def combine_status(items: Sequence[ItemResult]) -> tuple[Status, ExitCode]:
    """Derive the status and exit code of a command from its items.

    The status is success if all items succeed, and error if all fail, with the items' exit code if they agree
    (otherwise bad input). Otherwise it is partial, 4. An interrupted item makes the command interrupted.
    """
    for item in items:
        if item.status is Status.INTERRUPTED:
            return Status.INTERRUPTED, item.exit_code
    failures = [item for item in items if item.status is Status.ERROR]
    partial = any(item.status is Status.PARTIAL for item in items)
    if not failures and not partial:
        return Status.SUCCESS, ExitCode.OK
    if failures and len(failures) == len(items):
        codes = {item.exit_code for item in failures}
        return Status.ERROR, codes.pop() if len(codes) == 1 else ExitCode.BAD_INPUT
    return Status.PARTIAL, ExitCode.PARTIAL
