"""Compare the settings of a run with those that it is to continue with."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from humanpose_cli.core.errors import InputError

_UNSET = "the default"  # of a setting that is not recorded
_NAMED, _LENGTH = 3, 80  # settings in the sentence, and characters of a value


def refuse_other_settings(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Check that a run continues with the same settings.

    Args:
        path: The run's checkpoint, for messages.
        old: The settings of the run.
        new: The settings to continue with.

    Raises:
        InputError: If a setting differs; the message names it.
    """
    changes = list(_changes(_parsed(old), _parsed(new)))
    if not changes:
        return
    names = [name.removeprefix("recipe.").removeprefix("recipe.") for name, _, _ in changes]  # as --set takes them
    _, got, expected = changes[0]
    more = f" and {len(names) - _NAMED} more, as of another preset" if len(names) > _NAMED else ""
    raise InputError(
        path,
        f"was made with another {', '.join(names[:_NAMED])}{more}",
        expected=shorten(str(expected), _LENGTH, placeholder="…"),
        got=shorten(str(got), _LENGTH, placeholder="…"),
        remedy="give the old value, another `out`, or `resume=False`",
    )


def _parsed(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parse the recipe's settings, which checkpoints hold as the text of a list of pairs."""
    try:
        return {**settings, "recipe": dict(ast.literal_eval(settings["recipe"]))}
    except (KeyError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return settings


def _changes(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name, old and new value of each setting that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changes(old.get(key, _UNSET), new.get(key, _UNSET), f"{name}.{key}".removeprefix("."))
    elif old != new:
        yield name, old, new
