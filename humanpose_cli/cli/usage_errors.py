"""Sentences about errors of typer's parser: options and values that cannot be read."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import typer

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.help import HelpCommand, long_flags
from humanpose_cli.cli.mistakes import meaning_of, value_remedy
from humanpose_cli.cli.settings import settings_origin
from humanpose_cli.cli.table import command_names


def usage_sentence(error: BaseException) -> str:
    """Explain an error of typer's parser in one sentence with a remedy; "" for any other exception."""
    if not isinstance(error, typer.BadParameter.__bases__[0]):  # the parser's base class, which typer does not export
        return ""
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return error.format_message()  # type: ignore[attr-defined]
    name = " ".join(context.command_path.split()[1:]) or "hpc"
    has_two_pages = isinstance(context.command, HelpCommand)
    page = f"see {context.command_path} {'--help-all' if has_two_pages else '--help'}"
    option = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        return f"{option}: there is no such option; {option_remedy(name, option) or page}"
    parameter: Any = getattr(error, "param", None)
    if option:
        parameter = next(each for each in context.command.params if option in each.opts)
        if parameter.is_flag:
            return f"{option}: takes no value; type {option} alone"
        return f"{option}: has no value; type {option} {parameter.metavar or 'VALUE'}, {page}"
    if parameter is None:  # too many arguments
        return f"{error.message}; see {context.command_path} --help"  # type: ignore[attr-defined]
    return _value_sentence(error, parameter, context, page)


def _value_sentence(error: Any, parameter: Any, context: Any, page: str) -> str:
    """Explain that a value is missing or cannot be read."""
    # typer reads values by pydantic, whose errors are the causes of its own
    problems: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    text = str(problems[0]["input"]) if problems else ""
    reason = problems[0].get("ctx", {}).get("error") if problems else None
    sentence = str(reason) if reason else f"{error.message}, found '{text}'" if text else error.message or "is missing"
    if origin := settings_origin(context, parameter.name):
        sentence += f" (from {origin})"
    if parameter.param_type_name == "argument":
        subject, page = parameter.metavar, f"see {context.command_path} --help"
    else:
        subject = parameter.opts[0]
    return f"{subject}: {sentence.rstrip('.')}; {value_remedy(text, parameter.metavar or '') or page}"


def option_remedy(command: str, option: str) -> str:
    """Suggest what an unknown option of a command stands for; "" if nothing is similar.

    Args:
        command: Name of the command, or "hpc" for an option before the command.
        option: The option as typed, such as "--gpu".
    """
    commands = command_names()
    name = option.lstrip("-")
    plain = name.lower().replace("_", "-") if len(name) > 1 else name
    if command not in commands:
        if plain in ("v", "V"):
            return "hpc --version prints the version"
        group = "hpc" if command == "hpc" else f"hpc {command}"
        return f"options stand behind the command: {group} COMMAND … {option}"
    flags = _flags_of(command)
    if same := next((f"--{each}" for each in (plain, f"{plain}s", plain.rstrip("s")) if f"--{each}" in flags), ""):
        return f"did you mean {same}?"
    if plain.startswith("no-") and f"--{plain[3:]}" in flags:
        return f"leave --{plain[3:]} out: it is off unless it is typed"
    if intent := meaning_of(plain, "options"):
        own = [flag for flag in intent.split(" --") if flag]
        fitting = [flag for flag in own if f"--{flag.lstrip('-').split()[0]}" in flags]
        if not intent.startswith("--"):
            return intent.format(command)
        if fitting:
            return f"did you mean --{fitting[0].lstrip('-')}?"
        plain = own[0].lstrip("-")
    if close := get_close_matches(plain, [flag[2:] for flag in flags], n=1, cutoff=0.75):
        return f"did you mean --{close[0]}?"
    flag = f"--{plain.split()[0]}"
    group = command.split()[0]
    related = sorted(commands, key=lambda each: each.split()[0] != group)
    owners = [f"hpc {each}" for each in related if flag in _flags_of(each)]
    return f"it is an option of {', '.join(owners[:4])}: {owners[0]} --{plain}" if owners else ""


def _flags_of(command: str) -> list[str]:
    return long_flags(build_command(command, lambda _: 0).params)
