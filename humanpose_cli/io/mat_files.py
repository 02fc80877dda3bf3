"""Reading MATLAB's files of version 5: never more than the file can hold.

They are read here, after MathWorks' "MAT-File Format": scipy's reader is compiled and ends the whole process where
a file is cut short (found by `tools/fuzz_readers.py`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.io.sniffing import reading
from humanpose_cli.io.unpacking import UnpackedBudget

_COPY_AGAIN = "copy or download it again"
_HEADER = 128  # bytes before the first element; the last two say which byte of a number comes first
_ORDERS = {b"MI": ">", b"IM": "<"}
_MATRIX, _COMPRESSED_TYPE = 14, 15  # types of elements; those of numbers follow
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}


def read_mat(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Read variables of a MATLAB 5 file that are arrays of numbers.

    Raises InputError for a missing or damaged file, for one that lacks a variable, for a variable of another kind, and
    where it unpacks to more than 256 MiB and fifty times the file's size.
    """
    with reading(path):
        data = memoryview(path.read_bytes())
    order = _ORDERS.get(bytes(data[_HEADER - 2 : _HEADER]))
    if order is None:
        raise InputError(path, "is no readable MATLAB file (of version 5)", remedy=_COPY_AGAIN)
    budget = UnpackedBudget(path, len(data))
    variables: dict[str, NDArray[Any]] = {}
    try:
        for kind, content in _elements(data[_HEADER:], order):
            body = content
            if kind == _COMPRESSED_TYPE:
                ((kind, body),) = _elements(memoryview(budget.inflate(content)), order)
            if kind == _MATRIX and (name := _name(body, order)) in names:
                variables[name] = _array(body, order)
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(path, f"is no readable MATLAB file ({reason_of(error)})", remedy=_COPY_AGAIN) from error
    if missing := [name for name in names if name not in variables]:
        raise InputError(path, f"lacks {missing[0]}", expected=", ".join(names))
    return variables


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and contents of each element."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}2I", data, at)
        start, following = at + 8, at + 8 + size + (0 if kind == _COMPRESSED_TYPE else -size % 8)
        if kind >> 16:  # of four bytes at most, which stand in the place of the size
            kind, size, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if start + size > min(following, len(data)):
            raise ValueError("it is cut short")
        yield kind, data[start : start + size]
        at = following


def _head(body: memoryview, order: str) -> tuple[int, tuple[int, ...], str, list[tuple[int, memoryview]]]:
    """Read class, shape and name of an array, and the elements that hold it."""
    (_, flags), (_, sizes), (_, name), *rest = _elements(body, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    if not shape or min(shape) < 0:
        raise ValueError(f"an array has the shape {shape}")
    return word & 0xFF, shape, bytes(name).decode("latin-1"), rest


def _name(body: memoryview, order: str) -> str:
    return _head(body, order)[2]


def _array(body: memoryview, order: str) -> NDArray[Any]:
    kind, shape, name, rest = _head(body, order)
    if kind not in _CLASSES or not rest or rest[0][0] not in _NUMBERS:
        raise ValueError(f"{name} holds no numbers")
    content_type, numbers = rest[0]
    values = np.frombuffer(numbers, f"{order}{_NUMBERS[content_type]}")
    return values.reshape(shape, order="F").astype(_CLASSES[kind])
