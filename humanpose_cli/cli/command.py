"""How a command is made of a function: options of every command, settings, and what the function is handed.

The function is the command: its parameters are the options, its docstring the help, its CommandResult the output.

Settings come from a TOML file (`--config`) and from `--set key=value`. A flag wins over `--set`, `--set` over
`--config`. A key is the name of one of the command's options (`batch-size`), or the dotted name of a field of its
deeper options (`keypoints.depth_weight`), for which there is no flag. In a TOML file, a table named after a command
holds for that command alone:

    device = "cuda"
    [fit]
    people = "largest"
    [fit.keypoints]
    depth_weight = 0.5
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand

from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.cluster import ClusterFlags
from humanpose_cli.cli.options import check_values, nearest
from humanpose_cli.cli.render import ResultColumn
from humanpose_cli.cli.reporter import Reporter
from humanpose_cli.cli.table import CONTEXT
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.core.result import CommandResult, Status
from humanpose_cli.io.protected import paths_in, protect, refuse_input
from humanpose_cli.io.sniffing import reading_error, refuse_pipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Function = Callable[..., CommandResult]
Options = TypeVar("Options")
_META, _NOTES = "humanpose_cli.settings", "humanpose_cli.notes"

RENAMED: Mapping[str, Mapping[str, str]] = {"evaluate": {"seen": "visible"}, "train": {"seen": "visible"}}
"""For each command, the old name of an option or setting, as Python spells it, and the new one. Old names are
accepted with a warning for one version."""

REMOVED: Mapping[str, Mapping[str, str]] = {
    "repose": {
        "keep_input_detail": "use --method warp3d --mesh-input, which is closer to the truth",
        "network_turn": "use --method warp3d --mesh-input",
        "personalize": "leave it out: it brought nothing measurable",
    },
    "evaluate": {"personalize": "leave it out: it brought nothing measurable"},
}
"""For each command, options and settings that were removed, and what to do instead."""


@dataclass(frozen=True)
class CommandInfo:
    """What `@command` says about a function beyond its signature.

    columns   of the table of items, beside input, status and seconds
    labels    what the table calls a status, where its usual labels do not fit
    tunes     whether it passes `session.settings` on through `session.tune`; otherwise unknown keys are refused
    cluster   how it can be submitted: as an "array" of shards, on which a dry run reports; as the "build" of one
              result, whose shards the command joins in the end; as one "job"
    examples  command lines for the end of `--help`
    """

    columns: tuple[ResultColumn, ...] = ()
    labels: Mapping[Status, str] = field(default_factory=dict)
    tunes: bool = False
    cluster: Literal["", "array", "build", "job"] = ""
    examples: tuple[str, ...] = ()


def command(*, columns: Sequence[tuple[Any, ...]] = (), **info: Any) -> Callable[[Function], Function]:
    """Decorator for a command's function; takes the fields of CommandInfo, columns also as plain tuples."""

    def mark(function: Function) -> Function:
        function.info = CommandInfo(tuple(ResultColumn(*column) for column in columns), **info)  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Session:
    """One run of one command: what its function is handed beside its own options.

    command    its name
    reporter   writes messages and progress to stderr; the listener of a batch
    stop       the handler of SIGINT and SIGTERM
    json       whether the result is printed as JSON, and so must hold what a program needs
    arguments  the command line, for run.json
    settings   keys from --config and --set that are not flags of the command
    given      names of the function's parameters that stood on the command line
    """

    command: str
    reporter: Reporter
    stop: StopSignals
    json: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    def tell(self, messages: Iterable[str]) -> None:
        """Say each on stderr."""
        for message in messages:
            self.reporter.info(message)

    def tune(self, options: Options) -> Options:
        """The dataclass of a command's deeper options with the user's settings in it."""
        return apply_settings(options, self.settings)

    @contextmanager
    def item(self, name: str, *, grace: float | None = None) -> Iterator[None]:
        """Show progress on the one item of a command that has no batch.

        grace  seconds that the work inside has to finish by itself after a signal; None: a signal ends it at once
        """
        self.reporter.start(1)
        self.reporter.item_started(name)
        try:
            if grace is None:
                self.stop.worked = True
                yield
            else:
                self.stop.allow(grace)
                with self.stop.item():
                    yield
        finally:
            self.reporter.finish()


@dataclass(frozen=True)
class Invocation:
    """A command with all its values, ready to be carried out.

    values  the function's own parameters
    given   names of those that stood on the command line
    notes   warnings about the command line itself
    cluster how it is submitted, if the command can be
    """

    name: str
    function: Function
    info: CommandInfo
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    json: bool
    quiet: bool
    verbose: bool
    log_json: bool = False
    given: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    cluster: ClusterFlags | None = None


