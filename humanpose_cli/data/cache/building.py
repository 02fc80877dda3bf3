"""`build_cache`: everything that a source has, as shards in a folder.

Several processes, and several machines with `shard=(i, N)`, may build one folder: each finished shard of the same
plan is kept, and whoever finds that none is missing writes the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from humanpose_cli.data.cache.header import Header
from humanpose_cli.data.cache.index import write_index
from humanpose_cli.data.cache.planning import Plan, make_plan
from humanpose_cli.data.cache.schema import INDEX_NAME, SHARD_PATTERN, shard_name
from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.data.cache.stored_file import read_attributes
from humanpose_cli.data.cache.workers import ShardJob, ShardOutcome, run_jobs
from humanpose_cli.data.samples import Source
from humanpose_cli.errors import HpcError, InputError, UnavailableError, UsageError
from humanpose_cli.io.atomic import PARTIAL_SUFFIX, ensure_folder

__all__ = ["BuildResult", "build_cache"]

_ABANDONED = 24 * 3600.0  # seconds after which nobody is writing a temporary file any more


@dataclass(frozen=True)
class BuildResult:
    """What became of a build.

    shard_count  of the whole cache
    built        numbers of the shards that were written
    kept         numbers of those that were there already
    failed       one outcome for each that could not be written: its group, a sentence, an exit code
    pictures, people   in the shards that were built or kept by this process
    index        the index, where no shard of the cache is missing
    """

    folder: Path
    shard_count: int
    built: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    failed: tuple[ShardOutcome, ...] = ()
    pictures: int = 0
    people: int = 0
    index: Path | None = None

    @property
    def partial(self) -> bool:
        """Whether some shards failed."""
        return bool(self.failed)


def build_cache(
    source: Source,
    folder: Path | str,
    *,
    shard_size: int | None = 1024,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> BuildResult:
    """Write a cache with everything that the source has.

    shard_size   pictures a shard, about; groups are never split. None: a sixteenth of all pictures, 32 to 1024
    workers      processes that write shards; 1 works in this one
    shard        (i, N): write only every N-th shard, beginning with the i-th
    resume       keep shards of the same plan that are finished; otherwise write them again
    overwrite    replace a cache that another source or other options made
    on_progress  called with (pictures done, pictures in all) of this process's shards

    A shard is there whole or not at all, whenever this is interrupted. KeyboardInterrupt, or any exception from
    `on_progress`, ends the workers within five seconds. InputError for a source that cannot tell its groups;
    UsageError for a folder with another cache; UnavailableError, after which a rerun resumes, for a full disk. A
    group that fails leaves out its shard alone: see `BuildResult.failed`.
    """
    if not 0 <= shard[0] < shard[1]:
        raise UsageError("shard", "no such part", expected="(i, N) with 0 ≤ i < N", got=str(shard))
    plan = make_plan(source, shard_size)
    folder = ensure_folder(folder)
    _clear(folder, plan, overwrite)
    mine = range(shard[0], len(plan.shards), shard[1])
    kept = {number: header for number in mine if resume and (header := _finished(folder, plan, number))}
    jobs = [_job(folder, plan, number) for number in mine if number not in kept]
    done, total = sum(known.picture_count for known in kept.values()), sum(plan.pictures_of(n) for n in mine)

    def count(new: int) -> None:
        nonlocal done
        done += new
        if on_progress is not None:
            on_progress(done, total)

    count(0)
    headers, failed = _run(source, jobs, workers, count)
    everything = [*headers.values(), *kept.values()]
    return BuildResult(
        folder,
        len(plan.shards),
        tuple(sorted(headers)),
        tuple(sorted(kept)),
        tuple(sorted(failed, key=lambda outcome: outcome.shard)),
        sum(header.picture_count for header in everything),
        sum(header.person_count for header in everything),
        _index(folder, plan, rewritten=bool(headers)),
    )


def _run(
    source: Source, jobs: Sequence[ShardJob], workers: int, count: Callable[[int], None]
) -> tuple[dict[int, Header], list[ShardOutcome]]:
    headers: dict[int, Header] = {}
    failed: list[ShardOutcome] = []
    running = run_jobs(source, jobs, workers, count)
    try:
        for outcome in running:
            if outcome.everywhere:
                raise _raised(outcome)
            if outcome.header is None:
                failed.append(outcome)
            else:
                headers[outcome.shard] = outcome.header
    finally:
        running.close()  # ends the workers now, not when somebody collects garbage
    return headers, failed


def _raised(outcome: ShardOutcome) -> UnavailableError:
    """A worker's sentence as an error of the process that started it."""
    subject, colon, problem = outcome.problem.partition(": ")
    return UnavailableError(subject, problem) if colon else UnavailableError(shard_name(outcome.shard), outcome.problem)


def _job(folder: Path, plan: Plan, number: int) -> ShardJob:
    return ShardJob(replace(plan.header, shard=number), folder / shard_name(number), plan.shards[number])


def _finished(folder: Path, plan: Plan, number: int) -> Header | None:
    """The header of a shard that need not be written again."""
    path = folder / shard_name(number)
    if not path.exists():
        return None
    try:
        shard = TableFile(path, "shard")
        shard.check()
    except InputError:  # damaged: it is written again
        return None
    header = shard.header
    return header if (header.shard, header.plan) == (number, plan.header.plan) else None


def _clear(folder: Path, plan: Plan, overwrite: bool) -> None:
    """Refuse, or with `overwrite` remove, what another plan has left; remove temporary files that were abandoned."""
    strangers = []
    for path in (*sorted(folder.glob(SHARD_PATTERN)), folder / INDEX_NAME):
        header = _header(path)
        if header is None or header.plan == plan.header.plan:
            continue
        if not overwrite:
            raise _refusal(folder, path, header, plan.header)
        strangers.append(path)
    for path in strangers:
        path.unlink(missing_ok=True)
    for path in folder.glob(f".*{PARTIAL_SUFFIX}"):
        if _age(path) > _ABANDONED:
            path.unlink(missing_ok=True)


def _header(path: Path) -> Header | None:
    """None for what is not there, or damaged and so written again."""
    if not path.exists():
        return None
    try:
        return Header.of(path, read_attributes(path))
    except InputError:
        return None


def _refusal(folder: Path, path: Path, found: Header, wanted: Header) -> UsageError:
    remedy = "choose another --out, or --overwrite to replace it"
    if found.source != wanted.source:
        return UsageError(
            folder, "holds a cache of another source", expected=wanted.source, got=found.source, remedy=remedy
        )
    theirs, ours = found.options_values, wanted.options_values
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            return UsageError(
                folder,
                f"holds a cache made with another {name}",
                expected=repr(ours.get(name)),
                got=repr(theirs.get(name)),
                remedy=remedy,
            )
    problem = f"holds a cache ({path.name}) of other pictures or another shard size"
    return UsageError(folder, problem, remedy=remedy)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # its writer has just renamed it
        return 0.0


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
