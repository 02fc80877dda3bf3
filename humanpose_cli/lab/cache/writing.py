"""Samples to a shard: checked against `lab.cache.samples`, then written by one process, completely or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SKELETONS
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.encoding import encoded_problem
from humanpose_cli.lab.cache.samples import LABEL_MAPS, SPLITS, Group, Person, Sample
from humanpose_cli.lab.cache.schema import COLUMNS, Attributes, Column, Header, Kind, Rule, columns_of, value_problem
from humanpose_cli.outputs.atomic import atomic_path, is_about_output

# HDF5 files of contiguous datasets, with reproducible bytes.

# Object headers and links with checksums, and nothing newer than HDF5 1.8, so that every program reads the files.
_VERSION = h5py.h5f.LIBVER_V18


class Dataset(NamedTuple):
    """One dataset to write.

    Attributes:
        values: The values. Texts have a dtype such as S12, which becomes UTF-8 of 12 bytes.
        attributes: Attributes of the dataset.
    """

    values: NDArray[Any]
    attributes: Attributes = MappingProxyType({})


def bytes_of(array: NDArray[Any]) -> memoryview:
    """View an array as its bytes (N,)."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def digest_of_arrays(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Hash datasets with SHA-256: path, type, shape and bytes of each.

    Args:
        arrays: (path, array), sorted by path.

    Returns:
        The digest in hexadecimal.
    """
    digest = hashlib.sha256()
    for path, array in arrays:
        digest.update(f"{path}\0{array.dtype.str}\0{','.join(map(str, array.shape))}\0".encode())
        digest.update(bytes_of(array))
    return digest.hexdigest()


def write_hdf5(
    path: Path,
    header: Header,
    datasets: Mapping[str, Dataset],
    *,
    links: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> Header:
    """Write a shard or index whose bytes depend on nothing but the arguments.

    Args:
        path: The file.
        header: Its header; the digest is filled in.
        datasets: Path → dataset.
        links: Path → (file, path in it) of external links.

    Returns:
        The header with its digest.

    Raises:
        OSError: If the system cannot write the file.
    """
    digest = digest_of_arrays((name, datasets[name].values) for name in sorted(datasets))
    header = replace(header, content_digest=digest)
    offsets: dict[str, int] = {}
    with h5py.File(_create(path)) as file:
        for name, value in header.attributes.items():
            _write_attribute(file, name, value)
        for name in sorted(datasets):
            offset = _set_aside(file, name, datasets[name])
            if offset is not None:
                offsets[name] = offset
        for name, (file_name, target) in links.items():
            parent, _, link = name.rpartition("/")
            _group(file, parent)[link] = h5py.ExternalLink(file_name, target)
    # Not by HDF5: if its write fails on a full disk, closing the file raises a RuntimeError without an errno
    # (h5py 3.16), which hides the OSError.
    with open(path, "r+b") as raw:
        for name, offset in offsets.items():
            raw.seek(offset)
            raw.write(bytes_of(datasets[name].values))
    return header


def _create(path: Path) -> Any:
    """Create a file whose root keeps all attributes in its header, from where they are read faster."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(_VERSION, _VERSION)
    access.set_file_locking(False, True)
    creation.set_attr_phase_change(64, 0)
    creation.set_obj_track_times(False)
    return h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, creation, access)


def _write_attribute(owner: Any, name: str, value: str | int) -> None:
    """Write an attribute; texts with fixed width, since variable width puts them into a heap."""
    if isinstance(value, int):
        owner.attrs.create(name, value, dtype="<i8")
        return
    data = value.encode("utf-8")
    owner.attrs.create(name, np.array(data, h5py.string_dtype("utf-8", max(1, len(data)))))


def _group(file: h5py.File, path: str) -> h5py.Group:
    """Create the group of a path level by level: implicit groups would store the time."""
    group = file["/"]
    plan = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    plan.set_obj_track_times(False)
    for name in filter(None, path.split("/")):
        if name not in group:
            h5py.h5g.create(group.id, name.encode(), gcpl=plan)
        group = group[name]
    return group


