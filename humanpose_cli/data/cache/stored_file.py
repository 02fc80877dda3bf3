"""HDF5 files of contiguous datasets, read without going through HDF5.

HDF5 is asked where a dataset lies when it is first wanted; its values are then read at that place in the file. No
handle and no lock of HDF5 outlives the question, so threads and forked processes may share a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.hdf5_files import Attributes
from humanpose_cli.errors import InputError
from humanpose_cli.io.sniffing import reading_error

__all__ = ["Layout", "Place", "StoredFile", "dataset_checksums", "read_attributes"]

_COPY_AGAIN = "copy or make it again"
# What h5py raises on damaged files.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)
_FEW = 6  # datasets that are looked up one by one; whoever wants more gets to know them all


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
    """What a file holds: attributes of its root, and where each dataset lies."""

    attributes: Attributes
    places: Mapping[str, Place]


class StoredFile:
    """A file open for reading. InputError for a missing, truncated or damaged file, or one that is not HDF5.

    wanted  datasets that will surely be read: HDF5 is asked for them while it has the file open anyway
    """

    def __init__(self, path: Path, wanted: Sequence[str] = ()) -> None:
        self.path = path
        self._handle: _Handle | None = None
        self._identity = self._open().identity
        self._all = False
        with _opened(path) as file, _damage(path):
            self.attributes: Attributes = _attributes(file)
            self._places: dict[str, Place | None] = {name: _find(file, name) for name in wanted}
        for name, place in self._places.items():
            self._check(name, place)

    def layout(self) -> Layout:
        """Everything that the file holds."""
        places: dict[str, Place] = {}
        if not self._all:
            with _opened(self.path) as file, _damage(self.path):
                _walk(file, "", places)
            for name, place in places.items():
                self._check(name, place)
            self._places, self._all = dict(places), True
        return Layout(self.attributes, {name: place for name, place in self._places.items() if place is not None})

    def replace(self, layout: Layout) -> None:
        """Go on as if the file held this."""
        self.attributes, self._places, self._all = layout.attributes, dict(layout.places), True

    def place(self, name: str) -> Place | None:
        """Where a dataset lies, None if there is none of this name."""
        if name not in self._places and not self._all:
            if len(self._places) >= _FEW:
                self.layout()
                return self._places.get(name)
            with _opened(self.path) as file, _damage(self.path):
                found = {name: _find(file, name)}
                parent, _, own = name.rpartition("/")
                if own == "values" and found[name] is not None:  # its offsets will be wanted next
                    found[f"{parent}/offsets"] = _find(file, f"{parent}/offsets")
            for path, place in found.items():
                self._check(path, place)
            self._places |= found
        return self._places.get(name)

    def links(self) -> dict[str, str]:
        """Path of each external link → the name of the file that it leads to."""
        links: dict[str, str] = {}
        with _opened(self.path) as file, _damage(self.path):
            _find_links(file, "", links)
        return links

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`. InputError if the file ends before, or cannot be read."""
        handle = self._handle or self._open()
        try:
            data = os.pread(handle.descriptor, count, offset)
            while len(data) < count and (more := os.pread(handle.descriptor, count - len(data), offset + len(data))):
                data += more  # a read of more than 2 GiB comes in parts
        except OSError as error:
            raise reading_error(self.path, error) from error
        if len(data) < count:
            raise InputError(self.path, "is truncated", remedy=_COPY_AGAIN)
        return data

    def read_rows(self, place: Place, start: int, stop: int) -> NDArray[Any]:
        """Rows start … stop−1 of a dataset, as a new array."""
        if place.values is not None:
            return place.values[start:stop].copy()
        size = place.row_bytes
        data = bytearray(self.read(place.offset + start * size, (stop - start) * size))
        return np.frombuffer(data, place.dtype).reshape(stop - start, *place.shape[1:])

    def let_go(self) -> None:
        """Close the file until it is read again; a thread that reads from it just now is not disturbed."""
        self._handle = None

    def _open(self) -> _Handle:
        handle = _Handle(self.path)
        if self._handle is None and getattr(self, "_identity", handle.identity) != handle.identity:
            raise InputError(self.path, "was replaced while it was being read", remedy="start again")
        self._handle = handle
        return handle

    def _check(self, name: str, place: Place | None) -> None:
        if place is None:
            return
        rows = place.shape[0] if place.shape else 1
        if place.offset + place.row_bytes * rows > self._identity[1]:
            raise InputError(self.path, f"is truncated: {name} reaches past its end", remedy=_COPY_AGAIN)


