"""The files of a cache, shards and the index: rows are read where HDF5 says that their datasets lie.

HDF5 reads the root's attributes, and the type, shape and offset of each contiguous dataset; rows are then read at their
offsets, without a file position. No handle or lock of HDF5 stays open, so threads and forked processes share a file.
The file is not mapped into memory: a mapped file that becomes shorter would end the process. Nor is it trusted:
attributes are single numbers and texts, datasets have the types and row shapes of the schema and lie within the file,
and no link is followed. Any difference raises InputError.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.files.sniffing import reading, reading_error, refuse_pipes
from humanpose_cli.lab.cache.encoding import encoded_problem
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Person, Sample, split_name
from humanpose_cli.lab.cache.schema import (
    COLUMNS,
    INDEX_COLUMNS,
    LABEL_TABLES,
    Attributes,
    Column,
    Header,
    Kind,
    Rule,
    columns_of,
    dataset_types,
    value_problem,
)

_COPY_AGAIN = "copy or make it again"
_DEEPEST = 16  # levels of groups; each is looked up from the root
# What h5py raises on damaged files.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)
_SHARD = {column.path: column for column in COLUMNS}
_INDEX = {column.path: column for column in INDEX_COLUMNS}
_SHARD_TYPES = dataset_types(COLUMNS)
_INDEX_TYPES = dataset_types(INDEX_COLUMNS)
# Located when a shard is opened, since nearly every reader needs them. All others are located on first use.
_FIRST = ("pictures/image/values", "pictures/image/offsets", "pictures/image/checksums", "pictures/size")
_SMALL = 1 << 16  # bytes of a dataset that is read at once, since most of its rows are read soon
_HAS_PREAD = hasattr(os, "pread")
_LONGEST_TEXT = 1 << 16  # bytes of an attribute: more do not fit into the headers that are written


class _Dataset(NamedTuple):
    """The position of a contiguous dataset in the file, and its type and shape."""

    name: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    row_count: int
    row_size: int  # bytes


class _OpenFile:
    """A file that is closed with its last reference, so that a reading thread is not disturbed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def __del__(self) -> None:
        os.close(self.descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """Read bytes; fewer at the end of the file, and at most 2 GB."""
        if _HAS_PREAD:
            return os.pread(self.descriptor, size, offset)
        with self._lock:  # Windows, where no forked process shares the position
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, size)


