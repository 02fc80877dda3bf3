"""`build_cache`: everything that a source has, as shards in a folder.

Several processes, and several machines with `shard=(i, N)`, may build one folder: each finished shard of the same
plan is kept, and the process that finds none missing writes the index.
"""

from __future__ import annotations

import hashlib
import json
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
from humanpose_cli.io.atomic import atomic_path, ensure_folder, remove_abandoned
from humanpose_cli.io.locks import shared_file
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
from humanpose_cli.lab.cache.verification import relation_problems
from humanpose_cli.lab.cache.workers import ShardJob, ShardOutcome, run_jobs
from humanpose_cli.lab.cache.writing import Dataset, join_datasets, table_datasets, write_hdf5
from humanpose_cli.version import __version__

# Which group goes to which shard: a rule that looks at nothing but the list of groups.


@dataclass(frozen=True)
class Plan:
    """The plan of a cache.

    Attributes:
        header: What all its shards have in common; number, counts and digest are still to come.
        shards: The groups of each shard.
    """

    header: Header
    shards: tuple[tuple[Group, ...], ...]


def make_plan(source: Source, shard_size: int | None) -> Plan:
    """Distribute a source's groups, in their order, to shards of about `shard_size` images.

    A group that no longer fits begins the next shard, and one that is larger than a shard has one for itself.

    Raises InputError if the source has no groups, two groups of one name or an empty group, UsageError if the size is
    below 1 or the options are not JSON.
    """
    if shard_size is not None and shard_size < 1:
        raise UsageError("shard size", "is too small", expected="at least 1 image", got=str(shard_size))
    groups, name = source.groups(), source.info.name
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
    shards = _deal_groups(groups, shard_size)
    if len(shards) > MAX_SHARDS:
        expected = f"one that makes at most {MAX_SHARDS:,} shards"
        raise UsageError("shard size", "is too small", expected=expected, got=f"{len(shards):,} shards")
    header = Header(
        kind="shard",
        source=name,
        options=options,
        tool_version=__version__,
        plan=_digest(name, options, shards),
        shard=0,
        shard_count=len(shards),
        picture_count=0,
        person_count=0,
        group_count=0,
        content_digest="",
    )
    return Plan(header, shards)


def _deal_groups(groups: Sequence[Group], shard_size: int) -> tuple[tuple[Group, ...], ...]:
    shards: list[list[Group]] = [[]]
    image_count = 0
    for group in groups:
        if shards[-1] and image_count + group.count > shard_size:
            shards.append([])
            image_count = 0
        shards[-1].append(group)
        image_count += group.count
    return tuple(tuple(shard) for shard in shards)


