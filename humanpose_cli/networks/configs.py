"""Option dataclasses as plain JSON values in weights files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from humanpose_cli.errors import InputError, UsageError

__all__ = ["options_of"]

Options = TypeVar("Options")


def options_of(kind: type[Options], values: Any, path: Path | str) -> Options:
    """An options dataclass of plain values; lists become tuples. InputError names the file where they do not fit."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping) or set(values) - known:
        got = ", ".join(sorted(set(values) - known)) if isinstance(values, Mapping) else type(values).__name__
        raise InputError(path, f"has a config that is no {kind.__name__}", got=got, remedy="use the hpc that made it")
    try:
        return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    except (TypeError, UsageError) as error:
        raise InputError(path, f"has a config that cannot be built ({error})") from error
