"""Rows of a shard back to the samples they were made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from humanpose_cli.data.cache.schema import Column, Kind, columns_of
from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.data.samples import LABEL_MAPS, Person, Sample

__all__ = ["read_person", "read_sample"]

_FAMILIES = ("keypoints", "joints")
_PERSON_COLUMNS = tuple(column for name, column in columns_of("people").items() if name != "picture")


def read_sample(shard: TableFile, row: int) -> Sample:
    """The sample in a row of the shard."""

    def number(name: str) -> int:
        return int(shard.numbers(f"pictures/{name}", row, row + 1)[0])

    width, height = shard.numbers("pictures/size", row, row + 1)[0].tolist()
    focal = _known(shard, "pictures/focal", row)
    point = _known(shard, "pictures/principal_point", row)
    first, sequence = number("first_person"), number("sequence")
    maps = {name: shard.encoded(f"pictures/maps/{name}", row) for name in LABEL_MAPS}
    return Sample(
        name=shard.text("pictures/name", row),
        image=shard.encoded("pictures/image", row),
        size=(width, height),
        focal=None if focal is None else float(focal),
        principal_point=None if point is None else (float(point[0]), float(point[1])),
        people=tuple(read_person(shard, person) for person in range(first, first + number("person_count"))),
        maps={name: data for name, data in maps.items() if data},
        sequence="" if sequence < 0 else shard.text("sequences/name", sequence),
        frame=number("frame"),
        splits=shard.splits_of(row),
    )


def read_person(shard: TableFile, row: int) -> Person:
    """The person in a row of the shard."""
    values: dict[str, Any] = {family: {} for family in _FAMILIES}
    for column in _PERSON_COLUMNS:
        value = _value(shard, column, row)
        family, _, skeleton = column.name.partition("/")
        if not skeleton:
            values[family] = value
        elif value is not None:
            values[family][skeleton] = value
    return Person(**values)


def _value(shard: TableFile, column: Column, row: int) -> Any:
    if column.is_text:
        return shard.text(column.path, row)
    if column.path not in shard:
        return None
    if column.kind is Kind.ENCODED:
        return shard.encoded(column.path, row) or None
    if column.kind is Kind.RAGGED:
        points = shard.ragged(column.path, row)
        return points if len(points) else None
    return _known(shard, column.path, row)


def _known(shard: TableFile, path: str, row: int) -> Any:
    """None where all numbers are NaN: a known row has at least one that is not, by the rules of its column."""
    if path not in shard:
        return None
    value = shard.numbers(path, row, row + 1)[0]
    return None if np.isnan(value).all() else value
