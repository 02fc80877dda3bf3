"""Read settings of a command from a TOML file (`--config`) and from `--set key=value`.

Flags take precedence over `--set`, and `--set` over `--config`. A key is the name of an option (`batch-size`), or the
dotted name of a field without a flag (`keypoints.depth_weight`). In a TOML file, a table with the name of a command
applies to this command only:

    device = "cuda"
    [fit]
    people = "largest"
    [fit.keypoints]
    depth_weight = 0.5
    [evaluate.fit]
    limit = 100
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import typer

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import changed
from humanpose_cli.files.text_files import parse_toml, read_text

Options = TypeVar("Options")
_META = "humanpose_cli.settings"

# Settings become the defaults of flags, so that flags take precedence and values are checked in one place.


def add_layer(context: typer.Context, origin: str, settings: Mapping[str, Any]) -> None:
    """Store a layer of settings and set the defaults of the flags from all layers.

    Args:
        context: The context of the command.
        origin: "--config" or "--set".
        settings: Values by key.
    """
    context.meta.setdefault(_META, {})[origin] = settings
    flags = _flags(context)
    merged = {key: value for key, value in _merged(context).items() if key in flags}
    context.default_map = {flags[key].name: _typed(flags[key], value, key) for key, value in merged.items()}


def _merged(context: typer.Context) -> dict[str, Any]:
    """Return the settings of both layers by key."""
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    return {**layers.get("--config", {}), **layers.get("--set", {})}


def _typed(flag: Any, value: Any, key: str) -> Any:
    """Write a value as it would be typed, so that it is converted by the type of its flag."""
    if flag.multiple or flag.nargs != 1:
        values = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        return [_text(entry, key, is_flag=False) for entry in values]
    return _text(value, key, is_flag=flag.is_flag)


def _text(value: Any, key: str, *, is_flag: bool) -> str:
    if not isinstance(value, str | bool | int | float) or (isinstance(value, bool) and not is_flag):
        raise _wrong(key, _TYPE_NAMES[bool] if is_flag else "a text or a number", value)
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _flags(context: typer.Context) -> dict[str, Any]:
    """Map setting keys to the command's options."""
    flags = {}
    for parameter in context.command.params:
        if parameter.param_type_name == "option" and parameter.name not in ("config", "set_"):
            for name in parameter.opts:
                flags[canonical(name.lstrip("-"))] = parameter
    return flags


def leftover_settings(context: typer.Context, *, allowed: bool) -> dict[str, Any]:
    """Return settings that are no flags, by key. Raises UsageError for the first of them unless they are allowed."""
    flags = _flags(context)
    rest = {key: value for key, value in _merged(context).items() if key not in flags}
    if rest and not allowed:
        key = next(iter(rest))
        raise UsageError(f"setting {key}", "there is no such setting", remedy=nearest(key, flags))
    return rest


def settings_origin(context: typer.Context, parameter: str) -> str:
    """Return where the default of a flag came from, such as `--config`; empty if from none of them."""
    layers: Mapping[str, Mapping[str, Any]] = context.meta.get(_META, {})
    keys = [key for key, flag in _flags(context).items() if flag.name == parameter]
    for layer in ("--set", "--config"):
        if any(key in layers.get(layer, {}) for key in keys):
            return layer
    return ""


# Reading settings


def canonical(key: str) -> str:
    """Spell a key as Python does: `batch-size` → `batch_size`."""
    return key.strip().replace("-", "_")


def read_config(path: Path, command: str, commands: Sequence[str]) -> dict[str, Any]:
    """Read the settings of a command from a TOML file; nested tables become dotted keys.

    Args:
        path: The file.
        command: Name of the command, such as `evaluate fit`.
        commands: Names of all commands.

    Returns:
        Values by key.

    Raises:
        InputError: If the file cannot be read or parsed.
    """
    text = read_text(path, kind="TOML")
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise InputError(path, "is not a TOML file that can be read", got=str(error)) from error
    return _for_command(document, command.split(), [name.split() for name in commands])


def _for_command(table: Mapping[str, Any], command: Sequence[str], commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Merge the settings for all commands with the settings in the table of the command."""
    names = {parts[0] for parts in commands}
    sections = {name: section for name, section in table.items() if name in names and isinstance(section, dict)}
    settings = dict(_flat({name: value for name, value in table.items() if name not in sections}))
    if command and command[0] in sections:
        below = [parts[1:] for parts in commands if parts[0] == command[0] and parts[1:]]
        settings |= _for_command(sections[command[0]], command[1:], below)
    return settings


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = prefix + canonical(name)
        if isinstance(value, dict):
            yield from _flat(value, key + ".")
        else:
            yield key, value


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse the values of `--set key=value`; the last value of a key counts.

    Args:
        pairs: Texts such as "key=value".

    Returns:
        Text values by key.

    Raises:
        UsageError: If a text has no key or no equals sign.
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError("--set", "cannot be read", expected="key=value", got=repr(pair))
        settings[canonical(key)] = value.strip()
    return settings


def field_names(options: Any, prefix: str = "") -> Iterator[str]:
    """List the dotted names of all fields of a dataclass, including nested dataclasses."""
    for entry in dataclasses.fields(options):
        value = getattr(options, entry.name)
        if dataclasses.is_dataclass(value):
            yield from field_names(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name


def apply_settings(options: Options, settings: Mapping[str, Any]) -> Options:
    """Copy a dataclass with changed fields.

    Args:
        options: The dataclass.
        settings: Values by dotted key. Text is converted to the type of the field, so that `--set` and TOML agree.

    Returns:
        The changed copy.

    Raises:
        UsageError: If a key is not a field, or a value does not have the type of the field.
    """
    names = set(field_names(options))
    for key in settings:
        if key not in names:
            raise UsageError(f"setting {key}", "there is no such setting", remedy=nearest(key, names))
    return changed(options, {key: _converted(value, _type_of(options, key), key) for key, value in settings.items()})


def _type_of(options: Any, key: str) -> Any:
    """Look up the type of a field."""
    *path, name = key.split(".")
    return typing.get_type_hints(type(functools.reduce(getattr, path, options)))[name]


def _converted(value: Any, kind: Any, key: str) -> Any:
    """Convert a value to bool, int, float, str, Path, Literal, Optional or a tuple of these."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
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
            return kind(value) if kind is not int or not isinstance(value, float) else _integer(value)
        except (ValueError, OverflowError, TypeError):  # no number, infinity, a TOML date
            raise _wrong(key, _TYPE_NAMES[kind], value) from None
    raise _wrong(key, _TYPE_NAMES.get(kind, str(kind)), value)


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


def _integer(value: float) -> int:
    if value != int(value):
        raise ValueError(value)
    return int(value)


def _converted_bool(value: Any, key: str) -> bool:
    if isinstance(value, bool):
        return value
    truths = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in truths:
        raise _wrong(key, _TYPE_NAMES[bool], value)
    return truths[str(value).lower()]


def _first_that_fits(value: Any, kinds: Sequence[Any], expected: Any, key: str) -> Any:
    for kind in kinds:
        try:
            return _converted(value, kind, key)
        except UsageError:
            if len(kinds) == 1:
                raise
    raise _wrong(key, str(expected), value)


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


def nearest(name: str, names: Iterable[str]) -> str:
    """Suggest the closest name (`did you mean x?`), or list all names if none is close."""
    candidates = sorted(names)
    close = difflib.get_close_matches(name, candidates, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(candidates)}" if candidates else ""
