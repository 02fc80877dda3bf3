"""The ledger and `run.json` beside the results of a run. Nothing else holds dates and hosts.

The ledger records the result of each item, so that a rerun continues earlier runs. Each shard appends to its own
`ledger.i-of-N.jsonl` in the output folder; readers merge all of them. A line is one JSON object, written by one `write`
to a file opened for appending, so that a killed process can only truncate the last line. Lines are flushed to the disk;
lines of finished items at most once a second and after the names of their outputs: after a power failure, the items of
that second are done again. Each line ends with a checksum: a damaged line is ignored and its item done again. Lines of
kind `run` begin a run and store its options and its turn, which orders runs independently of clocks. Lines of kind
`file` are about files that a run writes (`io.written`). Lines of kind `item` record the result of one item.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import platform
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

from humanpose_cli.batch.items import UNSHARDED, Fingerprint, Item, Shard
from humanpose_cli.core.device import gpu_names
from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError, UsageError
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.io.atomic import ensure_folder, flush_folder, remove_abandoned, renames_collected, writing_error
from humanpose_cli.io.file_locks import has_flock, try_lock, wait_lock
from humanpose_cli.io.locks import is_locked, lock_at_once, passing_file
from humanpose_cli.io.paths import relative_path
from humanpose_cli.io.protected import open_existing, presence, refuse_input, refuse_link
from humanpose_cli.io.written import WrittenFiles, checked, read_records, records_in
from humanpose_cli.version import __version__

SCHEMA_VERSION = 1
_FLUSH_SECONDS = 1.0  # between flushes of items' lines
_MAX_NEWS = 1 << 26  # bytes that are read at once


def options_digest(options: Mapping[str, Any]) -> str:
    """Compute a short SHA-256 of the options that affect results, in any order."""
    canonical = json.dumps(options, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Entry(NamedTuple):
    """One line about an item; a tuple, as ledgers may have 50,000 lines and dataclasses take five times as long.

    Attributes:
        command: Name of the command.
        path: Key of the item.
        size: Size in the item's fingerprint.
        mtime_ns: Time in the item's fingerprint.
        options: Digest of the options.
        outcome: Success, partial or error; interrupted before earlier results are replaced.
        outputs: Files written, relative to the output folder, with forward slashes.
        sizes: Their sizes in bytes; empty if unknown.
        times: Their times of change in nanoseconds; empty if unknown.
        details: JSON values of the item in the result's table.
        error: One sentence, or None.
        exit_code: Exit code of the item.
        seconds: Time of the work.
        root: The input folder that `path` is relative to.
        content: SHA-256 of the item's contents.
        finished: Date of the line.
        host: Name of the machine.
        memory_mb: The largest resident memory of the process so far, MiB; 0 if unknown.
        threads: Threads of the process for computing; 0 if unknown.
    """

    command: str
    path: str
    size: int
    mtime_ns: int
    options: str
    outcome: str
    outputs: tuple[str, ...]
    sizes: tuple[int, ...]
    times: tuple[int, ...]
    details: Mapping[str, Any]
    error: str | None
    exit_code: int
    seconds: float
    root: str
    content: str
    finished: str
    host: str
    memory_mb: int = 0
    threads: int = 0

    @property
    def done(self) -> bool:
        """Whether a rerun can skip the item."""
        return self.outcome == Status.SUCCESS.value


# The JSON type of each field, and its default; a line without a required field has the default None and is ignored.
_JSON: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("command", "path", "options", "outcome"), (str, None)),
    **dict.fromkeys(("size", "mtime_ns"), (int, None)),
    **dict.fromkeys(("outputs", "sizes", "times"), (list, [])),
    "details": (dict, {}),
    "error": (str | None, None),
    "exit_code": (int, 0),
    "seconds": (int | float, 0.0),
    **dict.fromkeys(("root", "content", "finished", "host"), (str, "")),
    **dict.fromkeys(("memory_mb", "threads"), (int, 0)),
}
_JSON_TYPES, _JSON_DEFAULTS = zip(*map(_JSON.__getitem__, Entry._fields), strict=True)
_LISTS = tuple(map(Entry._fields.index, ("outputs", "sizes", "times")))
_OUTCOMES = {status.value for status in Status}
_EXIT_CODES = {int(code) for code in ExitCode}


@dataclass
class History:
    """All ledgers of a folder, merged.

    Attributes:
        entries: The latest entry of each (command, path), in the order of writing.
        lines: All entries in the order of writing.
        options: Options of the runs by digest.
        turn: The latest turn.
    """

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    lines: list[Entry] = field(default_factory=list)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    turn: int = 0

    def writers(self) -> dict[str, Entry]:
        """Return the last entry that wrote each output file."""
        return {output: entry for entry in self.entries.values() for output in entry.outputs}


def written_files(folder: Path, shard: Shard, *, overwrite: bool = False) -> WrittenFiles:
    """Return the record of the files of a batch, which its ledgers hold."""
    file, remedy = folder / f"ledger.{shard.file_part}.jsonl", "`overwrite` replaces it"
    return WrittenFiles(folder, file, "ledger.*-of-*.jsonl", overwrite=overwrite, remedy=remedy)


def read_history(folder: Path) -> History:
    """Merge the ledgers in `folder`; the latest entry counts. Raises InputError for newer versions' files."""
    is_enabled = gc.isenabled()
    gc.disable()  # collections would traverse all lines again and again
    try:
        return _merged(folder)
    finally:
        if is_enabled:
            gc.enable()