def _set_aside(file: h5py.File, name: str, dataset: Dataset) -> int | None:
    """Create a dataset without its values; return their offset, None if there are none."""
    parent, _, leaf = name.rpartition("/")
    values = dataset.values
    group = _group(file, parent)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)
    text = values.dtype.kind == "S"
    kind = h5py.h5t.py_create(h5py.string_dtype("utf-8", values.dtype.itemsize) if text else values.dtype, logical=True)
    identifier = h5py.h5d.create(group.id, leaf.encode(), kind, h5py.h5s.create_simple(values.shape), plan)
    for key, value in {**dataset.attributes, "crc32": zlib.crc32(bytes_of(values))}.items():
        _write_attribute(h5py.Dataset(identifier), key, value)
    return identifier.get_offset() if values.size else None


# Columns while a file is being made: rows are added one by one, and become datasets at the end.


def _text_array(texts: Sequence[bytes]) -> NDArray[np.bytes_]:
    """Convert texts to an array (N,) of one width, at least 1."""
    return np.array(texts, f"S{max([1, *map(len, texts)])}")


def _plain_dataset(column: Column, rows: NDArray[Any], value_count: int | None = None) -> Dataset:
    """Describe a plain column by its attributes and its number of rows with a value."""
    attributes: dict[str, str | int] = dict(column.attributes)
    return Dataset(rows, attributes if value_count is None else {**attributes, "known": value_count})


def _ragged_datasets(column: Column, rows: Sequence[NDArray[Any]]) -> dict[str, Dataset]:
    """Return the datasets of a ragged column by path."""
    values = np.concatenate([np.zeros((0, *column.shape), column.numpy_dtype), *rows])
    value_count = sum(1 for row in rows if len(row))
    return {
        f"{column.path}/values": _plain_dataset(column, values.astype(column.numpy_dtype), value_count),
        f"{column.path}/offsets": Dataset(_offsets([len(row) for row in rows])),
    }


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Return the start of each row and the end of the last one: (N + 1,)."""
    return np.concatenate(([0], np.cumsum(lengths, dtype="<i8"))).astype("<i8")


class _GrowingColumn:
    """The rows so far of one column; encoded images wait in a nameless file that `open_files` closes."""

    def __init__(self, column: Column, folder: Path, open_files: ExitStack) -> None:
        self.column = column
        self._folder = folder
        self._open_files = open_files
        self.value_count = 0
        self._rows: list[Any] = []  # in encoded columns, numbers of bytes
        self._checksums: list[int] = []
        self._file: IO[bytes] | None = None

    def add(self, row: Any) -> None:
        """Add a row: an array of the column's type, a text's or an image's bytes; None without a value."""
        self.value_count += row is not None and not (isinstance(row, bytes) and not row)
        if self.column.kind is not Kind.ENCODED:
            self._rows.append(row)
            return
        data = row or b""
        self._rows.append(len(data))
        self._checksums.append(zlib.crc32(data))
        if data:
            if self._file is None:
                waiting = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                self._file = self._open_files.enter_context(waiting)
            self._file.write(data)

    def datasets(self) -> dict[str, Dataset]:
        """Return the datasets by path; none for an optional column without a value."""
        column = self.column
        if column.optional and not self.value_count:
            return {}
        if column.kind is Kind.PLAIN:
            return {column.path: _plain_dataset(column, self._plain(), self.value_count)}
        if column.kind is Kind.RAGGED:
            empty = np.zeros((0, *column.shape), column.numpy_dtype)
            return _ragged_datasets(column, [empty if row is None else row for row in self._rows])
        values = np.zeros(0, np.uint8)
        if self._file is not None:
            self._file.flush()
            values = np.asarray(np.memmap(self._file, np.uint8, "r"))
        return {
            f"{column.path}/values": _plain_dataset(column, values, self.value_count),
            f"{column.path}/offsets": Dataset(_offsets(self._rows)),
            f"{column.path}/checksums": Dataset(np.array(self._checksums, "<u4")),
        }

    def _plain(self) -> NDArray[Any]:
        column = self.column
        if column.is_text:
            return _text_array(self._rows)
        unknown = np.nan if column.numpy_dtype.kind == "f" else 0
        table = np.full((len(self._rows), *column.shape), unknown, column.numpy_dtype)
        for number, row in enumerate(self._rows):
            if row is not None:
                table[number] = row
        return table


