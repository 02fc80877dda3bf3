"""What a batch may write into its folder, and which of its items earlier runs have done."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from humanpose_cli.core.errors import HpcError, UnavailableError, UsageError
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.files.digests import digest_of_files
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.outputs.atomic import ensure_folder, flush_folder, remove_abandoned, renames_collected, writing_error
from humanpose_cli.outputs.ledger import (
    SCHEMA_VERSION,
    Entry,
    Ledger,
    Mark,
    claim,
    is_as_written,
    mark_of,
    options_digest,
    row_of,
    status_of,
)
from humanpose_cli.outputs.locks import locked_file, shared_folder
from humanpose_cli.outputs.protection import check_in_place, open_existing, refuse_input

_FLUSH_SECONDS = 1.0  # between flushes of items' lines


class AnyItem(Protocol):
    """What the desk needs to know of an item, see `batch.items.Item`."""

    @property
    def key(self) -> str: ...
    @property
    def files(self) -> Sequence[Path]: ...
    @property
    def outputs(self) -> Sequence[Path]: ...
    @property
    def root(self) -> Path | None: ...
    @property
    def error(self) -> HpcError | None: ...


@dataclass(frozen=True)
class Fingerprint:
    """The state of an item's files.

    Attributes:
        size: Total size in bytes.
        mtime_ns: Time of the newest change in nanoseconds.
        content: Digest of their contents, or "".
    """

    size: int
    mtime_ns: int
    content: str = ""


def fingerprint(item: AnyItem) -> Fingerprint:
    """Return size and time of an item's files. Raises the item's error, or an error about a missing file."""
    if item.error is not None:
        raise item.error
    size = newest = 0
    for path in item.files:
        try:
            status = path.stat()
        except OSError as error:
            raise reading_error(path, error) from error
        size += status.st_size
        newest = max(newest, status.st_mtime_ns)
    return Fingerprint(size, newest)


@dataclass(frozen=True)
class RunSettings:
    """What decides about earlier results.

    Attributes:
        command: Name of the command, part of the key of every item.
        out: Output folder, also of ledger and run.json.
        options: JSON values that affect results, and no others.
        resume: Whether to skip items that an earlier run finished.
        retry_failed: Whether to do items again that failed in an earlier run.
        overwrite: Whether to replace files of the user.
        verify_inputs: Whether to compare inputs by checksum instead of size and time.
        names: What the user calls options that have another name; "" for options that follow from others.
    """

    command: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = True
    retry_failed: bool = False
    overwrite: bool = False
    verify_inputs: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """The answer about an item, which is to be done if it is neither done nor refused.

    Attributes:
        done: The result of an earlier run that stays.
        refusal: The file of the user that would be replaced.
        change: How the earlier results that are replaced differ, such as "`height=1.75`"; "" if none are replaced.
    """

    done: Entry | None = None
    refusal: UsageError | None = None
    change: str = ""


class Desk:
    """Answers for each item of a run whether it is done, and whether its files may be written.

    Args:
        run: The settings of the run.
        ledger: The ledger of its folder; None reads it.
    """

    def __init__(self, run: RunSettings, ledger: Ledger | None = None) -> None:
        self.run = run
        self.ledger = ledger or Ledger(run.out, overwrite=run.overwrite)
        self._digest = options_digest(run.options)

    def entry(self, item: AnyItem) -> Entry | None:
        """Return the result of an item in an earlier run."""
        return self.ledger.entries.get((self.run.command, item.key))

    def verdict(self, item: AnyItem) -> Verdict:
        """Decide whether an item is done, and whether it may be written."""
        entry = self.entry(item)
        if item.error is not None:
            return Verdict()
        try:
            if entry is not None and self._stays(item, entry):
                return Verdict(done=entry)
            for path in item.outputs:
                claim(path, self.ledger)
        except UsageError as refusal:
            return Verdict(refusal=refusal)
        return Verdict(change="" if entry is None else self._change(item, entry))

    def _stays(self, item: AnyItem, entry: Entry) -> bool:
        """Return whether an earlier result counts. Raises UsageError if somebody has changed one of its files."""
        if not self.run.resume or entry.options != self._digest or entry.outcome == Status.INTERRUPTED.value:
            return False
        if not (entry.done or (not self.run.retry_failed and entry.exit_code != UsageError.exit_code)):
            return False  # after a refusal, the user may have moved the file
        if not self._is_unchanged(item, entry):
            return False
        for name in entry.files:
            path, mark = self.run.out / name, entry.mark(name)
            if self._is_as_left(path, mark):
                continue
            status = status_of(path)
            is_lost = status is None or not status.size  # or emptied by a crash
            if not (is_lost or self.run.overwrite or self.ledger.has_written(path)):
                raise self.ledger.refusal(path)
            return False
        return True

    @staticmethod
    def _is_as_left(path: Path, mark: Mark) -> bool:
        # Marks of early versions have no checksum, and a copied folder has other times.
        return is_as_written(path, [mark if mark.checksum else mark._replace(time_ns=None)])

    def _is_unchanged(self, item: AnyItem, entry: Entry) -> bool:
        try:
            if self.run.verify_inputs:
                return bool(entry.content) and digest_of_files(item.files) == entry.content
            state = fingerprint(item)
            return (entry.size, entry.mtime_ns) == (state.size, state.mtime_ns)
        except HpcError:
            return False  # the item fails with the reason when it is done

    def _change(self, item: AnyItem, entry: Entry) -> str:
        """Describe how an item differs from an earlier result whose files are replaced."""
        if not any(os.path.exists(self.ledger.folder / name) for name in entry.files):
            return ""
        if entry.options != self._digest:
            before = self.ledger.options.get(entry.options, {})
            now = json.loads(json.dumps(self.run.options, default=str))  # tuples are lists in a ledger
            names = self.run.names
            changes = [_change_of(names.get(name, name), *values) for name, *values in _differences(before, now)]
            return ", ".join(filter(None, changes)) if before else "other options"
        if self._is_unchanged(item, entry):
            return ""
        is_elsewhere = entry.root and item.root is not None and str(item.root.resolve()) != entry.root
        return f"the file in {item.root}, not in {entry.root}" if is_elsewhere else "the input has changed"

    def remove_leftovers(self, item: AnyItem, outputs: Iterable[Path]) -> None:
        """Remove the files of an earlier result that its successor lacks, unless they are an input or were changed."""
        if (entry := self.entry(item)) is None or entry.outcome == Status.INTERRUPTED.value:
            return
        names = entry.files.keys() - {self.ledger.name_of(path) for path in outputs}
        others = [other.files for other in self.ledger.entries.values() if names and other is not entry]
        for path in (self.ledger.folder / name for name in names if not any(name in files for files in others)):
            with suppress(UsageError, OSError):
                refuse_input(path)
                if is_as_written(path, [entry.mark(self.ledger.name_of(path))]):
                    path.unlink()


class OpenLedger(Ledger):
    """The ledger of one shard of a run, open for appending; a context manager.

    Opening makes the folder and removes temporary files of killed writers. The first line that is written brings the
    line with the run's options. Processes of one shard share it and its items: each locks the item that it works on.
    Lines are flushed to the disk; those of finished items at most once a second and after the names of their outputs:
    after a power failure, the items of that second are done again.

    Args:
        folder: The output folder.
        command: Name of the command.
        options: Options that affect results.
        part: The shard, such as `0-of-4`.
        overwrite: Whether files of the user may be replaced.

    Raises:
        UsageError: If another process runs the command here with other options or another number of shards, if the
            file system supports locks; or for a symbolic link.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        options: Mapping[str, Any],
        part: str = "0-of-1",
        *,
        overwrite: bool | None = None,
    ) -> None:
        file = f"ledger.{part}.jsonl"
        check_in_place(folder / file)
        super().__init__(ensure_folder(folder), file, overwrite=overwrite)
        self.command = command
        self.digest = options_digest(options)
        self._run_line = {"kind": "run", "digest": self.digest, "options": dict(options), "command": command}
        self._file: IO[bytes] | None = None
        self._flushed = -math.inf
        self._locks: dict[str, ExitStack] = {}  # of the items that this process works on, by key
        with ExitStack() as stack:
            self._join(stack, part)
            remove_abandoned(folder)
            self.update()
            self._folders = stack.enter_context(renames_collected())  # with names that are not flushed to the disk yet
            self._stack = stack.pop_all()

    def _join(self, stack: ExitStack, part: str) -> None:
        count = part.rpartition("-")[2]
        other = stack.enter_context(shared_folder(self.folder, self.command, f"{self.digest}.{count}"))
        if not other:
            return
        digest, _, other_count = other.partition(".")
        how = "with other options" if digest != self.digest else f"in {other_count} shards, not {count}"
        problem = f"another process is running hpc {self.command} here {how}"
        raise UsageError(self.folder, problem, remedy="wait for it, or choose another `out`")

    def __enter__(self) -> OpenLedger:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # items of lost lines are done again
            self._flush()
        for lock in self._locks.values():
            lock.close()
        self._stack.close()
        if self._file is not None:
            self._file.close()

    def take(self, item: AnyItem) -> bool:
        """Lock an item until `leave`; False if another process works on it."""
        name = hashlib.sha256(f"{self.command} {item.key}".encode("utf-8", "backslashreplace")).hexdigest()
        with ExitStack() as lock:
            if not lock.enter_context(locked_file(self.folder / f".{name[:32]}.hpc-{name[-8:]}.partial")):
                return False
            self._locks[item.key] = lock.pop_all()
        return True

    def leave(self, item: AnyItem) -> None:
        """Unlock an item."""
        self._locks.pop(item.key, ExitStack()).close()

    def new_entries(self) -> list[Entry]:
        """Read what processes of this shard, also this one, have recorded since the last call."""
        return self.update(self.path)

    def record(self, item: AnyItem, state: Fingerprint, result: ItemResult) -> Entry:
        """Append the result of an item whose inputs are in this state; the line is on the disk within a second of work.

        Raises UnavailableError if it cannot be written, or if the ledger was removed or replaced meanwhile.
        """
        entry = Entry(
            command=self.command,
            path=item.key,
            size=state.size,
            mtime_ns=state.mtime_ns,
            options=self.digest,
            outcome=result.status.value,
            files={self.name_of(path): [*self._mark_now(Path(path))] for path in result.outputs},
            details=result.details,
            error=result.error,
            exit_code=int(result.exit_code),
            seconds=round(result.seconds, 3),
            root=str(item.root.resolve()) if item.root else "",
            content=state.content,
            finished=utc_time("microseconds"),
            host=socket.gethostname(),
            memory_mb=peak_memory(),
            threads=torch.get_num_threads() if (torch := sys.modules.get("torch")) else 0,
        )
        self._append_line({"kind": "item", **entry._asdict()})
        return entry

    def _mark_now(self, path: Path) -> Mark:
        """Return the mark of a file that was written, with its place."""
        try:
            status = path.stat()
            noted = (mark for mark in self.marks(path) if mark[:2] == (status.st_size, status.st_mtime_ns))
            mark = next(noted, None) or mark_of(path)
        except OSError:  # it has vanished
            return Mark(-1)
        return mark._replace(inode=status.st_ino, status_time_ns=status.st_ctime_ns)

    def _append_line(self, line: Mapping[str, Any]) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            row = row_of({"schema": SCHEMA_VERSION, "date": utc_time("microseconds"), **line})
            self._file.write(row)
            if line["kind"] == "item" and time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flush()
            status = status_of(self.path)
            is_replaced = status is None or status.inode != os.fstat(self._file.fileno()).st_ino
        except OSError as error:
            raise writing_error(self.path, error) from error
        if is_replaced:
            problem = "was removed or replaced while hpc was writing into it"
            raise UnavailableError(self.folder, problem, remedy="the same command makes again what is missing")

    def _open(self) -> IO[bytes]:
        file = os.fdopen(open_existing(self.path, os.O_RDWR | os.O_APPEND), "a+b", buffering=0)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(size - 1, 0))
        is_torn = size and file.read(1) != b"\n"  # by a crash
        run = {**self._run_line, "turn": self.turn + 1, "record": True}
        file.write(b"\n" * is_torn + row_of({"schema": SCHEMA_VERSION, "date": utc_time("microseconds"), **run}))
        return file

    def _flush(self) -> None:
        """Wait until the names of recorded outputs and then all lines are on the disk."""
        while self._folders:
            with suppress(FileNotFoundError):  # a temporary folder
                flush_folder(self._folders.pop())
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._flushed = time.monotonic()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name and both values of the options that differ; nested options have dotted names."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{within}{name}.")
        elif old != new:
            yield within + name, old, new


_DIGEST = re.compile(r"(.*[:/ ])?[0-9a-f]{12,64}(\+[0-9a-f]{12,64})*")


def _change_of(name: str, before: Any, now: Any) -> str:
    """Describe the value of an option that differs from an earlier one; digests of files are not shown."""
    if not name:
        return ""
    if now in (None, "", False):
        return f"without `{name}`"
    if _DIGEST.fullmatch(str(now)):
        return f"`{name}`" if before is None else f"another `{name}`"
    return f"`{name}`" if now is True or isinstance(now, Mapping) else f"`{name}={now}`"


def peak_memory() -> int:
    """Return the largest resident memory of this process so far in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def utc_time(unit: str = "seconds") -> str:
    """Format the time in UTC by ISO 8601, down to `unit`."""
    return datetime.now(timezone.utc).isoformat(timespec=unit)
