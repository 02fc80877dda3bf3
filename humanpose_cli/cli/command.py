"""Build commands from functions, and translate arguments in errors into flags.

A command is a function: its parameters are the options, its docstring is the help, and its CommandResult is the output.
`cli.settings` reads the settings that become its defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from humanpose_cli.cli.cluster import ClusterFlags
from humanpose_cli.cli.help import HelpCommand, help_all_option
from humanpose_cli.cli.options import OUTPUT, SETTINGS, Flags, check_values, of, option
from humanpose_cli.cli.session import CommandInfo, Function
from humanpose_cli.cli.settings import add_layer, canonical, leftover_settings, read_config, read_settings
from humanpose_cli.cli.table import CONTEXT, command_names
from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.core.option_rules import check_options
from humanpose_cli.core.options import Options, infos
from humanpose_cli.files.paths import found_path
from humanpose_cli.outputs.protection import check_output, paths_in, protect


@dataclass(frozen=True)
class Invocation:
    """A command with all its values, ready to run.

    Attributes:
        name: Name of the command, such as `evaluate fit`.
        function: The function of the command.
        info: What `@command` says about the function.
        values: Arguments of the function by name.
        options: Values of all options by name; the fields of groups are single options.
        settings: Values of `--set` and `--config` that are not options of the command.
        json: Whether to print the result as JSON.
        quiet: Whether to print only errors.
        verbose: Whether to print debug messages and tracebacks.
        log_json: Whether to write messages as JSON lines.
        on_command_line: Names of the options on the command line.
        cluster: How to submit the command. None if it cannot be submitted.
    """

    name: str
    function: Function
    info: CommandInfo
    values: Mapping[str, Any]
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    json: bool
    quiet: bool
    verbose: bool
    log_json: bool = False
    on_command_line: frozenset[str] = frozenset()
    cluster: ClusterFlags | None = None


def build_command(name: str, carry_out: Callable[[Invocation], int]) -> TyperCommand:
    """Build a typer command and import its module.

    Args:
        name: Name of the command, one of `table.command_names`.
        carry_out: Runs the invocation and returns the exit code.
    """
    function = function_of(name)
    info: CommandInfo = getattr(function, "info", CommandInfo())
    declarations = list(inspect.signature(function, eval_str=True).parameters.values())[1:]  # without the session
    if info.cluster:
        declarations.append(inspect.Parameter("cluster", inspect.Parameter.KEYWORD_ONLY, annotation=ClusterFlags))
    groups = {p.name: group for p in declarations if (group := _group_of(p.annotation))}
    options = [option for p in declarations for option in _expanded(p, groups.get(p.name))]

    def callback(context: typer.Context, **values: Any) -> int:
        settings = leftover_settings(context, allowed=info.tunes)
        argument_names = frozenset(name for name in values if _is_on_command_line(context, name))
        values = {name: _found(value) for name, value in values.items()}
        _protect_inputs({**settings, **values})
        universal = {flag: values.pop(flag) for flag in ("json", "quiet", "verbose", "log_json")}
        for global_name in ("config", "set_", "help_all"):
            values.pop(global_name, None)
        check_values(values)
        # A configuration file may also say how the command is submitted where it runs here.
        cluster = {
            f.name: f.default for f in dataclasses.fields(ClusterFlags) if f.name not in {*argument_names, "cluster"}
        }
        check_options({**values, **cluster}, {p.name: p.default for p in options})
        flat = dict(values)
        for name_of_group, group in groups.items():
            values[name_of_group] = group.build({field: values.pop(field) for field in group.fields})
        universal["cluster"] = values.pop("cluster", None)
        return carry_out(
            Invocation(name, function, info, values, flat, settings, on_command_line=argument_names, **universal)
        )

    context_parameter = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context_parameter, *(p.replace(kind=p.KEYWORD_ONLY) for p in options), *_universal_parameters()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=HelpCommand, help=inspect.getdoc(function), context_settings=CONTEXT)(callback)
    command = typer.main.get_command(app)
    assert isinstance(command, HelpCommand)
    command.info = info
    return command


def function_of(name: str) -> Function:
    """Return the function of a command, such as `segmenter` in cli/evaluate.py for `evaluate segmenter`."""
    parts = name.split()
    function: Function = getattr(importlib.import_module(f"humanpose_cli.cli.{parts[0]}"), canonical(parts[-1]))
    return function


# Errors of the library name arguments: `focal`, `method=nbf`. The command line says --focal, --method nbf.

_ARGUMENT = re.compile(r"`([a-z][\w.]*)(?:=([^`]*))?`")


@functools.cache
def flags_of(name: str) -> Mapping[str, str]:
    """Map the arguments of a command to flags; empty if there is no such command."""
    if name not in command_names():
        return {}
    command = build_command(name, lambda _: 0)
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    long = {str(p.name): next(flag for flag in p.opts if flag.startswith("--")) for p in options}
    return long | {canonical(flag.lstrip("-")): flag for flag in long.values()}


def with_flags(name: str, text: str) -> str:
    """Replace arguments in backticks by flags of a command; settings become `--set`."""
    if "`" not in text:
        return text
    flags = flags_of(name)

    def flag(match: re.Match[str]) -> str:
        argument, value = match.groups()
        if argument not in flags:
            return match[0] if value is None else f"--set {argument}={value}"
        if value in (None, "True"):
            return flags[argument]
        return f"--no-{flags[argument][2:]}" if value == "False" else f"{flags[argument]} {value}"

    return _ARGUMENT.sub(flag, text)


def error_with_flags(name: str, error: HpcError) -> str:
    """Write the sentence of an error with flags of a command instead of arguments."""
    flags = flags_of(name)
    arguments = error.subject.split(", ")
    sentence = str(error)
    if not isinstance(error, InputError) and all(argument in flags for argument in arguments):
        sentence = ", ".join(flags[argument] for argument in arguments) + sentence[len(error.subject) :]
    return with_flags(name, sentence)


def _found(value: Any) -> Any:
    """Return the value of an option with paths as the disk spells them."""
    if isinstance(value, list):
        return [*map(_found, value)]
    return Path(found_path(str(value))) if isinstance(value, Path) else value


def _protect_inputs(values: Mapping[str, Any]) -> None:
    """Protect the files among a command's values from being overwritten."""
    out = values.get("out")
    # Several inputs may name results, as the shell's * does; `open_inputs` protects those that are read.
    unread = {"out", *["inputs"] * (len(values.get("inputs") or ()) > 1)}
    protect(path for name, value in values.items() if name not in unread for path in paths_in(value))
    if out is not None:
        check_output(out)


