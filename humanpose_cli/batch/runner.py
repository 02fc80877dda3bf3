"""Runs a callable over items: it skips finished items, records results, and continues after failures.

    def worker(item: Item) -> Outcome:
        people = fit_image(item.payload, options)              # raises HpcError for a bad input
        return Outcome(outputs=(fit_path, overlay_path), details={"people": len(people)})

    result = run_items(items, worker, Batch("fit", out, options=asdict(options), shard=shard), progress=reporter)

A failing item is recorded and the run continues. An UnavailableError (no disk space, no permission, no such device),
which would fail every other item too, stops the run: nothing is recorded for that item, and the same command continues
with it when the machine is repaired. This module does not depend on images or torch.

`explain` converts any exception to a sentence and an exit code.
"""

from __future__ import annotations

import errno
import os
import re
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item, refuse_case_twins, unique_items
from humanpose_cli.batch.run_record import run_record, run_record_path
from humanpose_cli.batch.signals import StopSignals, time_limit
from humanpose_cli.core.errors import ExitCode, HpcError, UnavailableError, UsageError, is_system_fault
from humanpose_cli.core.progress import Progress
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status
from humanpose_cli.files.digests import digest_of_files
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.outputs.atomic import folder_lock, is_about_output, removed_on_failure, write_json, writing_error
from humanpose_cli.outputs.desk import Desk, Fingerprint, OpenLedger, Verdict, fingerprint, utc_time
from humanpose_cli.outputs.ledger import recorded
from humanpose_cli.outputs.protection import check_in_place
from humanpose_cli.version import __version__

_WAIT_INTERVAL = 0.1  # seconds between looks at an item that another process has
_MADE = {"fit": "fitted", "view": "drawn"}  # past participles that are not the command and "ed"


@dataclass(frozen=True)
class Failure:
    """The failure of an item or a command.

    Attributes:
        sentence: The message for the user.
        exit_code: Exit code of the command if this is its only failure.
        everywhere: Whether every other item would fail in the same way, so that a batch stops.
    """

    sentence: str
    exit_code: ExitCode
    everywhere: bool = False


def explain(error: BaseException, inputs: Sequence[Path] = (), out: Path | None = None) -> Failure:
    """Explain any exception of a command or an item.

    Args:
        error: The exception.
        inputs: The files being read: a system error about one of them fails only this item.
        out: The output folder: a system error about a path below it fails all items.

    Returns:
        The failure.
    """
    if failure := _explain_lack_of_memory(error):
        return failure
    if isinstance(error, HpcError):
        return Failure(str(error), error.exit_code, everywhere=isinstance(error, UnavailableError))
    if isinstance(error, OSError) and (failure := _explain_os_error(error, inputs, out)):
        return failure
    text = str(error)
    description = f"{type(error).__name__}: {text}" if text else type(error).__name__
    sentence = f"{description}; this is a bug in hpc {__version__}, --verbose shows where: please report it"
    return Failure(sentence, ExitCode.BUG)


_NO_MEMORY = re.compile(
    "can.?t allocate memory|cannot allocate memory|not enough memory|failed to allocate memory|bad_?alloc|"
    "could not create a primitive",  # oneDNN
    re.IGNORECASE,
)
_NO_ADDRESSES = re.compile("failed to map segment|can.t start new thread", re.IGNORECASE)


def _explain_lack_of_memory(error: BaseException) -> Failure | None:
    """Recognise exhausted memory, which libraries report in several ways, also as the cause of another error."""
    cause: BaseException | None = error
    while isinstance(cause, HpcError):
        cause = cause.__cause__
    if cause is None:
        return None
    is_native = type(cause).__module__.startswith("onnxruntime")  # these classes derive from Exception
    text = str(cause) if is_native or isinstance(cause, RuntimeError | ImportError | OSError) else ""
    if _NO_ADDRESSES.search(text):
        problem = "memory: not enough to load a library or to start a thread"
        sentence = f"{problem}; raise the limit (ulimit -v), or run fewer processes at once"
        return Failure(sentence, ExitCode.UNAVAILABLE)
    # The errors of torch and OpenCV are recognised by name, so that neither is loaded.
    is_opencv = type(cause).__module__ == "cv2" and getattr(cause, "code", None) == -4
    by_type = isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError" or is_opencv
    if by_type or getattr(cause, "errno", None) == errno.ENOMEM or _NO_MEMORY.search(text):
        sentence = "memory: not enough for this item; a smaller one needs less, and so do fewer processes at once"
        return Failure(sentence, ExitCode.UNAVAILABLE)
    return None


