"""Files of a cache that remain HDF5, with other attributes, types, shapes, links and values; and what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from humanpose_cli.core.errors import HpcError
from humanpose_cli.lab.cache.building import write_index
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.contents import contents_lines, describe
from humanpose_cli.lab.cache.samples import LABEL_MAPS
from humanpose_cli.lab.cache.schema import INDEX_NAME
from humanpose_cli.lab.cache.verification import verify_cache

Random = np.random.Generator
_TEXTS = h5py.string_dtype()
_DTYPES = ("<f4", ">f8", "<f2", "<i8", ">i8", "<i2", "u1", "S1", "S300", "V4", "bool", "<c8")
_EXTREME = (0, 1, -1, 2, 255, 2**31, 2**62, -(2**63), 2**63 - 1)


def values(random: Random, shape: tuple[int, ...] = ()) -> tuple[np.ndarray, np.dtype]:
    """Values of some type that HDF5 has, and the type to store them with."""
    kind = random.integers(0, 8)
    if kind == 0:
        return np.zeros(shape, object), np.dtype(h5py.ref_dtype)
    if kind == 1:
        texts = np.empty(shape, object)
        texts[...] = "text" * int(random.integers(1, 2000))
        return texts, _TEXTS
    if kind == 2:
        dtype = np.dtype([("a", "<i8"), ("b", "<f4", (3,))])
        return np.zeros(shape, dtype), dtype
    if kind == 3:
        return np.full(shape, random.choice(np.array(_EXTREME))), np.dtype("<i8")
    if kind == 4:
        return np.full(shape, random.choice([np.nan, np.inf, -1e30, 0.5])), np.dtype("<f8")
    dtype = np.dtype(random.choice(_DTYPES))
    return np.frombuffer(random.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape), dtype


def shape_like(random: Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that is another one by a side or an axis."""
    sides = [int(side) for side in shape]
    change = random.integers(0, 5)
    if change == 0:
        return ()
    if change == 1:
        return (*sides, int(random.integers(0, 4)))
    if change == 2:
        return (0, *sides[1:])
    if change == 3 and sides:
        sides[random.integers(0, len(sides))] += int(random.choice([-1, 1, 1000]))
        return tuple(max(0, side) for side in sides)
    return tuple(sides)


def change_attribute(file: h5py.File, random: Random) -> None:
    """One of the root's, or of an object's, of another shape, type or value."""
    owner: h5py.Group | h5py.Dataset = file
    if random.random() < 0.4:
        owner = file[random.choice(objects(file))]
    names = list(owner.attrs) or ["crc32"]
    name = str(random.choice(names))
    old = owner.attrs.get(name)
    owner.attrs.pop(name, None)
    change = random.integers(0, 5)
    if change == 0:
        number = int(random.choice([1, 2, 3, 1000, 7000]))
        owner.attrs.create(name, np.full(number, random.integers(-(2**62), 2**62)), dtype="<i8")
    elif change == 1:
        owner.attrs.create(name, h5py.Empty("<i8" if random.random() < 0.5 else "S4"))
    elif change == 2 and isinstance(old, str | bytes):
        text = old if isinstance(old, bytes) else old.encode()
        owner.attrs.create(name, np.bytes_(text[: random.integers(0, len(text) + 1)] + random.bytes(2)))
    elif change == 3:
        owner.attrs.create(name, int(random.choice(np.array(_EXTREME))), dtype="<i8")
    else:
        content, dtype = values(random, tuple(random.integers(0, 4, random.integers(0, 3)).tolist()))
        if dtype != h5py.ref_dtype:
            owner.attrs.create(name, content, dtype=dtype)


def change_dataset(file: h5py.File, random: Random) -> None:
    """One of another type, shape or layout, or a link in its place."""
    name = str(random.choice(objects(file)))
    old = file[name]
    shape = old.shape if isinstance(old, h5py.Dataset) else (3,)
    del file[name]
    change = random.integers(0, 8)
    if change == 0:
        other = str(random.choice(objects(file)))
        file[name] = h5py.SoftLink(f"/{other}") if random.random() < 0.7 else h5py.SoftLink("/links/00000/pictures")
    elif change == 1:
        file[name] = h5py.ExternalLink(str(random.choice(["/dev/zero", "no.h5", file.filename])), "/")
    elif change == 2:
        file.create_group(name)
    elif change == 3 and all(shape) and shape:
        file.create_dataset(name, shape, "<i8", chunks=True, compression="gzip")
    elif change < 7:
        shape = shape_like(random, shape)
        if np.prod(shape) < 1e6:
            content, dtype = values(random, shape)
            file.create_dataset(name, data=None if dtype == h5py.ref_dtype else content, shape=shape, dtype=dtype)


def change_values(file: h5py.File, random: Random) -> None:
    """Some values of a dataset, of its own type, and now and then the checksums that go with them."""
    names = [name for name in objects(file) if isinstance(file[name], h5py.Dataset) and file[name].size]
    dataset = file[str(random.choice(names))]
    array = np.ascontiguousarray(dataset[()])
    flat = array.reshape(-1)
    indices = random.integers(0, len(flat), random.integers(1, 4))
    if array.dtype.kind == "f":
        flat[indices] = random.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.5])
    elif array.dtype.kind in "iu":
        bounds = np.iinfo(array.dtype)
        flat[indices] = np.clip(float(random.choice(np.array(_EXTREME, float))), bounds.min, bounds.max / 2)
    else:
        flat[indices] = random.bytes(array.dtype.itemsize)
    dataset[...] = array


def objects(file: h5py.File) -> list[str]:
    """Names of all objects within a file."""
    names: list[str] = []
    file.visit(names.append)
    return names


CHANGES: tuple[Callable[[h5py.File, Random], None], ...] = (change_attribute, change_dataset, change_values)


def change_structure(path: Path, random: Random) -> None:
    """Change one to three things in a whole file."""
    with h5py.File(path, "r+") as file:
        for _ in range(random.integers(1, 4)):
            CHANGES[random.integers(0, len(CHANGES))](file, random)


def show(path: Path) -> None:
    """What `hpc cache show` counts."""
    contents = describe(open_cache(path))
    list(contents_lines(contents))
    json.dumps(contents, allow_nan=False)


def decode(path: Path) -> None:
    """Images, maps, masks and what belongs together, as trainings read them."""
    cache = open_cache(path)
    for row in range(len(cache)):
        cache.sample(row)
        cache.image(row)
        for name in LABEL_MAPS:
            cache.map(row, name)
    for protocol, splits in cache.splits.items():
        for split in splits:
            for row in cache.rows(protocol, split)[:1].tolist():
                cache.image(row)
    for name in cache.sequences:
        cache.sequence(name)
    dict(cache.groups)


def use_cache(path: Path) -> None:
    """Everything that is done with a cache and one of its files, which may be damaged; raises the first refusal."""
    refusals: list[HpcError] = []
    uses: list[tuple[Callable[[Path], object], Path]] = [(use, path) for use in (show, decode)]
    uses += [(show, path.parent), (verify_cache, path.parent), (verify_cache, path)]
    if path.name != INDEX_NAME:
        index = (path.parent / INDEX_NAME).read_bytes()
        uses.append((write_index, path.parent))
    for use, what in uses:
        try:
            use(what)
        except HpcError as error:
            refusals.append(error)
    if path.name != INDEX_NAME:
        (path.parent / INDEX_NAME).write_bytes(index)
    if refusals:
        raise refusals[0]
