"""HDF5 files of contiguous datasets, written with reproducible bytes.

HDF5 keeps the names, types, shapes and attributes; the values are written at the place in the file that it has set
aside for them, so that an error while writing (a full disk) is the system's own. `stored_file` reads them back.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayBlocks", "Attributes", "Blocks", "Dataset", "content_digest", "write_hdf5"]

Attributes = Mapping[str, str | int]

# Object headers and links with checksums, and nothing newer than HDF5 1.8, so that every program reads the files.
_VERSION = h5py.h5f.LIBVER_V18


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
    links: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Write a file whose bytes depend on nothing but the arguments. OSError as the system raises it.

    links  path → (file, path in it): external links
    """
    places: dict[str, int] = {}
    with h5py.File(_created(path)) as file:
        for name, value in attributes.items():
            _write_attribute(file, name, value)
        for name in sorted(datasets):
            place = _set_aside(file, name, datasets[name])
            if place is not None:
                places[name] = place
        for name, (other, inside) in (links or {}).items():
            parent, _, own = name.rpartition("/")
            _group(file, parent)[own] = h5py.ExternalLink(other, inside)
    with open(path, "r+b") as raw:
        for name, place in places.items():
            raw.seek(place)
            for block in datasets[name].values.blocks():
                raw.write(block)


def _created(path: Path) -> Any:
    """An empty file whose root keeps all its attributes in its header, where they are read faster."""
    access, creation = h5py.h5p.create(h5py.h5p.FILE_ACCESS), h5py.h5p.create(h5py.h5p.FILE_CREATE)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(_VERSION, _VERSION)
    access.set_file_locking(False, True)
    creation.set_attr_phase_change(64, 0)
    creation.set_obj_track_times(False)
    return h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, creation, access)


def _write_attribute(owner: Any, name: str, value: str | int) -> None:
    """Texts of fixed width: those of variable width lie in a heap of their own."""
    if isinstance(value, int):
        owner.attrs.create(name, value, dtype="<i8")
        return
    data = value.encode("utf-8")
    owner.attrs.create(name, np.array(data, h5py.string_dtype("utf-8", max(1, len(data)))))


def _group(file: h5py.File, path: str) -> h5py.Group:
    """The group of that path. Made level by level: HDF5 writes the time into those it makes on the way."""
    group = file["/"]
    plan = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    plan.set_obj_track_times(False)
    for name in filter(None, path.split("/")):
        if name not in group:
            h5py.h5g.create(group.id, name.encode(), gcpl=plan)
        group = group[name]
    return group


def _set_aside(file: h5py.File, name: str, dataset: Dataset) -> int | None:
    """Make a dataset without writing its values; returns where they go, None if there are none."""
    parent, _, own = name.rpartition("/")
    group = _group(file, parent)
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
