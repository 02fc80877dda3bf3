"""Remedies for words of a command line: what an unknown command, a value or a file most likely means."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.files.sniffing import reader_of
from humanpose_cli.files.text_files import parse_toml

_DASHES = "-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
_SWITCHED = ("true", "false", "yes", "no", "on", "off")
_MAX_WORDS = 6  # of a file's name that was not quoted


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
        if intent := meaning_of(name.lower(), "commands"):
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


def meaning_of(name: str, table: str) -> str:
    """Look up a name in a table of intents.toml; "" if it is not there."""
    intents = parse_toml(Path(__file__).with_name("intents.toml").read_text("utf-8"))[table]
    return next((meaning for meaning, names in intents.items() if name in names.split()), "")
