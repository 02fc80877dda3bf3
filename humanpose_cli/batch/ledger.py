"""What a run leaves beside its results: the ledger, and `run.json`. Nothing else holds dates and hosts.

The ledger records what became of each item, so that a rerun goes on where earlier runs stopped. Each shard appends to
its own `ledger.i-of-N.jsonl` in the output folder; readers merge all of them. A line is one JSON object, written by one
`write` to a file opened for appending, so that a killed process can tear only the last line. Lines are fsynced, those
of finished items at most once a second and after their outputs' names: a machine that loses power does the items of
that second again. Each line ends with a checksum: a torn or damaged one is ignored and its item done again. Lines of
kind `run` open a run and keep its options and its turn, which orders runs independently of clocks; lines of kind `item`
record what became of one item.
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
import zlib
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
from humanpose_cli.io.locks import is_locked, lock_at_once
from humanpose_cli.io.paths import relative_path
from humanpose_cli.io.protected import open_existing, refuse_input, refuse_link
from humanpose_cli.version import __version__

SCHEMA_VERSION = 1
_FLUSH_SECONDS = 1.0  # between flushes of items' lines to the disk


def options_digest(options: Mapping[str, Any]) -> str:
    """Compute a short SHA-256 of the options that decide a result, in any order."""
    canonical = json.dumps(options, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Entry(NamedTuple):
    """One line about an item: a tuple, because ledgers may have 50,000 lines, and dataclasses take five times as long.

    Attributes:
        outcome: Success, partial or error; interrupted where earlier results are about to be replaced.
        outputs: Files written, relative to the output folder, with forward slashes.
        sizes: Of these, in bytes; empty where they are not known.
        details: What the result's table says of the item, as JSON values.
        root: The input folder that `path` was relative to.
        content: SHA-256 of the item's contents.
    """

    command: str
    path: str
    size: int
    mtime_ns: int
    options: str
    outcome: str
    outputs: tuple[str, ...]
    sizes: tuple[int, ...]
    details: Mapping[str, Any]
    error: str | None
    exit_code: int
    seconds: float
    root: str
    content: str
    finished: str
    host: str

    @property
    def done(self) -> bool:
        """Whether a rerun has nothing left to do for it."""
        return self.outcome == Status.SUCCESS.value

    @property
    def began(self) -> bool:
        """Whether it records only the beginning of work that no run has finished."""
        return self.outcome == Status.INTERRUPTED.value


# The JSON type of each field, and its value in lines without it, which are not ours if that is of another type.
_JSON: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("command", "path", "options", "outcome"), (str, None)),
    **dict.fromkeys(("size", "mtime_ns"), (int, None)),
    **dict.fromkeys(("outputs", "sizes"), (list, [])),
    "details": (dict, {}),
    "error": (str | None, None),
    "exit_code": (int, 0),
    "seconds": (int | float, 0.0),
    **dict.fromkeys(("root", "content", "finished", "host"), (str, "")),
}
_JSON_TYPES, _JSON_DEFAULTS = zip(*map(_JSON.__getitem__, Entry._fields), strict=True)
_LISTS = tuple(map(Entry._fields.index, ("outputs", "sizes")))
_OUTCOMES = {status.value for status in Status}
_EXIT_CODES = {int(code) for code in ExitCode}


@dataclass
class History:
    """All ledgers of a folder merged: the latest entry of each (command, path), each run's options, the latest turn."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    turn: int = 0

    def of(self, command: str, item: Item) -> Entry | None:
        """Return the latest entry of that command for that item, whatever its options."""
        return self.entries.get((command, item.key))

    def writers(self) -> dict[str, Entry]:
        """Map each output file to the entry that wrote it last."""
        return {output: entry for entry in self.entries.values() for output in entry.outputs}


def read_history(folder: Path) -> History:
    """Merge the ledgers in `folder`; the latest entry counts. Raises InputError for newer versions' files."""
    collecting = gc.isenabled()
    gc.disable()  # it would look at all lines so far again and again, for as long as they take to read
    try:
        return _merged(folder)
    finally:
        if collecting:
            gc.enable()


