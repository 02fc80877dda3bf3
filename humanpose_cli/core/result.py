"""Results of commands: frozen values that the command line renders as text or as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from humanpose_cli.core.errors import ExitCode
from humanpose_cli.version import __version__


class Status(str, Enum):
    """Outcome of an item or of a command: `SKIPPED` is an item that an earlier run had finished, `PLANNED` one that a
    dry run found to do.
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
        input: As the user would recognise it: its path.
        name: A short form for tables, relative to the folder of all inputs; "" if there is none.
        outputs: Paths of the files written, in the order written.
        error: One sentence, or None.
        exit_code: The command's exit code if this item's failure were the only one.
        details: Further JSON values, shown beside the fixed ones.
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
        """The short form, else the input."""
        return self.name or self.input

    def to_document(self) -> dict[str, Any]:
        """Convert the item to JSON values; details never hide a fixed name."""
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
    """A table for people beside that of the items, its cells as text; programs find its numbers in `extra`.

    Attributes:
        justify: Of the columns behind the first: "right" for numbers, "left" for phrases.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    justify: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: one document for people's renderer and for `--json` alike."""

    command: str
    status: Status
    items: tuple[ItemResult, ...] = ()
    messages: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    extra: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[ResultTable, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Convert to the envelope of design section 5: command, status, items, messages, version."""
        fields = {
            "command": self.command,
            "status": self.status.value,
            "items": [item.to_document() for item in self.items],
            "messages": list(self.messages),
            "version": __version__,
        }
        return {**self.extra, **fields}


def combine_status(items: Sequence[ItemResult]) -> tuple[Status, ExitCode]:
    """Derive status and exit code of a command from its items'.

    Everything done: success. Nothing done: error, with the items' own code if they agree (else bad input).
    Anything between: partial, 4. An interrupted item makes the command interrupted.
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