def _is_on_command_line(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


class _Group(NamedTuple):
    """A dataclass of options that is one parameter of a command."""

    # fields: name → type of the fields that have flags; nested: name of a field in inner options → class and field of
    # these options in `kind`

    kind: Any
    fields: Mapping[str, Any]
    nested: Mapping[str, tuple[type[Options], str]] = MappingProxyType({})

    def build(self, values: Mapping[str, Any]) -> Any:
        """Make the dataclass from the values of its flags."""
        fields = {name: value for name, value in values.items() if name not in self.nested}
        for name, (kind, owner) in self.nested.items():
            fields[owner] = replace(fields.get(owner, kind()), **{name: values[name]})
        return self.kind(**fields)


def _group_of(annotation: Any) -> _Group | None:
    """Return the group of options that a parameter's type declares; None for a single option."""
    kind, *metadata = typing.get_args(annotation) or (annotation,)
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return None
    types = typing.get_type_hints(kind, include_extras=True)
    if not issubclass(kind, Options):
        return _Group(kind, types)
    selected = next((each.names for each in metadata if isinstance(each, Flags)), None)
    fields = {}
    nested = {}
    for path in selected or [name for name, info in infos(kind).items() if info.flag]:
        *owners, name = path.split(".")
        holder = typing.get_type_hints(kind)[owners[0]] if owners else kind
        fields[name] = Annotated[typing.get_type_hints(holder, include_extras=True)[name], of(holder, name)]
        if owners:
            nested[name] = holder, owners[0]
    return _Group(kind, fields, nested)


def _expanded(parameter: inspect.Parameter, group: _Group | None) -> list[inspect.Parameter]:
    """Expand a group into one parameter for each field."""
    if group is None:
        return [parameter]
    holders = (group.kind, *(kind for kind, _ in group.nested.values()))
    defaults = {field.name: field.default for holder in reversed(holders) for field in dataclasses.fields(holder)}
    return [
        parameter.replace(name=name, default=defaults[name], annotation=annotation)
        for name, annotation in group.fields.items()
    ]


# The options of every command

_CONFIG = "Read options from a TOML file; flags take precedence. Default: HPC_CONFIG in the environment, if set."
_SET = "Set an option, also one without a flag; may be repeated. Default: none."


def _universal_parameters() -> list[inspect.Parameter]:
    config = {"is_eager": True, "callback": _take_config}
    settings = {"is_eager": True, "callback": _take_set}
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "json": (bool, option("--json", "Print the result as one JSON document.", OUTPUT), False),
        "quiet": (bool, option("--quiet", "Print only errors.", OUTPUT), False),
        "verbose": (bool, option("--verbose", "Print everything, including tracebacks.", OUTPUT), False),
        "log_json": (bool, option("--log-json", "Write messages and progress as JSON lines.", OUTPUT), False),
        "config": (Path | None, option("--config FILE.toml", _CONFIG, SETTINGS, envvar="HPC_CONFIG", **config), None),
        "set_": (list[str] | None, option("--set KEY=VALUE", _SET, SETTINGS, **settings), None),
        "help_all": (bool, help_all_option(), False),
    }
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])
        for name, (kind, declared, default) in kinds.items()
    ]


def _take_config(context: typer.Context, value: Path | None) -> Path | None:
    if value is not None and not context.resilient_parsing:
        add_layer(context, "--config", read_config(value, str(context.command.name), command_names()))
    return value


def _take_set(context: typer.Context, value: list[str] | None) -> list[str] | None:
    if value and not context.resilient_parsing:
        add_layer(context, "--set", read_settings(value))
    return value