def _explain_os_error(error: OSError, inputs: Sequence[Path], out: Path | None) -> Failure | None:
    """Explain a system error; None for a missing file that is neither input nor output, which is a bug."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if where and any(where == str(path) for path in inputs):
        return explain(reading_error(where, error))
    long_name = error.errno == errno.ENAMETOOLONG
    if long_name or is_system_fault(error) or (out is not None and is_about_output(out, error)):
        return explain(writing_error(Path(where or "output"), error))
    return None


@dataclass(frozen=True)
class Outcome:
    """The result of a worker for an item that did not fail.

    Attributes:
        outputs: Files written, in the order written.
        details: JSON values for the result, which the ledger stores.
        contents: JSON values that the ledger does not store because the outputs hold them, see `Batch.recall`.
        problem: One sentence if only part of the item was done; a rerun with --retry-failed does it again.
    """

    outputs: tuple[Path, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    contents: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class BatchProgress:
    """Listener of a batch, called from the thread that runs it; this class does nothing."""

    def info(self, text: str) -> None:
        """Note a message for the user."""

    def start(self, total: int) -> None:
        """Begin the batch, with `total` items."""

    def preparing(self, names: Collection[str]) -> None:
        """Note that work on several items together begins; each is finished later."""

    def item_started(self, name: str, short: str = "") -> None:
        """Note that work on an item begins; `short` is its name for users."""

    def item_finished(self, result: ItemResult) -> None:
        """Note that an item is done, failed or skipped."""

    def traceback(self, error: BaseException) -> None:
        """Note an unexpected exception; the item's result has a sentence about it."""

    def finish(self) -> None:
        """End the batch; always called."""


Worker = Callable[[Item], Outcome]


def run_items(
    items: Iterable[Item],
    worker: Worker,
    batch: Batch,
    *,
    progress: BatchProgress | None = None,
    stop: StopSignals | None = None,
) -> CommandResult:
    """Run `worker` on each item of this shard, one after the other; in a dry run, plan it.

    Args:
        items: The items of all shards.
        worker: A function that does one item.
        batch: The settings.
        progress: The listener.
        stop: The handler of signals. With it, an interrupted run returns its result; without it KeyboardInterrupt is
            raised.

    Returns:
        The result of all items.

    Raises:
        UsageError: If another process works here with other options; raised before any work.
        UnavailableError: If the output folder cannot be written.
    """
    items = unique_items(items)
    refuse_case_twins(items, batch.out)
    shard_items = [item for item in batch.shard.part(items) if not item.waits]
    progress = progress or BatchProgress()
    if batch.dry_run:
        return plan_items(shard_items, batch, progress)
    check_in_place(run_record_path(batch.out, batch.shard))
    part = batch.shard.file_part
    ledger = OpenLedger(batch.out, batch.command, batch.options, part, overwrite=batch.overwrite)
    with ledger, recorded(ledger):
        return _Run(batch, ledger, worker, progress, stop).carry_out(shard_items)


def plan_items(items: Sequence[Item], batch: Batch, progress: BatchProgress) -> CommandResult:
    """Plan a run of these items without writing anything."""
    desk = Desk(batch)
    verdicts = [desk.verdict(item) for item in items]
    _announce_changes(batch.command, items, verdicts, progress)
    results = []
    for item, verdict in zip(items, verdicts, strict=True):
        result = _earlier_result(item, verdict, batch) or _planned_result(item)
        results.append(replace(result, name=item.short))
        if result.error:
            progress.item_finished(results[-1])
    status, code = combine_status(results)
    count = sum(result.status is Status.PLANNED for result in results)
    return CommandResult(batch.command, status, tuple(results), (f"dry run: {count} of {len(items)} to do",), code)


def _planned_result(item: Item) -> ItemResult:
    if item.error is not None:
        return ItemResult(item.name, Status.ERROR, error=str(item.error), exit_code=item.error.exit_code)
    return ItemResult(item.name, Status.PLANNED, tuple(map(str, item.outputs)))