def _merged(folder: Path) -> History:
    history = History()
    entries: list[tuple[int, Entry]] = []
    for path in sorted(folder.glob("ledger.*-of-*.jsonl")):
        turn = 0
        for line in _read_lines(path):
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
    for _, entry in sorted(entries, key=lambda pair: pair[0]):  # stable: of one turn the order of the lines counts
        key = entry.command, entry.path
        history.entries.pop(key, None)  # the order of `entries` is the order of writing
        history.entries[key] = entry
    return history


def count_outcomes(folder: Path, shard: Shard) -> Counter[str]:
    """Count the statuses of a shard's items, by the last line of each in its ledger; none if there is no ledger yet."""
    path = folder / f"ledger.{shard.file_part}.jsonl"
    lines = _read_lines(path) if path.exists() else ()
    last = {(entry.command, entry.path): entry.outcome for line in lines if (entry := _entry(line))}
    return Counter(last.values())


_CHECK = b', "crc": '


def _checked(row: bytes) -> bytes:
    """Format a JSON object with its checksum as the last value."""
    return b"%s%s%d}" % (row[:-1], _CHECK, zlib.crc32(row))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a ledger; one that a crash tore or a disk damaged is left out."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnavailableError(path, "cannot be read", got=error.strerror or str(error)) from error
    rows = [row for row in content.split(b"\n") if row and _is_complete(row)]
    try:
        lines = json.loads(b"[%s]" % b",".join(rows))  # in half of the time of one by one
    except (ValueError, RecursionError):
        lines = [_parsed(row) for row in rows]
    return [line for line in lines if isinstance(line, dict)]


def _is_complete(row: bytes) -> bool:
    """Compare a line with its checksum; those of early versions have none."""
    values, mark, _ = row.rpartition(_CHECK)
    return not mark or _checked(values + b"}") == row


def _parsed(row: bytes) -> Any:
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


def _entry(line: Mapping[str, Any]) -> Entry | None:
    """Parse the entry in a line; None for values that we do not write, which a disk or an editor spoilt."""
    values = [*map(line.get, Entry._fields, _JSON_DEFAULTS)]
    if not all(map(isinstance, values, _JSON_TYPES)):
        return None
    for index in _LISTS:
        values[index] = tuple(values[index])
    entry = Entry._make(values)
    valid = entry.outcome in _OUTCOMES and entry.exit_code in _EXIT_CODES
    valid = valid and all(map(_is_inside, entry.outputs)) and all(isinstance(size, int) for size in entry.sizes)
    return entry if valid else None


def _is_inside(path: Any) -> bool:
    """Return whether an output is a path below the folder."""
    if not isinstance(path, str) or path.startswith("/") or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")