def _digest(source: str, options: str, shards: Sequence[Sequence[Group]]) -> str:
    """Hash everything that decides what is in which shard.

    A group's key is left out: it may name a folder that another machine has elsewhere.
    """
    digest = hashlib.sha256(json.dumps([source, options]).encode())
    for shard in shards:
        for group in shard:
            pairs = sorted((list(key), list(map(list, sample_pairs))) for key, sample_pairs in group.pairs.items())
            digest.update(json.dumps([group.name, group.count, pairs]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


# The index: which shards there are, and the tables that reach over them.


@dataclass(frozen=True)
class IndexSummary:
    """The shards that an index joins.

    Attributes:
        missing: Numbers of the plan's shards that are not there.
    """

    path: Path
    header: Header
    missing: tuple[int, ...] = ()


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
    names: list[NDArray[np.uint64]] = field(default_factory=list)


def write_index(folder: Path | str) -> IndexSummary:
    """Join the shards that lie in a folder; writes `index.h5` there.

    Raises InputError if there are no shards, or damaged ones, shards of two plans or two with the same image,
    Raises UnavailableError if it cannot be written.
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
    _refuse_repeated_names(tables, paths)
    labels = [column.path for column in COLUMNS if column.path in tables.labels]
    shards: dict[str, list[Any]] = {
        "number": [each.shard for each in headers],
        "picture_count": [each.picture_count for each in headers],
        "person_count": [each.person_count for each in headers],
        "digest": [each.content_digest for each in headers],
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
    links = {link_name(each.shard): (path.name, "/") for each, path in zip(headers, paths, strict=True)}
    index = folder / INDEX_NAME
    remove_abandoned(index)
    with atomic_path(index) as temporary:
        header = write_hdf5(temporary, header, datasets, links=links)
    missing = sorted(set(range(header.shard_count)) - {each.shard for each in headers})
    return IndexSummary(index, header, tuple(missing))


def _join(tables: _IndexTables, shard: TableFile) -> None:
    first = tables.images
    # Eight bytes of digest for each image's name, so that millions of them need little memory.
    digests = (hashlib.sha256(name).digest()[:8] for name in shard.numbers("pictures/name").tolist())
    tables.names.append(np.frombuffer(b"".join(digests), "<u8"))
    starts, counts = shard.numbers("groups/first_picture"), shard.numbers("groups/picture_count")
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


def _refuse_repeated_names(tables: _IndexTables, paths: Sequence[Path]) -> None:
    codes = np.concatenate(tables.names)
    order = np.argsort(codes, kind="stable")
    repeats = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    if not len(repeats):
        return
    ends = np.cumsum([len(part) for part in tables.names])
    first_repeat = repeats[np.argmin(order[repeats + 1])]  # the first that comes again
    first, second = order[first_repeat : first_repeat + 2].tolist()
    one, other = (paths[int(np.searchsorted(ends, row, side="right"))] for row in (first, second))
    shard = TableFile(one)
    name = shard.text("pictures/name", first - (int(ends[paths.index(one)]) - shard.header.picture_count))
    raise InputError(other, f"has an image named {name!r}, as {one.name} has")


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
        new_shards: Numbers of the shards that were written.
        earlier_shards: Numbers of those that were there already.
        failures: One outcome for each that could not be written: its group, a sentence, an exit code.
        images, people: In the shards that this process wrote or found.
        index: The index, if no shard of the cache is missing.
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
    workers within five seconds. Raises InputError if the source cannot list its groups, UsageError if the folder has
    another cache, or another process makes one there, UnavailableError, after which a rerun resumes, if the disk is
    full. A group that fails leaves out its shard alone: see `BuildResult.failures`.

    Args:
        shard_size: Images a shard, about; groups are never split. None: a sixteenth of all images, 32 to 1024.
        workers: Processes that write shards; 1 works in this one.
        shard: (i, N): write only every N-th shard, beginning with the i-th.
        resume: Keep shards of the same plan that are finished and no older than their groups' files; otherwise
            write them again.
        overwrite: Replace a cache that another source or other options made.
        progress: Of this process's shards.
    """
    if not 0 <= shard[0] < shard[1]:
        raise UsageError("shard", "no such part", expected="(i, N) with 0 ≤ i < N", got=str(shard))
    plan = make_plan(source, shard_size)
    folder = ensure_folder(folder)
    with _only_plan(folder, plan):
        for other in _others(folder, plan, overwrite):
            other.unlink(missing_ok=True)
        remove_abandoned(folder)
        mine = range(shard[0], len(plan.shards), shard[1])
        finished_headers = {number: header for number in mine if resume and (header := _finished(folder, plan, number))}
        jobs = [
            ShardJob(replace(plan.header, shard=number), folder / shard_name(number), plan.shards[number])
            for number in mine
            if number not in finished_headers
        ]
        image_count = sum(header.picture_count for header in finished_headers.values())
        total = sum(group.count for number in mine for group in plan.shards[number])

        def count(new: int) -> None:
            nonlocal image_count
            image_count += new
            progress(image_count, total, "images")

        count(0)
        headers, failures = _run(source, jobs, workers, count)
        _others(folder, plan, overwrite=False)  # where files cannot be locked, it is seen only now
        everything = [*headers.values(), *finished_headers.values()]
        return BuildResult(
            folder,
            tuple(sorted(headers)),
            tuple(sorted(finished_headers)),
            tuple(sorted(failures, key=lambda outcome: outcome.shard)),
            sum(header.picture_count for header in everything),
            sum(header.person_count for header in everything),
            _index(folder, plan, rewritten=bool(headers)),
        )


@contextmanager
def _only_plan(folder: Path, plan: Plan) -> Iterator[None]:
    """Hold the folder for this plan. Raises UsageError if another process makes another cache there."""
    with shared_file(folder / ".building.lock", plan.header.plan) as same:
        if not same:
            raise UsageError(
                folder, "another process is making another cache here", remedy="wait for it, or give another `out`"
            )
        yield


@dataclass(frozen=True)
class PlannedShard:
    """A shard that a build would write, or that it would keep.

    Attributes:
        groups: Their names.
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
    """Predict what `build_cache` does with the same arguments; writes nothing. Raises the same first errors."""
    plan, folder = make_plan(source, shard_size), Path(folder)
    _others(folder, plan, overwrite)
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


def _others(folder: Path, plan: Plan, overwrite: bool) -> list[Path]:
    """List the files that another plan has left. Raises UsageError unless they may be overwritten."""
    others = []
    for path in (*sorted(folder.glob(SHARD_PATTERN)), folder / INDEX_NAME):
        header = _header(path)
        if header is not None and header.plan != plan.header.plan:
            if not overwrite:
                raise _refusal(folder, path, header, plan.header)
            others.append(path)
    return others


def _header(path: Path) -> Header | None:
    """Read a header. None if the file is missing, or damaged and so written again."""
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
    theirs, ours = present.options_values, new.options_values
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            expected, got = repr(ours.get(name)), repr(theirs.get(name))
            problem = f"holds a cache made with another {name}"
            return UsageError(folder, problem, expected=expected, got=got, remedy=remedy)
    problem = f"holds a cache ({path.name}) of other images or another shard size"
    return UsageError(folder, problem, remedy=remedy)


def _index(folder: Path, plan: Plan, *, rewritten: bool) -> Path | None:
    """Write the index if all shards are there; leave it alone where nothing has changed."""
    if any(not (folder / shard_name(number)).exists() for number in range(len(plan.shards))):
        return None
    path = folder / INDEX_NAME
    header = _header(path)
    if not rewritten and header is not None and header.shard == len(plan.shards):
        return path
    try:
        return write_index(folder).path
    except HpcError:
        if any(_finished(folder, plan, number) is None for number in range(len(plan.shards))):
            return None  # another process has still to replace a damaged shard of its part
        raise
