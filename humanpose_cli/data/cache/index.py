"""The index: which shards there are, and the tables that reach over them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.columns import plain_dataset, text_array
from humanpose_cli.data.cache.hdf5_files import Dataset, content_digest, write_hdf5
from humanpose_cli.data.cache.header import Header
from humanpose_cli.data.cache.schema import COLUMNS, INDEX_COLUMNS, INDEX_NAME, SHARD_PATTERN, columns_of
from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.data.cache.shard_writer import join_datasets
from humanpose_cli.errors import InputError
from humanpose_cli.io.atomic import atomic_path
from humanpose_cli.version import __version__

__all__ = ["IndexSummary", "link_name", "write_index"]


@dataclass(frozen=True)
class IndexSummary:
    """What an index joins.

    missing  numbers of the plan's shards that are not there
    """

    path: Path
    header: Header
    missing: tuple[int, ...] = ()


@dataclass
class _Joined:
    """The tables over all shards so far."""

    pictures: int = 0
    people: int = 0
    groups: list[tuple[str, int, int]] = field(default_factory=list)
    frames: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = field(default_factory=dict)
    protocols: dict[tuple[str, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    names: list[NDArray[np.uint64]] = field(default_factory=list)


def link_name(number: int) -> str:
    """Path of the external link to a shard within the index."""
    return f"links/{number:05d}"


def write_index(folder: Path | str) -> IndexSummary:
    """Join the shards that lie in a folder; writes `index.h5` there.

    InputError for a folder without shards, for damaged ones, for shards of two plans or with the same picture;
    UnavailableError where it cannot be written.
    """
    folder = Path(folder)
    paths = sorted(folder.glob(SHARD_PATTERN)) if folder.is_dir() else []
    if not paths:
        raise InputError(folder, "holds no shards", expected=f"a folder with {SHARD_PATTERN}")
    joined = _Joined()
    headers: list[Header] = []
    for path in paths:
        shard = TableFile(path, "shard")
        shard.check()
        _refuse_stranger(path, shard.header, paths[0], [*headers, shard.header][0])
        _join(joined, shard)
        headers.append(shard.header)
    _refuse_twins(joined, paths)
    datasets = {**_shard_table(headers), **_label_table(joined), **_joins(joined)}
    header = replace(
        headers[0],
        kind="index",
        tool_version=__version__,
        shard=len(paths),
        picture_count=joined.pictures,
        person_count=joined.people,
        group_count=len(joined.groups),
        content_digest=content_digest(datasets),
    )
    links = {link_name(known.shard): (path.name, "/") for known, path in zip(headers, paths, strict=True)}
    index = folder / INDEX_NAME
    with atomic_path(index) as temporary:
        write_hdf5(temporary, header.attributes, datasets, links=links)
    missing = sorted(set(range(header.shard_count)) - {known.shard for known in headers})
    return IndexSummary(index, header, tuple(missing))


def _refuse_stranger(path: Path, header: Header, first_path: Path, first: Header) -> None:
    if header.plan != first.plan:
        raise InputError(
            path,
            f"belongs to another cache than {first_path.name}",
            expected=f"{first.source} with the same options and groups",
            got=header.source,
            remedy="move it elsewhere, or make the cache again with --overwrite",
        )


def _join(joined: _Joined, shard: TableFile) -> None:
    first = joined.pictures
    joined.names.append(_name_codes(shard))
    starts, counts = shard.numbers("groups/first_picture"), shard.numbers("groups/picture_count")
    named = zip(shard.texts("groups/name"), starts.tolist(), counts.tolist(), strict=True)
    joined.groups += [(name, first + start, count) for name, start, count in named]
    frames = shard.numbers("pictures/frame")
    for row, name in enumerate(shard.texts("sequences/name")):
        pictures = shard.ragged("sequences/pictures", row)
        joined.frames.setdefault(name, []).append((frames[pictures], first + pictures))
    for table, found in (("protocols", joined.protocols), ("pairs", joined.pairs)):
        keys = zip(shard.texts(f"{table}/name"), shard.texts(f"{table}/split"), strict=True)
        for row, key in enumerate(keys):
            found.setdefault(key, []).append(first + shard.ragged(f"{table}/pictures", row))
    for column in COLUMNS:
        if column.table in ("pictures", "people") and column.path in shard:
            joined.labels[column.path] += shard.known(column.path)
    joined.pictures += shard.header.picture_count
    joined.people += shard.header.person_count


def _name_codes(shard: TableFile) -> NDArray[np.uint64]:
    """Eight bytes of digest (N,) for each picture's name, so that millions of them need little memory."""
    digests = (hashlib.sha256(name).digest()[:8] for name in shard.numbers("pictures/name").tolist())
    return np.frombuffer(b"".join(digests), "<u8")


def _refuse_twins(joined: _Joined, paths: Sequence[Path]) -> None:
    codes = np.concatenate(joined.names)
    order = np.argsort(codes, kind="stable")
    twins = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    if not len(twins):
        return
    ends = np.cumsum([len(part) for part in joined.names])
    place = twins[np.argmin(order[twins + 1])]  # the first that comes again
    first, second = order[place : place + 2].tolist()
    one, other = (paths[int(np.searchsorted(ends, row, side="right"))] for row in (first, second))
    shard = TableFile(one)
    name = shard.text("pictures/name", first - (int(ends[paths.index(one)]) - shard.header.picture_count))
    raise InputError(other, f"has a picture named {name!r}, as {one.name} has")


def _joins(joined: _Joined) -> dict[str, Dataset]:
    sequences = {}
    for name, parts in joined.frames.items():
        frames, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
        sequences[name] = rows[np.lexsort((rows, frames))]
    protocols = {key: np.concatenate(parts) for key, parts in joined.protocols.items()}
    pairs = {key: np.concatenate(parts) for key, parts in joined.pairs.items()}
    return join_datasets(joined.groups, sequences, protocols, pairs)


def _shard_table(headers: Sequence[Header]) -> dict[str, Dataset]:
    described = columns_of("shards", INDEX_COLUMNS)
    columns = {
        "number": np.array([header.shard for header in headers], "<i8"),
        "picture_count": np.array([header.picture_count for header in headers], "<i8"),
        "person_count": np.array([header.person_count for header in headers], "<i8"),
        "digest": text_array([header.content_digest.encode() for header in headers]),
    }
    return {described[name].path: plain_dataset(described[name], values) for name, values in columns.items()}


def _label_table(joined: _Joined) -> dict[str, Dataset]:
    described = columns_of("labels", INDEX_COLUMNS)
    names = [column.path for column in COLUMNS if column.path in joined.labels]
    known = np.array([joined.labels[name] for name in names], "<i8")
    texts = text_array([name.encode() for name in names])
    return {
        described["name"].path: plain_dataset(described["name"], texts),
        described["known"].path: plain_dataset(described["known"], known),
    }
