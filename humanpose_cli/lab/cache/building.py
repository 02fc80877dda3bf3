"""`build_cache`: everything that a source has, as shards in a folder.

Several processes, and several machines with `shard=(i, N)`, may build one folder. Finished shards of the same plan are
kept, and the process that finds none missing writes the index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import HpcError, InputError, UnavailableError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.lab.cache.reading import TableFile, read_attributes
from humanpose_cli.lab.cache.samples import Group, Source
from humanpose_cli.lab.cache.schema import (
    COLUMNS,
    INDEX_COLUMNS,
    INDEX_NAME,
    MAX_SHARDS,
    SHARD_PATTERN,
    Header,
    link_name,
    shard_name,
)
from humanpose_cli.lab.cache.verification import changed_datasets, relation_problems
from humanpose_cli.lab.cache.workers import ShardJob, ShardOutcome, run_jobs
from humanpose_cli.lab.cache.writing import Dataset, join_datasets, table_datasets, write_hdf5
from humanpose_cli.outputs.atomic import atomic_path, ensure_folder, remove_abandoned
from humanpose_cli.outputs.ledger import Ledger, claim, recorded
from humanpose_cli.outputs.locks import shared_folder
from humanpose_cli.outputs.protection import is_command
from humanpose_cli.version import __version__

_log = logging.getLogger(__name__)

# Which group goes to which shard: a rule that looks at nothing but the list of groups.


@dataclass(frozen=True)
class Plan:
    """The plan of a cache.

    Attributes:
        header: What the headers of all shards share; number, counts and digest are filled in later.
        shards: The groups of each shard.
    """

    header: Header
    shards: tuple[tuple[Group, ...], ...]


def make_plan(source: Source, shard_size: int | None) -> Plan:
    """Distribute a source's groups, in their order, over shards of about the same number of images.

    A group that does not fit begins the next shard; one that is larger than a shard has a shard for itself.

    Args:
        source: The source.
        shard_size: Images per shard; None for a sixteenth of all images, 32 to 1024.

    Raises:
        InputError: If the source has no groups, two groups of one name, or an empty group.
        UsageError: If the size is below 1, or the options are not JSON.
    """
    if shard_size is not None and shard_size < 1:
        raise UsageError("shard size", "is too small", expected="at least 1 image", got=str(shard_size))
    groups = source.groups()
    name = source.info.name
    if not groups:
        raise InputError(name, "has no images")
    for group_name, count in Counter(group.name for group in groups).items():
        if count > 1:
            raise InputError(name, f"has two groups named {group_name!r}")
    if empty := [group for group in groups if group.count < 1]:
        raise InputError(name, f"has a group without images, {empty[0].name!r}")
    try:
        options = json.dumps(dict(source.info.options), ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"options of {name}", f"are no JSON values ({error})") from error
    if shard_size is None:
        # A sixteenth of all, 32 to 1024, so that several processes also share a small cache. It does not depend on
        # their number: the same source is the same bytes.
        shard_size = min(max(-(-sum(group.count for group in groups) // 16), 32), 1024)
    shards = _distribute(groups, shard_size)
    if len(shards) > MAX_SHARDS:
        expected = f"one that makes at most {MAX_SHARDS:,} shards"
        raise UsageError("shard size", "is too small", expected=expected, got=f"{len(shards):,} shards")
    header = Header(
        kind="shard",
        source=name,
        options=options,
        tool_version=__version__,
        plan=_plan_digest(name, options, shards),
        shard=0,
        shard_count=len(shards),
        picture_count=0,
        person_count=0,
        group_count=0,
        content_digest="",
    )
    return Plan(header, shards)


def _distribute(groups: Sequence[Group], shard_size: int) -> tuple[tuple[Group, ...], ...]:
    shards: list[list[Group]] = [[]]
    image_count = 0
    for group in groups:
        if shards[-1] and image_count + group.count > shard_size:
            shards.append([])
            image_count = 0
        shards[-1].append(group)
        image_count += group.count
    return tuple(tuple(shard) for shard in shards)


def _plan_digest(source: str, options: str, shards: Sequence[Sequence[Group]]) -> str:
    """Hash everything that decides what is in which shard."""
    # Keys of groups are left out: they may name folders that lie elsewhere on another machine.
    digest = hashlib.sha256(json.dumps([source, options]).encode())
    for shard in shards:
        for group in shard:
            pairs = sorted((list(key), list(map(list, sample_pairs))) for key, sample_pairs in group.pairs.items())
            digest.update(json.dumps([group.name, group.count, pairs]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


# The index: which shards there are, and the tables that reach over them.


@dataclass
class _IndexTables:
    """The tables over all shards so far."""

    images: int = 0
    people: int = 0
    groups: list[tuple[str, int, int]] = field(default_factory=list)
    frames: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = field(default_factory=dict)
    protocols: dict[tuple[str, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    names: dict[str, Path] = field(default_factory=dict)


def write_index(folder: Path | str, overwrite: bool = False) -> Path:
    """Join the shards in a folder; writes `index.h5` there and returns its path.

    Args:
        folder: The folder.
        overwrite: Whether to replace a file of the user.

    Raises:
        InputError: If there are no shards, damaged ones, shards of two plans, or two shards with the same image.
        UnavailableError: If the index cannot be written.
    """
    folder = Path(folder)
    paths = sorted(folder.glob(SHARD_PATTERN)) if folder.is_dir() else []
    if not paths:
        raise InputError(folder, "holds no shards", expected=f"a folder with {SHARD_PATTERN}")
    tables = _IndexTables()
    headers: list[Header] = []
    for path in paths:
        shard = TableFile(path, "shard")
        shard.check()
        headers.append(shard.header)
        if shard.header.plan != headers[0].plan:
            problem = f"belongs to another cache than {paths[0].name}"
            expected = f"{headers[0].source} with the same options and groups"
            remedy = "move it elsewhere, or make the cache again with --overwrite"
            raise InputError(path, problem, expected=expected, got=shard.header.source, remedy=remedy)
        for problem in relation_problems(shard):
            raise InputError(path, problem, remedy="copy or make it again; hpc cache verify lists all damage")
        _join(tables, shard)
    labels = [column.path for column in COLUMNS if column.path in tables.labels]
    shards: dict[str, list[Any]] = {
        "number": [header.shard for header in headers],
        "picture_count": [header.picture_count for header in headers],
        "person_count": [header.person_count for header in headers],
        "digest": [header.content_digest for header in headers],
    }
    datasets = {
        **table_datasets("shards", shards, INDEX_COLUMNS),
        **table_datasets("labels", {"name": labels, "known": [tables.labels[path] for path in labels]}, INDEX_COLUMNS),
        **_joins(tables),
    }
    header = replace(
        headers[0],
        kind="index",
        tool_version=__version__,
        shard=len(paths),
        picture_count=tables.images,
        person_count=tables.people,
        group_count=len(tables.groups),
    )
    links = {link_name(shard.shard): (path.name, "/") for shard, path in zip(headers, paths, strict=True)}
    index = folder / INDEX_NAME
    remove_abandoned(index)
    with _own(index, overwrite), atomic_path(index) as temporary:
        write_hdf5(temporary, header, datasets, links=links)
    return index


def _join(tables: _IndexTables, shard: TableFile) -> None:
    first = tables.images
    for name in shard.texts("pictures/name"):
        path = tables.names.setdefault(name, shard.path)
        if path != shard.path:
            raise InputError(shard.path, f"has an image named {name!r}, as {path.name} has")
    starts = shard.numbers("groups/first_picture")
    counts = shard.numbers("groups/picture_count")
    rows = zip(shard.texts("groups/name"), starts.tolist(), counts.tolist(), strict=True)
    tables.groups += [(name, first + start, count) for name, start, count in rows]
    frames = shard.numbers("pictures/frame")
    for row, name in enumerate(shard.texts("sequences/name")):
        images = shard.ragged("sequences/pictures", row)
        tables.frames.setdefault(name, []).append((frames[images], first + images))
    for table, rows_by_key in (("protocols", tables.protocols), ("pairs", tables.pairs)):
        for row, key in enumerate(shard.keys(table)):
            rows_by_key.setdefault(key, []).append(first + shard.ragged(f"{table}/pictures", row))
    for column in shard.labels():
        tables.labels[column.path] += shard.value_count(column.path)
    tables.images += shard.header.picture_count
    tables.people += shard.header.person_count


def _joins(tables: _IndexTables) -> dict[str, Dataset]:
    sequences = {}
    for name, parts in tables.frames.items():
        frames, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
        sequences[name] = rows[np.lexsort((rows, frames))]
    protocols = {key: np.concatenate(parts) for key, parts in tables.protocols.items()}
    pairs = {key: np.concatenate(parts) for key, parts in tables.pairs.items()}
    return join_datasets(tables.groups, sequences, protocols, pairs)


# Building


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    Attributes:
        folder: The cache.
        new_shards: Numbers of the shards that were written.
        earlier_shards: Numbers of the shards that existed.
        failures: One outcome for each shard that could not be written: its group, a sentence, an exit code.
        images: Number of images in the shards that this process wrote or found.
        people: Number of people in these shards.
        index: The index; None if a shard of the cache is missing.
    """

    folder: Path
    new_shards: tuple[int, ...] = ()
    earlier_shards: tuple[int, ...] = ()
    failures: tuple[ShardOutcome, ...] = ()
    images: int = 0
    people: int = 0
    index: Path | None = None


