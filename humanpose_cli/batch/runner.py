"""Runs any callable over items: skips what is done, records what becomes of each, survives a failing one.

    def worker(item: Item) -> Outcome:
        people = fit_picture(item.payload, options)              # raises HpcError for a bad input
        return Outcome(outputs=(fit_path, overlay_path), details={"people": len(people)})

    result = run_items(items, worker, Batch("fit", out, options=asdict(options), shard=shard), progress=reporter)

An item that fails is recorded and the others go on. What would fail every other item in the same way, an
UnavailableError (no disk space, no permission, no such device), stops the run: nothing is recorded against that
item, and the same command goes on with it and the rest once the machine is mended. The batch knows nothing of
pictures or of torch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from humanpose_cli.batch.failures import Failure, explain
from humanpose_cli.batch.items import Fingerprint, Item, content_digest, fingerprint, unique_items
from humanpose_cli.batch.job import Batch, Outcome
from humanpose_cli.batch.ledger import Ledger, read_history
from humanpose_cli.batch.plan import Decision, decide, refuse_conflicts
from humanpose_cli.batch.progress import Progress, SilentProgress
from humanpose_cli.batch.run_record import now, run_record, run_record_path
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.errors import ExitCode, HpcError, UnavailableError
from humanpose_cli.io.atomic import write_json
from humanpose_cli.result import CommandResult, ItemResult, Status, combine_status

__all__ = ["Batch", "GroupWorker", "Outcome", "Worker", "run_groups", "run_items"]

Worker = Callable[[Item], Outcome]
GroupWorker = Callable[[Sequence[Item]], Sequence["Outcome | Exception"]]


def run_items(
    items: Iterable[Item],
    worker: Worker,
    batch: Batch,
    *,
    progress: Progress | None = None,
    stop: StopSignals | None = None,
) -> CommandResult:
    """Run `worker` on each item of this shard, one after the other.

    progress  who is told what happens
    stop      the handler of SIGINT and SIGTERM; with one, an interrupted run returns its result, without one
              KeyboardInterrupt comes through
    Raises UsageError before anything is done if results of something else would be replaced, UnavailableError if
    the output folder cannot be written.
    """

    def one(group: Sequence[Item]) -> Sequence[Outcome | Exception]:
        return [worker(item) for item in group]

    return run_groups(items, one, batch, group_size=1, progress=progress, stop=stop)


def run_groups(
    items: Iterable[Item],
    worker: GroupWorker,
    batch: Batch,
    *,
    group_size: int,
    progress: Progress | None = None,
    stop: StopSignals | None = None,
) -> CommandResult:
    """As `run_items`, with up to `group_size` items handed to the worker at once.

    The worker returns one Outcome or exception per item, in order. If it raises instead, the items of the group are
    given to it one by one, so that the one at fault is found and the others are done.
    """
    mine = [item for item in unique_items(items) if batch.shard.owns(item.key)]
    with Ledger(batch.out, batch.command, batch.options, batch.shard) as ledger:
        return _Run(batch, ledger, worker, progress or SilentProgress(), stop).carry_out(mine, group_size)


@dataclass(frozen=True)
class _Mark:
    """What the ledger knows an item's files by."""

    size_and_time: Fingerprint
    content: str


