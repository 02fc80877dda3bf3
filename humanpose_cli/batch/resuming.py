"""Results of earlier runs of a batch: finished items, results that must not be replaced, and items to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, TypeAlias

from humanpose_cli.batch.items import UNSHARDED, Item, Shard, digest_of_item, fingerprint
from humanpose_cli.batch.ledger import Entry, History, options_digest, output_stamp, read_history, written_files
from humanpose_cli.core.errors import ExitCode, HpcError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status
from humanpose_cli.io.paths import relative_path
from humanpose_cli.io.protected import claim, recorded
from humanpose_cli.io.written import Mark, is_as_written

Show: TypeAlias = Callable[[Progress, int, int | None, str], None]
Prepare: TypeAlias = Callable[[Sequence[Item], Show], Mapping[str, float]]


@dataclass(frozen=True)
class Batch:
    """The settings of a batch.

    Attributes:
        command: Name of the command, part of the key of every item.
        out: Output folder, also of ledger and run.json.
        options: JSON values that affect results, and no others.
        shard: The part of the items that this process does.
        resume: Whether to skip items that an earlier run finished.
        retry_failed: Whether to do items again that failed in an earlier run.
        overwrite: Whether to replace results of other options, and files of the user.
        derived: Whether results are derived from others and cheap, such as pages: they replace earlier ones of this
            command, with any options, but no file that the user has made or changed.
        verify_inputs: Whether to compare inputs by checksum instead of size and time.
        dry_run: Whether to write nothing and only say what would be done.
        recall: (item, entry) -> the `contents` of an item that an earlier run did, read from its outputs.
        arguments: The command line, for run.json.
        group_size: Returns the number of items that `prepare` gets at once; called when there are items to do.
        prepare: Called in a thread with the next items before the worker gets them one by one; errors of an item are
            left to the worker. It returns the seconds of each item by key, without time for all items, such as loading
            models. Its second argument is called with a progress and its arguments: it shows them while the run waits,
            and raises KeyboardInterrupt if the items will not be worked on.
        prepares: Whether `prepare` works on an item; other items are left to the worker.
        past_seconds: Seconds before the run for all items, which count as the run's.
        item_timeout: Seconds after which an item fails; None for no limit.
    """

    command: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    shard: Shard = UNSHARDED
    resume: bool = True
    retry_failed: bool = False
    overwrite: bool = False
    derived: bool = False
    verify_inputs: bool = False
    dry_run: bool = False
    recall: Callable[[Item, Entry], Mapping[str, Any]] | None = None
    arguments: tuple[str, ...] = ()
    group_size: Callable[[], int] = lambda: 1
    prepare: Prepare | None = None
    prepares: Callable[[Item], bool] = lambda item: True
    past_seconds: float = 0.0
    item_timeout: float | None = None


class EarlierRuns:
    """The items of a batch in the ledgers of its folder.

    Args:
        batch: The batch.
        history: The contents of the ledgers.

    Attributes:
        files: The record of the files.
    """

    def __init__(self, batch: Batch, history: History) -> None:
        self.batch = batch
        self.history = history
        self.files = written_files(batch.out, batch.shard, overwrite=batch.overwrite)
        self._changed: set[str] = set()
        self._digest = options_digest(batch.options)
        self._writers = history.writers()
        self._roots: dict[Path, str] = {}
        self._folder = os.fspath(batch.out)

    @classmethod
    def read(cls, batch: Batch) -> EarlierRuns:
        """Read the ledgers in a batch's folder."""
        return cls(batch, read_history(batch.out))

    @property
    def change_count(self) -> int:
        """Number of items that have changed since an earlier run."""
        return len(self._changed)

    def refuse_conflicts(self, items: Sequence[Item]) -> None:
        """Raise UsageError, before any work, if other results or files of the user would be replaced.

        Other results belong to the same item with other options, to an item of another folder with the same relative
        path, or to another item or command that wrote one of the files that this item will write.
        """
        for item in () if self.batch.overwrite else items:
            entry = self._entry(item)
            if self.batch.derived:
                if item.error is None and self.settled(item) is None:
                    self.refuse_replacing(item)
                continue
            if entry is not None and any(os.path.exists(self._path(output)) for output in entry.outputs):
                self._refuse_other(item, entry)
            self.refuse_replacing(item, claims=entry is None and item.error is None)

    def refuse_replacing(self, item: Item, *, claims: bool = True) -> None:
        """Raise UsageError if an item would replace results of others or, with `claims`, files of the user."""
        for path, output in zip(item.outputs, self._planned(item), strict=True):
            writer = self._writers.get(output)
            maker = (writer.command, item.key if self.batch.derived else writer.path) if writer else None
            if writer and maker != (self.batch.command, item.key) and not self.batch.overwrite and path.exists():
                raise self._replacing(item, output, writer)
            if claims:
                with recorded(self.files):
                    claim(path)

    def _replacing(self, item: Item, output: str, writer: Entry) -> HpcError:
        problem = f"is what hpc {writer.command} made of {writer.path}, and {item.key} would replace it"
        return UsageError(self.batch.out / output, problem, remedy="another `out` keeps both, `overwrite` replaces it")

    def _refuse_other(self, item: Item, entry: Entry) -> None:
        if entry.options != self._digest:
            raise _refusal(item, self.batch, _changed_options(entry, self.batch.options, self.history))
        is_elsewhere = entry.root and item.root is not None and self._resolved(item.root) != entry.root
        if is_elsewhere and not _unchanged(item, entry, self.batch):
            raise _refusal(item, self.batch, f"of another image or video of that name, from {entry.root}")

    def _path(self, output: str) -> str:
        return os.path.join(self._folder, output)  # a Path would take most of the time of finished items

    def _resolved(self, root: Path) -> str:
        return self._roots.get(root) or self._roots.setdefault(root, str(root.resolve()))

    def settled(self, item: Item) -> ItemResult | None:
        """Return the result of an item from an earlier run; None if the item is to be done."""
        batch, entry = self.batch, self._entry(item)
        if entry is None or not batch.resume or entry.options != self._digest or entry.outcome == Status.INTERRUPTED:
            return None
        if not _unchanged(item, entry, batch):
            if entry.done:
                self._changed.add(item.key)
            return None
        is_whole, changed = self._compared(entry)
        if changed and not (batch.derived or batch.overwrite):
            refusal = UsageError(batch.out / changed, "was changed since", remedy=self.files.remedy)
            return ItemResult(item.name, Status.ERROR, error=str(refusal), exit_code=ExitCode.USAGE)
        if changed or not is_whole:
            return None
        outputs = tuple(str(batch.out / output) for output in entry.outputs)
        if not entry.done:
            if batch.retry_failed or entry.exit_code == ExitCode.USAGE:
                return None  # the user may have moved the file that it would have replaced
            error = f"{entry.error} (in an earlier run; `retry_failed` tries again)"
            status, code = Status(entry.outcome), ExitCode(entry.exit_code)
            return ItemResult(item.name, status, outputs, error=error, exit_code=code, details=entry.details)
        try:
            contents = batch.recall(item, entry) if batch.recall else {}
        except HpcError:
            return None  # a damaged result is made again, like a missing one
        return ItemResult(item.name, Status.SKIPPED, outputs, details={**entry.details, **contents})

    def _compared(self, entry: Entry) -> tuple[bool, str]:
        """Return whether an entry's outputs are there and nobody wrote over them, and the first that was changed."""
        is_whole, changed = all(self._writers[output] is entry for output in entry.outputs), ""
        stamps = zip(entry.sizes or repeat(None), entry.times or repeat(None), strict=False)
        for output, stamp in zip(entry.outputs, stamps, strict=False):
            size, time_ns = output_stamp(self._path(output))
            if size < 0 or (size == 0 != stamp[0]):  # missing, or emptied by a crash
                is_whole = False
            elif stamp != (size, time_ns) and is_whole and not changed:
                marks = self.files.marks(self._path(output))
                # Ledgers without checksums: a copied folder has other times.
                known = marks if any(mark.checksum is not None for mark in marks) else [Mark(stamp[0], None)]
                changed = "" if is_as_written(Path(self._path(output)), known) else output
        return is_whole, changed

    def add(self, entries: Iterable[Entry]) -> None:
        """Add what this process and others have recorded since."""
        for entry in entries:
            self.history.entries[entry.command, entry.path] = entry
            self._writers.update(dict.fromkeys(entry.outputs, entry))

    def knows(self, item: Item) -> bool:
        """Return whether an earlier run has an entry for an item."""
        return self._entry(item) is not None

    def replaced_by(self, item: Item) -> tuple[str, ...] | None:
        """List the files of earlier runs that doing an item may replace; None if this need not be recorded."""
        entry, planned_files = self._entry(item), self._planned(item)
        if entry is None and not self.batch.derived and not any(map(self._writers.__contains__, planned_files)):
            return None
        outputs = dict.fromkeys([*(entry.outputs if entry is not None else ()), *planned_files])
        return tuple(str(self.batch.out / output) for output in outputs)

    def _entry(self, item: Item) -> Entry | None:
        return self.history.entries.get((self.batch.command, item.key))

    def _planned(self, item: Item) -> list[str]:
        """List the files that an item will write, by their names in ledgers."""
        return [self._name(output) for output in item.outputs]

    def _name(self, output: str | os.PathLike[str]) -> str:
        return relative_path(output, self._folder).replace(os.sep, "/")


