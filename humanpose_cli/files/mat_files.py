"""Reading of MATLAB 5 files by scipy, in a process of its own: scipy's compiled reader crashes on truncated files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from scipy.io import loadmat  # not in the function: the reader process cannot import it

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.reader_process import read_isolated
from humanpose_cli.files.sniffing import read_bytes


def read_mat(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Read variables of a MATLAB 5 file that are arrays of numbers.

    Raises InputError for a missing, damaged or too large file, and for a variable that is missing or of another kind.
    """
    content = read_bytes(path)
    variables = read_isolated(path, load_mat, content, list(names), problem="is no readable MATLAB file (of version 5)")
    for name in names:
        if name not in variables:
            raise InputError(path, f"lacks {name}", expected=", ".join(names))
        if getattr(variables[name], "dtype", None) is None or variables[name].dtype.kind not in "biuf":
            raise InputError(path, f"{name} holds no numbers")
    return dict(variables)


def load_mat(content: bytes, names: list[str]) -> Any:
    """Parse bytes in the reader process."""
    variables = loadmat(io.BytesIO(content), variable_names=names)
    return {name: value for name, value in variables.items() if name in names}