class _Handle:
    """An open file, closed when nobody holds it any more.

    identity  inode, size and time of its last change, which a file of the same name that replaces it does not share
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
            status = os.fstat(self.descriptor)
        except OSError as error:
            raise reading_error(path, error) from error
        self.identity = (status.st_ino, status.st_size, status.st_mtime_ns)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


# What HDF5 is asked. Its lower level: h5py's own objects take several times longer to make than what is needed here.


def read_attributes(path: Path) -> dict[str, str | int]:
    """The root's attributes. InputError for a missing, truncated or damaged file, or one that is not HDF5."""
    with _opened(path) as file, _damage(path):
        return _attributes(file)


def dataset_checksums(path: Path) -> dict[str, int]:
    """The CRC-32 that is told of each dataset, by path. InputError as `read_attributes`."""
    told: dict[str, int] = {}
    with _opened(path) as file, _damage(path):
        places: dict[str, Place] = {}
        _walk(file, "", places)
        for name in places:
            known = _attributes(h5py.h5o.open(file, name.encode())).get("crc32")
            told[name] = known if isinstance(known, int) else -1
    return told


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)  # several processes read, and network mounts refuse locks
    try:
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)
    except _DAMAGE as error:
        if isinstance(error, OSError) and not os.access(path, os.R_OK):
            raise reading_error(path, error) from error
        raise _damaged(path, error) from error
    try:
        yield file
    finally:
        file.close()


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    text = str(error)
    if "signature not found" in text:
        return InputError(path, "is no HDF5 file, or damaged at its beginning", remedy=_COPY_AGAIN)
    if "truncated file" in text:
        return InputError(path, "is truncated", remedy=_COPY_AGAIN)
    reason = text.splitlines()[0] if text else type(error).__name__
    return InputError(path, f"is damaged ({reason})", remedy=_COPY_AGAIN)


def _attributes(owner: Any) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    names: list[bytes] = []
    h5py.h5a.iterate(owner, names.append)  # each by its number would take a search through all of them
    for name in names:
        attribute = h5py.h5a.open(owner, name)
        kind = attribute.get_type()
        text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
        # Read as it is stored: h5py would take twice the time to work out what that is to numpy.
        value = np.empty((), f"S{kind.get_size()}" if text else attribute.dtype)
        attribute.read(value, mtype=kind if text else None)
        found[name.decode("utf-8")] = value.item().decode("utf-8") if text else int(value.item())
    return found


def _find(file: Any, name: str) -> Place | None:
    try:
        entry = h5py.h5o.open(file, name.encode())
    except KeyError:
        if _has(file, name):
            raise
        return None
    return _place(entry)


def _has(file: Any, name: str) -> bool:
    """Whether each level of a path is there: of missing and of damaged ones HDF5 says the same."""
    parts = name.split("/")
    return all("/".join(parts[: depth + 1]).encode() in file for depth in range(len(parts)))


def _place(dataset: Any) -> Place:
    shape = dataset.shape
    offset = dataset.get_offset() if all(shape) else 0
    if offset is None:
        raise ValueError("a dataset is not contiguous")
    return Place(offset, np.dtype(dataset.dtype.str), shape)


def _walk(group: Any, prefix: str, places: dict[str, Place]) -> None:
    for raw in group:
        if group.links.get_info(raw).type == h5py.h5l.TYPE_EXTERNAL:
            continue
        entry, name = h5py.h5o.open(group, raw), prefix + raw.decode("utf-8")
        if isinstance(entry, h5py.h5g.GroupID):
            _walk(entry, name + "/", places)
        elif isinstance(entry, h5py.h5d.DatasetID):
            places[name] = _place(entry)


def _find_links(group: Any, prefix: str, links: dict[str, str]) -> None:
    for raw in group:
        name, kind = prefix + raw.decode("utf-8"), group.links.get_info(raw).type
        if kind == h5py.h5l.TYPE_EXTERNAL:
            links[name] = group.links.get_val(raw)[0].decode("utf-8")
        elif isinstance(entry := h5py.h5o.open(group, raw), h5py.h5g.GroupID):
            _find_links(entry, name + "/", links)