class _Run:
    """One pass over the items of one shard."""

    def __init__(
        self,
        batch: Batch,
        ledger: Ledger,
        worker: GroupWorker,
        progress: Progress,
        stop: StopSignals | None,
    ) -> None:
        self.batch, self.ledger, self.worker, self.progress, self.stop = batch, ledger, worker, progress, stop
        self.history = read_history(batch.out)
        self.results: list[ItemResult] = []
        self.halted: Failure | None = None

    def carry_out(self, items: Sequence[Item], group_size: int) -> CommandResult:
        refuse_conflicts(items, self.batch, self.ledger.digest, self.history)
        record = run_record(self.batch.command, self.batch.options, self.batch.shard, self.batch.arguments)
        self._write_record(record)
        self.progress.start(len(items))
        try:
            for group in self._groups(items, group_size):
                self._do(group)
                if self.halted:
                    break
        except KeyboardInterrupt:
            if self.stop is None:
                raise
        finally:
            self.progress.finish()
        result = self._result(items)
        return self._close_record(record, result)

    def _groups(self, items: Sequence[Item], size: int) -> Iterator[list[Item]]:
        """Items left to do, `size` at a time; those that earlier runs settled are told on the way."""
        group: list[Item] = []
        for item in items:
            if self._stop_asked():
                return
            settled = self._settled_before(item, decide(item, self.batch, self.ledger.digest, self.history))
            if settled is not None:
                self._finish(settled)
                continue
            group.append(item)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group

    def _stop_asked(self) -> bool:
        return self.stop is not None and self.stop.requested

    def _settled_before(self, item: Item, decision: Decision) -> ItemResult | None:
        """What an earlier run has to say of an item; None if there is something left to do."""
        if decision is Decision.DO:
            return None
        entry = self.history.of(self.batch.command, item)
        assert entry is not None
        outputs = tuple(str(self.batch.out / output) for output in entry.outputs)
        if decision is Decision.FAILED_BEFORE:
            error = f"{entry.error} (in an earlier run; --retry-failed tries again)"
            status, code = Status(entry.outcome), ExitCode(entry.exit_code)
            return ItemResult(item.name, status, outputs, error=error, exit_code=code)
        try:
            details = self.batch.recall(item, entry) if self.batch.recall else {}
        except HpcError:
            return None  # its result was damaged since: like one that vanished, it is made again
        return ItemResult(item.name, Status.SKIPPED, outputs, details=details)

    def _do(self, group: Sequence[Item]) -> None:
        grace: AbstractContextManager[None] = self.stop.item() if self.stop is not None else nullcontext()
        with grace:
            marks = [(item, self._mark(item)) for item in group]
            ready = [(item, mark) for item, mark in marks if mark is not None]
            for item, _ in ready:
                self.progress.item_started(item.name)
            started = time.perf_counter()
            outcomes = self._work([item for item, _ in ready])
            seconds = (time.perf_counter() - started) / max(1, len(ready))
            if outcomes is not None:
                for (item, mark), outcome in zip(ready, outcomes, strict=True):
                    self._settle(item, mark, outcome, seconds)
                return
        for item, _ in ready:  # the group failed as a whole: find the item at fault
            if not self.halted and not self._stop_asked():
                self._do([item])

    def _mark(self, item: Item) -> _Mark | None:
        """What the ledger knows the item by, taken before it is read; None if it cannot be read."""
        try:
            return _Mark(fingerprint(item), content_digest(item))
        except HpcError as error:
            self._finish(_failed(item, explain(error), 0.0))
            return None

    def _work(self, items: Sequence[Item]) -> Sequence[Outcome | Exception] | None:
        """The worker's outcomes; None if it failed over several items at once."""
        if not items:
            return []
        try:
            return self.worker(items)
        except Exception as error:
            return [error] if len(items) == 1 else None

    def _settle(self, item: Item, mark: _Mark, outcome: Outcome | Exception, seconds: float) -> None:
        """Record and tell what became of an item."""
        if isinstance(outcome, Exception):
            result = self._failure(item, outcome, seconds)
        else:
            status = Status.PARTIAL if outcome.problem else Status.SUCCESS
            code = ExitCode.PARTIAL if outcome.problem else ExitCode.OK
            outputs = tuple(str(path) for path in outcome.outputs)
            result = ItemResult(item.name, status, outputs, seconds, outcome.problem, code, outcome.details)
        if not self.halted:
            try:
                self._record(item, mark, result)
            except UnavailableError as error:  # most likely a full disk; unrecorded, the item is done again
                result = self._failure(item, error, seconds)
        self._finish(result)

    def _failure(self, item: Item, error: Exception, seconds: float) -> ItemResult:
        failure = explain(error, item.files)
        if failure.is_bug:
            self.progress.bug(error)
        if failure.everywhere:
            self.halted = failure
        return _failed(item, failure, seconds)

    def _record(self, item: Item, mark: _Mark, result: ItemResult) -> None:
        self.ledger.record(
            item,
            mark.size_and_time,
            content=mark.content,
            outcome=result.status,
            outputs=result.outputs,
            error=result.error,
            exit_code=result.exit_code,
            seconds=result.seconds,
        )

    def _finish(self, result: ItemResult) -> None:
        self.results.append(result)
        self.progress.item_finished(result)

    def _result(self, items: Sequence[Item]) -> CommandResult:
        status, code = combine_status(self.results)
        messages: list[str] = []
        left = len(items) - len(self.results)
        if not items:
            part = f" in part {self.batch.shard}" if self.batch.shard.count > 1 else ""
            messages.append(f"there is nothing to do{part}")
        if self.halted is not None:
            done = any(result.status is not Status.ERROR for result in self.results)
            status, code = Status.PARTIAL if done else Status.ERROR, self.halted.exit_code
        if self.stop is not None and self.stop.signal_number is not None:
            status, code = Status.INTERRUPTED, ExitCode(128 + self.stop.signal_number)
        if left:
            messages.append(f"{left} of {len(items)} items are left; the same command goes on with them")
        return CommandResult(self.batch.command, status, tuple(self.results), tuple(messages), code)

    def _write_record(self, record: Mapping[str, Any]) -> None:
        write_json(run_record_path(self.batch.out, self.batch.shard), record)

    def _close_record(self, record: Mapping[str, Any], result: CommandResult) -> CommandResult:
        counts = Counter(item.status.value for item in result.items)
        ending = {"finished": now(), "status": result.status.value, "items": dict(sorted(counts.items()))}
        try:
            self._write_record({**record, **ending})
        except UnavailableError as error:  # the results stand; that their record could not be closed is told
            code = result.exit_code or error.exit_code
            return replace(result, messages=(*result.messages, str(error)), exit_code=code)
        return result


def _failed(item: Item, failure: Failure, seconds: float) -> ItemResult:
    code = failure.exit_code
    return ItemResult(item.name, Status.ERROR, (), seconds, failure.sentence, code)
