"""Tables that reach over all shards of a cache: `cache.people["poses"][rows]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.data.cache.schema import COLUMNS, Column, Kind, columns_of
from humanpose_cli.errors import UsageError

if TYPE_CHECKING:
    from humanpose_cli.data.cache.shard_set import ShardSet

__all__ = ["ColumnView", "TableView"]

_LINKING = {"pictures": ("first_person",), "people": ("picture",)}  # columns that hold rows of the other table
_WITHIN_SHARD = frozenset({"pictures/group", "pictures/sequence"})


class TableView(Mapping[str, "ColumnView"]):
    """The plain columns of `pictures` or of `people` by name; KeyError for one that no shard has.

    Encoded and ragged columns are the cache's to hand out, row by row.
    """

    def __init__(self, table: str, shards: ShardSet) -> None:
        self.table, self._shards = table, shards
        self._columns = {
            name: column
            for name, column in columns_of(table, COLUMNS).items()
            if column.kind is Kind.PLAIN and column.path not in _WITHIN_SHARD and column.path in shards.labels
        }

    def __getitem__(self, name: str) -> ColumnView:
        return ColumnView(self._columns[name], self._shards)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def row_count(self) -> int:
        """Rows over all shards."""
        return self._shards.row_count(self.table)


class ColumnView:
    """One column over all shards; index it with a row, a slice, or an array of rows or of booleans.

    Gives arrays as the schema describes them: NaN where a number is not known, texts as `str`.
    """

    def __init__(self, column: Column, shards: ShardSet) -> None:
        self.column, self._shards = column, shards

    def __len__(self) -> int:
        return self._shards.row_count(self.column.table)

    def __getitem__(self, rows: Any) -> Any:
        single = isinstance(rows, int | np.integer)
        wanted = self._wanted(rows)
        values = self._read(wanted)
        return values[0] if single else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values: NDArray[Any] = self[:]
        return values if dtype is None else values.astype(dtype)

    def _wanted(self, rows: Any) -> NDArray[np.int64]:
        count = len(self)
        if isinstance(rows, slice):
            return np.arange(*rows.indices(count), dtype=np.int64)
        return checked_rows(rows, count, self.column.table)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """One read a shard, in the order of the file; put in the order that was asked for."""
        column = self.column
        parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
        for number, places, local in self._shards.split(column.table, rows):
            shard = self._shards.open(number)
            if column.path in shard:
                values = shard.take(column.path, local)
            else:
                values = np.full((len(local), *column.shape), np.nan, column.numpy_dtype)
            if column.name in _LINKING.get(column.table, ()):
                values = values + self._shards.first_row(_other(column.table), number)
            parts.append((places, values))
        if column.is_text:
            parts = [(places, np.char.decode(values, "utf-8")) for places, values in parts]
        dtype = (
            np.result_type(*(values for _, values in parts))
            if parts
            else np.dtype("U1" if column.is_text else column.dtype)
        )
        table = np.empty((len(rows), *column.shape), dtype)
        for places, values in parts:
            table[places] = values
        return table


def checked_rows(rows: ArrayLike, count: int, table: str) -> NDArray[np.int64]:
    """Rows (int, ints or booleans) as (N,) non-negative numbers; negative ones count from the end. UsageError else."""
    array = np.atleast_1d(np.asarray(rows))
    if array.dtype == bool and array.shape == (count,):
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UsageError(f"rows of {table}", "are no row numbers", got=f"{array.shape} {array.dtype}")
    numbers = array.astype(np.int64)
    numbers = np.where(numbers < 0, numbers + count, numbers)
    if ((numbers < 0) | (numbers >= count)).any():
        wrong = array[(numbers < 0) | (numbers >= count)][0]
        raise UsageError(f"rows of {table}", "do not exist", expected=f"0…{count - 1}", got=str(wrong))
    return numbers


def _other(table: str) -> str:
    return "people" if table == "pictures" else "pictures"
