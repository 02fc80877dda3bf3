"""The shards of a cache: which rows lie where, and the few of them that are open."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.errors import InputError

__all__ = ["ShardEntry", "ShardSet"]


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the index knows it; `digest` is "" for a shard that was opened by itself."""

    path: Path
    picture_count: int
    person_count: int
    digest: str = ""


class ShardSet:
    """Looks at shards when they are needed, and keeps the files of the last `most_open` of them open.

    labels  path of each column that any shard has → rows with a value

    A file that is let go while another thread reads from it stays open until that is done.
    """

    def __init__(self, entries: Sequence[ShardEntry], labels: Mapping[str, int], most_open: int) -> None:
        self.entries, self.labels = tuple(entries), dict(labels)
        self._most_open = most_open
        self._starts = {
            "pictures": _starts([entry.picture_count for entry in entries]),
            "people": _starts([entry.person_count for entry in entries]),
        }
        self._shards: dict[int, TableFile] = {}
        self._open: OrderedDict[int, None] = OrderedDict()
        self._lock, self._process = threading.Lock(), os.getpid()

    def row_count(self, table: str) -> int:
        """Rows of a table over all shards."""
        return self._starts[table][-1]

    def first_row(self, table: str, number: int) -> int:
        """Row over all shards of a shard's first row."""
        return self._starts[table][number]

    def locate(self, table: str, row: int) -> tuple[TableFile, int, int]:
        """The shard that a row lies in, opened, its number, and the row within it."""
        number = bisect_right(self._starts[table], row) - 1
        return self.open(number), number, row - self._starts[table][number]

    def split(self, table: str, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Rows by shard, in the order of the shards: number, places in `rows`, rows within the shard."""
        starts = np.asarray(self._starts[table])
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            yield number, places, rows[places] - starts[number]

    def open(self, number: int) -> TableFile:
        """A shard. InputError if it is missing, damaged, or not the one that the index was made for."""
        if os.getpid() != self._process:  # a forked process may have inherited a lock that nobody will release
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            shard = self._shards.get(number)
            if shard is None:
                shard = self._shards[number] = self._opened(self.entries[number])
            self._open[number] = None
            self._open.move_to_end(number)
            while len(self._open) > self._most_open:
                self._shards[self._open.popitem(last=False)[0]].file.let_go()
        return shard

    def _opened(self, entry: ShardEntry) -> TableFile:
        shard = TableFile(entry.path, "shard")
        if entry.digest and shard.header.content_digest != entry.digest:
            raise InputError(
                entry.path,
                "is not the shard that the index was made for",
                remedy=f"run hpc cache index {entry.path.parent}",
            )
        return shard


def _starts(counts: Sequence[int]) -> list[int]:
    """Where each shard's rows begin, and their number."""
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts
