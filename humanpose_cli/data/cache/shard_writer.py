"""Samples to a shard: one process, one file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.data.cache.checks import as_row, as_text, check_picture, value_of
from humanpose_cli.data.cache.columns import GrowingColumn, plain_dataset, ragged_datasets, text_array
from humanpose_cli.data.cache.hdf5_files import Dataset, content_digest, write_hdf5
from humanpose_cli.data.cache.header import Header
from humanpose_cli.data.cache.schema import COLUMNS, Column, Kind, columns_of
from humanpose_cli.data.samples import Group, Person, Sample
from humanpose_cli.errors import InputError
from humanpose_cli.io.atomic import atomic_path, writing_error

__all__ = ["GroupError", "join_datasets", "write_shard"]


@dataclass
class GroupError(Exception):
    """What went wrong with a shard, and at which of its groups."""

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
    """Write the groups' samples as a shard; returns its header with the counts and the digest.

    header     whatever is known before; counts and digest are filled in
    read       the samples of a group, as `Source.read`
    on_sample  called after each sample

    GroupError around what a group's samples raised, or around InputError where they break the contract;
    UnavailableError for a full disk or a missing permission.
    """
    path = Path(path)
    with atomic_path(path) as temporary, closing(_Shard(path.parent)) as shard:
        for group in groups:
            try:
                shard.add_group(group, read(group), on_sample)
            except Exception as error:
                _raise_interruption(error)
                if isinstance(error, OSError) and error.filename is None and writing_error(path, error):
                    raise  # our own writing, of which atomic_path makes a sentence
                raise GroupError(group.name, error) from error
        datasets = shard.datasets()
        header = replace(
            header,
            picture_count=shard.pictures,
            person_count=shard.people,
            group_count=len(shard.groups),
            content_digest=content_digest(datasets),
        )
        write_hdf5(temporary, header.attributes, datasets)
    return header


def _raise_interruption(error: BaseException) -> None:
    """An import that is interrupted in the body of an enumeration ends as RuntimeError: find what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__cause__


class _Shard:
    """The tables of a shard while it grows."""

    def __init__(self, folder: Path) -> None:
        self.pictures = self.people = 0
        self.groups: list[tuple[str, int, int]] = []
        self._columns = [GrowingColumn(column, folder) for column in COLUMNS if column.table in ("pictures", "people")]
        self._by_table = {
            table: [growing for growing in self._columns if growing.column.table == table]
            for table in ("pictures", "people")
        }
        self._names: set[str] = set()
        self._sequences: dict[str, list[tuple[int, int]]] = {}
        self._sequence_rows: dict[str, int] = {}
        self._protocols: dict[tuple[str, str], list[int]] = {}
        self._pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add_group(self, group: Group, samples: Iterable[Sample], on_sample: Callable[[], None] | None) -> None:
        first = self.pictures
        for sample in samples:
            self._add(sample)
            if on_sample is not None:
                on_sample()
        count = self.pictures - first
        if count != group.count:
            raise InputError(
                f"group {group.name!r}", "has another number of samples", expected=str(group.count), got=str(count)
            )
        for key, pairs in group.pairs.items():
            if any(not 0 <= number < count for pair in pairs for number in pair):
                raise InputError(f"group {group.name!r}", f"pairs of {'/'.join(key)} name a sample it does not have")
            self._pairs.setdefault(key, []).extend((first + source, first + target) for source, target in pairs)
        self.groups.append((group.name, first, count))

    def _add(self, sample: Sample) -> None:
        check_picture(sample)
        if sample.name in self._names:
            raise InputError(f"sample {sample.name!r}", "comes twice")
        self._names.add(sample.name)
        row = self.pictures
        known = {
            "group": len(self.groups),
            "sequence": self._sequence_row(sample, row),
            "first_person": self.people,
            "person_count": len(sample.people),
        }
        self._add_row("pictures", f"sample {sample.name!r}", sample, known)
        for number, person in enumerate(sample.people):
            self._add_row("people", f"sample {sample.name!r}, person {number}", person, {"picture": row})
        for key in sample.splits.items():
            self._protocols.setdefault(key, []).append(row)
        self.pictures += 1
        self.people += len(sample.people)

    def _sequence_row(self, sample: Sample, row: int) -> int:
        if not sample.sequence:
            return -1
        number = self._sequence_rows.setdefault(sample.sequence, len(self._sequence_rows))
        self._sequences.setdefault(sample.sequence, []).append((sample.frame, row))
        return number

    def _add_row(self, table: str, subject: str, labelled: Sample | Person, known: Mapping[str, int]) -> None:
        for growing in self._by_table[table]:
            column = growing.column
            value = known[column.name] if column.name in known else value_of(labelled, column)
            growing.add(_stored(subject, column, value))

    def datasets(self) -> dict[str, Dataset]:
        """All datasets by path."""
        joins = join_datasets(
            self.groups,
            {name: [row for _, row in sorted(frames)] for name, frames in self._sequences.items()},
            self._protocols,
            self._pairs,
        )
        return {path: data for growing in self._columns for path, data in growing.datasets().items()} | joins

    def close(self) -> None:
        for growing in self._columns:
            growing.close()


def _stored(subject: str, column: Column, value: Any) -> Any:
    if column.is_text:
        return as_text(subject, column, value)
    return value if column.kind is Kind.ENCODED else as_row(subject, column, value)


def join_datasets(
    groups: Iterable[tuple[str, int, int]],
    sequences: Mapping[str, Any],
    protocols: Mapping[tuple[str, str], Any],
    pairs: Mapping[tuple[str, str], Any],
) -> dict[str, Dataset]:
    """The tables that a shard and the index have alike.

    groups     (name, first picture, count); sequences  name → rows of pictures
    protocols  (name, split) → rows of pictures; pairs  (name, split) → (input, target) rows
    """
    listed = list(groups)
    datasets = {
        **_texts("groups", name=[name for name, _, _ in listed]),
        **_numbers("groups", first_picture=[first for _, first, _ in listed]),
        **_numbers("groups", picture_count=[count for _, _, count in listed]),
        **_texts("sequences", name=list(sequences)),
        **_rows("sequences", sequences.values()),
    }
    for table, found in (("protocols", protocols), ("pairs", pairs)):
        ordered = sorted(found)
        datasets |= _texts(table, name=[name for name, _ in ordered], split=[split for _, split in ordered])
        datasets |= _rows(table, (found[key] for key in ordered))
    return datasets


def _texts(table: str, **columns: list[str]) -> dict[str, Dataset]:
    described = columns_of(table)
    return {
        described[name].path: plain_dataset(
            described[name], text_array([as_text(table, described[name], text) for text in texts])
        )
        for name, texts in columns.items()
    }


def _numbers(table: str, **columns: list[int]) -> dict[str, Dataset]:
    described = columns_of(table)
    return {
        described[name].path: plain_dataset(described[name], np.array(numbers, described[name].numpy_dtype))
        for name, numbers in columns.items()
    }


def _rows(table: str, rows: Iterable[Any]) -> dict[str, Dataset]:
    column = columns_of(table)["pictures"]
    return ragged_datasets(column, [np.array(row, "<i8").reshape(-1, *column.shape) for row in rows])