def _earlier_result(item: Item, verdict: Verdict, batch: Batch) -> ItemResult | None:
    """Return the result of an item that is not done by this run; None if it is to be done."""
    if verdict.refusal is not None:
        return ItemResult(item.name, Status.ERROR, error=str(verdict.refusal), exit_code=verdict.refusal.exit_code)
    if (entry := verdict.done) is None:
        return None
    outputs = tuple(str(batch.out / output) for output in entry.outputs)
    if not entry.done:
        error = f"{entry.error} (in an earlier run; `retry_failed` tries again)"
        status, code = Status(entry.outcome), ExitCode(entry.exit_code)
        return ItemResult(item.name, status, outputs, error=error, exit_code=code, details=entry.details)
    try:
        contents = batch.recall(item, entry) if batch.recall else {}
    except HpcError:
        return None  # a damaged result is made again, like a missing one
    return ItemResult(item.name, Status.SKIPPED, outputs, details={**entry.details, **contents})


def _announce_changes(
    command: str, items: Sequence[Item], verdicts: Sequence[Verdict], progress: BatchProgress
) -> None:
    """Say which results are replaced, and what differs: a line for all items with the same difference."""
    made = _MADE.get(command, command.removesuffix("e") + "ed")
    names: dict[str, list[str]] = {}
    for item, verdict in zip(items, verdicts, strict=True):
        if verdict.change:
            names.setdefault(verdict.change, []).append(item.short)
    for change, changed in names.items():
        what = changed[0] if len(changed) == 1 else f"{len(changed)} results"
        progress.info(f"{what}: {made} again: {change}")


_Prepared: TypeAlias = "tuple[list[Fingerprint | Failure | None], Mapping[str, float]]"


