"""One file of a cache, a shard or the index: its columns by rows."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.header import Header
from humanpose_cli.data.cache.migrations import migrated
from humanpose_cli.data.cache.schema import COLUMNS, INDEX_COLUMNS, Column, Kind
from humanpose_cli.data.cache.stored_file import Place, StoredFile
from humanpose_cli.errors import InputError

__all__ = ["TableFile"]

_SHARD = {column.path: column for column in COLUMNS}
_INDEX = {column.path: column for column in INDEX_COLUMNS}
_WANTED = ("pictures/image/values", "pictures/image/offsets")
_DENSE = 8  # rows are read one by one where what lies between them is more than this many times as much
_SMALL = 1 << 18  # bytes that are always read at once


class TableFile:
    """A shard or an index. Threads and forked processes may share one.

    InputError when it is opened, for a missing, truncated or damaged file, another format, or a newer schema; when a
    column is first read, where it does not have the type or rows that the schema and the header say; and when the
    file ends before it should.
    """

    def __init__(self, path: Path | str, kind: str | None = None) -> None:
        self.path = Path(path)
        self.file = StoredFile(self.path, _WANTED if kind == "shard" else ())
        migrated(self.file)
        self.header = Header.of(self.path, self.file.attributes, kind)
        shard = self.header.kind == "shard"
        self.columns = _SHARD if shard else _INDEX
        self._checked: dict[str, Place | None] = {}
        header = self.header
        self._rows = {"pictures": header.picture_count, "people": header.person_count} if shard else {}
        self._rows["groups"] = header.group_count

    def check(self) -> None:
        """Look at every column: InputError for one that is missing or does not fit."""
        for path in self.columns:
            self._column(path)

    def __contains__(self, path: str) -> bool:
        """Whether the file has this column ("people/poses")."""
        return path in self.columns and self._column(path) is not None

    def row_count(self, table: str) -> int:
        """Rows of a table."""
        if table not in self._rows:
            first = next(column for column in self.columns.values() if column.table == table)
            self._column(first.path)
        return self._rows[table]

    def numbers(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start … stop−1 of a plain column: (N, …), texts as (N,) bytes. KeyError if the file lacks it."""
        place = self._there(path)
        return self.file.read_rows(place, start, place.shape[0] if stop is None else stop)

    def take(self, path: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Chosen rows of a plain column, in their order: one read, unless they lie far apart."""
        place = self._there(path)
        if not len(rows):
            return self.file.read_rows(place, 0, 0)
        first, last = int(rows.min()), int(rows.max()) + 1
        if (last - first) * place.row_bytes <= _SMALL or last - first <= _DENSE * len(rows):
            return self.file.read_rows(place, first, last)[rows - first]
        return np.concatenate([self.file.read_rows(place, row, row + 1) for row in rows.tolist()])

    def text(self, path: str, row: int) -> str:
        """One text."""
        return self._decoded(path, bytes(self.numbers(path, row, row + 1)[0]))

    def texts(self, path: str) -> list[str]:
        """All texts of a column."""
        return [self._decoded(path, bytes(text)) for text in self.numbers(path)]

    def ragged(self, path: str, row: int) -> NDArray[Any]:
        """One row of a ragged column: (M, …)."""
        place = self._there(path)
        return self.file.read_rows(place, *self._span(path, place, row))

    def encoded(self, path: str, row: int) -> bytes:
        """One row of an encoded column; empty where there is nothing, also where the file lacks the column."""
        place = self._column(path)
        if place is None:
            return b""
        start, stop = self._span(path, place, row)
        return self.file.read(place.offset + start, stop - start) if stop > start else b""

    def offsets(self, path: str) -> tuple[int, NDArray[np.int64]]:
        """Where the values of a ragged or encoded column begin in the file, and the (N + 1,) offsets of its rows."""
        place = self._there(path)
        offsets = self._part(path, "offsets")
        rows = self.file.read_rows(offsets, 0, offsets.shape[0])
        if rows[0] != 0 or rows[-1] != place.shape[0] or (np.diff(rows) < 0).any():
            raise self._damaged(f"{path}/offsets do not fit the values")
        return place.offset, rows

    def checksums(self, path: str) -> NDArray[np.uint32]:
        """CRC-32 (N,) of each row of an encoded column."""
        place = self._part(path, "checksums")
        return self.file.read_rows(place, 0, place.shape[0])

    def known(self, path: str) -> int:
        """How many rows of a column have a value."""
        column, count = self.columns[path], self.row_count(self.columns[path].table)
        if column.kind is not Kind.PLAIN:
            return int(np.count_nonzero(np.diff(self.offsets(path)[1])))
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

    # Within

    def _there(self, path: str) -> Place:
        place = self._column(path)
        if place is None:
            raise KeyError(path)
        return place

    def _column(self, path: str) -> Place | None:
        """Where a column's values lie, checked when it is first wanted; None for an optional one that is missing."""
        if path not in self._checked:
            column = self.columns[path]
            place = self.file.place(path if column.kind is Kind.PLAIN else f"{path}/values")
            if place is not None:
                self._check(column, place)
            elif not column.optional:
                raise self._damaged(f"lacks {path}")
            self._checked[path] = place
        return self._checked[path]

    def _check(self, column: Column, place: Place) -> None:
        right = place.dtype.kind == "S" if column.is_text else place.dtype == column.numpy_dtype
        if not right or len(place.shape) != 1 + len(column.shape) or place.shape[1:] != column.shape:
            raise self._damaged(f"{column.path} has another type ({place.dtype.str} {place.shape})")
        count = place.shape[0] if column.kind is Kind.PLAIN else self._part(column.path, "offsets").shape[0] - 1
        if self._rows.setdefault(column.table, count) != count:
            raise self._damaged(f"{column.path} has {count} rows where the table has {self._rows[column.table]}")

    def _part(self, path: str, part: str) -> Place:
        place = self.file.place(f"{path}/{part}")
        if place is None or len(place.shape) != 1 or not (place.shape[0] or part == "checksums"):
            raise self._damaged(f"lacks {path}/{part}")
        return place

    def _span(self, path: str, place: Place, row: int) -> tuple[int, int]:
        start, stop = self.file.read_rows(self._part(path, "offsets"), row, row + 2).tolist()
        if not 0 <= start <= stop <= place.shape[0]:
            raise self._damaged(f"{path}/offsets do not fit the values in row {row}")
        return start, stop

    def _decoded(self, path: str, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"{path} holds a text that is not UTF-8") from error

    def _damaged(self, problem: str) -> InputError:
        return InputError(self.path, problem, remedy="copy or make it again; hpc cache verify tells more")
