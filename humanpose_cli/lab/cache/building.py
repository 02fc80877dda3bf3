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
    """What a cache is made of.

    header  what all its shards have in common; number, counts and digest are still to come
    shards  the groups of each shard
    """

    header: Header
    shards: tuple[tuple[Group, ...], ...]


def make_plan(source: Source, shard_size: int | None) -> Plan:
    """Deal a source's groups out to shards of about `shard_size` images, in their order.

    A group that no longer fits begins the next shard, and one that is larger than a shard has one for itself.
    InputError for a source without groups, for two groups of one name and for an empty one; UsageError for a size
    below 1, and for options that are no JSON.
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
    shards = _dealt(groups, shard_size)
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


def _dealt(groups: Sequence[Group], shard_size: int) -> tuple[tuple[Group, ...], ...]:
    shards: list[list[Group]] = [[]]
    filled = 0
    for group in groups:
        if shards[-1] and filled + group.count > shard_size:
            shards.append([])
            filled = 0
        shards[-1].append(group)
        filled += group.count
    return tuple(tuple(shard) for shard in shards)


def _digest(source: str, options: str, shards: Sequence[Sequence[Group]]) -> str:
    """Of everything that decides what is in which shard. A group's key is left out: it may name a folder that another
    machine has elsewhere.
    """
    digest = hashlib.sha256(json.dumps([source, options]).encode())
    for shard in shards:
        for group in shard:
            pairs = sorted((list(key), list(map(list, listed))) for key, listed in group.pairs.items())
            digest.update(json.dumps([group.name, group.count, pairs]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


# The index: which shards there are, and the tables that reach over them.


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

    InputError for a folder without shards, for damaged ones, for shards of two plans or with the same image;
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
        headers.append(shard.header)
        if shard.header.plan != headers[0].plan:
            problem = f"belongs to another cache than {paths[0].name}"
            expected = f"{headers[0].source} with the same options and groups"
            remedy = "move it elsewhere, or make the cache again with --overwrite"
            raise InputError(path, problem, expected=expected, got=shard.header.source, remedy=remedy)
        for problem in relation_problems(shard):
            raise InputError(path, problem, remedy="copy or make it again; hpc cache verify lists all damage")
        _join(joined, shard)
    _refuse_repeated_names(joined, paths)
    labels = [column.path for column in COLUMNS if column.path in joined.labels]
    shards: dict[str, list[Any]] = {
        "number": [each.shard for each in headers],
        "picture_count": [each.picture_count for each in headers],
        "person_count": [each.person_count for each in headers],
        "digest": [each.content_digest for each in headers],
    }
    datasets = {
        **table_datasets("shards", shards, INDEX_COLUMNS),
        **table_datasets("labels", {"name": labels, "known": [joined.labels[path] for path in labels]}, INDEX_COLUMNS),
        **_joins(joined),
    }
    header = replace(
        headers[0],
        kind="index",
        tool_version=__version__,
        shard=len(paths),
        picture_count=joined.images,
        person_count=joined.people,
        group_count=len(joined.groups),
    )
    links = {link_name(each.shard): (path.name, "/") for each, path in zip(headers, paths, strict=True)}
    index = folder / INDEX_NAME
    remove_abandoned(index)
    with atomic_path(index) as temporary:
        header = write_hdf5(temporary, header, datasets, links=links)
    missing = sorted(set(range(header.shard_count)) - {each.shard for each in headers})
    return IndexSummary(index, header, tuple(missing))


def _join(joined: _Joined, shard: TableFile) -> None:
    first = joined.images
    # Eight bytes of digest for each image's name, so that millions of them need little memory.
    digests = (hashlib.sha256(name).digest()[:8] for name in shard.numbers("pictures/name").tolist())
    joined.names.append(np.frombuffer(b"".join(digests), "<u8"))
    starts, counts = shard.numbers("groups/first_picture"), shard.numbers("groups/picture_count")
    named = zip(shard.texts("groups/name"), starts.tolist(), counts.tolist(), strict=True)
    joined.groups += [(name, first + start, count) for name, start, count in named]
    frames = shard.numbers("pictures/frame")
    for row, name in enumerate(shard.texts("sequences/name")):
        images = shard.ragged("sequences/pictures", row)
        joined.frames.setdefault(name, []).append((frames[images], first + images))
    for table, rows_by_key in (("protocols", joined.protocols), ("pairs", joined.pairs)):
        for row, key in enumerate(shard.keys(table)):
            rows_by_key.setdefault(key, []).append(first + shard.ragged(f"{table}/pictures", row))
    for column in shard.labels():
        joined.labels[column.path] += shard.value_count(column.path)
    joined.images += shard.header.picture_count
    joined.people += shard.header.person_count


def _refuse_repeated_names(joined: _Joined, paths: Sequence[Path]) -> None:
    codes = np.concatenate(joined.names)
    order = np.argsort(codes, kind="stable")
    repeated = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    if not len(repeated):
        return
    ends = np.cumsum([len(part) for part in joined.names])
    first_repeated = repeated[np.argmin(order[repeated + 1])]  # the first that comes again
    first, second = order[first_repeated : first_repeated + 2].tolist()
    one, other = (paths[int(np.searchsorted(ends, row, side="right"))] for row in (first, second))
    shard = TableFile(one)
    name = shard.text("pictures/name", first - (int(ends[paths.index(one)]) - shard.header.picture_count))
    raise InputError(other, f"has an image named {name!r}, as {one.name} has")


def _joins(joined: _Joined) -> dict[str, Dataset]:
    sequences = {}
    for name, parts in joined.frames.items():
        frames, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
        sequences[name] = rows[np.lexsort((rows, frames))]
    protocols = {key: np.concatenate(parts) for key, parts in joined.protocols.items()}
    pairs = {key: np.concatenate(parts) for key, parts in joined.pairs.items()}
    return join_datasets(joined.groups, sequences, protocols, pairs)


# Building


@dataclass(frozen=True)
class BuildResult:
    """What became of a build.

    built        numbers of the shards that were written
    kept         numbers of those that were there already
    failed       one outcome for each that could not be written: its group, a sentence, an exit code
    images, people   in the shards that were built or kept by this process
    index        the index, where no shard of the cache is missing
    """

    folder: Path
    built: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    failed: tuple[ShardOutcome, ...] = ()
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

    shard_size   images a shard, about; groups are never split. None: a sixteenth of all images, 32 to 1024
    workers      processes that write shards; 1 works in this one
    shard        (i, N): write only every N-th shard, beginning with the i-th
    resume       keep shards of the same plan that are finished and no older than their groups' files; otherwise write
                 them again
    overwrite    replace a cache that another source or other options made
    progress     of this process's shards

    An interrupted build leaves complete shards only. KeyboardInterrupt, or any exception from `progress`, ends the
    workers within five seconds. InputError for a source that cannot list its groups;
    UsageError for a folder with another cache, or in which another process makes one; UnavailableError, after which a
    rerun resumes, for a full disk. A group that fails leaves out its shard alone: see `BuildResult.failed`.
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
        kept = {number: header for number in mine if resume and (header := _finished(folder, plan, number))}
        jobs = [
            ShardJob(replace(plan.header, shard=number), folder / shard_name(number), plan.shards[number])
            for number in mine
            if number not in kept
        ]
        done = sum(header.picture_count for header in kept.values())
        total = sum(group.count for number in mine for group in plan.shards[number])

        def count(new: int) -> None:
            nonlocal done
            done += new
            progress(done, total, "images")

        count(0)
        headers, failed = _run(source, jobs, workers, count)
        _others(folder, plan, overwrite=False)  # where files cannot be locked, it is seen only now
        everything = [*headers.values(), *kept.values()]
        return BuildResult(
            folder,
            tuple(sorted(headers)),
            tuple(sorted(kept)),
            tuple(sorted(failed, key=lambda outcome: outcome.shard)),
            sum(header.picture_count for header in everything),
            sum(header.person_count for header in everything),
            _index(folder, plan, rewritten=bool(headers)),
        )


@contextmanager
def _only_plan(folder: Path, plan: Plan) -> Iterator[None]:
    """Context: no other plan's cache is made in the folder. UsageError where it is."""
    with shared_file(folder / ".building.lock", plan.header.plan) as same:
        if not same:
            raise UsageError(
                folder, "another process is making another cache here", remedy="wait for it, or give another `out`"
            )
        yield


