"""Option dataclasses as plain JSON values in weights files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from humanpose_cli.errors import InputError, UsageError

__all__ = ["load_tensors", "options_of"]

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


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Fill a module; InputError where names or shapes are others', as of another network or number of parts."""
    own = module.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing, extra = set(own) - set(tensors) - counters, set(tensors) - set(own)
    if missing or extra:
        expected = f"{min(missing)} and others" if missing else "no others"
        raise InputError(path, "holds another network", expected=expected, got=min(extra) if extra else "nothing")
    for name, values in tensors.items():
        if own[name].shape != values.shape:
            raise InputError(
                path,
                f"does not fit at {name}",
                expected=str(tuple(own[name].shape)),
                got=str(tuple(values.shape)),
                remedy="its number of parts, joints or channels is another",
            )
    module.load_state_dict(dict(tensors), strict=False)
