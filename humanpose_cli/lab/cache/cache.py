"""`open_cache`: images and labels of a dataset cache by row, over all its shards.

Example:
    cache = open_cache("people-cache")
    rows = cache.rows("nbf", "train")  # images of a split
    pixels = cache.image(rows[0])  # (H, W, 3) uint8
    parts = cache.map(rows[0], "parts")  # (H, W) uint8, or None
    poses = cache.people["poses"][cache.people_of(rows[0])]  # (P, 72)
    sample = cache.sample(rows[0])  # everything at once, as the source yielded it
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.sniffing import file_kind
from humanpose_cli.lab.cache.encoding import decode_image, decode_png
from humanpose_cli.lab.cache.reading import Names, TableFile, read_sample
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Sample, split_name
from humanpose_cli.lab.cache.schema import COLUMNS, INDEX_NAME, SHARD_PATTERN, Column, Kind, columns_of, link_name
from humanpose_cli.outputs.protection import protect

INDEX_REMEDY = f"delete {INDEX_NAME} and run hpc preprocess with the same options again"

# The shards of a cache: which rows lie where, and the few of them that are open.


@dataclass(frozen=True)
class ShardEntry:
    """The entry of a shard in the index.

    Attributes:
        path: The shard's file.
        picture_count: Number of its images.
        person_count: Number of its people.
        digest: Its content digest; "" for a shard that was opened by itself.
    """

    path: Path
    picture_count: int
    person_count: int
    digest: str = ""


class ShardSet:
    """Opens shards when they are needed and keeps the last `max_open` of them open.

    A file that is closed while another thread reads from it stays open until the read ends.

    Args:
        entries: The shards, in the order of their rows.
        labels: Path of each column that any shard has → number of rows with a value.
        max_open: Number of shards to keep open.
    """

    def __init__(self, entries: Sequence[ShardEntry], labels: Mapping[str, int], max_open: int) -> None:
        self.entries = tuple(entries)
        self.labels = dict(labels)
        self._max_open = max_open
        self._starts = {
            "pictures": [0, *accumulate(entry.picture_count for entry in entries)],
            "people": [0, *accumulate(entry.person_count for entry in entries)],
        }
        self._shards: dict[int, TableFile] = {}
        self._open: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def row_count(self, table: str) -> int:
        """Return the number of rows of a table over all shards."""
        return self._starts[table][-1]

    def first_row(self, table: str, number: int) -> int:
        """Return the row over all shards of a shard's first row."""
        return self._starts[table][number]

    def locate(self, table: str, row: int) -> tuple[TableFile, int, int]:
        """Open the shard of a row.

        Args:
            table: "pictures" or "people".
            row: Row over all shards.

        Returns:
            The shard, its number, and the row within it.
        """
        number = bisect_right(self._starts[table], row) - 1
        return self.open(number), number, row - self._starts[table][number]

    def split(self, table: str, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Split rows by shard, in the order of the shards.

        Args:
            table: "pictures" or "people".
            rows: (N,) rows over all shards.

        Yields:
            Number of a shard, positions in `rows`, and rows within the shard.
        """
        starts = np.asarray(self._starts[table])
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            positions = np.flatnonzero(numbers == number)
            yield number, positions, rows[positions] - starts[number]

    def open(self, number: int) -> TableFile:
        """Open a shard.

        Args:
            number: Number of the shard.

        Raises:
            InputError: If the shard is missing, damaged, or another one than the index was made for.
        """
        if os.getpid() != self._process:  # a forked process may have inherited a locked lock
            self._lock = threading.Lock()
            self._process = os.getpid()
        with self._lock:
            shard = self._shards.get(number)
            if shard is None:
                shard = self._shards[number] = self._open_entry(self.entries[number])
            self._open[number] = None
            self._open.move_to_end(number)
            while len(self._open) > self._max_open:
                self._shards[self._open.popitem(last=False)[0]].close()
        return shard

    def _open_entry(self, entry: ShardEntry) -> TableFile:
        shard = TableFile(entry.path, "shard")
        if entry.digest and shard.header.content_digest != entry.digest:
            raise InputError(entry.path, "is not the shard that the index was made for", remedy=INDEX_REMEDY)
        return shard


# Tables that reach over all shards of a cache: `cache.people["poses"][rows]`.

_LINKING = {"pictures/first_person": "people", "people/picture": "pictures"}  # columns that hold rows of a table
_WITHIN_SHARD = frozenset({"pictures/group", "pictures/sequence"})


class TableView(Mapping[str, "ColumnView"]):
    """The plain columns of `images` or `people` by name; KeyError for columns that no shard has.

    Encoded and ragged columns are read row by row with the cache's methods.
    """

    def __init__(self, table: str, shards: ShardSet) -> None:
        self.table = table
        self._shards = shards
        self._columns = {
            name: column
            for name, column in columns_of(table, COLUMNS).items()
            if column.kind is Kind.PLAIN and column.path not in _WITHIN_SHARD
            if not column.optional or column.path in shards.labels  # every shard has the others
        }

    def __getitem__(self, name: str) -> ColumnView:
        return ColumnView(self._columns[name], self._shards)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def row_count(self) -> int:
        """Number of rows over all shards."""
        return self._shards.row_count(self.table)


class ColumnView:
    """One column over all shards; index it with a row, a slice, or an array of rows or booleans.

    Indexing returns arrays as the schema describes them: NaN for unknown numbers, texts as `str`.
    """

    def __init__(self, column: Column, shards: ShardSet) -> None:
        self.column = column
        self._shards = shards

    def __len__(self) -> int:
        return self._shards.row_count(self.column.table)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return self._read(np.arange(*rows.indices(len(self)), dtype=np.int64))
        values = self._read(checked_rows(rows, len(self), self.column.table))
        return values[0] if isinstance(rows, int | np.integer) else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values: NDArray[Any] = self[:]
        return values if dtype is None else values.astype(dtype)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read once per shard, in the order of the file; return values in the order of `rows`."""
        column = self.column
        parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
        for number, positions, local in self._shards.split(column.table, rows):
            shard = self._shards.open(number)
            if column.path in shard:
                values = shard.take(column.path, local)
            else:
                values = np.full((len(local), *column.shape), np.nan, column.numpy_dtype)
            if column.path in _LINKING:
                values = values + self._shards.first_row(_LINKING[column.path], number)
            parts.append((positions, shard.decoded(column.path, values) if column.is_text else values))
        empty = np.zeros((0, *column.shape), "U1" if column.is_text else column.dtype)
        table = np.empty((len(rows), *column.shape), np.result_type(*[values for _, values in parts] or [empty]))
        for positions, values in parts:
            table[positions] = values
        return table


def checked_rows(rows: ArrayLike, count: int, table: str) -> NDArray[np.int64]:
    """Convert rows to non-negative row numbers; negative ones count from the end.

    Args:
        rows: An int, ints or (count,) booleans.
        count: Number of rows of the table.
        table: Name of the table, for messages.

    Returns:
        (N,) row numbers.

    Raises:
        UsageError: If a row does not exist.
    """
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


_MAX_OPEN = 64
_NO_CACHES = ("an image", "a video", "a HEIC image", "text", "a ZIP archive", "a gzip archive", "a NumPy array")


def open_cache(path: Path | str, *, max_open: int = _MAX_OPEN) -> Cache:
    """Open a cache: its folder, its `index.h5`, or a single shard.

    Shards are opened when they are first read.

    Args:
        path: The folder or file.
        max_open: Number of shards to keep open at once.

    Raises:
        InputError: For other files, a newer schema, a damaged index, and missing shards.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "does not exist", remedy="check the spelling and the folder")
    remedy = "hpc preprocess images FOLDER --out CACHE makes one of your own images"
    if path.is_file() and (kind := file_kind(path)) in _NO_CACHES:
        raise InputError(path, "is no dataset cache", expected=f"a folder with {INDEX_NAME}", got=kind, remedy=remedy)
    file = path / INDEX_NAME if path.is_dir() else path
    if not file.exists() and any(path.glob(SHARD_PATTERN)):
        remedy = "finish it with hpc preprocess, or open one of its shards"
        raise InputError(path, f"has shards but no {INDEX_NAME}", remedy=remedy)
    if not file.exists():
        raise InputError(path, "is no dataset cache", expected=f"a folder with {INDEX_NAME}", remedy=remedy)
    return Cache(TableFile(file), max_open)


class Cache:
    """Images 0 … len−1 with their people and labels.

    Threads may share a cache; it can be pickled and survives a fork. All methods raise InputError with the file's name
    if a shard is missing or damaged, and UsageError for rows and names that do not exist.

    Attributes:
        header: Source, options, counts and digest.
        images: Plain columns of the images by name, such as `cache.images["size"][rows]`; see `lab.cache.schema`.
        people: Plain columns of the people by name, such as `cache.people["poses"][rows]`.
    """

    def __init__(self, file: TableFile, max_open: int = _MAX_OPEN) -> None:
        self._file = file
        self._max_open = max_open
        self.path = file.path
        self.header = file.header
        if self.header.kind == "index":
            entries = shard_entries(file)
            labels = dict(zip(file.texts("labels/name"), file.numbers("labels/known").tolist(), strict=True))
        else:
            entries = [ShardEntry(file.path, self.header.picture_count, self.header.person_count)]
            labels = {column.path: file.value_count(column.path) for column in file.labels()}
        protect((self.path, *(entry.path for entry in entries)))
        self._shards = ShardSet(entries, labels, max_open)
        self.images = TableView("pictures", self._shards)
        self.people = TableView("people", self._shards)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(open_cache, max_open=self._max_open), (self.path,)

    def __len__(self) -> int:
        return self._shards.row_count("pictures")

    @property
    def shard_paths(self) -> tuple[Path, ...]:
        """Paths of the shards, in the order of their rows."""
        return tuple(entry.path for entry in self._shards.entries)

    @property
    def labels(self) -> Mapping[str, int]:
        """Path of each column that exists ("people/poses", "people/box") → number of rows with a value."""
        return self._shards.labels

    # One image

    def sample(self, row: int, *, person: int | None = None, maps: Names = None, labels: Names = None) -> Sample:
        """Return an image with its labels, as the source yielded it (numbers as float32).

        Args:
            row: The row.
            person: Index of the person whose labels are read; the others have none. None reads all people.
            maps: Names of the maps to read; None for all.
            labels: Names of the person's columns to read, such as "keypoints/smpl24"; None for all.
        """
        shard, _, local = self._locate(row)
        return read_sample(shard, local, person=person, maps=maps, labels=labels)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Decode an image: (H, W, 3) uint8 RGB."""
        shard, _, local = self._locate(row)
        pixels = decode_image(shard.encoded("pictures/image", local))
        if pixels is None:
            raise shard.damaged("pictures/image", local, "cannot be decoded")
        return pixels

    def map_bytes(self, row: int, name: str) -> bytes:
        """Return a label map's PNG bytes; empty if the image has none."""
        shard, _, local = self._locate(row)
        return shard.encoded(_map_path(name), local)

    def map(self, row: int, name: str) -> NDArray[Any] | None:
        """Decode a label map as `LABEL_MAPS` describes it: (H, W) or (H, W, 3); None if the image has none."""
        shard, _, local = self._locate(row)
        path = _map_path(name)
        data = shard.encoded(path, local)
        pixels = decode_png(data) if data else None
        if data and pixels is None:
            raise shard.damaged(path, local, "cannot be decoded")
        return pixels

    def people_of(self, row: int) -> range:
        """Return the rows of the people in an image."""
        shard, number, local = self._locate(row)
        people = shard.people_of(local)
        first = self._shards.first_row("people", number)
        return range(first + people.start, first + people.stop)

    def find(self, name: str) -> int:
        """Find the row of an image by its name. The first call reads all names.

        Args:
            name: Name of the image.

        Raises:
            UsageError: If no image has this name.
        """
        try:
            return self._rows_by_name[name]
        except KeyError:
            raise UsageError(name, "is no image of this cache") from None

    @cached_property
    def _rows_by_name(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.images["name"][:])}

    # What belongs together

    @cached_property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """Protocol → its splits."""
        return _by_name(self._split_rows)

    @cached_property
    def pair_splits(self) -> Mapping[str, tuple[str, ...]]:
        """Protocol with pairs → its splits."""
        return _by_name(self._pair_rows)

    def rows(self, protocol: str, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of the images in a split.

        Args:
            protocol: Name of the protocol.
            split: Name of the split; None for all splits of the protocol.

        Returns:
            (N,) rows, ascending.
        """
        keys = _keys(self._split_rows, protocol, split, "protocol")
        parts = [self._file.ragged("protocols/pictures", self._split_rows[key]) for key in keys]
        return parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))

    def pairs(self, protocol: str, split: str) -> NDArray[np.int64]:
        """Return the pairs of a split in the source's order.

        Args:
            protocol: Name of the protocol.
            split: Name of the split.

        Returns:
            (P, 2) rows of the input and the target image of each pair.
        """
        (key,) = _keys(self._pair_rows, protocol, split, "protocol with pairs")
        return self._file.ragged("pairs/pictures", self._pair_rows[key])

    @cached_property
    def sequences(self) -> tuple[str, ...]:
        """Names of all sequences."""
        return tuple(self._file.texts("sequences/name"))

    def sequence(self, name: str) -> NDArray[np.int64]:
        """Return the rows (N,) of a sequence's images, by frame."""
        if name not in self._sequence_rows:
            raise UsageError(name, "is no sequence of this cache")
        return self._file.ragged("sequences/pictures", self._sequence_rows[name])

    @cached_property
    def sequence_numbers(self) -> NDArray[np.int64]:
        """(N,) index in `sequences` of each image's sequence; −1 for images without one."""
        numbers = np.full(len(self), -1, np.int64)
        for number, name in enumerate(self.sequences):
            numbers[self.sequence(name)] = number
        return numbers

    @cached_property
    def groups(self) -> Mapping[str, range]:
        """Name of each group of images → their rows."""
        starts = self._file.numbers("groups/first_picture")
        counts = self._file.numbers("groups/picture_count")
        rows = zip(self._file.texts("groups/name"), starts.tolist(), counts.tolist(), strict=True)
        return {
            name: self._file.row_range("groups/first_picture", start, count, len(self)) for name, start, count in rows
        }

    @cached_property
    def _sequence_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.sequences)}

    @cached_property
    def _split_rows(self) -> dict[tuple[str, str], int]:
        return _key_rows(self._file, "protocols")

    @cached_property
    def _pair_rows(self) -> dict[tuple[str, str], int]:
        return _key_rows(self._file, "pairs")

    # Within

    def _locate(self, row: int, table: str = "pictures") -> tuple[TableFile, int, int]:
        count = self._shards.row_count(table)
        if not -count <= row < count:
            checked_rows(row, count, table)
        return self._shards.locate(table, row + count if row < 0 else row)


