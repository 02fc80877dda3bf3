"""Remedies for command lines with a mistake: what an unknown option, command or argument most likely means."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from humanpose_cli.cli.table import command_names
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.io.sniffing import reader_of
from humanpose_cli.io.text_files import parse_toml

_DASHES = "-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
_SWITCHED = ("true", "false", "yes", "no", "on", "off")
_MAX_WORDS = 6  # of a file's name that was not quoted


def usage_sentence(error: BaseException) -> str:
    """Explain an error of typer's parser in one sentence with a remedy; "" for any other exception."""
    if not isinstance(error, typer.BadParameter.__bases__[0]):  # the parser's base class, which typer does not export
        return ""
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return error.format_message()  # type: ignore[attr-defined]
    from humanpose_cli.cli.help import HelpCommand

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
    from humanpose_cli.cli.settings import settings_origin

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
    if intent := _meaning(plain, "options"):
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
    from humanpose_cli.cli.command import build_command
    from humanpose_cli.cli.help import long_flags

    return long_flags(build_command(command, lambda _: 0).params)


def command_remedy(arguments: Sequence[str], names: Sequence[str]) -> str:
    """Suggest the command for a line that begins with something else; "" if nothing is similar.

    Args:
        arguments: The line without `hpc`.
        names: The possible commands.
    """
    name, *rest = arguments
    group = "hpc" if "ledger" in names else "hpc evaluate"
    if group == "hpc":
        path = Path(name)
        if path.is_file() and (remedy := reader_of(path)):
            return remedy
        if path.exists() or path.suffix or os.sep in name:
            return f"name a command first: hpc fit {shell_word(name)}"
        if intent := _meaning(name.lower(), "commands"):
            return f"did you mean {intent}?"
    close = get_close_matches(name.lower(), names, n=1)
    return f"did you mean {' '.join([group, close[0], *map(shell_word, rest)])}?" if close else ""


def value_remedy(text: str, metavar: str) -> str:
    """Suggest how to write a number that was typed with a comma or a unit; "" for other text."""
    match = re.fullmatch(r"([-+]?\d*[.,]?\d+)\s*(\D*)", text)
    if match is None:
        return ""
    number, unit = match[1].replace(",", "."), match[2]
    if unit == "%":
        return f"write {float(number) / 100:g}"
    if unit:
        return f"write a number without a unit, in {metavar}"
    return f"write {number}, with a point" if number != match[1] else ""


def check_words(
    arguments: Sequence[str], positional: Sequence[str], flags: Sequence[str], lists: Sequence[str]
) -> None:
    """Raise UsageError or InputError for words that are meant as something else than a file or a value.

    Args:
        arguments: The command line behind the command.
        positional: The words that were read as files.
        flags: The options of the command.
        lists: The options with values that have commas between them.
    """
    for start, word in enumerate(arguments):
        if word == "=":
            joined = "".join(arguments[max(start - 1, 0) : start + 2])
            raise UsageError("=", "stands alone", remedy=f"no spaces around it: {joined}")
        if start > 1 and arguments[start - 2] in lists and word in positional and not os.path.lexists(word):
            option, value = arguments[start - 2 : start]
            raise InputError(word, "does not exist", remedy=f"did you mean {option} {value},{word}?")
        ends = range(start + 2, min(start + _MAX_WORDS, len(arguments)) + 1)
        if not word.startswith("-") and not os.path.lexists(word) and ends:
            names = (" ".join(arguments[start:end]) for end in ends)
            if name := next(filter(os.path.exists, names), ""):
                raise UsageError(name, "has a space in its name", remedy=f"quote it: {shell_word(name)}")
    for word in positional:
        if os.path.lexists(word):
            continue
        bare = word.lstrip(_DASHES + "/").partition("=")[0].lower()
        flag = f"--{bare}"
        if word[0] in _DASHES and word != "-":
            remedy = f"type two hyphens: {flag}" if flag in flags else "type hyphens, not the dashes of a text editor"
            raise UsageError(word, "begins with a dash that is no hyphen", remedy=remedy)
        if bare in ("?", "help", "h") or (flag in flags and word.lstrip("/").lower() == bare):
            raise InputError(word, "does not exist", remedy=f"did you mean {flag if flag in flags else '--help'}?")
        if bare in _SWITCHED:
            raise InputError(word, "does not exist", remedy="options that are switches take no value")


def _meaning(name: str, table: str) -> str:
    """Look up a name in a table of intents.toml; "" if it is not there."""
    intents = parse_toml(Path(__file__).with_name("intents.toml").read_text("utf-8"))[table]
    return next((meaning for meaning, names in intents.items() if name in names.split()), "")
