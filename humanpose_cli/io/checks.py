"""Checks of what files hold: an error names the file and the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.io import restricted_pickle


def existing_folder(path: Path, what: str) -> Path:
    """Return `path`, which must be a folder; `what` says what for: "the folder of iPER's images"."""
    return _existing(path, path.is_dir(), "is no folder", what)


def existing_file(path: Path, what: str) -> Path:
    """Return `path`, which must be a file; `what` says what for: "the list of training images"."""
    return _existing(path, path.is_file(), "is a folder", what)


def _existing(path: Path, right: bool, wrong: str, what: str) -> Path:
    if not right:
        remedy = "data/README.md shows the tree that is expected"
        raise InputError(path, wrong if path.exists() else "does not exist", expected=what, remedy=remedy)
    return path


def checked_array(
    value: Any,
    where: object,
    shape: Sequence[int | None] | None,
    *,
    finite: bool = True,
    largest: float | None = None,
    dtype: type = np.float64,
) -> NDArray[Any]:
    """Return `value` as a numeric array of that shape (None: any length, or any shape); `where` names the file and
    field in errors.

    Args:
        largest: Magnitude beyond which a number can only be damage, such as 100 radians.
    """
    try:
        array = restricted_pickle.as_array(value)
    except ValueError as error:
        raise InputError(where, "cannot be read", expected="numbers", got=str(error)) from error
    if shape is not None and not (
        array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    ):
        expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise InputError(where, "has the wrong shape", expected=expected, got=str(array.shape))
    if finite and not np.isfinite(array).all():
        raise InputError(where, "holds values that are not finite")
    if largest is not None and (np.abs(array) > largest).any():
        got = f"{np.abs(array).max():.3g}"
        raise InputError(where, "holds an impossible value", expected=f"at most {largest:g}", got=got)
    return array.astype(dtype)


def array_field(
    table: Mapping[str, Any], name: str, path: Path, shape: Sequence[int | None] | None, **checks: Any
) -> NDArray[Any]:
    """Check a field of a file's table as an array, `checks` as for `checked_array`. Raises InputError if missing."""
    if name not in table:
        got = (", ".join(map(str, table)) or "nothing")[:120]
        raise InputError(path, f"lacks {name}", expected=f"a table with {name}", got=got)
    return checked_array(table[name], f"{path} ({name})", shape, **checks)