@dataclass
class GroupError(Exception):
    """An exception while a shard was written, with the group that raised it."""

    group: str
    error: BaseException

    def __str__(self) -> str:
        return f"group {self.group!r}: {self.error}"


def write_shard(
    path: Path | str,
    header: Header,
    groups: Iterable[Group],
    read: Callable[[Group], Iterable[Sample]],
    on_sample: Callable[[], None] | None = None,
) -> Header:
    """Write the samples of groups as a shard.

    Args:
        path: The file.
        header: Header without counts and digest, which are filled in.
        groups: The groups.
        read: Group → its samples, as `Source.read`.
        on_sample: Called after each sample.

    Returns:
        The header with its counts and digest.

    Raises:
        GroupError: Around what reading a group raises, or an InputError if a sample breaks the contract.
        UnavailableError: If the disk is full or a permission is missing.
    """
    path = Path(path)
    with atomic_path(path) as temporary, ExitStack() as open_files:
        shard = _Shard(path.parent, open_files)
        for group in groups:
            try:
                shard.add_group(group, read(group), on_sample)
            except Exception as error:
                _raise_interruption(error)
                if isinstance(error, OSError) and is_about_output(path.parent, error):
                    raise  # our own writing; `atomic_path` turns it into a message
                raise GroupError(group.name, error) from error
        header = replace(header, picture_count=shard.images, person_count=shard.people, group_count=len(shard.groups))
        return write_hdf5(temporary, header, shard.datasets())


