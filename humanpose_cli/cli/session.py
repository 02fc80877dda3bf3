"""The decorator of a command's function, and the session that the function receives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.reporter import Reporter
from humanpose_cli.cli.settings import apply_settings
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status

Function = Callable[..., CommandResult]
Options = TypeVar("Options")
Cluster = Literal["", "array", "build", "stages", "job"]


class ResultColumn(NamedTuple):
    """A column of the table of items.

    Attributes:
        key: Key in the details of items, and name of the column in JSON and piped output.
        heading: Name of the column in a terminal.
        meaning: Meaning of the values with their unit, for `--help-all`.
        is_counted: Whether the summary counts the items with a value.
        on_request: Whether the column is shown only if an item has the key.
        piped: Whether only JSON and piped output have the column, because its texts are long.
    """

    key: str
    heading: str
    meaning: str = ""
    is_counted: bool = False
    on_request: bool = False
    piped: bool = False

    @property
    def help(self) -> str:
        """The meaning, and the heading if it differs from the key."""
        return self.meaning if self.heading == self.key else f"{self.meaning} In a terminal: {self.heading}."


@dataclass(frozen=True)
class CommandInfo:
    """The declaration of a command, beyond the signature of its function.

    Attributes:
        columns: Columns of the table of items, in addition to input, status and seconds.
        labels: Names of a status in the table, instead of the usual ones.
        tunes: Whether the function applies `session.settings`; otherwise unknown keys are refused.
        cluster: How the command can be submitted: "array" of shards; "build" of one result that the command joins;
            "stages", of which the command runs the last one itself; one "job"; or "".
        usual: Flags of the options that `--help` shows, by use, such as "--out --frames"; the others belong to
            `--help-all`. "" for all options but those under a shared heading (`cli.options.SHARED_HEADINGS`).
        examples: Command lines; `--help` shows the first three.
    """

    columns: tuple[ResultColumn, ...] = ()
    labels: Mapping[Status, str] = field(default_factory=dict)
    tunes: bool = False
    cluster: Cluster = ""
    usual: str = ""
    examples: tuple[str, ...] = ()


def command(*, columns: Sequence[tuple[Any, ...]] = (), **fields: Any) -> Callable[[Function], Function]:
    """Declare a command: a decorator for its function.

    Args:
        columns: Arguments of `ResultColumn` for each column.
        **fields: Other fields of `CommandInfo`.
    """
    info = CommandInfo(tuple(ResultColumn(*column) for column in columns), **fields)

    def mark(function: Function) -> Function:
        function.info = info  # type: ignore[attr-defined]
        return function

    return mark


_TYPED = {"fit": "--fit/--no-fit"}  # a switch that is on: who turns it off looks for that flag


@dataclass(frozen=True)
class Session:
    """One run of one command.

    Attributes:
        command: Name of the command without its sub-command.
        reporter: Writes messages and progress to stderr, and listens to batches.
        stop: The handler of signals.
        json: Whether the result is printed as JSON, and so must hold what programs need.
        arguments: The command line, for run.json.
        settings: Values of --config and --set that are not options of the command, by key.
        on_command_line: Names of the options on the command line.
    """

    command: str
    reporter: Reporter
    stop: StopSignals
    json: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    on_command_line: frozenset[str] = frozenset()

    def tune(self, options: Options, belongs: Callable[[str], bool] = lambda key: True) -> Options:
        """Return a dataclass of options with the user's settings; `belongs` selects the keys that are meant for it."""
        return apply_settings(options, {key: value for key, value in self.settings.items() if belongs(key)})

    def tune_part(self, name: str, options: Options) -> Options:
        """Apply the settings that begin with `name.` to separate options."""
        part = {key.removeprefix(f"{name}."): v for key, v in self.settings.items() if key.startswith(f"{name}.")}
        return apply_settings(options, part)

    def refuse(self, names: Iterable[str], problem: str, remedy: str = "leave it out") -> None:
        """Raise UsageError for the first of these options that is on the command line, or of these settings."""
        names = list(names)
        for name in filter(self.on_command_line.__contains__, names):
            raise UsageError(_TYPED.get(name, name), problem, remedy=remedy)
        for name in filter(self.settings.__contains__, names):
            raise UsageError(f"setting {name}", problem, remedy=remedy)

    @contextmanager
    def item(self, name: str, *, grace: float | None = None) -> Iterator[None]:
        """Show progress on a single item, for commands without a batch.

        Args:
            name: Name of the item.
            grace: Seconds that the work may take to finish after a signal. None ends it at once.
        """
        start = time.monotonic()
        self.reporter.start(1)
        self.reporter.item_started(name)
        try:
            if grace is None:
                self.stop.has_begun = True
                yield
            else:
                self.stop.allow(grace)
                with self.stop.item():
                    yield
            self.reporter.item_finished(ItemResult(name, Status.SUCCESS, seconds=time.monotonic() - start))
        finally:
            self.reporter.finish()
