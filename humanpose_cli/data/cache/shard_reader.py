"""One file of a cache, a shard or the index: its columns by rows.

HDF5 is asked once where everything lies; from then on the values are read at their places in the file. Threads and
forked processes may share a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.hdf5_files import Place, RawFile, read_layout
from humanpose_cli.data.cache.header import Header
from humanpose_cli.data.cache.migrations import migrated
from humanpose_cli.data.cache.schema import COLUMNS, INDEX_COLUMNS, Column, Kind
from humanpose_cli.errors import InputError

__all__ = ["TableFile"]

_DENSE = 8  # rows are read one by one where what lies between them is more than this many times as much
_SMALL = 1 << 18  # bytes that are always read at once


class TableFile:
    """A shard or an index.

    InputError when it is opened, for a missing, truncated or damaged file, another format, or a newer schema; for
    columns that do not have the rows or types that the schema says; when it is read, for a file that ends early.
    """

    def __init__(self, path: Path | str, kind: str | None = None) -> None:
        self.path = Path(path)
        layout = read_layout(self.path)
        self._raw = RawFile(self.path)
        layout = migrated(self._raw, layout)
        self.header = Header.of(self.path, layout.attributes, kind)
        self.links = layout.links
        self._places = layout.places
        self._offsets: dict[str, NDArray[np.int64]] = {}
        columns = COLUMNS if self.header.kind == "shard" else INDEX_COLUMNS
        self._columns = {column.path: column for column in columns}
        self._check(columns)

    def _check(self, columns: Sequence[Column]) -> None:
        rows: dict[str, int] = {}
        for column in columns:
            place = self._places.get(_values(column))
            if place is None:
                if not column.optional:
                    raise self._damaged(f"lacks {column.path}")
                continue
            self._check_type(column, place)
            count = place.shape[0]
            if column.kind is not Kind.PLAIN:
                offsets = self._places.get(f"{column.path}/offsets")
                if offsets is None or len(offsets.shape) != 1 or not offsets.shape[0]:
                    raise self._damaged(f"lacks {column.path}/offsets")
                count = offsets.shape[0] - 1
            if rows.setdefault(column.table, count) != count:
                raise self._damaged(f"{column.path} has {count} rows where the table has {rows[column.table]}")
        if self.header.kind == "shard":
            told = {"pictures": self.header.picture_count, "people": self.header.person_count}
            for table, count in {**told, "groups": self.header.group_count}.items():
                if rows[table] != count:
                    raise self._damaged(f"has {rows[table]} rows of {table} where its header tells {count}")
        self._rows = rows

    def _check_type(self, column: Column, place: Place) -> None:
        kind_fits = place.dtype.kind == "S" if column.is_text else place.dtype == column.numpy_dtype
        if not kind_fits or len(place.shape) != 1 + len(column.shape) or place.shape[1:] != column.shape:
            raise self._damaged(f"{column.path} has another type ({place.dtype.str} {place.shape})")

    def _damaged(self, problem: str) -> InputError:
        return InputError(self.path, problem, remedy="copy or make it again; hpc cache verify tells more")

    def __contains__(self, path: str) -> bool:
        """Whether the file has this column ("people/poses")."""
        column = self._columns.get(path)
        return column is not None and _values(column) in self._places

    def row_count(self, table: str) -> int:
        """Rows of a table."""
        return self._rows[table]

    def numbers(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start … stop−1 of a plain column: (N, …), texts as (N,) bytes. KeyError if the file lacks it."""
        place = self._places[path]
        return self._raw.read_rows(place, start, place.shape[0] if stop is None else stop)

    def take(self, path: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Chosen rows of a plain column, in their order: one read, unless they lie far apart."""
        place = self._places[path]
        if not len(rows):
            return self._raw.read_rows(place, 0, 0)
        first, last = int(rows.min()), int(rows.max()) + 1
        span = (last - first) * place.row_bytes
        if span <= _SMALL or last - first <= _DENSE * len(rows):
            return self._raw.read_rows(place, first, last)[rows - first]
        return np.concatenate([self._raw.read_rows(place, int(row), int(row) + 1) for row in rows])

    def text(self, path: str, row: int) -> str:
        """One text."""
        return self._decoded(path, bytes(self.numbers(path, row, row + 1)[0]))

    def texts(self, path: str) -> list[str]:
        """All texts of a column."""
        return [self._decoded(path, bytes(text)) for text in self.numbers(path)]

    def _decoded(self, path: str, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"{path} holds a text that is not UTF-8") from error

    def ragged(self, path: str, row: int) -> NDArray[Any]:
        """One row of a ragged column: (M, …)."""
        start, stop = self._span(path, row)
        return self._raw.read_rows(self._places[f"{path}/values"], start, stop)

    def encoded(self, path: str, row: int) -> bytes:
        """One row of an encoded column; empty where there is nothing, also where the file lacks the column."""
        if f"{path}/values" not in self._places:
            return b""
        start, stop = self._span(path, row)
        return self._raw.read(self._places[f"{path}/values"].offset + start, stop - start) if stop > start else b""

    def place_of_encoded(self, path: str) -> tuple[int, NDArray[np.int64]]:
        """Where an encoded column's bytes begin in the file, and the (N + 1,) offsets of its rows from there."""
        return self._places[f"{path}/values"].offset, self._row_offsets(path)

    def known(self, path: str) -> int:
        """How many rows of a column have a value."""
        column, count = self._columns[path], self._rows[self._columns[path].table]
        if column.kind is not Kind.PLAIN:
            return int(np.count_nonzero(np.diff(self._row_offsets(path))))
        if column.is_text:
            return int(np.count_nonzero(self.numbers(path)))
        if not column.optional:
            return count
        return int(np.count_nonzero(~np.isnan(self.numbers(path).reshape(count, -1)).all(-1)))

    def splits_of(self, picture: int) -> dict[str, str]:
        """Protocol → split of a picture."""
        found = {}
        for name, split, rows in self._splits:
            place = int(np.searchsorted(rows, picture))
            if place < len(rows) and rows[place] == picture:
                found[name] = split
        return found

    @cached_property
    def _splits(self) -> list[tuple[str, str, NDArray[np.int64]]]:
        keys = zip(self.texts("protocols/name"), self.texts("protocols/split"), strict=True)
        return [(name, split, self.ragged("protocols/pictures", row)) for row, (name, split) in enumerate(keys)]

    def _span(self, path: str, row: int) -> tuple[int, int]:
        offsets = self._row_offsets(path)
        return int(offsets[row]), int(offsets[row + 1])

    def _row_offsets(self, path: str) -> NDArray[np.int64]:
        offsets = self._offsets.get(path)
        if offsets is None:
            offsets = self.numbers(f"{path}/offsets")
            total = self._places[f"{path}/values"].shape[0]
            if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
                raise self._damaged(f"{path}/offsets do not fit its {total} values")
            self._offsets[path] = offsets
        return offsets


def _values(column: Column) -> str:
    return column.path if column.kind is Kind.PLAIN else f"{column.path}/values"