def build_command(name: str, module: str, carry_out: Callable[[Invocation], int]) -> TyperCommand:
    """The typer command for the function `name` in `module`, which is imported now.

    carry_out  runs the invocation and returns the exit code
    """
    function: Function = getattr(importlib.import_module(module), canonical(name))
    info: CommandInfo = getattr(function, "info", CommandInfo())
    declared = list(inspect.signature(function, eval_str=True).parameters.values())[1:]  # without the session
    groups: dict[str, Any] = {p.name: p.annotation for p in declared if dataclasses.is_dataclass(p.annotation)}
    if info.cluster:
        groups["cluster"] = ClusterFlags
        declared.append(inspect.Parameter("cluster", inspect.Parameter.KEYWORD_ONLY, annotation=ClusterFlags))
    own = [parameter for p in declared for parameter in _expanded(p)]

    def callback(context: typer.Context, **values: Any) -> int:
        settings = _leftover_settings(context, info)
        given = frozenset(name for name in values if _is_given(context, name))
        _protect_inputs({**settings, **values})
        universal = {flag: values.pop(flag) for flag in ("json", "quiet", "verbose", "log_json")}
        for consumed in ("config", "set_"):
            values.pop(consumed, None)
        check_values(values)
        for group, kind in groups.items():
            values[group] = kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind)})
        universal["cluster"] = values.pop("cluster", None)
        notes = tuple(dict.fromkeys(context.meta.get(_NOTES, ())))
        return carry_out(Invocation(name, function, info, values, settings, given=given, notes=notes, **universal))

    context_parameter = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context_parameter, *(p.replace(kind=p.KEYWORD_ONLY) for p in own), *_universal_parameters()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=_Command, help=inspect.getdoc(function), context_settings=CONTEXT)(callback)
    built = typer.main.get_command(app)
    assert isinstance(built, _Command)
    built.info = info
    return built


# Errors of the library speak of arguments: `focal`, `method=nbf`. The command line says --focal, --method nbf.

_ARGUMENT = re.compile(r"`([a-z][\w.]*)(?:=([^`]*))?`")


@functools.cache
def flags_of(name: str) -> Mapping[str, str]:
    """The flag of each argument of a command; nothing for a command that there is not."""
    from humanpose_cli.cli.table import COMMANDS

    if name not in COMMANDS:
        return {}
    built = build_command(name, f"humanpose_cli.cli.{name}", lambda _: 0)
    options = [parameter for parameter in built.params if parameter.param_type_name == "option"]
    long = {str(p.name): next(flag for flag in p.opts if flag.startswith("--")) for p in options}
    return long | {canonical(flag.lstrip("-")): flag for flag in long.values()}


def in_flags(text: str, name: str) -> str:
    """A message with the arguments that stand in backticks as flags of a command; settings become `--set`."""
    if "`" not in text:
        return text
    flags = flags_of(name)

    def flag(match: re.Match[str]) -> str:
        argument, value = match[1], match[2]
        if argument not in flags:
            return match[0] if value is None else f"--set {argument}={value}"
        if value in (None, "True"):
            return flags[argument]
        return f"--no-{flags[argument][2:]}" if value == "False" else f"{flags[argument]} {value}"

    return _ARGUMENT.sub(flag, text)


def sentence_in_flags(error: HpcError, name: str) -> str:
    """An error's sentence with flags for arguments, also where it is about one."""
    flags, about = flags_of(name), error.subject.split(", ")
    if not isinstance(error, InputError) and all(argument in flags for argument in about):
        subject = ", ".join(flags[argument] for argument in about)
        return in_flags(subject + str(error)[len(error.subject) :], name)
    return in_flags(str(error), name)


def _protect_inputs(values: Mapping[str, Any]) -> None:
    """Protect the files among a command's values; UsageError if its output is one of them."""
    out = values.get("out")
    protect(path for name, value in values.items() if name != "out" for path in paths_in(value))
    if out is not None:
        refuse_input(out)


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _expanded(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """A parameter whose type is a dataclass of options stands for one option a field."""
    kind = parameter.annotation
    if not dataclasses.is_dataclass(kind):
        return [parameter]
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        parameter.replace(name=f.name, default=f.default, annotation=hints[f.name]) for f in dataclasses.fields(kind)
    ]


