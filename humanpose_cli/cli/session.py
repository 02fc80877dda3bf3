"""What a command's function is marked with, and what it gets for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.reporter import Reporter
from humanpose_cli.cli.settings import apply_settings
from humanpose_cli.core.result import CommandResult, Status

Function = Callable[..., CommandResult]
Options = TypeVar("Options")
Cluster = Literal["", "array", "build", "stages", "job"]


class ResultColumn(NamedTuple):
    """A column of the table of items.

    Attributes:
        key: Of the items' details; what --json and piped output call the column.
        heading: What a terminal calls it.
        meaning: What it holds, with its unit, for `--help`.
        optional: Whether a narrow terminal may go without it; the last ones go first.
        is_counted: Whether a value is a reason to look at the item: the summary counts them.
        on_request: Whether the column is shown only if an item has the key, which an option requests.
    """

    key: str
    heading: str
    meaning: str = ""
    optional: bool = False
    is_counted: bool = False
    on_request: bool = False

    @property
    def help(self) -> str:
        """What help says beside the key: the meaning, and the heading where that is another."""
        return self.meaning if self.heading == self.key else f"{self.meaning} In a terminal: {self.heading}."


@dataclass(frozen=True)
class CommandInfo:
    """What `@command` says about a function beyond its signature.

    Attributes:
        columns: Of the table of items, beside input, status and seconds.
        labels: What the table calls a status, where its usual labels do not fit.
        tunes: Whether it passes `session.settings` on through `session.tune`; otherwise unknown keys are refused.
        cluster: How it can be submitted: as an "array" of shards, on which a dry run reports; as the "build" of one
            result, whose shards the command joins in the end; in "stages", of which the command does the last one
            in the end; as one "job".
        usual: Flags of the options that `--help` shows, by use, such as "--out --frames"; the others belong to
            `--help-all`. "" for all options but those under a shared heading (`cli.options.SHARED_HEADINGS`).
        examples: Command lines; `--help` shows the first three.
        brief: What became of an item in a few words, for the line that lists it when it is done; without it, no
            line.
    """

    columns: tuple[ResultColumn, ...] = ()
    labels: Mapping[Status, str] = field(default_factory=dict)
    tunes: bool = False
    cluster: Cluster = ""
    usual: str = ""
    examples: tuple[str, ...] = ()
    brief: Callable[[Mapping[str, Any]], str] | None = None


def command(
    *,
    columns: Sequence[tuple[Any, ...]] = (),
    labels: Mapping[Status, str] | None = None,
    tunes: bool = False,
    cluster: Cluster = "",
    usual: str = "",
    examples: tuple[str, ...] = (),
    brief: Callable[[Mapping[str, Any]], str] | None = None,
) -> Callable[[Function], Function]:
    """Decorate a command's function; takes the fields of CommandInfo, columns as plain tuples."""

    def mark(function: Function) -> Function:
        function.info = CommandInfo(  # type: ignore[attr-defined]
            columns=tuple(ResultColumn(*column) for column in columns),
            labels=labels or {},
            tunes=tunes,
            cluster=cluster,
            usual=usual,
            examples=examples,
            brief=brief,
        )
        return function

    return mark


def counts(*names: str) -> Callable[[Mapping[str, Any]], str]:
    """Build a `CommandInfo.brief` of numbers in the details, such as "1 person, 100 frames"; one frame is not
    mentioned.
    """

    def brief(details: Mapping[str, Any]) -> str:
        values = [(name, details[name]) for name in names if name in details]
        return ", ".join(
            f"1 {_ONE[name]}" if n == 1 else f"{n} {name}" for name, n in values if (name, n) != ("frames", 1)
        )

    return brief


_ONE = {"people": "person", "poses": "pose", "files": "file"}


@dataclass(frozen=True)
class Session:
    """One run of one command: what its function gets beside its options.

    Attributes:
        command: Its name.
        reporter: Writes messages and progress to stderr; the listener of a batch.
        stop: The handler of signals.
        json: Whether the result is printed as JSON, and so must hold what a program needs.
        arguments: The command line, for run.json.
        settings: Keys from --config and --set that are not flags of the command.
        on_command_line: Names of the function's parameters that stood on the command line.
    """

    command: str
    reporter: Reporter
    stop: StopSignals
    json: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    on_command_line: frozenset[str] = frozenset()

    def inform(self, messages: Iterable[str]) -> None:
        """Write each to stderr."""
        for message in messages:
            self.reporter.info(message)

    def tune(self, options: Options, *, without: str = "") -> Options:
        """Apply the user's settings to the dataclass of a command's deeper options.

        Args:
            without: The name of a part whose settings are not among them, see `tune_part`.
        """
        rest = {key: value for key, value in self.settings.items() if not without or not key.startswith(f"{without}.")}
        return apply_settings(options, rest)

    def tune_part(self, name: str, options: Options) -> Options:
        """Apply the settings that begin with `name.` to options that are no part of the others."""
        part = {key.removeprefix(f"{name}."): v for key, v in self.settings.items() if key.startswith(f"{name}.")}
        return apply_settings(options, part)

    @contextmanager
    def item(self, name: str, *, grace: float | None = None, more: int = 0) -> Iterator[None]:
        """Show progress on the one item of a command that has no batch.

        Args:
            grace: Seconds that the work inside has to finish by itself after a signal; None: a signal ends it at
                once.
            more: About how many items of a batch follow, which continues the progress.
        """
        self.reporter.start(1 + more)
        self.reporter.item_started(name)
        try:
            if grace is None:
                self.stop.has_begun = True
                yield
            else:
                self.stop.allow(grace)
                with self.stop.item():
                    yield
        except BaseException:
            self.reporter.finish()
            raise
        self.reporter.item_over(keep=more > 0)
