"""HDF5 files of contiguous datasets: written with reproducible bytes, read back without going through HDF5.

HDF5 keeps the names, types, shapes and attributes; the values are written and read at the place in the file that it
has set aside for them. So a reader needs no HDF5 call and no lock after it has learnt where each dataset lies, may
be shared by threads and forked processes, and an error while writing (a full disk) is the system's own.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import InputError
from humanpose_cli.io.sniffing import reading_error

__all__ = [
    "ArrayBlocks",
    "Attributes",
    "Blocks",
    "Dataset",
    "Layout",
    "Place",
    "content_digest",
    "read_attributes",
    "read_layout",
    "write_hdf5",
]

Attributes = Mapping[str, str | int]

# Object headers and links with checksums, and nothing newer than HDF5 1.8, so that every program reads the files.
_VERSIONS = ("v108", "v108")
_BLOCK = 4 << 20
# What h5py raises on damaged files.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)


class Blocks(Protocol):
    """Values to be written, in pieces."""

    def blocks(self) -> Iterator[bytes | memoryview]:
        """All bytes, from the beginning each time this is called."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayBlocks:
    """An array's bytes."""

    array: NDArray[Any]

    def blocks(self) -> Iterator[memoryview]:
        if self.array.nbytes:
            yield memoryview(np.ascontiguousarray(self.array).tobytes())


@dataclass(frozen=True, eq=False)
class Dataset:
    """One dataset of a file to be written. Texts have a dtype such as S12, which becomes UTF-8 of 12 bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Blocks
    attributes: Attributes = field(default_factory=dict)

    @classmethod
    def of(cls, array: NDArray[Any], attributes: Attributes | None = None) -> Dataset:
        """The dataset of an array."""
        return cls(array.dtype, array.shape, ArrayBlocks(array), attributes or {})

    def checksum(self) -> int:
        """CRC-32 of its bytes."""
        total = 0
        for block in self.values.blocks():
            total = zlib.crc32(block, total)
        return total


def content_digest(datasets: Mapping[str, Dataset]) -> str:
    """SHA-256 over all datasets in the order of their paths: path, type, shape and bytes of each."""
    digest = hashlib.sha256()
    for path in sorted(datasets):
        dataset = datasets[path]
        shape = ",".join(str(size) for size in dataset.shape)
        digest.update(f"{path}\0{dataset.dtype.str}\0{shape}\0".encode())
        for block in dataset.values.blocks():
            digest.update(block)
    return digest.hexdigest()


def write_hdf5(
    path: Path,
    attributes: Attributes,
    datasets: Mapping[str, Dataset],
    *,
    groups: Mapping[str, Attributes] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Write a file whose bytes depend on nothing but the arguments. OSError as the system raises it.

    groups  path → attributes of a group
    links   path → (file, path in it): external links
    """
    places: dict[str, int] = {}
    with h5py.File(path, "w", libver=_VERSIONS, locking=False) as file:
        for name, value in attributes.items():
            _write_attribute(file, name, value)
        for name, known in (groups or {}).items():
            group = file.require_group(name)
            for key, value in known.items():
                _write_attribute(group, key, value)
        for name in sorted(datasets):
            place = _set_aside(file, name, datasets[name])
            if place is not None:
                places[name] = place
        for name, (other, inside) in (links or {}).items():
            file[name] = h5py.ExternalLink(other, inside)
    with open(path, "r+b") as raw:
        for name, place in places.items():
            raw.seek(place)
            for block in datasets[name].values.blocks():
                raw.write(block)


def _write_attribute(owner: Any, name: str, value: str | int) -> None:
    """Texts of fixed width: those of variable width lie in a heap of their own."""
    if isinstance(value, int):
        owner.attrs.create(name, value, dtype="<i8")
        return
    data = value.encode("utf-8")
    owner.attrs.create(name, np.array(data, h5py.string_dtype("utf-8", max(1, len(data)))))


def _set_aside(file: h5py.File, name: str, dataset: Dataset) -> int | None:
    """Make a dataset without writing its values; returns where they go, None if there are none."""
    parent, _, own = name.rpartition("/")
    group = file.require_group(parent) if parent else file
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)
    text = dataset.dtype.kind == "S"
    stored = h5py.string_dtype("utf-8", dataset.dtype.itemsize) if text else dataset.dtype
    kind = h5py.h5t.py_create(stored, logical=True)
    made = h5py.h5d.create(group.id, own.encode(), kind, h5py.h5s.create_simple(dataset.shape), plan)
    for key, value in {**dataset.attributes, "crc32": dataset.checksum()}.items():
        _write_attribute(h5py.Dataset(made), key, value)
    return made.get_offset() if all(dataset.shape) else None


# Reading


