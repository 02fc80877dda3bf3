"""Checks of what files hold: an error names the file and the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import restricted_pickle

_LARGEST = 1e9  # magnitude of numbers in JSON


def existing_folder(path: Path, purpose: str) -> Path:
    """Return `path`. Raises InputError with its purpose ("the folder of iPER's images") unless it is a folder."""
    if not path.is_dir():
        raise _missing(path, "is no folder", purpose)
    return path


def existing_file(path: Path, purpose: str) -> Path:
    """Return `path`. Raises InputError with its purpose ("the list of training images") unless it is a file."""
    if not path.is_file():
        raise _missing(path, "is a folder", purpose)
    return path


def _missing(path: Path, problem: str, purpose: str) -> InputError:
    remedy = "data/README.md shows the tree that is expected"
    return InputError(path, problem if path.exists() else "does not exist", expected=purpose, remedy=remedy)


def checked_array(
    value: Any,
    where: object,
    shape: Sequence[int | None] | None,
    *,
    finite: bool = True,
    largest: float | None = None,
    dtype: type = np.float64,
) -> NDArray[Any]:
    """Convert a value to a numeric array and check it.

    Args:
        value: An array, a number or a list.
        where: The file and the field, for errors.
        shape: The expected shape; None as a length: any length; None: any shape.
        finite: Whether all numbers must be finite.
        largest: Magnitude beyond which a number can only be damage, such as 100 radians.
        dtype: Type of the array that is returned.

    Returns:
        The array.

    Raises:
        InputError: If the value is not such an array.
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
    """Return a field of a file's table as an array, checked by `checked_array`. Raises InputError if it is missing."""
    if name not in table:
        got = (", ".join(map(str, table)) or "nothing")[:120]
        raise InputError(path, f"lacks {name}", expected=f"a table with {name}", got=got)
    return checked_array(table[name], f"{path} ({name})", shape, **checks)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value of a JSON document is a finite number of a plausible magnitude."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def numeric(where: str, what: str, values: Any) -> np.ndarray:
    """Convert lists of numbers to float64; None is NaN. Raises InputError about record `where` for anything else."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OU":
            array = np.array(values, np.float64)
        wrong = array.dtype.kind not in "iuf" or bool((np.abs(array) > _LARGEST).any())
    except (ValueError, TypeError, OverflowError):
        wrong = True
    if not wrong:
        return array.astype(np.float64)
    flat = values if isinstance(values, list) else [values]
    while any(isinstance(value, list) for value in flat):
        flat = [item for value in flat for item in (value if isinstance(value, list) else [value])]
    got = next((repr(value)[:40] for value in flat if not is_number(value) and value is not None), "unequal lists")
    raise InputError(where, f"has unusable {what}", expected=f"finite numbers below {_LARGEST:g}", got=got)