class _Command(TyperCommand):
    """Accepts renamed flags, and shows options under headings: those of this command alone first."""

    info = CommandInfo()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {flag for parameter in self.params for flag in parameter.opts}
        for i, argument in enumerate(args):
            flag, equals, value = argument.partition("=")
            if flag.startswith("--") and flag not in own:
                new = "--" + _current_name(ctx, canonical(flag[2:]), flag).replace("_", "-")
                args[i] = new + equals + value if new in own else argument
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "argument":
                sections["Arguments"].append((record[0].partition(" <")[0], record[1]))  # typer's type says nothing
            elif record is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        sections["Columns of the result"] = [(c.key, c.help) for c in self.info.columns if c.meaning]
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.info.examples:
            formatter.write("\nExamples:\n" + "".join(f"  {line}\n" for line in self.info.examples))


def _current_name(context: typer.Context, key: str, shown: str) -> str:
    """What an option or setting is called now; UsageError if it was removed.

    shown  as the user wrote it
    """
    command = str(context.info_name)
    if remedy := REMOVED.get(command, {}).get(key.partition(".")[0]):
        raise UsageError(shown, "was removed", remedy=remedy)
    new = RENAMED.get(command, {}).get(key)
    if new is None:
        return key
    name = f"--{new.replace('_', '-')}" if shown.startswith("--") else new
    note = f"{shown} is now called {name}; the old name goes with the next version"
    context.meta.setdefault(_NOTES, []).append(note)
    return new


# The options of every command


def _universal_parameters() -> list[inspect.Parameter]:
    kinds: dict[str, tuple[Any, Any]] = {
        "json": (Annotated[bool, _output("--json", "Print the result as one JSON document.")], False),
        "quiet": (Annotated[bool, _output("--quiet", "Print errors only.")], False),
        "verbose": (Annotated[bool, _output("--verbose", "Print everything, with tracebacks.")], False),
        "log_json": (Annotated[bool, _output("--log-json", "Write messages and progress as JSON lines.")], False),
        "config": (Annotated[Path | None, _CONFIG], None),
        "set_": (Annotated[list[str] | None, _SET], None),
    }
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in kinds.items()
    ]


def _output(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, rich_help_panel="Output")


def _take_config(context: typer.Context, value: Path | None) -> Path | None:
    if value is not None and not context.resilient_parsing:
        commands = list(getattr(context.parent.command, "commands", ())) if context.parent else []
        _add_layer(context, "--config", read_config(value, str(context.info_name), commands))
    return value


def _take_set(context: typer.Context, value: list[str] | None) -> list[str] | None:
    if value and not context.resilient_parsing:
        _add_layer(context, "--set", read_settings(value))
    return value


_CONFIG = typer.Option(
    "--config",
    metavar="FILE.toml",
    is_eager=True,
    callback=_take_config,
    help="Read options from a TOML file; flags win over it. Default: none.",
    rich_help_panel="Settings",
)
_SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    is_eager=True,
    callback=_take_set,
    help="Set an option, also one that has no flag; may be repeated. Default: none.",
    rich_help_panel="Settings",
)


# Settings become defaults of the flags, so that flags win and values are checked in one place


def _add_layer(context: typer.Context, origin: str, settings: Mapping[str, Any]) -> None:
    """Keep one layer; whenever one comes, the defaults of the flags are made anew from all, in order of rank."""
    layers: dict[str, Mapping[str, Any]] = context.meta.setdefault(_META, {})
    layers[origin] = {_current_name(context, key, f"setting {key}"): value for key, value in settings.items()}
    flags = _flags(context)
    defaults: dict[str, Any] = {}
    for layer in ("--config", "--set"):
        for key, value in layers.get(layer, {}).items():
            if key in flags:
                flag = flags[key]
                many = flag.multiple and isinstance(value, str)
                defaults[flag.name] = [part.strip() for part in value.split(",")] if many else value
    context.default_map = defaults


def _flags(context: typer.Context) -> dict[str, Any]:
    """The command's options by setting key: the long name of each, as Python spells it."""
    flags = {}
    for parameter in context.command.params:
        if parameter.param_type_name == "option" and parameter.name not in ("config", "set_"):
            for name in parameter.opts:
                flags[canonical(name.lstrip("-"))] = parameter
    return flags


def _leftover_settings(context: typer.Context, info: CommandInfo) -> dict[str, Any]:
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    flags = _flags(context)
    rest: dict[str, Any] = {}
    for layer in ("--config", "--set"):
        rest |= {key: value for key, value in layers.get(layer, {}).items() if key not in flags}
    if rest and not info.tunes:
        key = next(iter(rest))
        raise UsageError(f"setting {key}", "there is no such setting", remedy=nearest(key, flags))
    return rest


def settings_origin(context: typer.Context, parameter: str) -> str:
    """Where the default of a flag came from, such as `--config`; empty if from none of them."""
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    keys = [key for key, flag in _flags(context).items() if flag.name == parameter]
    for layer in ("--set", "--config"):
        if any(key in layers.get(layer, {}) for key in keys):
            return layer
    return ""


