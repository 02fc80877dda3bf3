"""Whether the tables of a file agree with each other: people with pictures, groups, sequences, splits and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.data.cache.shard_set import ShardEntry

__all__ = ["index_problems", "relation_problems"]


def relation_problems(shard: TableFile) -> Iterator[str]:
    """What does not fit together in a shard."""
    pictures, people = shard.header.picture_count, shard.header.person_count
    counts = shard.numbers("pictures/person_count")
    if not _follow(shard.numbers("pictures/first_person"), counts, people):
        yield "pictures/first_person and person_count do not list each person once"
    elif not np.array_equal(np.repeat(np.arange(pictures), counts), shard.numbers("people/picture")):
        yield "people/picture does not name the picture that lists the person"
    sizes = shard.numbers("groups/picture_count")
    if not _follow(shard.numbers("groups/first_picture"), sizes, pictures):
        yield "groups do not list each picture once"
    elif not np.array_equal(np.repeat(np.arange(len(sizes)), sizes), shard.numbers("pictures/group")):
        yield "pictures/group does not name the group that lists the picture"
    yield from _sequence_problems(shard)
    yield from _row_problems(shard, pictures)
    names = shard.numbers("pictures/name")
    if len(np.unique(names)) != pictures:
        yield "two pictures have one name"


def index_problems(index: TableFile, entries: Sequence[ShardEntry]) -> Iterator[str]:
    """What does not fit together in an index."""
    pictures = index.header.picture_count
    people = sum(entry.person_count for entry in entries)
    if (sum(entry.picture_count for entry in entries), people) != (pictures, index.header.person_count):
        yield "its counts are not those of its shards together"
    if not _follow(index.numbers("groups/first_picture"), index.numbers("groups/picture_count"), pictures):
        yield "groups do not list each picture once"
    yield from _row_problems(index, pictures)


def _follow(firsts: NDArray[np.int64], counts: NDArray[np.int64], total: int) -> bool:
    """Whether ranges of rows follow each other from 0 to `total`."""
    if (counts < 0).any():
        return False
    ends = np.cumsum(counts)
    return int(ends[-1] if len(ends) else 0) == total and np.array_equal(firsts, ends - counts)


def _sequence_problems(shard: TableFile) -> Iterator[str]:
    sequence, frame = shard.numbers("pictures/sequence"), shard.numbers("pictures/frame")
    for row, name in enumerate(shard.texts("sequences/name")):
        listed = shard.ragged("sequences/pictures", row)
        if not np.array_equal(np.sort(listed), np.flatnonzero(sequence == row)):
            yield f"sequence {name!r} does not list the pictures that name it"
        elif (np.diff(frame[listed]) < 0).any():
            yield f"sequence {name!r} is not in the order of its frames"


def _row_problems(file: TableFile, pictures: int) -> Iterator[str]:
    for table in ("protocols", "pairs"):
        keys = zip(file.texts(f"{table}/name"), file.texts(f"{table}/split"), strict=True)
        for row, (name, split) in enumerate(keys):
            listed = file.ragged(f"{table}/pictures", row)
            if ((listed < 0) | (listed >= pictures)).any():
                yield f"{table} {name}/{split} name a picture that is not there"
            elif table == "protocols" and (np.diff(listed) <= 0).any():
                yield f"{table} {name}/{split} do not list their pictures in order"