class _Run:
    """One pass over the items of one shard."""

    def __init__(
        self, batch: Batch, ledger: OpenLedger, worker: Worker, progress: BatchProgress, stop: StopSignals | None
    ) -> None:
        self.batch = batch
        self.ledger = ledger
        self.worker = worker
        self.progress = progress
        self.stop = stop or StopSignals()  # which is not entered, and so handles none
        self.desk = Desk(batch, ledger)
        self.results: list[ItemResult] = []
        self.indices: list[int] = []  # indices of the results' items, in order
        self.halt: Failure | None = None
        self._awaits_preparation = False
        self._has_left_groups = False
        self._record: dict[str, Any] = {}  # the contents of run.json, which is written at the start and again

    def carry_out(self, items: Sequence[Item]) -> CommandResult:
        self.start_time = time.monotonic() - self.batch.past_seconds
        verdicts = [self.desk.verdict(item) for item in items]
        if not items or not all(verdict.refusal for verdict in verdicts):  # then, nothing is written
            self._record = run_record(self.batch.command, self.batch.options, self.batch.shard, self.batch.arguments)
            self._write_record()
        _announce_changes(self.batch.command, items, verdicts, self.progress)
        self.progress.start(len(items))
        try:
            waiting = []
            for index, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
                if not self._stopped and not self._is_settled(index, item, verdict):
                    waiting.append(index)
            if waiting:
                size = self.batch.group_size()
                self._do_all(items, [waiting[start : start + size] for start in range(0, len(waiting), size)])
        except KeyboardInterrupt:
            if not self._stopped:
                raise
        finally:
            self.progress.finish()
        return self._close_record(self._result(items))

    @property
    def _stopped(self) -> bool:
        return self.halt is not None or self.stop.requested

    def _is_settled(self, index: int, item: Item, verdict: Verdict) -> bool:
        """Take the result of an earlier run, or a refusal, and return whether there is one."""
        if (result := _earlier_result(item, verdict, self.batch)) is not None:
            if result.status is not Status.ERROR:
                _remove_journals(item)  # the run may have been killed after it had recorded the item
            self._finish(index, replace(result, name=item.short))
        return result is not None

    def _do_all(self, items: Sequence[Item], groups: Sequence[Sequence[int]]) -> None:
        """Work on groups of items. Each is prepared in a thread while the worker gets the items of the one before.

        Items that other processes have come last, and are done if they were left.
        """
        prepared, others = self._prepared(items, groups), list[int]()
        if self.batch.prepare is not None:
            from humanpose_cli.io.video import prefetch  # which other commands do not need

            prepared = prefetch(prepared, 1)
        with closing(prepared):
            try:
                for group in groups:
                    together = group if self.batch.prepare else ()
                    names = [items[index].name for index in together if self.batch.prepares(items[index])]
                    self.progress.preparing(names if len(names) > 1 else ())
                    self._awaits_preparation = True
                    with self.stop.item():
                        marks, preparation_times = next(prepared)
                    self._awaits_preparation = False
                    for index, mark in zip(group, marks, strict=True):
                        if self._stopped:
                            return
                        if mark is None:
                            others.append(index)
                            continue
                        self._do_one(index, items[index], mark, preparation_times.get(items[index].key, 0.0))
            finally:
                self._has_left_groups = True
        for index in others:
            self.progress.item_started(items[index].name, items[index].short)
            while not (self._stopped or self.ledger.take(items[index])):
                time.sleep(_WAIT_INTERVAL)
            if not self._stopped:
                self.ledger.new_entries()
                if not self._is_settled(index, items[index], self.desk.verdict(items[index])):
                    self._do_one(index, items[index], _mark(items[index]), 0.0)
                self.ledger.leave(items[index])

    def _do_one(self, index: int, item: Item, mark: Fingerprint | Failure, preparation_time: float) -> None:
        with self.stop.item():
            result = self._do(item, mark, preparation_time)
            self._finish(index, replace(result, name=item.short))
            self.ledger.leave(item)

    def _is_ours(self, item: Item) -> bool:
        """Lock an item, and return whether no other process has it or has done it meanwhile."""
        is_free = self.ledger.take(item)
        self.ledger.new_entries()
        if is_free and self.desk.verdict(item).done is not None:
            self.ledger.leave(item)
            return False
        return is_free

    def _prepared(self, items: Sequence[Item], groups: Iterable[Sequence[int]]) -> Generator[_Prepared, None, None]:
        """Prepare groups of items; yield the marks of each group, and the seconds of its items by key."""
        for group in groups:
            coming = {index: items[index] for index in group if self._is_ours(items[index])}
            marks = [_mark(coming[index]) if index in coming else None for index in group]  # before they are read
            prepare = self.batch.prepare if coming else None
            yield marks, {} if prepare is None else prepare([*coming.values()], self._show)

    def _show(self, progress: Progress, count: int, total: int | None, what: str) -> None:
        """Show the progress of a preparation while the run waits for it, and end a preparation that is not needed."""
        if self._has_left_groups or self._stopped:
            raise KeyboardInterrupt
        if self._awaits_preparation:
            progress(count, total, what)

    def _do(self, item: Item, mark: Fingerprint | Failure, preparation_time: float) -> ItemResult:
        """Work on an item and record its result; the time of its preparation, in seconds, is added."""
        if isinstance(mark, Failure):
            result = _failed(item, mark, 0.0)
            if mark.everywhere:  # such as a network mount that does not answer
                self.halt = mark
                return result
            # The entry of an earlier run stays: its results count if the input can be read again.
            return result if self.desk.entry(item) else self._recorded(item, Fingerprint(0, 0), result)
        self.progress.item_started(item.name, item.short)
        start = time.perf_counter() - preparation_time
        contents: Mapping[str, Any] = {}
        try:
            if refusal := self.desk.verdict(item).refusal:  # another process may have changed the files meanwhile
                raise refusal
            with removed_on_failure(item.outputs), time_limit(self.batch.item_timeout, item.short):
                outcome = self.worker(item)
            self.desk.remove_leftovers(item, outcome.outputs)
        except Exception as error:
            result = self._failure(item, error, time.perf_counter() - start)
        else:
            contents = outcome.contents
            status = Status.PARTIAL if outcome.problem else Status.SUCCESS
            code = ExitCode.PARTIAL if outcome.problem else ExitCode.OK
            outputs, seconds = tuple(str(path) for path in outcome.outputs), time.perf_counter() - start
            result = ItemResult(item.name, status, outputs, seconds, outcome.problem, code, outcome.details)
        if self.halt:
            return result
        return self._recorded(item, mark, result, contents)

    def _recorded(
        self, item: Item, mark: Fingerprint, result: ItemResult, contents: Mapping[str, Any] | None = None
    ) -> ItemResult:
        """Record the result with its contents; return a failure if the ledger cannot be written."""
        try:
            self.ledger.record(item, mark, result)
        except UnavailableError as error:  # most likely a full disk; the item is done again
            return self._failure(item, error, result.seconds)
        if result.status is not Status.ERROR:
            _remove_journals(item)
        return replace(result, details={**result.details, **(contents or {})})

    def _failure(self, item: Item, error: Exception, seconds: float) -> ItemResult:
        failure = explain(error, item.files, self.batch.out)
        if failure.exit_code is ExitCode.BUG:
            self.progress.traceback(error)
        if failure.everywhere:
            self.halt = failure
        return _failed(item, failure, seconds)

    def _finish(self, index: int, result: ItemResult) -> None:
        position = bisect(self.indices, index)
        self.indices.insert(position, index)
        self.results.insert(position, result)
        self.progress.item_finished(result)

    def _result(self, items: Sequence[Item]) -> CommandResult:
        earlier_results = self.results
        self.results = list(map(_verified, earlier_results))
        status, code = combine_status(self.results)
        messages: list[str] = []
        # The item that stopped the run, and items with missing outputs, are done again.
        vanished_count = sum(
            result is not earlier for result, earlier in zip(self.results, earlier_results, strict=True)
        )
        remaining = len(items) - len(self.results) + (self.halt is not None) + vanished_count
        if not items:
            part = f" in part {self.batch.shard}" if self.batch.shard.count > 1 else ""
            messages.append(f"there is nothing to do{part}")
        failed_items = [
            items[index] for index, result in zip(self.indices, earlier_results, strict=True) if result.error
        ]
        missing = [item for item in failed_items if item.error is None and not all(map(os.path.exists, item.files))]
        if missing:
            inputs = "input is" if len(missing) == 1 else "inputs are"
            messages.append(f"{len(missing)} {inputs} gone since the run began")
        if self.halt is not None:
            any_done = any(result.status is not Status.ERROR for result in self.results)
            status, code = Status.PARTIAL if any_done else Status.ERROR, self.halt.exit_code
        if self.stop.signal_number is not None:
            status, code = Status.INTERRUPTED, ExitCode(128 + self.stop.signal_number)
        if remaining:
            messages.append(f"{remaining} of {len(items)} items are left; the same command goes on with them")
        extra = {"summary": self._summary()} if items else {}
        return CommandResult(self.batch.command, status, tuple(self.results), tuple(messages), code, extra)

    def _summary(self) -> dict[str, Any]:
        """Count the items of each status, the seconds of the run, and the items per second."""
        counts = Counter(result.status for result in self.results)
        seconds = time.monotonic() - self.start_time
        worked_count = len(self.results) - counts[Status.SKIPPED]
        return {
            "done": counts[Status.SUCCESS],
            "partial": counts[Status.PARTIAL],
            "failed": counts[Status.ERROR],
            "skipped": counts[Status.SKIPPED],
            "seconds": round(seconds, 3),
            "items_per_second": round(worked_count / seconds, 3) if worked_count and seconds else 0.0,
        }

    def _write_record(self) -> None:
        with folder_lock(self.batch.out):  # other processes of this shard write it, too
            write_json(run_record_path(self.batch.out, self.batch.shard), self._record)

    def _close_record(self, result: CommandResult) -> CommandResult:
        if not self._record:
            return result
        counts = Counter(item.status.value for item in result.items)
        items = dict(sorted(counts.items()))
        self._record |= {"finished": utc_time(), "status": result.status.value, "items": items}
        try:
            self._write_record()
        except (UnavailableError, UsageError) as error:  # the results are complete; the message is about their record
            code = result.exit_code or error.exit_code
            messages = () if self.halt is not None else (str(error),)  # which is about the same
            return replace(result, messages=(*result.messages, *messages), exit_code=code)
        return result


def _mark(item: Item) -> Fingerprint | Failure:
    try:
        return replace(fingerprint(item), content=digest_of_files(item.files))
    except HpcError as error:
        return explain(error)


def _remove_journals(item: Item) -> None:
    for journal in item.journals:
        with suppress(OSError):
            journal.unlink()


def _verified(result: ItemResult) -> ItemResult:
    """Return the result, or an error if an output has vanished since it was written."""
    for output in result.outputs:
        if result.status is not Status.ERROR and not os.path.exists(output):
            error = f"{output}: vanished after it was written; the same command makes it again"
            return replace(result, status=Status.ERROR, outputs=(), error=error, exit_code=ExitCode.UNAVAILABLE)
    return result


def _failed(item: Item, failure: Failure, seconds: float) -> ItemResult:
    return ItemResult(item.name, Status.ERROR, (), seconds, failure.sentence, failure.exit_code)