def _merged(folder: Path) -> History:
    history = History()
    entries: list[tuple[int, Entry]] = []
    for path in sorted(folder.glob("ledger.*-of-*.jsonl")):
        turn = 0
        for line in read_records(path):
            schema = line.get("schema", 0)
            if isinstance(schema, int) and schema > SCHEMA_VERSION:
                problem = "was written by a newer version of hpc"
                remedy = "update humanpose-cli or choose another `out`"
                raise InputError(path, problem, expected=f"schema {SCHEMA_VERSION}", got=str(schema), remedy=remedy)
            if line.get("kind") == "item":
                if entry := _entry(line):
                    entries.append((turn, entry))
            elif line.get("kind") == "run":
                digest, options, run_turn = line.get("digest"), line.get("options"), line.get("turn", 0)
                if isinstance(digest, str) and isinstance(options, dict) and isinstance(run_turn, int):
                    history.options[digest], turn = options, run_turn
        history.turn = max(history.turn, turn)
    entries.sort(key=lambda pair: pair[0])  # stable: lines of one turn keep their order
    history.lines = [entry for _, entry in entries]
    for entry in history.lines:
        key = entry.command, entry.path
        history.entries.pop(key, None)  # the order of `entries` is the order of writing
        history.entries[key] = entry
    return history


def count_outcomes(folder: Path, shard: Shard) -> Counter[str]:
    """Count the statuses of a shard's items by the last line of each; empty if there is no ledger yet."""
    path = folder / f"ledger.{shard.file_part}.jsonl"
    lines = read_records(path) if path.exists() else ()
    last = {(entry.command, entry.path): entry.outcome for line in lines if (entry := _entry(line))}
    return Counter(last.values())


def _entry(line: Mapping[str, Any]) -> Entry | None:
    """Parse the entry in a line; None for invalid values."""
    values = [*map(line.get, Entry._fields, _JSON_DEFAULTS)]
    if not all(map(isinstance, values, _JSON_TYPES)):
        return None
    for index in _LISTS:
        values[index] = tuple(values[index])
    entry = Entry._make(values)
    valid = entry.outcome in _OUTCOMES and entry.exit_code in _EXIT_CODES
    valid = (
        valid and all(map(_is_inside, entry.outputs)) and all(isinstance(n, int) for n in (*entry.sizes, *entry.times))
    )
    return entry if valid else None


def _is_inside(path: Any) -> bool:
    """Return whether an output is a path below the folder."""
    if not isinstance(path, str) or path.startswith("/") or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")


