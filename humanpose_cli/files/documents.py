"""The contents of a data file as plain values, whatever wrote it.

`read_document` reads JSON, JSON lines, pickles, joblib's and torch's files, `.npy`, `.npz` and text in UTF-8, UTF-16 or
UTF-32, also compressed. The readers of a kind of data (detections, fits, poses) recognise the values.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import npz_names, read_npy, read_npz
from humanpose_cli.files.restricted_pickle import read_pickle
from humanpose_cli.files.sniffing import file_kind, kind_of, read_bytes
from humanpose_cli.files.text_files import decoded, parse_json
from humanpose_cli.files.unpacking import UnpackedBudget, uncompressed

_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_PACKED = {b"\x04\x22M\x18": "LZ4", b"\x28\xb5\x2f\xfd": "Zstandard", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
_TORCH = "data.pkl"  # end of a name in files of `torch.save`
_TEXTS = (".json", ".jsonl", ".csv", ".txt", ".xml")
_MAX_TEXT, _MAX_PACKED_TEXT = 1 << 30, 16 << 20  # bytes
_NO_DATA = (
    "an image",
    "a video",
    "a HEIC image",
    "an HDF5 file",
    "a glTF file",
    "an OpenEXR image",
    "a Photoshop file",
    "nothing but zero bytes",
)


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
    kind = file_kind(path)
    objects = partial(read_pickle, path)
    if kind == "a NumPy array":
        return _item(read_npy(path, objects))
    members = npz_names(path) if kind.endswith("ZIP archive") else frozenset[str]()
    if kind.endswith("ZIP archive") and not any(name.endswith(_TORCH) for name in members):
        if any(name.endswith(_TEXTS) for name in members):
            raise InputError(path, "is a ZIP archive", expected="one file", remedy="unpack it")
        return {name: _item(array) for name, array in read_npz(path, names, objects=objects).items()}
    if kind in _NO_DATA:
        raise InputError(path, "holds no data that can be read", got=kind)
    packed = read_bytes(path, _MAX_TEXT) if kind in ("text", "data of no known kind") else read_bytes(path)
    if program := next((name for magic, name in _PACKED.items() if packed.startswith(magic)), None):
        raise InputError(path, f"is compressed by {program}, which is not read", remedy="unpack it, or use gzip")
    content = packed if kind.endswith("ZIP archive") else uncompressed(path, packed)
    kind = kind_of(content[:4096])
    if kind in ("a ZIP archive", "a Python pickle"):
        return read_pickle(path, content)
    if content[257:262] == b"ustar":
        raise InputError(path, "is a TAR archive", expected="one file", remedy="unpack it")
    if content is not packed:  # a list takes twenty times the memory of its text
        UnpackedBudget(path, len(packed), always=_MAX_PACKED_TEXT).take(len(content))
    is_text = b"\0" not in content[:4096] or json.detect_encoding(content[:4]) not in ("utf-8", "utf-8-sig")
    if kind in _NO_DATA or not is_text or (text := decoded(content)) is None:
        remedy = "save it as UTF-8" if kind == "text" else ""
        raise InputError(path, "holds no data that can be read", got=kind, remedy=remedy)
    return parse_json(path, text) if text.lstrip()[:1] in ("[", "{") else text


def plain(content: Any) -> Any:
    """Return the contents of a pickle as those of JSON would be: lists for tuples and objects, Python's numbers."""
    if isinstance(content, dict):
        return {plain(key): plain(value) for key, value in content.items()}
    if isinstance(content, np.generic):
        return content.item()
    is_list = isinstance(content, list | tuple) or (isinstance(content, np.ndarray) and content.dtype.hasobject)
    return list(map(plain, content)) if is_list else content


def is_torch(path: Path) -> bool:
    """Return whether a ZIP archive is a file of `torch.save`."""
    return any(name.endswith(_TORCH) for name in npz_names(path))


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
    return "null" if content is None else repr(content)[:40]


def table_rows(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """List the rows of a table: where each one stands, and its cells.

    Cells are separated by commas, semicolons, tabs or else blanks, whichever is most frequent in the first line; with
    semicolons or tabs, numbers may have decimal commas. Raises InputError if the text is no table.
    """
    text = re.sub(r"\A\s*sep=.\s*\n", "", text)  # of Excel
    first = next(iter(text.lstrip().splitlines()), "")
    sign = max(";\t,", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=None), delimiter=sign if sign in first else " ", skipinitialspace=True)
    try:
        for cells in lines:
            if any(cells):
                stripped = (cell.strip() for cell in cells)
                decimal = (c.replace(",", ".") if sign != "," and _DECIMAL_COMMA.fullmatch(c) else c for c in stripped)
                yield f"{path}, line {lines.line_num}", list(decimal)
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}", f"is no table ({error})") from error
