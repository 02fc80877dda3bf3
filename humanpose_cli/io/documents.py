"""The contents of a data file as plain values, whatever wrote it.

`read_document` reads JSON, JSON lines, pickles, joblib's and torch's files, `.npy`, `.npz` and text in UTF-8, UTF-16 or
UTF-32, also compressed. The readers of a kind of data (detections, fits, poses) recognise the values.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.npz_files import NpzArchive, npz_names, read_npy
from humanpose_cli.io.restricted_pickle import read_pickle
from humanpose_cli.io.sniffing import describe_file, kind_of, read_bytes
from humanpose_cli.io.text_files import decoded, parse_json
from humanpose_cli.io.unpacking import uncompressed

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_NO_DATA = ("image", "video", "heic", "an HDF5 file", "a glTF file", "an OpenEXR image", "a Photoshop file")


def read_document(path: Path, names: Collection[str] | None = None) -> Any:
    """Read the contents of a file as tables, lists, arrays, numbers and text. Nothing in the file is run.

    Args:
        path: The file.
        names: Names of the arrays of an `.npz` to read; None for all.

    Returns:
        The value of JSON, a list of the values of JSON lines, the object of a pickle, the tensors of a torch file as
        arrays, the array of a `.npy`, a table of an `.npz`; the text of any other text.

    Raises:
        InputError: If the file is of another kind, empty, damaged or too large.
    """
    kind = describe_file(path)
    objects = partial(read_pickle, path)
    if kind == "a NumPy array":
        return _item(read_npy(path, objects))
    if kind.endswith("ZIP archive") and not is_torch(path):
        with NpzArchive(path) as archive:
            return {name: _item(array) for name, array in archive.read(names, objects).items()}
    content = read_bytes(path)
    if not kind.endswith("ZIP archive"):
        content = uncompressed(path, content)
        kind = kind_of(content[:4096])
    if kind in ("a ZIP archive", "a Python pickle"):
        return read_pickle(path, content)
    if kind in _NO_DATA or (text := decoded(content)) is None:
        raise InputError(path, "holds no data that can be read", got=describe_file(path))
    return parse_json(path, text) if text.lstrip()[:1] in ("[", "{") else text


def is_torch(path: Path) -> bool:
    """Return whether a ZIP archive is a file of `torch.save`."""
    return any(name.endswith("data.pkl") for name in npz_names(path))


def _item(content: Any) -> Any:
    """Return the object in an array of one; anything else unchanged."""
    is_object = isinstance(content, np.ndarray) and content.dtype.hasobject and not content.shape
    return content.item() if is_object else content


def outline_of(content: Any) -> str:
    """Describe the contents of a file for errors."""
    if isinstance(content, np.ndarray):
        return f"an array {content.shape} of {content.dtype}"
    if isinstance(content, dict):
        return "a table of " + (", ".join(str(key)[:40] for key in list(content)[:6]) or "nothing")
    if isinstance(content, str):
        return f"text: {content.strip()[:40]!r}" if content.strip() else "nothing"
    if isinstance(content, list | tuple):
        return f"a list of {len(content)}"
    return {"int": "a number", "float": "a number", "NoneType": "null"}.get(type(content).__name__, "no table")


def table_rows(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """List the rows of a table: where each one stands, and its cells.

    Cells are separated by commas, semicolons, tabs or else blanks, whichever is most frequent in the first line; with
    semicolons or tabs, numbers may have decimal commas. Raises InputError if the text is no table.
    """
    first = text.lstrip().split("\n", 1)[0]
    sign = max(";\t,", key=first.count)
    lines = csv.reader(io.StringIO(text), delimiter=sign if sign in first else " ", skipinitialspace=True)
    try:
        for cells in lines:
            if any(cells):
                stripped = (cell.strip() for cell in cells)
                decimal = (c.replace(",", ".") if sign != "," and _DECIMAL_COMMA.fullmatch(c) else c for c in stripped)
                yield f"{path}, line {lines.line_num}", list(decimal)
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}", f"is no table ({error})") from error
