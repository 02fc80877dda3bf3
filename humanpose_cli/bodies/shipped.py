"""Reading the data files that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from humanpose_cli.errors import InputError, UnavailableError

__all__ = ["read_shipped"]


def read_shipped(path: Path, what: str, version: int) -> dict[str, np.ndarray]:
    """The arrays of a shipped `.npz` with a schema version.

    what  the file in words, such as "pose library"
    UnavailableError if the file is missing, InputError if it belongs to another version of the package.
    """
    if not path.exists():
        raise UnavailableError(path, f"the {what} is missing", remedy="reinstall humanpose-cli")
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    found = int(stored["schema_version"])
    if found != version:
        raise InputError(
            path,
            f"is a {what} of another version",
            expected=str(version),
            got=str(found),
            remedy="reinstall humanpose-cli",
        )
    return stored