class Ledger:
    """One shard's ledger, open for appending; a context manager.

    Opening makes the folder, removes temporary files of killed writers, and writes the line with this run's options. A
    refused run leaves no new ledger. Processes of one shard share it and its items: each locks the item it works on.

    Args:
        folder: The output folder.
        command: Name of the command.
        options: Options that affect results.
        shard: The shard.

    Attributes:
        history: The contents of all ledgers of the folder before this run.

    Raises:
        UsageError: If another process runs a part of another number of shards (if the file system supports locks; on
            Windows, also the same part), or for a symbolic link.
    """

    def __init__(self, folder: Path, command: str, options: Mapping[str, Any], shard: Shard = UNSHARDED) -> None:
        self.folder = folder
        self.command = command
        self.shard = shard
        self.digest = options_digest(options)
        self.path = folder / f"ledger.{shard.file_part}.jsonl"
        self._flushed = -math.inf
        self._renames = ExitStack()
        self._folders: set[Path] = set()  # folders with names of outputs that are not flushed to the disk yet
        self._new = False  # whether this process made the file and has recorded no item
        self._locks: dict[str, ExitStack] = {}  # of the items that this process works on, by key
        self._read = 0  # bytes of the file that `history` and `news` have
        record = run_record_path(folder, shard)
        refuse_input(record)
        refuse_link(record)
        ensure_folder(folder)
        try:
            descriptor = open_existing(self.path, os.O_WRONLY | os.O_APPEND)
            self._file: IO[bytes] = os.fdopen(descriptor, "ab", buffering=0)
        except OSError as error:
            raise writing_error(self.path, error) from error
        try:
            self._lock()
            remove_abandoned(folder)
            self._mend_torn_end()
            self._read = self.path.stat().st_size
            self.history = read_history(folder)
            run = {"kind": "run", "digest": self.digest, "options": dict(options), "command": command}
            self._append({**run, "turn": self.history.turn + 1, "record": run_record_path(folder, shard).name})
        except BaseException:
            self._close(refused=True)
            raise

    def __enter__(self) -> Ledger:
        self._folders = self._renames.enter_context(renames_collected())
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._renames.close()
        with suppress(OSError):  # items of lost lines are done again
            self._flush()
        self._close(refused=kind is not None and issubclass(kind, UsageError))

    def _close(self, *, refused: bool) -> None:
        if refused and self._new:
            with suppress(OSError):  # Windows removes no open file
                if try_lock(self._file.fileno()):  # no other process shares it
                    self.path.unlink()
        for lock in self._locks.values():
            lock.close()
        self._file.close()

    def take(self, item: Item) -> bool:
        """Lock an item until `leave`; False if another process works on it."""
        name = hashlib.sha256(f"{self.command} {item.key}".encode("utf-8", "backslashreplace")).hexdigest()
        with ExitStack() as lock:
            if not lock.enter_context(passing_file(self.folder / f".{name[:32]}.hpc-{name[-8:]}.partial")):
                return False
            self._locks[item.key] = lock.pop_all()
        return True

    def leave(self, item: Item) -> None:
        """Unlock an item."""
        self._locks.pop(item.key, ExitStack()).close()

    def news(self) -> list[Entry]:
        """Read what processes of this shard, also this one, have recorded since the last call."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            content = file.read(_MAX_NEWS)
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [*filter(None, map(_entry, records_in(whole)))]

    def record(self, item: Item, mark: Fingerprint, result: ItemResult) -> Entry:
        """Append the result of an item with this fingerprint; the line is on the disk within a second of work.

        Raises UnavailableError if it cannot be written, or if the ledger was removed or replaced meanwhile.
        """
        self._new = False
        stamps = [output_stamp(path) for path in result.outputs]
        entry = Entry(
            command=self.command,
            path=item.key,
            size=mark.size,
            mtime_ns=mark.mtime_ns,
            options=self.digest,
            outcome=result.status.value,
            outputs=tuple(Path(relative_path(path, self.folder)).as_posix() for path in result.outputs),
            sizes=tuple(size for size, _ in stamps),
            times=tuple(time_ns for _, time_ns in stamps),
            details=result.details,
            error=result.error,
            exit_code=int(result.exit_code),
            seconds=round(result.seconds, 3),
            root=str(item.root.resolve()) if item.root else "",
            content=mark.content,
            finished=utc_time("microseconds"),
            host=socket.gethostname(),
            memory_mb=peak_memory(),
            threads=torch.get_num_threads() if (torch := sys.modules.get("torch")) else 0,
        )
        self._append({"kind": "item", **entry._asdict()})
        return entry

    def _append(self, line: Mapping[str, Any]) -> None:
        line = {"schema": SCHEMA_VERSION, "date": utc_time("microseconds"), **line}
        row = checked(json.dumps(line, ensure_ascii=True, default=_plain).encode("ascii"))
        try:
            self._file.write(row + b"\n")  # one write: whole lines even with several appenders
            finished = line["kind"] == "item" and line["outcome"] != Status.INTERRUPTED.value
            if not finished or time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flush()
        except OSError as error:
            raise writing_error(self.path, error) from error
        try:
            is_replaced = not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:
            is_replaced = True
        if is_replaced:
            problem = "was removed or replaced while hpc was writing into it"
            raise UnavailableError(self.folder, problem, remedy="the same command makes again what is missing")

    def _flush(self) -> None:
        """Wait until the names of recorded outputs and then all lines are on the disk."""
        while self._folders:
            with suppress(FileNotFoundError):  # a temporary folder
                flush_folder(self._folders.pop())
        os.fsync(self._file.fileno())
        self._flushed = time.monotonic()

    def _lock(self) -> None:
        is_alone = lock_at_once(self._file.fileno())
        if not (is_alone or has_flock()):
            remedy = "wait for it, or give each process its own `shard=i/N` or `out`"
            raise UsageError(self.folder, f"another process is running part {self.shard} here", remedy=remedy)
        self._new = is_alone and self.path.stat().st_size == 0
        if has_flock():
            with suppress(OSError):  # some network file systems cannot lock
                wait_lock(self._file.fileno(), shared=True)
        # If two processes start at once, at least one finds the other, because each locks its file before.
        for path in sorted(self.folder.glob("ledger.*-of-*.jsonl")):
            index, _, count = path.name.split(".")[1].partition("-of-")
            if count != str(self.shard.count) and is_locked(path):
                raise UsageError(
                    self.folder,
                    f"another process is running part {index}/{count} here, which shares items with part {self.shard}",
                    remedy="wait for it, give all processes the same N of `shard=i/N`, or choose another `out`",
                )

    def _mend_torn_end(self) -> None:
        """End a line that a crash tore, so that the next one starts on its own."""
        if self.path.stat().st_size == 0:
            return
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        if is_torn:
            self._file.write(b"\n")


def _plain(value: Any) -> Any:
    """Convert numpy's numbers and arrays to JSON without importing numpy; other values become text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def output_stamp(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return size (bytes) and time of change (nanoseconds) of an output; -1 and 0 if it does not exist."""
    return (presence(path) or (0, -1, 0))[1:]