def _map_path(name: str) -> str:
    if name not in LABEL_MAPS:
        raise UsageError(name, "is no label map", expected=", ".join(LABEL_MAPS))
    return f"pictures/maps/{name}"


def shard_entries(index: TableFile) -> list[ShardEntry]:
    """List the shards by the table and the links of an index.

    Args:
        index: The index.

    Raises:
        InputError: If a link or a file is missing.
    """
    folder = index.path.parent
    links = index.links
    file_names = {entry.name for entry in os.scandir(folder)}
    entries = []
    counts = (index.numbers(f"shards/{name}").tolist() for name in ("number", "picture_count", "person_count"))
    for number, images, people, digest in zip(*counts, index.texts("shards/digest"), strict=True):
        name = links.get(link_name(number))
        if name is None:
            raise InputError(index.path, f"lacks the link to shard {number}", remedy=INDEX_REMEDY)
        if name not in file_names:
            remedy = "copy it again, or run hpc preprocess again"
            raise InputError(folder / name, "is missing", expected="the shard that index.h5 names", remedy=remedy)
        entries.append(ShardEntry(folder / name, images, people, digest))
    images = sum(entry.picture_count for entry in entries)
    people = sum(entry.person_count for entry in entries)
    header = index.header
    if (images, people) != (header.picture_count, header.person_count):
        expected = f"{header.picture_count} images and {header.person_count} people"
        problem = "has other counts than its shards together"
        got = f"{images} and {people}"
        raise InputError(index.path, problem, expected=expected, got=got, remedy=INDEX_REMEDY)
    return entries


def _key_rows(file: TableFile, table: str) -> dict[tuple[str, str], int]:
    return {(protocol, split_name(split)): row for row, (protocol, split) in enumerate(file.keys(table))}


def _by_name(keys: Collection[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(split for protocol, split in keys if protocol == name) for name, _ in keys}


def _keys(
    rows_by_key: Mapping[tuple[str, str], int], protocol: str, split: str | None, what: str
) -> list[tuple[str, str]]:
    split = None if split is None else split_name(split)
    matching = [key for key in rows_by_key if key[0] == protocol and split in (None, key[1])]
    if not matching:
        subject = protocol if split is None else f"{protocol}/{split}"
        present = ", ".join("/".join(key) for key in rows_by_key) or "none"
        raise UsageError(subject, f"is no {what} of this cache", expected=present)
    return matching
