"""Processes that write shards: each takes one shard after the other until none are left.

Every process is started afresh (spawned) and uses one thread for its arithmetic. The processes end with the process
that started them: at once if it stops them, and at their next image if it was killed.

`concurrent.futures` does not suffice (tried with Python 3.11, six jobs on two spawned workers): one killed worker broke
the pool, and five of six jobs ended with BrokenProcessPool; workers of a killed parent were still alive after their
jobs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from humanpose_cli.batch.signals import TERMINAL_SIGNALS
from humanpose_cli.core.errors import ExitCode, HpcError, UnavailableError
from humanpose_cli.lab.cache.samples import Group, Source
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.cache.writing import GroupError, write_shard
from humanpose_cli.outputs.atomic import remove_abandoned

_GRACE = 2.0  # seconds for a worker without work to end
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_REPORT_EVERY = 0.2  # seconds between two reports of a worker on its progress


@dataclass(frozen=True)
class ShardJob:
    """A shard to write.

    Attributes:
        header: Its header without counts and digest.
        path: Its file.
        groups: Its groups.
    """

    header: Header
    path: Path
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class ShardOutcome:
    """The outcome of writing a shard.

    Attributes:
        shard: Number of the shard.
        header: Header of the finished shard; None if it failed.
        group: The group that failed; "" if no group did.
        problem: One sentence about the failure.
        exit_code: Exit code that the failure stands for.
        everywhere: Whether every other shard would fail in the same way: the disk is full, workers cannot start.
        trace: Traceback of an unexpected exception.
    """

    shard: int
    header: Header | None = None
    group: str = ""
    problem: str = ""
    exit_code: ExitCode = ExitCode.OK
    everywhere: bool = False
    trace: str = ""


OnImages = Callable[[int], None]
"""Called with a number of newly finished images; negative if a shard failed."""


def run_jobs(
    source: Source, jobs: Sequence[ShardJob], workers: int, on_images: OnImages
) -> Generator[ShardOutcome, None, None]:
    """Write shards.

    If it is closed early, or by an exception such as KeyboardInterrupt, it ends the workers within five seconds and
    removes what they had begun.

    Args:
        source: The source of the samples.
        jobs: The shards.
        workers: Number of processes; 1 works in this process.
        on_images: Called with the number of newly finished images, negative if a shard failed.

    Yields:
        The outcome of each shard as it ends, in any order.
    """
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield _write(source, job, _Progress(on_images))
        return
    yield from _in_processes(source, jobs, min(workers, len(jobs)), on_images)


class _Progress:
    """Counts the images of a shard and reports them every `_REPORT_EVERY` seconds."""

    def __init__(self, on_images: OnImages) -> None:
        self._on_images = on_images
        self._last = time.monotonic()
        self._new = self._report_count = 0

    def __call__(self) -> None:
        self._new += 1
        if time.monotonic() - self._last >= _REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        if self._new:
            self._on_images(self._new)
        self._report_count += self._new
        self._new = 0
        self._last = time.monotonic()

    def take_back(self) -> None:
        """Subtract the images of a shard that failed."""
        if self._report_count:
            self._on_images(-self._report_count)


def _write(source: Source, job: ShardJob, progress: _Progress) -> ShardOutcome:
    number = job.header.shard
    try:
        header = write_shard(job.path, job.header, job.groups, source.read, progress)
    except UnavailableError as error:
        return _failure(number, "", error)
    except Exception as error:
        progress.take_back()
        group, cause = (error.group, error.error) if isinstance(error, GroupError) else ("", error)
        return _failure(number, group, cause)
    progress.flush()
    return ShardOutcome(number, header)


def _failure(shard: int, group: str, error: BaseException) -> ShardOutcome:
    if isinstance(error, HpcError):
        everywhere = isinstance(error, UnavailableError)
        return ShardOutcome(shard, None, group, str(error), error.exit_code, everywhere)
    text = str(error)
    problem = f"{type(error).__name__}: {text}" if text else type(error).__name__
    trace = "".join(traceback.format_exception(error))
    return ShardOutcome(shard, None, group, problem, ExitCode.BUG, trace=trace)


# Several processes
@dataclass
class _Worker:
    """A process, its current job, and how many of the job's images have been counted."""

    process: Any
    connection: Connection
    job: ShardJob
    ready: bool = False
    image_count: int = 0

    @classmethod
    def start(cls, source: Source, job: ShardJob) -> _Worker:
        context = multiprocessing.get_context("spawn")
        connection, remote = context.Pipe()
        process = context.Process(target=_serve, args=(remote, source), daemon=True)
        with _one_thread():
            process.start()
        remote.close()
        return cls(process, connection, job)

    def take(self, job: ShardJob) -> None:
        self.job = job
        self.image_count = 0
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: the next recv raises
            self.connection.send(job)

    def lost(self) -> ShardOutcome:
        """Return the outcome of a worker that died: killed for its memory, or by a fault in native code."""
        self.process.join()
        code = self.process.exitcode
        problem = (
            f"the process that wrote it ended with code {code}; a rerun resumes, with less memory on fewer `workers`"
        )
        return ShardOutcome(self.job.header.shard, None, "", problem, ExitCode.UNAVAILABLE, everywhere=not self.ready)


def _in_processes(
    source: Source, jobs: Sequence[ShardJob], count: int, on_images: OnImages
) -> Generator[ShardOutcome, None, None]:
    waiting = list(reversed(jobs))
    processes: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}

    def start() -> None:
        processes.append(_Worker.start(source, waiting.pop()))
        busy[processes[-1].connection] = processes[-1]

    try:
        for _ in range(count):
            start()
        while busy:
            for connection in cast("list[Connection]", wait(list(busy))):
                worker = busy[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    del busy[connection]
                    on_images(-worker.image_count)
                    if worker.ready and waiting:
                        start()
                    yield worker.lost()
                    continue
                if not worker.ready:
                    worker.ready = True
                    worker.take(worker.job)
                elif isinstance(message, int):
                    worker.image_count += message
                    on_images(message)
                else:
                    if waiting:
                        worker.take(waiting.pop())
                    else:
                        del busy[connection]
                        connection.close()
                    yield message
    finally:
        _end(processes, 0 if busy else _GRACE)
        if busy:
            remove_abandoned(jobs[0].path.parent)


def _end(workers: Sequence[_Worker], seconds: float) -> None:
    """Wait so long for workers without further work, then kill them."""
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(seconds)
        worker.process.kill()
        worker.process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit processes started meanwhile to one thread: numpy and torch read this when they load."""
    values = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in values.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, source: Source) -> None:
    """Run a worker: write the shards it is sent until there are no more."""
    for number in TERMINAL_SIGNALS:  # which reach all processes; the parent decides
        signal.signal(number, signal.SIG_IGN)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has gone, or has no more shards
        connection.send(0)
        while True:
            connection.send(_write(source, connection.recv(), _Progress(connection.send)))