PACKAGES = ("numpy", "scipy", "torch", "warp-lang", "onnxruntime", "onnxruntime-gpu", "pillow", "imageio", "av", "h5py")


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Return the installed version of each package, None if missing, without importing them."""
    return {name: next((found.version for found in metadata.distributions(name=name)), None) for name in packages}


def commit_of_checkout() -> str | None:
    """Return the commit of this package's checkout, with `+` if files differ; None if it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"],
            check=True,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            start_new_session=True,  # a Ctrl-C in the terminal is not for git
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git on this machine, or another user's checkout
    return process.stdout.strip()


def run_record_path(folder: Path, shard: Shard) -> Path:
    """Return the path of `run.json`, or of `run.i-of-N.json` for a shard."""
    return folder / ("run.json" if shard.count == 1 else f"run.{shard.file_part}.json")


def run_record(command: str, options: Mapping[str, Any], shard: Shard, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the contents of `run.json` at the start; `finished`, `status` and counts are added at the end."""
    return {
        "schema": 1,
        "command": command,
        "arguments": list(arguments),
        "options": dict(options),
        "shard": str(shard),
        "version": __version__,
        "commit": commit_of_checkout(),
        "python": sys.version.split()[0],
        "packages": installed_versions(),
        "host": platform.node(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "gpus": gpu_names(),
        "started": utc_time(),
        "finished": None,
        "status": "running",
    }


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