class TableFile:
    """A shard or an index, which threads and forked processes may share.

    Args:
        path: The file.
        kind: "shard" or "index"; None accepts both.

    Raises:
        InputError: If the file is missing, truncated or damaged, or has another format or schema. Reading a column
            raises it if a dataset lacks the type or the rows of the schema and the header.
    """

    def __init__(self, path: Path | str, kind: str | None = None) -> None:
        self.path = Path(path)
        self._file: _OpenFile | None = None
        self._identity: tuple[int, int, int] | None = None
        self._open()
        self._complete: dict[str, NDArray[Any]] = {}  # datasets that were read at once, by their names
        self._datasets: dict[str, _Dataset] = {}
        self._links: dict[str, str] | None = None  # None until all datasets and links are known
        with _hdf5(self.path) as file:
            self.header = Header.of(self.path, _attributes(file), kind)
            shard = self.header.kind == "shard"
            self.columns, self._types = (_SHARD, _SHARD_TYPES) if shard else (_INDEX, _INDEX_TYPES)
            if kind != "shard":
                self._look_through(file)
            for name in _FIRST if kind == "shard" else ():
                with suppress(KeyError):  # missing: reported when it is read
                    self._datasets[name] = self._locate(name, _entry(file, name))
        self._columns: dict[str, _Dataset | None] = {}  # those that were checked
        header = self.header
        self._rows = {"pictures": header.picture_count, "people": header.person_count} if shard else {}
        self._rows["groups"] = header.group_count

    def check(self) -> None:
        """Check every column.

        Raises:
            InputError: If a column is missing or does not fit.
        """
        for path in self.columns:
            self._column(path)

    def __contains__(self, path: str) -> bool:
        """Return whether the file has this column ("people/poses")."""
        return path in self.columns and self._column(path) is not None

    def row_count(self, table: str) -> int:
        """Return the number of rows of a table."""
        if table not in self._rows:
            self._column(next(column.path for column in self.columns.values() if column.table == table))
        return self._rows[table]

    def numbers(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read a range of rows of a plain column.

        Args:
            path: Path of the column.
            start: First row.
            stop: Row after the last one; None for the end.

        Returns:
            (N, …) values; texts as (N,) bytes.

        Raises:
            KeyError: If the file lacks the column.
        """
        column = self._present(path)
        stop = column.row_count if stop is None else stop
        if not 0 <= start <= stop <= column.row_count:
            raise self._damaged(
                f"{path} has {column.row_count} rows, and another table refers to rows {start} to {stop - 1}"
            )
        return self._rows_of(column, start, stop).copy()

    def take(self, path: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows of a plain column, in the order of `rows`."""
        first = int(rows.min())
        return self._rows_of(self._present(path), first, int(rows.max()) + 1)[rows - first]

    def text(self, path: str, row: int) -> str:
        """Read one text of a column."""
        return str(self.decoded(path, self.numbers(path, row, row + 1))[0])

    def texts(self, path: str) -> list[str]:
        """Read all texts of a column."""
        return [str(text) for text in self.decoded(path, self.numbers(path))]

    def decoded(self, path: str, texts: NDArray[np.bytes_]) -> NDArray[np.str_]:
        """Decode stored texts (N,) of a column."""
        try:
            return np.char.decode(texts, "utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"{path} holds a text that is not UTF-8") from error

    def ragged(self, path: str, row: int) -> NDArray[Any]:
        """Read one row of a ragged column: (M, …)."""
        values = self._present(path)
        return self._rows_of(values, *self._span(path, values, row)).copy()

    def encoded(self, path: str, row: int) -> bytes:
        """Read one row of an encoded column.

        Args:
            path: Path of the column.
            row: The row.

        Returns:
            The bytes; empty without a value, also if the file lacks the column.

        Raises:
            InputError: If the bytes differ from the written ones or must not be decoded (`encoded_problem`).
        """
        data = self._bytes(path, row)
        image = self._image_of(path, row)
        if problem := self._encoded_problem(path, row, image, data):
            raise self.damaged(path, image, problem)
        return data

    def damaged(self, path: str, image: int, problem: str) -> InputError:
        """Return the error for an encoded column of an image."""
        return self._damaged(f"image {self.text('pictures/name', image)!r}: {path.partition('/')[2]} {problem}")

    def encoded_problem(self, path: str, row: int) -> str:
        """Describe why `encoded` refuses a row; "" if it does not."""
        return self._encoded_problem(path, row, self._image_of(path, row), self._bytes(path, row))

    def offsets(self, path: str) -> NDArray[np.int64]:
        """Return the offsets (N + 1,) of a ragged or encoded column's rows in its values."""
        values = self._present(path)
        rows = self._part(path, "offsets")
        if rows[0] != 0 or rows[-1] != values.row_count or (np.diff(rows) < 0).any():
            raise self._damaged(f"{path}/offsets do not fit the values")
        return rows.copy()

    def row_range(self, path: str, first: int, count: int, total: int) -> range:
        """Return a range of rows.

        Args:
            path: Path of the column that names them, for messages.
            first: First row.
            count: Number of rows.
            total: Number of rows of the table.

        Raises:
            InputError: If the range reaches beyond the table.
        """
        if not (first >= 0 and count >= 0 and first + count <= total):
            raise self._damaged(f"{path} names {count} rows from {first} on of a table of {total}")
        return range(first, first + count)

    def people_of(self, image: int) -> range:
        """Return the rows of the people in an image of a shard."""
        first, count = (
            int(self.numbers(f"pictures/{name}", image, image + 1)[0]) for name in ("first_person", "person_count")
        )
        return self.row_range("pictures/first_person", first, count, self.header.person_count)

    def value_count(self, path: str) -> int:
        """Count the rows of a column that have a value."""
        column = self.columns[path]
        count = self.row_count(self.columns[path].table)
        if column.kind is not Kind.PLAIN:
            return int(np.count_nonzero(np.diff(self.offsets(path))))
        if column.is_text:
            return int(np.count_nonzero(self.numbers(path)))
        if not column.optional:
            return count
        return int(np.count_nonzero(~np.isnan(self.numbers(path).reshape(count, -1)).all(-1)))

    # The walk over the schema: every column that the file has, every row with a value.

    def labels(self) -> Iterator[Column]:
        """Iterate over the columns of images and people that the file has."""
        return (column for column in self.columns.values() if column.table in LABEL_TABLES and column.path in self)

    def value(self, path: str, row: int) -> Any:
        """Read a row of any column.

        Args:
            path: Path of the column.
            row: The row.

        Returns:
            A text, the bytes of an encoded image, or numbers (…) or (M, …); None without a value.
        """
        column = self.columns[path]
        if column.is_text:
            return self.text(path, row)
        if path not in self:
            return None
        if column.kind is Kind.ENCODED:
            return self.encoded(path, row) or None
        if column.kind is Kind.RAGGED:
            points = self.ragged(path, row)
            return points if len(points) else None
        # A row with a value has at least one number that is not NaN, by the rules of its column.
        value = self.numbers(path, row, row + 1)[0]
        return None if np.isnan(value).all() else value

    def valid_value(self, path: str, row: int) -> Any:
        """Read a row as `value` does, and check the rule of its column.

        Args:
            path: Path of the column.
            row: The row.

        Raises:
            InputError: If the value breaks the rule.
        """
        value = self.value(path, row)
        column = self.columns[path]
        if column.rule is not Rule.ANY and value is not None and (problem := value_problem(column, value)):
            raise self._damaged(f"{path} {problem} in row {row}")
        return value

    def values(self, path: str) -> Iterator[tuple[int, Any]]:
        """Iterate over (row, value) of the rows with a value."""
        rows = ((row, self.value(path, row)) for row in range(self.row_count(self.columns[path].table)))
        return ((row, value) for row, value in rows if value is not None)

    def keys(self, table: str) -> list[tuple[str, str]]:
        """List (name, split) of each row of `protocols` or `pairs`."""
        return list(zip(self.texts(f"{table}/name"), self.texts(f"{table}/split"), strict=True))

    def splits_of(self, image: int) -> dict[str, str]:
        """Map protocols to the splits of an image."""
        splits = {}
        for name, split, rows in self._splits:
            position = int(np.searchsorted(rows, image))
            if position < len(rows) and rows[position] == image:
                splits[name] = split
        return splits

    @cached_property
    def _splits(self) -> list[tuple[str, str, NDArray[np.int64]]]:
        return [
            (name, split_name(split), self.ragged("protocols/pictures", row))
            for row, (name, split) in enumerate(self.keys("protocols"))
        ]

    # Datasets

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Iterate over all datasets, sorted by name."""
        _ = self.links
        for name, dataset in sorted(self._datasets.items()):
            yield name, self._rows_of(dataset, 0, dataset.row_count).reshape(dataset.shape)

    def checksums_of_datasets(self) -> dict[str, int]:
        """Read the CRC-32 stored with each dataset; −1 if it is missing."""
        _ = self.links
        with _hdf5(self.path) as file:
            checksums = {name: _attributes(_entry(file, name)).get("crc32") for name in self._datasets}
        return {name: checksum if isinstance(checksum, int) else -1 for name, checksum in checksums.items()}

    @property
    def links(self) -> dict[str, str]:
        """Path of each external link → the name of the file that it leads to."""
        if self._links is None:
            with _hdf5(self.path) as file:
                self._look_through(file)
        return self._links or {}

    def close(self) -> None:
        """Close the file until the next read; a thread that is reading is not disturbed."""
        self._columns = {}
        self._complete = {}
        self._file = None

    # Within

    def _present(self, path: str) -> _Dataset:
        column = self._column(path)
        if column is None:
            raise KeyError(path)
        return column

    def _column(self, path: str) -> _Dataset | None:
        """Return the dataset of a column's values, checked at first use; None for a missing optional column."""
        columns = self._columns  # another thread may close the file meanwhile
        if path not in columns:
            column = self.columns[path]
            dataset = self._dataset(path if column.kind is Kind.PLAIN else f"{path}/values")
            if dataset is not None:
                self._check(column, dataset)
            elif not column.optional:
                raise self._damaged(f"lacks {path}")
            columns[path] = dataset
        return columns[path]

    def _check(self, column: Column, values: _Dataset) -> None:
        count = values.row_count if column.kind is Kind.PLAIN else len(self._part(column.path, "offsets")) - 1
        if self._rows.setdefault(column.table, count) != count:
            raise self._damaged(f"{column.path} has {count} rows where the table has {self._rows[column.table]}")
        if column.kind is Kind.ENCODED and len(self._part(column.path, "checksums")) != count:
            raise self._damaged(f"{column.path}/checksums are not one for each of {count} rows")

    def _part(self, path: str, part: str) -> NDArray[Any]:
        """Return a column's offsets or checksums."""
        dataset = self._dataset(f"{path}/{part}")
        if dataset is None or not (dataset.row_count or part == "checksums"):
            raise self._damaged(f"lacks {path}/{part}")
        return self._all_rows(dataset)

    def _bytes(self, path: str, row: int) -> bytes:
        values = self._column(path)
        if values is None:
            return b""
        start, stop = self._span(path, values, row)
        return self._read(stop - start, values.offset + start)

    def _image_of(self, path: str, row: int) -> int:
        """Return the row of the image that a row of an encoded column belongs to."""
        return row if path.startswith("pictures/") else int(self.numbers("people/picture", row, row + 1)[0])

    def _encoded_problem(self, path: str, row: int, image: int, data: bytes) -> str:
        if self._column(path) is None:
            return ""
        if zlib.crc32(data) != self._part(path, "checksums")[row]:
            return "does not match its checksum"
        if not data:
            return "is missing" if path == "pictures/image" else ""
        size = self.numbers("pictures/size", image, image + 1)[0].tolist()
        start, stop = self._span("pictures/image", self._present("pictures/image"), image)
        return encoded_problem(path, data, size, stop - start)

    def _span(self, path: str, values: _Dataset, row: int) -> tuple[int, int]:
        offsets = self._part(path, "offsets")
        if not 0 <= row < len(offsets) - 1:
            raise self._damaged(f"{path} has {len(offsets) - 1} rows, and another table refers to row {row}")
        start = int(offsets[row])
        stop = int(offsets[row + 1])
        if not 0 <= start <= stop <= values.row_count:
            raise self._damaged(f"{path}/offsets do not fit the values in row {row}")
        return start, stop

    def _dataset(self, name: str) -> _Dataset | None:
        """Return a dataset by its name; None if there is none."""
        if name not in self._datasets:
            _ = self.links
        return self._datasets.get(name)

    def _rows_of(self, dataset: _Dataset, start: int, stop: int) -> NDArray[Any]:
        """Read rows start … stop−1 of a dataset as a read-only array."""
        if dataset.row_count * dataset.row_size <= _SMALL:
            return self._all_rows(dataset)[start:stop]
        data = self._read((stop - start) * dataset.row_size, dataset.offset + start * dataset.row_size)
        return np.ndarray((stop - start, *dataset.shape[1:]), dataset.dtype, data)

    def _all_rows(self, dataset: _Dataset) -> NDArray[Any]:
        """Return all rows of a dataset; they are read once and stay in memory."""
        arrays = self._complete
        if dataset.name not in arrays:
            data = self._read(dataset.row_count * dataset.row_size, dataset.offset)
            arrays[dataset.name] = np.ndarray((dataset.row_count, *dataset.shape[1:]), dataset.dtype, data)
        return arrays[dataset.name]

    def _read(self, size: int, offset: int) -> bytes:
        """Read bytes of the file, and refuse a file that has become shorter."""
        file = self._file or self._open()
        try:  # not `reading`, which looks at the path again
            data = file.read(size, offset)
            while len(data) < size and (more := file.read(size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise reading_error(self.path, error) from error
        if len(data) < size:
            raise InputError(self.path, "became shorter while it was being read", remedy=_COPY_AGAIN)
        return data

    def _open(self) -> _OpenFile:
        """Open the file, and refuse another file of the same name."""
        with reading(self.path):
            file = _OpenFile(os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
            status = os.fstat(file.descriptor)
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._identity not in (None, identity):
            raise InputError(self.path, "was replaced while it was being read", remedy="start again")
        self._identity = identity
        self._file = file
        return file

    def _look_through(self, file: Any) -> None:
        """Note all datasets and external links; links are not followed."""
        entries: list[tuple[bytes, bool]] = []
        file.links.visit(lambda name, info: entries.append((name, info.type == h5py.h5l.TYPE_EXTERNAL)), info=True)
        links: dict[str, str] = {}
        for raw, external in entries:
            name = raw.decode("utf-8")
            if external:
                links[name] = file.links.get_val(raw)[0].decode("utf-8")
            elif isinstance(entry := _entry(file, name), h5py.h5d.DatasetID):
                self._datasets[name] = self._locate(name, entry)
        self._links = links

    def _locate(self, name: str, entry: Any) -> _Dataset:
        """Locate a dataset, and refuse another type or row shape than the schema's."""
        if not isinstance(entry, h5py.h5d.DatasetID):
            raise self._damaged(f"lacks {name}")
        shape = entry.shape
        dtype = entry.dtype
        if dtype.hasobject:  # numpy would take the file's bytes for addresses
            expected = "numbers and texts of fixed width"
            raise InputError(self.path, f"{name} holds references", expected=expected, remedy=_COPY_AGAIN)
        dtype = np.dtype(dtype.str)
        if row_type := self._types.get(name):
            right = dtype.kind == "S" if row_type.dtype.kind == "S" else dtype == row_type.dtype
            if not right or len(shape) != 1 + len(row_type.shape) or shape[1:] != row_type.shape:
                raise self._damaged(f"{name} has another type ({dtype.str} {shape})")
        offset = entry.get_offset() if all(shape) else 0
        if offset is None:
            raise ValueError("a dataset is not contiguous")
        size = self._identity[1] if self._identity is not None else 0
        if offset + prod(side or 1 for side in shape) * dtype.itemsize > size:
            raise InputError(self.path, f"is truncated: {name} reaches past its end", remedy=_COPY_AGAIN)
        return _Dataset(name, offset, dtype, shape, shape[0] if shape else 1, prod(shape[1:]) * dtype.itemsize)

    def _damaged(self, problem: str) -> InputError:
        return InputError(self.path, problem, remedy="copy or make it again; hpc cache verify lists all damage")


# HDF5 through h5py's lower level: making its File and Dataset objects takes several times longer.


def read_attributes(path: Path) -> Attributes:
    """Read the attributes of the root.

    Args:
        path: A shard or index.

    Raises:
        InputError: If the file is missing, truncated, damaged or not HDF5.
    """
    with _hdf5(path) as file:
        return _attributes(file)


@contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """Open a file with HDF5, and turn its exceptions into InputError."""
    refuse_pipes(path)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)  # several processes read, and network mounts refuse locks
    try:
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)
        try:
            yield file
        finally:
            file.close()
    except _DAMAGE as error:
        if isinstance(error, OSError) and not os.access(path, os.R_OK):
            raise reading_error(path, error) from error
        text = str(error)
        problem = f"is damaged ({reason_of(error)})"
        if "signature not found" in text:
            problem = "is no HDF5 file, or damaged at its beginning"
        elif "truncated file" in text:
            problem = "is truncated"
        raise InputError(path, problem, remedy=_COPY_AGAIN) from error


def _entry(file: Any, name: str) -> Any:
    """Open an object by its path. Links are refused: HDF5 would open the file that they name."""
    path = name.encode()
    if path.count(b"/") > _DEEPEST:
        raise ValueError("groups are nested too deep")
    for end in (*(position for position, character in enumerate(path) if character == ord("/")), len(path)):
        if not file.links.exists(path[:end]):
            raise KeyError(name)
        if file.links.get_info(path[:end]).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{name} is behind a link")
    return h5py.h5o.open(file, path)


def _attributes(owner: Any) -> dict[str, str | int]:
    """Read all attributes; ValueError unless each is one integer or one text of fixed width."""
    # HDF5 would allocate as many values as the file claims, so anything but a small scalar is refused.
    values: dict[str, str | int] = {}
    names: list[bytes] = []
    h5py.h5a.iterate(owner, names.append)  # opening each by its index would search through all of them
    for raw in names:
        name = raw.decode("utf-8")
        attribute = h5py.h5a.open(owner, raw)
        if attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
            raise ValueError(f"the attribute {name} is not a single value")
        kind = attribute.get_type()
        # With the type that is wanted: h5py would take twice the time to work out what is stored to numpy.
        text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
        if isinstance(kind, h5py.h5t.TypeIntegerID):
            number = np.empty((), np.int64)
            attribute.read(number, mtype=h5py.h5t.NATIVE_INT64)
            values[name] = int(number)
        elif text and kind.get_size() <= _LONGEST_TEXT:
            letters = np.empty((), f"S{kind.get_size()}")
            attribute.read(letters, mtype=kind)
            values[name] = letters.item().decode("utf-8")
        else:
            raise ValueError(f"the attribute {name} is neither a whole number nor a text of fixed width")
    return values


# Rows of a shard back to the samples they were made of.

Names = Collection[str] | None
_FAMILIES = ("keypoints", "joints")
_PERSON_COLUMNS = tuple(column for name, column in columns_of("people").items() if name != "picture")


def read_sample(
    shard: TableFile, row: int, *, person: int | None = None, maps: Names = None, labels: Names = None
) -> Sample:
    """Read the sample in a row of the shard, see `Cache.sample`."""

    def number(name: str) -> int:
        return int(shard.numbers(f"pictures/{name}", row, row + 1)[0])

    width, height = shard.numbers("pictures/size", row, row + 1)[0].tolist()
    optional = "focal", "principal_point", "frame_rate"
    focal, point, rate = (shard.valid_value(f"pictures/{name}", row) for name in optional)
    sequence = number("sequence")
    names = LABEL_MAPS if maps is None else maps
    encoded_maps = {name: shard.encoded(f"pictures/maps/{name}", row) for name in names}
    people = enumerate(shard.people_of(row))
    return Sample(
        name=shard.text("pictures/name", row),
        image=shard.encoded("pictures/image", row),
        size=(width, height),
        focal=None if focal is None else float(focal),
        principal_point=None if point is None else (float(point[0]), float(point[1])),
        people=tuple(read_person(shard, p, labels) if person in (None, i) else Person() for i, p in people),
        maps={name: data for name, data in encoded_maps.items() if data},
        sequence="" if sequence < 0 else shard.text("sequences/name", sequence),
        frame=number("frame"),
        splits=shard.splits_of(row),
        frame_rate=None if rate is None else float(rate),
        world_to_camera=shard.valid_value("pictures/world_to_camera", row),
    )


def read_person(shard: TableFile, row: int, labels: Names = None) -> Person:
    """Read the person in a row of the shard, with the named labels or all."""
    values: dict[str, Any] = {family: {} for family in _FAMILIES}
    for column in _PERSON_COLUMNS:
        if labels is not None and column.name not in labels:
            continue
        value = shard.valid_value(column.path, row)
        family, _, skeleton = column.name.partition("/")
        if not skeleton:
            values[family] = value
        elif value is not None:
            values[family][skeleton] = value
    return Person(**{**values, "crowd": values.get("crowd") is not None})