class Ledger:
    """One shard's ledger, open for appending; a context manager.

    Opening makes the folder, refuses a second process for the same shard, or for a part of another number of shards,
    if the file system supports locks (UsageError), refuses symbolic links, removes what killed writers left, and writes
    the line that keeps this run's options. `history` is what all ledgers of the folder held before. A run that is
    refused leaves no new ledger.
    """

    def __init__(self, folder: Path, command: str, options: Mapping[str, Any], shard: Shard = UNSHARDED) -> None:
        self.folder, self.command, self.shard = folder, command, shard
        self.digest = options_digest(options)
        self.path = folder / f"ledger.{shard.file_part}.jsonl"
        self._flushed, self._renames = -math.inf, ExitStack()
        self._folders: set[Path] = set()  # with outputs whose names are not flushed to the disk yet
        self._new = False  # whether this process made the file, and no item is recorded in it
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
            self.history = read_history(folder)
            run = {"kind": "run", "digest": self.digest, "options": dict(options), "command": command}
            self._append({**run, "turn": self.history.turn + 1})
        except BaseException:
            self._close(refused=True)
            raise

    def __enter__(self) -> Ledger:
        self._folders = self._renames.enter_context(renames_collected())
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._renames.close()
        with suppress(OSError):  # of lines that this loses, the items are done again
            self._flush()
        self._close(refused=kind is not None and issubclass(kind, UsageError))

    def _close(self, *, refused: bool) -> None:
        if refused and self._new:
            with suppress(OSError):  # Windows removes no file that is open
                self.path.unlink()
        self._file.close()

    def record(self, item: Item, mark: Fingerprint, result: ItemResult) -> Entry:
        """Append what became of an item that had that fingerprint; the line is on the disk within a second of work.

        UnavailableError also where the ledger was removed or replaced meanwhile, and with it most likely the results.
        """
        self._new = False
        entry = Entry(
            command=self.command,
            path=item.key,
            size=mark.size,
            mtime_ns=mark.mtime_ns,
            options=self.digest,
            outcome=result.status.value,
            outputs=tuple(Path(relative_path(path, self.folder)).as_posix() for path in result.outputs),
            sizes=tuple(map(output_size, result.outputs)),
            details=result.details,
            error=result.error,
            exit_code=int(result.exit_code),
            seconds=round(result.seconds, 3),
            root=str(item.root.resolve()) if item.root else "",
            content=mark.content,
            finished=now("microseconds"),
            host=socket.gethostname(),
        )
        self._append({"kind": "item", **entry._asdict()})
        return entry

    def _append(self, line: Mapping[str, Any]) -> None:
        line = {"schema": SCHEMA_VERSION, "date": now("microseconds"), **line}
        row = _checked(json.dumps(line, ensure_ascii=True, default=_plain).encode("ascii"))
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
        """Wait until all lines are on the disk, and before them the names of the outputs that they record."""
        while self._folders:
            with suppress(FileNotFoundError):  # files of temporary folders were written, too
                flush_folder(self._folders.pop())
        os.fsync(self._file.fileno())
        self._flushed = time.monotonic()

    def _lock(self) -> None:
        if not lock_at_once(self._file.fileno()):  # a courtesy, not what keeps lines whole
            raise UsageError(
                self.folder,
                f"another process is running part {self.shard} here",
                remedy="wait for it, or give each process its own `shard=i/N` or `out`",
            )
        self._new = self.path.stat().st_size == 0
        # Of two processes that start at once, at least one finds the other, because each locks its file before.
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
    """Convert numpy's numbers and arrays to JSON's, without importing numpy; anything else becomes text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def output_size(path: str | Path) -> int:
    """Return the bytes of an output; -1 if it does not exist."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


# `run.json`: when, where and with what a run was made.

PACKAGES = (
    *("numpy", "scipy", "torch", "warp-lang", "onnxruntime", "onnxruntime-gpu", "pillow", "imageio", "av", "h5py"),
)


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Return the version of each package as installed, None for a missing one; imports none of them."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def commit_of_checkout() -> str | None:
    """Return the commit of the checkout that this package runs from, with `+` if files differ; None if installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None  # no git on this machine, or a checkout that belongs to someone else
    return commit + ("+" if changes else "")


def _git(root: Path, *arguments: str) -> str:
    process = subprocess.run(
        ["git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=10,
        start_new_session=True,  # a Ctrl-C in the terminal is for us, not for git
    )
    return process.stdout.strip()


def run_record_path(folder: Path, shard: Shard) -> Path:
    """Return the path of `run.json`, or of `run.i-of-N.json` for a shard, so that no two processes write one file."""
    return folder / ("run.json" if shard.count == 1 else f"run.{shard.file_part}.json")


def run_record(command: str, options: Mapping[str, Any], shard: Shard, arguments: Sequence[str]) -> dict[str, Any]:
    """Record what is known when a run starts. `finished`, `status` and counts are added when it ends."""
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
        "started": now(),
        "finished": None,
        "status": "running",
    }


def now(to_the: str = "seconds") -> str:
    """Format the time in UTC by ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec=to_the)