@dataclass(frozen=True)
class PlannedShard:
    """A shard that a build would write, or that it would keep.

    groups  their names
    """

    path: Path
    images: int
    groups: tuple[str, ...]
    kept: bool


def plan_build(
    source: Source,
    folder: Path | str,
    *,
    shard_size: int | None = 1024,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    overwrite: bool = False,
) -> list[PlannedShard]:
    """What `build_cache` would do with the same arguments, and the errors that it would begin with; writes nothing."""
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
    failed: list[ShardOutcome] = []
    running = run_jobs(source, jobs, workers, count)
    try:
        for outcome in running:
            if outcome.everywhere:  # a worker's sentence as an error of this process
                subject, colon, problem = outcome.problem.partition(": ")
                raise UnavailableError(*(subject, problem) if colon else (shard_name(outcome.shard), outcome.problem))
            if outcome.header is None:
                failed.append(outcome)
            else:
                headers[outcome.shard] = outcome.header
    finally:
        running.close()  # ends the workers now, not at the next garbage collection
    return headers, failed


def _finished(folder: Path, plan: Plan, number: int) -> Header | None:
    """The header of a shard that need not be written again."""
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
    """The files that another plan has left; UsageError unless they may be overwritten."""
    others = []
    for path in (*sorted(folder.glob(SHARD_PATTERN)), folder / INDEX_NAME):
        header = _header(path)
        if header is not None and header.plan != plan.header.plan:
            if not overwrite:
                raise _refusal(folder, path, header, plan.header)
            others.append(path)
    return others


def _header(path: Path) -> Header | None:
    """None for what is not there, or damaged and so written again."""
    if not path.exists():
        return None
    try:
        return Header.of(path, read_attributes(path))
    except InputError:
        return None


def _refusal(folder: Path, path: Path, found: Header, wanted: Header) -> UsageError:
    remedy = "choose another `out`, or `overwrite` to replace it"
    if found.source != wanted.source:
        problem = "holds a cache of another source"
        return UsageError(folder, problem, expected=wanted.source, got=found.source, remedy=remedy)
    theirs, ours = found.options_values, wanted.options_values
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