def plan_items(items: Sequence[Item], batch: Batch) -> CommandResult:
    """Plan a run of these items without writing anything. Raises UsageError if the run would refuse them."""
    earlier = EarlierRuns.read(batch)
    earlier.refuse_conflicts(items)
    results = [replace(earlier.settled(item) or _planned_result(item), name=item.short) for item in items]
    status, code = combine_status(results)
    count = sum(result.status is Status.PLANNED for result in results)
    return CommandResult(batch.command, status, tuple(results), (f"dry run: {count} of {len(items)} to do",), code)


def _planned_result(item: Item) -> ItemResult:
    if item.error is not None:
        return ItemResult(item.name, Status.ERROR, error=str(item.error), exit_code=item.error.exit_code)
    return ItemResult(item.name, Status.PLANNED, tuple(map(str, item.outputs)))


def _unchanged(item: Item, entry: Entry, batch: Batch) -> bool:
    try:
        if batch.verify_inputs:
            return bool(entry.content) and digest_of_item(item) == entry.content
        mark = fingerprint(item)
        return (entry.size, entry.mtime_ns) == (mark.size, mark.mtime_ns)
    except HpcError:
        return False  # the item fails with the reason when it is done


def _changed_options(entry: Entry, options: Mapping[str, Any], history: History) -> str:
    """Describe changes, such as "other options (`people=all`, was largest; another `target_pose`)"."""
    old = history.options.get(entry.options, {})
    new = json.loads(json.dumps(options, default=str))  # tuples are lists in a ledger
    differences = "; ".join(_differences(old, new))
    return f"with other options ({differences})" if old and differences else "with other options"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Describe how each option differs; nested options have dotted names."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{within}{name}.")
        elif old != new:
            yield _change(within + name, _switch(old), _switch(new))


def _switch(value: Any) -> Any:
    """Reduce a group of nested options to a switch."""
    return True if isinstance(value, Mapping) else value


_DIGEST = re.compile(r"(.*[:/ ])?[0-9a-f]{12,64}(\+[0-9a-f]{12,64})*")


def _change(name: str, before: Any, now: Any) -> str:
    """Describe how an option differs; digests of files are not shown."""
    file_now, file_before = (bool(_DIGEST.fullmatch(str(value))) for value in (now, before))
    if file_now and file_before:
        return f"another `{name}`"
    if now is None and before is True:
        return f"with `{name}`"
    if before is None and now is True:
        return f"without `{name}`"
    new = f"no `{name}`" if now is None else f"`{name}`" if file_now else f"`{name}={now}`"
    was = "not given" if before is None else "given" if before is True else "another file" if file_before else before
    return f"{new}, was {was}"


def _refusal(item: Item, batch: Batch, origin: str) -> HpcError:
    remedy = "another `out` keeps both, `overwrite` replaces them"
    return UsageError(batch.out, f"already holds the results of {item.key} made {origin}", remedy=remedy)
