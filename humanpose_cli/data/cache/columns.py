"""Columns while a file is being made: rows are added one by one, and become datasets at the end."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.hdf5_files import Dataset
from humanpose_cli.data.cache.schema import Column, Kind

__all__ = ["GrowingColumn", "plain_dataset", "ragged_datasets", "text_array"]

_IN_MEMORY = 16 << 20  # bytes of one encoded column; more than that goes through a nameless file beside the output
_BLOCK = 1 << 20


def text_array(texts: Sequence[bytes]) -> NDArray[np.bytes_]:
    """Texts as (N,) of one width, at least 1."""
    return np.array(texts, f"S{max([1, *map(len, texts)])}")


def plain_dataset(column: Column, rows: NDArray[Any], known: int | None = None) -> Dataset:
    """The dataset of a plain column, with the column's attributes and the number of rows that have a value."""
    attributes: dict[str, str | int] = dict(column.attributes)
    return Dataset.of(rows, attributes if known is None else {**attributes, "known": known})


def ragged_datasets(column: Column, rows: Sequence[NDArray[Any]]) -> dict[str, Dataset]:
    """The datasets of a ragged column by path."""
    offsets = np.zeros(len(rows) + 1, "<i8")
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values = np.concatenate([np.zeros((0, *column.shape), column.numpy_dtype), *rows])
    known = sum(1 for row in rows if len(row))
    return {
        f"{column.path}/values": plain_dataset(column, values.astype(column.numpy_dtype), known),
        f"{column.path}/offsets": Dataset.of(offsets),
    }


class _Spool:
    """Encoded pictures one after the other, in memory as long as they are few."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115

    def add(self, data: bytes) -> None:
        self._file.write(data)

    def blocks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            yield block

    def close(self) -> None:
        self._file.close()


class GrowingColumn:
    """The rows so far of one column of a table.

    folder  where encoded pictures wait that are too many for the memory
    """

    def __init__(self, column: Column, folder: Path) -> None:
        self.column = column
        self.known = 0
        self._rows: list[Any] = []
        self._checksums: list[int] = []
        self._folder = folder
        self._spool: _Spool | None = None

    def add(self, row: Any) -> None:
        """A row: an array of the column's type, a text's or a picture's bytes; None where it is not known."""
        self.known += row is not None and (self.column.kind is not Kind.PLAIN or row != b"" if _is_bytes(row) else True)
        if self.column.kind is not Kind.ENCODED:
            self._rows.append(row)
            return
        data = row or b""
        self._rows.append(len(data))
        self._checksums.append(zlib.crc32(data))
        if data:
            self._spool = self._spool or _Spool(self._folder)
            self._spool.add(data)

    def datasets(self) -> dict[str, Dataset]:
        """Its datasets by path; none for an optional column that nobody has a value for."""
        column = self.column
        if column.optional and not self.known:
            return {}
        if column.kind is Kind.ENCODED:
            return self._encoded()
        if column.kind is Kind.RAGGED:
            empty = np.zeros((0, *column.shape), column.numpy_dtype)
            return ragged_datasets(column, [empty if row is None else row for row in self._rows])
        return {column.path: plain_dataset(column, self._plain(), self.known)}

    def _plain(self) -> NDArray[Any]:
        column = self.column
        if column.is_text:
            return text_array(self._rows)
        unknown = np.nan if column.numpy_dtype.kind == "f" else 0
        table = np.full((len(self._rows), *column.shape), unknown, column.numpy_dtype)
        for place, row in enumerate(self._rows):
            if row is not None:
                table[place] = row
        return table

    def _encoded(self) -> dict[str, Dataset]:
        offsets = np.zeros(len(self._rows) + 1, "<i8")
        np.cumsum(self._rows, out=offsets[1:])
        attributes: dict[str, str | int] = {**self.column.attributes, "known": self.known}
        values = Dataset.of(np.zeros(0, "u1"), attributes)
        if self._spool is not None:
            values = Dataset(np.dtype("u1"), (int(offsets[-1]),), self._spool, attributes)
        return {
            f"{self.column.path}/values": values,
            f"{self.column.path}/offsets": Dataset.of(offsets),
            f"{self.column.path}/checksums": Dataset.of(np.array(self._checksums, "<u4")),
        }

    def close(self) -> None:
        """Let go of what waits in a file."""
        if self._spool is not None:
            self._spool.close()


def _is_bytes(row: Any) -> bool:
    return isinstance(row, bytes)