def build_cache(
    source: Source,
    folder: Path | str,
    *,
    shard_size: int | None = 1024,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> BuildResult:
    """Write a cache with everything that the source has.

    An interrupted build leaves complete shards only. KeyboardInterrupt, or any exception from `progress`, ends the
    workers within five seconds. A group that fails leaves out its shard alone: see `BuildResult.failures`.

    Args:
        source: The source.
        folder: The cache.
        shard_size: Approximate number of images per shard; groups are never split. None for a sixteenth of all images,
            32 to 1024.
        workers: Processes that write shards; 1 works in this process.
        shard: (i, N): write only every N-th shard, beginning with the i-th.
        resume: Keep finished shards of the same plan that are no older than their groups' files; otherwise write them
            again.
        overwrite: Replace a cache that another source or other options made.
        progress: Called with the images of this process's shards.

    Raises:
        InputError: If the source cannot list its groups.
        UsageError: If the folder has another cache, or another process makes one there.
        UnavailableError: If the disk is full; a rerun resumes.
    """
    if not 0 <= shard[0] < shard[1]:
        raise UsageError("shard", "no such part", expected="(i, N) with 0 ≤ i < N", got=str(shard))
    plan = make_plan(source, shard_size)
    folder = ensure_folder(folder)
    with _only_plan(folder, plan):
        for file in _foreign_files(folder, plan, overwrite):
            file.unlink(missing_ok=True)
        remove_abandoned(folder)
        numbers = range(shard[0], len(plan.shards), shard[1])
        finished = {number: header for number in numbers if resume and (header := _finished(folder, plan, number))}
        jobs = [
            ShardJob(replace(plan.header, shard=number), folder / shard_name(number), plan.shards[number])
            for number in numbers
            if number not in finished
        ]
        for path in [*(job.path for job in jobs), *[folder / INDEX_NAME] * bool(jobs)]:
            with _own(path, overwrite):
                claim(path)
        image_count = sum(header.picture_count for header in finished.values())
        total = sum(group.count for number in numbers for group in plan.shards[number])

        def count(new: int) -> None:
            nonlocal image_count
            image_count += new
            progress(image_count, total, "images")

        count(0)
        with recorded(Ledger(folder, os.devnull, overwrite=True)):
            headers, failures = _run(source, jobs, workers, count)
        for file in _foreign_files(folder, plan, overwrite=True):  # without locks, another build is noticed only now
            raise _refusal(folder, file, _header(file) or plan.header, plan.header)
        all_headers = [*headers.values(), *finished.values()]
        return BuildResult(
            folder,
            tuple(sorted(headers)),
            tuple(sorted(finished)),
            tuple(sorted(failures, key=lambda outcome: outcome.shard)),
            sum(header.picture_count for header in all_headers),
            sum(header.person_count for header in all_headers),
            _index(folder, plan, rewritten=bool(headers), overwrite=overwrite),
        )


@contextmanager
def _only_plan(folder: Path, plan: Plan) -> Iterator[None]:
    """Hold the folder for this plan. Raises UsageError if another process makes another cache there."""
    with shared_folder(folder, "preprocess", plan.header.plan) as other_plan:
        if other_plan:
            remedy = "wait for it, or choose another `out`"
            raise UsageError(folder, "another process is making another cache here", remedy=remedy)
        yield


@dataclass(frozen=True)
class PlannedShard:
    """A shard that a build would write or keep.

    Attributes:
        path: Its file.
        images: Number of its images.
        groups: Names of its groups.
        exists: Whether it would be kept.
    """

    path: Path
    images: int
    groups: tuple[str, ...]
    exists: bool


def plan_build(
    source: Source,
    folder: Path | str,
    *,
    shard_size: int | None = 1024,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    overwrite: bool = False,
) -> list[PlannedShard]:
    """Predict what `build_cache` does with the same arguments, without writing anything.

    Args:
        source: The source.
        folder: The cache.
        shard_size: See `build_cache`.
        shard: See `build_cache`.
        resume: See `build_cache`.
        overwrite: See `build_cache`.

    Raises:
        HpcError: The first error of `build_cache`.
    """
    plan = make_plan(source, shard_size)
    folder = Path(folder)
    _foreign_files(folder, plan, overwrite)
    return [
        PlannedShard(
            folder / shard_name(number),
            sum(group.count for group in plan.shards[number]),
            tuple(group.name for group in plan.shards[number]),
            resume and _finished(folder, plan, number) is not None,
        )
        for number in range(shard[0], len(plan.shards), shard[1])
    ]


def _run(
    source: Source, jobs: Sequence[ShardJob], workers: int, count: Callable[[int], None]
) -> tuple[dict[int, Header], list[ShardOutcome]]:
    headers: dict[int, Header] = {}
    failures: list[ShardOutcome] = []
    running = run_jobs(source, jobs, workers, count)
    try:
        for outcome in running:
            if outcome.everywhere:  # a worker's sentence as an error of this process
                subject, colon, problem = outcome.problem.partition(": ")
                raise UnavailableError(*(subject, problem) if colon else (shard_name(outcome.shard), outcome.problem))
            if outcome.header is None:
                failures.append(outcome)
            else:
                headers[outcome.shard] = outcome.header
    finally:
        running.close()  # ends the workers now, not at the next garbage collection
    return headers, failures


def _finished(folder: Path, plan: Plan, number: int) -> Header | None:
    """Return the header of a shard that need not be written again."""
    path = folder / shard_name(number)
    files = (file for group in plan.shards[number] for file in group.files if file.exists())
    if not path.exists() or any(file.stat().st_mtime > path.stat().st_mtime for file in files):
        return None
    try:
        shard = TableFile(path, "shard")
        shard.check()
    except InputError:  # damaged: it is written again
        return None
    header = shard.header
    return header if (header.shard, header.plan) == (number, plan.header.plan) else None


def _foreign_files(folder: Path, plan: Plan, overwrite: bool) -> list[Path]:
    """List the files of other plans; a command replaces what hpc wrote and nobody changed, and says so.

    Raises UsageError unless they may be replaced.
    """
    files: list[Path] = []
    for path in (*sorted(folder.glob(SHARD_PATTERN)), folder / INDEX_NAME):
        header = _header(path)
        if header is not None and header.plan != plan.header.plan:
            refusal = _refusal(folder, path, header, plan.header)
            if not overwrite and not (is_command() and _is_unchanged(path)):
                raise refusal
            if not files:
                _log.info(f"{folder}: made again, because it {refusal.problem}")
            files.append(path)
    return files


@contextmanager
def _own(path: Path, overwrite: bool) -> Iterator[None]:
    """Let a file be replaced that has the checksums which are stored in it: hpc wrote it as it is."""
    if not is_command():  # programs replace what they like
        yield
        return
    is_own = overwrite or not path.exists() or _is_unchanged(path)
    with recorded(Ledger(path.parent, os.devnull, overwrite=is_own)):
        yield


def _is_unchanged(path: Path) -> bool:
    """Return whether a file has the checksums that are stored in it."""
    try:
        return not any(changed_datasets(TableFile(path)))
    except InputError:
        return False


def _header(path: Path) -> Header | None:
    """Read a header; None if the file is missing or damaged, and therefore written again."""
    if not path.exists():
        return None
    try:
        return Header.of(path, read_attributes(path))
    except InputError:
        return None


def _refusal(folder: Path, path: Path, present: Header, new: Header) -> UsageError:
    remedy = "choose another `out`, or `overwrite` to replace it"
    if present.source != new.source:
        problem = "holds a cache of another source"
        return UsageError(folder, problem, expected=new.source, got=present.source, remedy=remedy)
    present_options = present.options_values
    new_options = new.options_values
    for name in sorted({*present_options, *new_options}):
        if present_options.get(name) != new_options.get(name):
            expected = repr(new_options.get(name))
            got = repr(present_options.get(name))
            problem = f"holds a cache made with another {name}"
            return UsageError(folder, problem, expected=expected, got=got, remedy=remedy)
    problem = f"holds a cache ({path.name}) of other images or another shard size"
    return UsageError(folder, problem, remedy=remedy)


def _index(folder: Path, plan: Plan, *, rewritten: bool, overwrite: bool) -> Path | None:
    """Write the index if all shards exist; keep it if nothing has changed."""
    if any(not (folder / shard_name(number)).exists() for number in range(len(plan.shards))):
        return None
    path = folder / INDEX_NAME
    header = _header(path)
    if not rewritten and header is not None and header.shard == len(plan.shards):
        return path
    try:
        return write_index(folder, overwrite)
    except HpcError:
        if any(_finished(folder, plan, number) is None for number in range(len(plan.shards))):
            return None  # another process has still to replace a damaged shard of its part
        raise