# Reading settings


def canonical(key: str) -> str:
    """A key as Python spells it: `batch-size` → `batch_size`."""
    return key.strip().replace("-", "_")


def read_config(path: Path, command: str, commands: Sequence[str]) -> dict[str, Any]:
    """The settings for `command` in a TOML file, nested tables as dotted keys; InputError if it cannot be read."""
    refuse_pipes(path)
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise reading_error(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, "is not a TOML file", got=str(error)) from error
    sections = {name: table for name, table in document.items() if name in commands and isinstance(table, dict)}
    common = {name: value for name, value in document.items() if name not in sections}
    return dict(_flat(common)) | dict(_flat(sections.get(command, {})))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = prefix + canonical(name)
        if isinstance(value, dict):
            yield from _flat(value, key + ".")
        else:
            yield key, value


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """The settings of `--set key=value`, given any number of times; the last one of a key counts."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError("--set", "cannot be read", expected="key=value", got=repr(pair))
        settings[canonical(key)] = value.strip()
    return settings


def field_names(options: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settable fields of a dataclass, those of nested dataclasses included."""
    for entry in dataclasses.fields(options):
        value = getattr(options, entry.name)
        if dataclasses.is_dataclass(value):
            yield from field_names(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name


def apply_settings(options: Options, settings: Mapping[str, Any]) -> Options:
    """A copy of a dataclass with the settings in it, each converted to its field's type.

    settings  dotted keys; text is converted, so that `--set` and TOML give the same
    UsageError for a key that is no field (naming the nearest one) or a value that is not of the field's type.
    """
    names = set(field_names(options))
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in names:
            raise UsageError(f"setting {key}", "there is no such setting", remedy=nearest(key, names))
        *path, name = key.split(".")
        inner = changes
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = _Setting(key, value)
    return _with(options, changes)


@dataclasses.dataclass(frozen=True)
class _Setting:
    key: str
    value: Any


def _with(options: Options, changes: Mapping[str, Any]) -> Options:
    """All at once, since options may be allowed together only. changes: field → setting, or changes of its fields"""
    hints = typing.get_type_hints(type(options)) if changes else {}
    new = {
        name: _converted(change.value, hints[name], change.key)
        if isinstance(change, _Setting)
        else _with(getattr(options, name), change)
        for name, change in changes.items()
    }
    return dataclasses.replace(options, **new)  # type: ignore[type-var]


def _converted(value: Any, kind: Any, key: str) -> Any:
    """`value` as the type `kind`: bool, int, float, str, Path, Literal, Optional or a tuple of these."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and (value is None or value in ("none", "")):
            return None
        return _first_that_fits(value, [a for a in arguments if a is not type(None)], kind, key)
    if origin is Literal:
        for choice in arguments:
            if value == choice or str(value) == str(choice):
                return choice
        raise _wrong(key, " or ".join(str(choice) for choice in arguments), value)
    if origin is tuple:
        return _converted_tuple(value, arguments, key)
    if kind is bool:
        return _converted_bool(value, key)
    if kind is float and str(value).strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise _wrong(key, "a finite number", value)  # nothing could be computed with it, nor is it JSON
    if kind in (int, float, str, Path) and not isinstance(value, bool | list):
        try:
            return kind(value) if kind is not int or not isinstance(value, float) else _whole(value)
        except (ValueError, OverflowError, TypeError):  # no number, infinity, a TOML date
            raise _wrong(key, _TYPE_NAMES[kind], value) from None
    raise _wrong(key, _TYPE_NAMES.get(kind, str(kind)), value)


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError(value)
    return int(value)


def _converted_bool(value: Any, key: str) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise _wrong(key, _TYPE_NAMES[bool], value)
    return words[str(value).lower()]


def _first_that_fits(value: Any, kinds: Sequence[Any], whole: Any, key: str) -> Any:
    for kind in kinds:
        try:
            return _converted(value, kind, key)
        except UsageError:
            if len(kinds) == 1:
                raise
    raise _wrong(key, str(whole), value)


def _converted_tuple(value: Any, kinds: Sequence[Any], key: str) -> tuple[Any, ...]:
    entries = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise _wrong(key, "values with commas between", value)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = [kinds[0]] * len(entries)
    if len(entries) != len(kinds):
        raise _wrong(key, f"{len(kinds)} values with commas between", value)
    return tuple(_converted(entry, kind, key) for entry, kind in zip(entries, kinds, strict=True))


def _wrong(key: str, expected: str, value: Any) -> UsageError:
    return UsageError(f"setting {key}", "has a wrong value", expected=expected, got=repr(value))
