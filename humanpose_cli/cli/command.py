"""How a command is made of a function: universal options, settings files and presets, and the way out.

The function is the command: its parameters are the options, its docstring the help, its CommandResult the output.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from humanpose_cli.cli.config import canonical, read_config, read_settings
from humanpose_cli.cli.options import nearest
from humanpose_cli.cli.table import CONTEXT
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult, Status

__all__ = ["CommandInfo", "Invocation", "build_command", "command", "settings_origin"]

Function = Callable[..., CommandResult]
Presets = Mapping[str, Mapping[str, Any]]
_OUTPUT, _SETTINGS = "Output", "Settings"
_META = "humanpose_cli.settings"


@dataclass(frozen=True)
class CommandInfo:
    """What `@command` says about a function beyond its signature.

    columns  (key of the items' details, heading) that the table for people shows
    presets  names for `--preset`, each a mapping of setting keys
    words    what the table calls a status, where its own words do not fit
    tunes    whether it passes `session.settings` on through `session.tune`; otherwise unknown keys are refused
    """

    columns: tuple[tuple[str, str], ...] = ()
    presets: Presets = field(default_factory=dict)
    words: Mapping[Status, str] = field(default_factory=dict)
    tunes: bool = False


def command(**info: Any) -> Callable[[Function], Function]:
    """Decorator for a command's function; takes the fields of CommandInfo."""

    def mark(function: Function) -> Function:
        function.info = CommandInfo(**info)  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Invocation:
    """A command with all its values, ready to be carried out.

    values  the function's own parameters
    given   names of those that stood on the command line
    """

    name: str
    function: Function
    info: CommandInfo
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    json: bool
    quiet: bool
    verbose: bool
    given: frozenset[str] = frozenset()


def build_command(name: str, module: str, carry_out: Callable[[Invocation], int]) -> TyperCommand:
    """The typer command for the function `name` in `module`, which is imported now.

    carry_out  runs the invocation and returns the exit code
    """
    function: Function = getattr(importlib.import_module(module), canonical(name))
    info: CommandInfo = getattr(function, "info", CommandInfo())
    declared = list(inspect.signature(function, eval_str=True).parameters.values())[1:]  # without the session
    groups: dict[str, Any] = {p.name: p.annotation for p in declared if dataclasses.is_dataclass(p.annotation)}
    own = [parameter for p in declared for parameter in _expanded(p)]

    def callback(context: typer.Context, **values: Any) -> int:
        settings = _leftover_settings(context, info)
        given = frozenset(name for name in values if _is_given(context, name))
        universal = {flag: values.pop(flag) for flag in ("json", "quiet", "verbose")}
        for consumed in ("config", "set_", "preset"):
            values.pop(consumed, None)
        for group, kind in groups.items():
            values[group] = kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind)})
        return carry_out(Invocation(name, function, info, values, settings, given=given, **universal))

    context_parameter = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context_parameter, *(p.replace(kind=p.KEYWORD_ONLY) for p in own), *_universal_parameters(info)]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=_Command, help=inspect.getdoc(function), context_settings=CONTEXT)(callback)
    built = typer.main.get_command(app)
    assert isinstance(built, TyperCommand)
    return built


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
    """Help with the options under headings, those that belong to this command alone first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "argument":
                sections["Arguments"].append((record[0].partition(" <")[0], record[1]))  # typer's type says nothing
            elif record is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


# The options of every command


def _universal_parameters(info: CommandInfo) -> list[inspect.Parameter]:
    kinds: dict[str, tuple[Any, Any]] = {
        "json": (Annotated[bool, _output("--json", "Print the result as one JSON document.")], False),
        "quiet": (Annotated[bool, _output("--quiet", "Say nothing but errors.")], False),
        "verbose": (Annotated[bool, _output("--verbose", "Say everything, with tracebacks.")], False),
        "config": (Annotated[Path | None, _CONFIG], None),
        "set_": (Annotated[list[str] | None, _SET], None),
    }
    if info.presets:
        names = "|".join(info.presets)
        preset = typer.Option(
            "--preset",
            metavar=names,
            is_eager=True,
            callback=_preset_taker(info.presets),
            help="Settings that go together. Default: none.",
            rich_help_panel=_SETTINGS,
        )
        kinds["preset"] = (Annotated[str | None, preset], None)
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in kinds.items()
    ]


def _output(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=_OUTPUT)


def _take_config(context: typer.Context, value: Path | None) -> Path | None:
    if value is not None and not context.resilient_parsing:
        commands = list(getattr(context.parent.command, "commands", ())) if context.parent else []
        _add_layer(context, "--config", read_config(value, str(context.info_name), commands))
    return value


def _take_set(context: typer.Context, value: list[str] | None) -> list[str] | None:
    if value and not context.resilient_parsing:
        _add_layer(context, "--set", read_settings(value))
    return value


def _preset_taker(presets: Presets) -> Callable[[typer.Context, str | None], str | None]:
    def take(context: typer.Context, value: str | None) -> str | None:
        if value is not None and not context.resilient_parsing:
            if value not in presets:
                raise UsageError("--preset", "there is no such preset", got=value, remedy=nearest(value, presets))
            _add_layer(context, "--preset", {canonical(key): entry for key, entry in presets[value].items()})
        return value

    return take


_CONFIG = typer.Option(
    "--config",
    metavar="FILE.toml",
    is_eager=True,
    callback=_take_config,
    help="Read options from a TOML file; flags win over it. Default: none.",
    rich_help_panel=_SETTINGS,
)
_SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    is_eager=True,
    callback=_take_set,
    help="Set an option, also one that has no flag; may be repeated. Default: none.",
    rich_help_panel=_SETTINGS,
)


# Settings become defaults of the flags, so that flags win and values are checked in one place


def _add_layer(context: typer.Context, origin: str, settings: Mapping[str, Any]) -> None:
    """Keep one layer; whenever one comes, the defaults of the flags are made anew from all, in order of rank."""
    layers: dict[str, Mapping[str, Any]] = context.meta.setdefault(_META, {})
    layers[origin] = settings
    flags = _flags(context)
    defaults: dict[str, Any] = {}
    for layer in ("--preset", "--config", "--set"):
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
        if parameter.param_type_name == "option" and parameter.name not in ("config", "set_", "preset"):
            for name in parameter.opts:
                flags[canonical(name.lstrip("-"))] = parameter
    return flags


def _leftover_settings(context: typer.Context, info: CommandInfo) -> dict[str, Any]:
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    flags = _flags(context)
    rest: dict[str, Any] = {}
    for layer in ("--preset", "--config", "--set"):
        rest |= {key: value for key, value in layers.get(layer, {}).items() if key not in flags}
    if rest and not info.tunes:
        key = next(iter(rest))
        raise UsageError(f"setting {key}", "there is no such setting", remedy=nearest(key, flags))
    return rest


def settings_origin(context: typer.Context, parameter: str) -> str:
    """Where the default of a flag came from, such as `--config`; empty if from none of them."""
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    keys = [key for key, flag in _flags(context).items() if flag.name == parameter]
    for layer in ("--set", "--config", "--preset"):
        if any(key in layers.get(layer, {}) for key in keys):
            return layer
    return ""