@dataclass(frozen=True, eq=False)
class Place:
    """Where a dataset's values lie in the file, and what they are; `values` where a migration made them."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: NDArray[Any] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        size = self.dtype.itemsize
        for length in self.shape[1:]:
            size *= length
        return size


@dataclass(frozen=True)
class Layout:
    """What a file holds: attributes of its root, and where each dataset lies; links by path."""

    attributes: Attributes
    places: Mapping[str, Place]
    links: Mapping[str, str]


def read_attributes(path: Path) -> dict[str, str | int]:
    """The root's attributes. InputError for a missing, truncated or damaged file, or one that is not HDF5."""
    with _opened(path) as file:
        return _attributes(path, file)


def read_layout(path: Path) -> Layout:
    """Where everything lies. InputError as `read_attributes`, and for a dataset that reaches past the file's end."""
    places: dict[str, Place] = {}
    links: dict[str, str] = {}
    with _opened(path) as file:
        try:
            _walk(file.id, "", places, links)
        except _DAMAGE as error:
            raise _damaged(path, error) from error
        attributes = _attributes(path, file)
    size = os.stat(path).st_size
    for name, place in places.items():
        if place.offset + place.row_bytes * (place.shape[0] if place.shape else 1) > size:
            raise InputError(path, f"is truncated: {name} reaches past its end", remedy="copy or make it again")
    return Layout(attributes, places, links)


def dataset_attributes(path: Path) -> dict[str, dict[str, str | int]]:
    """The attributes of every dataset and group by path. InputError as `read_attributes`."""
    found: dict[str, dict[str, str | int]] = {}
    with _opened(path) as file:
        try:
            file.visititems(lambda name, owner: found.__setitem__(name, _attributes(path, owner)))
        except _DAMAGE as error:
            raise _damaged(path, error) from error
    return found


def _walk(group: Any, prefix: str, places: dict[str, Place], links: dict[str, str]) -> None:
    """h5py's lower level: its objects take several times longer to make than what is needed of them here."""
    for raw in group:
        name = prefix + raw.decode("utf-8")
        kind = group.links.get_info(raw).type
        if kind == h5py.h5l.TYPE_EXTERNAL:
            links[name] = group.links.get_val(raw)[0].decode("utf-8")
            continue
        entry = h5py.h5o.open(group, raw)
        if isinstance(entry, h5py.h5g.GroupID):
            _walk(entry, name + "/", places, links)
        elif isinstance(entry, h5py.h5d.DatasetID):
            shape = entry.shape
            offset = entry.get_offset() if all(shape) else 0
            if offset is None:
                raise ValueError(f"{name} is not contiguous")
            places[name] = Place(offset, np.dtype(entry.dtype.str), shape)


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise InputError(path, "is not there", expected="an HDF5 file of a dataset cache") from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, BlockingIOError) and not os.access(path, os.R_OK):
            raise reading_error(path, error) from error
        raise _damaged(path, error) from error


def _attributes(path: Path, owner: Any) -> dict[str, str | int]:
    try:
        return {name: _plain(value) for name, value in owner.attrs.items()}
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _plain(value: Any) -> str | int:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else int(value)


def _damaged(path: Path, error: Exception) -> InputError:
    text = str(error)
    remedy = "copy or make it again"
    if "signature not found" in text:
        return InputError(path, "is no HDF5 file, or damaged at its beginning", remedy=remedy)
    if "truncated file" in text:
        return InputError(path, "is truncated", remedy=remedy)
    return InputError(path, f"is damaged ({text.splitlines()[0] if text else type(error).__name__})", remedy=remedy)


class RawFile:
    """A file open for reading at given places; threads and forked processes may share it.

    Closed when nobody holds it any more: a reader that is put away while another thread still reads from it stays
    open until that thread is done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError as error:
            raise InputError(path, "is not there", expected="a shard of a dataset cache") from error
        except OSError as error:
            raise reading_error(path, error) from error
        self._descriptor = self._file.fileno()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`. InputError if the file ends before, or cannot be read."""
        try:
            data = os.pread(self._descriptor, count, offset)
            while len(data) < count and (more := os.pread(self._descriptor, count - len(data), offset + len(data))):
                data += more  # a read of more than 2 GiB comes in parts
        except OSError as error:
            raise reading_error(self.path, error) from error
        if len(data) < count:
            raise InputError(self.path, "is truncated", remedy="copy or make it again")
        return data

    def read_rows(self, place: Place, start: int, stop: int) -> NDArray[Any]:
        """Rows start … stop−1 of a dataset, as a new array."""
        if place.values is not None:
            return place.values[start:stop].copy()
        size = place.row_bytes
        data = bytearray(self.read(place.offset + start * size, (stop - start) * size))
        return np.frombuffer(data, place.dtype).reshape(stop - start, *place.shape[1:])