def _raise_interruption(error: BaseException) -> None:
    """Raise the interruption behind an error: one inside an enumeration becomes a RuntimeError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__cause__


class _Shard:
    """The tables of a shard while it grows."""

    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        self.images = self.people = 0
        self.groups: list[tuple[str, int, int]] = []
        self._tables = {
            table: [_GrowingColumn(column, folder, open_files) for column in columns_of(table).values()]
            for table in ("pictures", "people")
        }
        self._names: set[str] = set()
        self._sequences: dict[str, list[tuple[int, int]]] = {}
        self._sequence_rows: dict[str, int] = {}
        self._protocols: dict[tuple[str, str], list[int]] = {}
        self._pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add_group(self, group: Group, samples: Iterable[Sample], on_sample: Callable[[], None] | None) -> None:
        first = self.images
        for sample in samples:
            self._add(sample)
            if on_sample is not None:
                on_sample()
        count = self.images - first
        subject = f"group {group.name!r}"
        if count != group.count:
            raise InputError(subject, "has another number of samples", expected=str(group.count), got=str(count))
        check_splits(subject, (split for _, split in group.pairs))
        for key, pairs in group.pairs.items():
            if any(not 0 <= number < count for pair in pairs for number in pair):
                raise InputError(subject, f"pairs of {'/'.join(key)} name a sample it does not have")
            self._pairs.setdefault(key, []).extend((first + source, first + target) for source, target in pairs)
        self.groups.append((group.name, first, count))

    def _add(self, sample: Sample) -> None:
        check_sample(sample)
        if sample.name in self._names:
            raise InputError(f"sample {sample.name!r}", "comes twice")
        self._names.add(sample.name)
        row = self.images
        sequence = -1
        if sample.sequence:
            sequence = self._sequence_rows.setdefault(sample.sequence, len(self._sequence_rows))
            self._sequences.setdefault(sample.sequence, []).append((sample.frame, row))
        links = {"group": len(self.groups), "sequence": sequence}
        links |= {"first_person": self.people, "person_count": len(sample.people)}
        self._add_row("pictures", f"sample {sample.name!r}", sample, links)
        for number, person in enumerate(sample.people):
            self._add_row("people", f"sample {sample.name!r}, person {number}", person, {"picture": row})
        for key in sample.splits.items():
            self._protocols.setdefault(key, []).append(row)
        self.images += 1
        self.people += len(sample.people)

    def _add_row(self, table: str, subject: str, record: Sample | Person, links: Mapping[str, int]) -> None:
        for growing in self._tables[table]:
            column = growing.column
            value = links[column.name] if column.name in links else value_of(record, column)
            if column.is_text:
                value = as_text(subject, column, value)
            elif column.kind is not Kind.ENCODED:
                value = as_row(subject, column, value)
            growing.add(value)

    def datasets(self) -> dict[str, Dataset]:
        """Return all datasets by path."""
        joins = join_datasets(
            self.groups,
            {name: [row for _, row in sorted(frames)] for name, frames in self._sequences.items()},
            self._protocols,
            self._pairs,
        )
        columns = chain(*self._tables.values())
        return {path: data for growing in columns for path, data in growing.datasets().items()} | joins


def join_datasets(
    groups: Iterable[tuple[str, int, int]],
    sequences: Mapping[str, Any],
    protocols: Mapping[tuple[str, str], Any],
    pairs: Mapping[tuple[str, str], Any],
) -> dict[str, Dataset]:
    """Make the tables that shards and the index share.

    Args:
        groups: (name, first image, number of images).
        sequences: Name → rows of images.
        protocols: (name, split) → rows of images.
        pairs: (name, split) → (input, target) rows.

    Returns:
        Path → dataset.
    """
    names, firsts, counts = zip(*groups, strict=True)
    datasets = table_datasets("groups", {"name": names, "first_picture": firsts, "picture_count": counts})
    datasets |= table_datasets("sequences", {"name": sequences, "pictures": sequences.values()})
    for table, rows_by_key in (("protocols", protocols), ("pairs", pairs)):
        keys = sorted(rows_by_key)
        columns = {"name": [name for name, _ in keys], "split": [split for _, split in keys]}
        datasets |= table_datasets(table, {**columns, "pictures": [rows_by_key[key] for key in keys]})
    return datasets


def table_datasets(
    table: str, columns: Mapping[str, Iterable[Any]], schema: tuple[Column, ...] = COLUMNS
) -> dict[str, Dataset]:
    """Make the datasets of a table.

    Args:
        table: Name of the table.
        columns: Name → texts, numbers, or rows of numbers.
        schema: The columns of the file.

    Returns:
        Path → dataset.
    """
    datasets: dict[str, Dataset] = {}
    for name, values in columns.items():
        column = columns_of(table, schema)[name]
        if column.kind is Kind.RAGGED:
            datasets |= _ragged_datasets(column, [np.array(row, "<i8").reshape(-1, *column.shape) for row in values])
        elif column.is_text:
            texts = _text_array([as_text(table, column, text) for text in values])
            datasets[column.path] = _plain_dataset(column, texts)
        else:
            datasets[column.path] = _plain_dataset(column, np.array(list(values), column.numpy_dtype))
    return datasets


_GENDERS = ("", "neutral", "male", "female")
_FAMILY_MEMBERS = {
    "maps": frozenset(LABEL_MAPS),
    "keypoints": frozenset(SKELETONS),
    "joints": frozenset(SKELETONS),
}


def value_of(record: Sample | Person, column: Column) -> Any:
    """Return the value of a sample or person for a column; None without one."""
    family, _, member = column.name.partition("/")
    value = getattr(record, family)
    if value is False:  # a flag is stored where it is set
        return None
    return value.get(member) if member else value


def check_splits(subject: str, splits: Iterable[str]) -> None:
    """Refuse splits whose names are not in SPLITS.

    Args:
        subject: What is in the splits, for the message.
        splits: Names of splits.

    Raises:
        InputError: If a name is unknown.
    """
    for split in splits:
        if split not in SPLITS:
            raise InputError(subject, "is in a split of another name", expected=", ".join(SPLITS), got=split)


def check_sample(sample: Sample) -> None:
    """Check the name, encoded images and label names of a sample; `as_row` checks its numbers.

    Args:
        sample: The sample.

    Raises:
        InputError: If one of them is wrong.
    """
    subject = f"sample {sample.name!r}"
    if not sample.name:
        raise InputError(subject, "has no name")
    encoded = {(subject, "pictures/image"): sample.image}
    encoded |= {(subject, f"pictures/maps/{name}"): data for name, data in sample.maps.items()}
    _refuse_unknown(subject, "maps", sample.maps)
    check_splits(subject, sample.splits.values())
    for number, person in enumerate(sample.people):
        owner = f"{subject}, person {number}"
        _refuse_unknown(owner, "keypoints", person.keypoints)
        _refuse_unknown(owner, "joints", person.joints)
        masks = {"people/mask": person.mask, "people/detected_mask": person.detected_mask}
        encoded |= {(owner, path): data for path, data in masks.items() if data is not None}
    for (owner, path), data in encoded.items():
        name = path.partition("/")[2]
        if not isinstance(data, bytes):
            raise InputError(owner, f"{name}: is not encoded", expected="JPEG or PNG bytes", got=type(data).__name__)
        if problem := encoded_problem(path, data, sample.size, len(sample.image)):
            raise InputError(owner, f"{name}: {problem}")


def _refuse_unknown(subject: str, family: str, names: Any) -> None:
    unknown = sorted(set(names) - _FAMILY_MEMBERS[family])
    if unknown:
        expected = ", ".join(sorted(_FAMILY_MEMBERS[family]))
        raise InputError(subject, f"{family}: has a name that is not known", expected=expected, got=unknown[0])


def as_text(subject: str, column: Column, value: Any) -> bytes:
    """Encode a text as the bytes to store.

    Args:
        subject: What has the text, for messages.
        column: Its column.
        value: The text.

    Raises:
        InputError: If the value is not a text or holds control characters.
    """
    if not isinstance(value, str):
        raise InputError(subject, f"{column.name}: is no text", got=type(value).__name__)
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
        raise InputError(subject, f"{column.name}: holds a character that is no text", got=repr(value))
    if column.rule is Rule.GENDER and value not in _GENDERS:
        raise InputError(subject, f"{column.name}: is not known", expected=Rule.GENDER.value, got=repr(value))
    return value.encode("utf-8")


def as_row(subject: str, column: Column, value: Any) -> NDArray[Any] | None:
    """Convert a value to the row to store, of the column's type and shape.

    Args:
        subject: What has the value, for messages.
        column: Its column.
        value: The value.

    Returns:
        The row; None for None and for a ragged row without values.

    Raises:
        InputError: If the shape is wrong, or a value is not a number or breaks the column's rule.
    """
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            row = np.ascontiguousarray(np.asarray(value), column.numpy_dtype).reshape(np.shape(value))
    except (TypeError, ValueError) as error:
        raise InputError(subject, f"{column.name}: holds no numbers", got=type(value).__name__) from error
    is_ragged = column.kind is Kind.RAGGED
    shape = (len(row), *column.shape) if is_ragged and row.ndim else column.shape
    if row.shape != shape:
        expected = ("M", *column.shape) if is_ragged else column.shape
        raise InputError(subject, f"{column.name}: has another shape", expected=str(expected), got=str(row.shape))
    if is_ragged and not len(row):
        return None
    if problem := value_problem(column, row):
        raise InputError(subject, f"{column.name}: {problem}", expected=column.rule.value)
    return row
