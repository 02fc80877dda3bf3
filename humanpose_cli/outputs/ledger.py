"""The ledger of an output folder: which files hpc wrote there, and which items it has done.

Each shard of a batch appends to its own `ledger.i-of-N.jsonl`, all other commands to `.hpc.written`; readers merge
these files. A line is one JSON object, written by one `write` to a file opened for appending, so that a killed process
can only truncate the last line. Each line ends with a checksum: a damaged line is ignored and its item done again.
Lines of kind `run` begin a run and store its options and its turn, which orders runs independently of clocks. Lines of
kind `file` name a file before it takes its name, so that a killed process leaves none that is not known. Lines of kind
`item` store the result of an item and the state of its files.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from humanpose_cli.core.errors import ExitCode, HpcError, InputError, UsageError
from humanpose_cli.core.result import Status
from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.paths import relative_path
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.outputs.protection import is_command, open_existing, refuse_input

SCHEMA_VERSION = 2
RECORD = ".hpc.written"
"""Name of the file of commands that are no batch."""
_SHARDS = "ledger.*-of-*.jsonl"
_MAX_BYTES = 1 << 30  # of a file
_MAX_GUESSES = 8  # states of a file that `is_own` compares


class FileStatus(NamedTuple):
    """What tells whether a file has been replaced or changed: inode, size in bytes, time of change in nanoseconds."""

    inode: int
    size: int
    time_ns: int


def status_of(path: str | os.PathLike[str] | int) -> FileStatus | None:
    """Return the status of a file, also an open one; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileStatus(status.st_ino, status.st_size, status.st_mtime_ns)


class Mark(NamedTuple):
    """A file as it was written.

    Attributes:
        size: Bytes; None if unknown, as in early ledgers.
        time_ns: Time of change in nanoseconds; None if unknown.
        checksum: SHA-256 of the contents, by which a copy with another time is known; None if unknown.
        inode: Its inode after it had taken its name; 0 if unknown.
        status_time_ns: Time of change of the inode in nanoseconds; 0 if unknown.
    """

    size: int | None = None
    time_ns: int | None = None
    checksum: str | None = None
    inode: int = 0
    status_time_ns: int = 0


def mark_of(path: Path) -> Mark:
    """Return the mark of a file, which is read."""
    status = path.stat()
    return Mark(status.st_size, status.st_mtime_ns, digest_of(path))


def is_as_written(path: str | os.PathLike[str], marks: Sequence[Mark]) -> bool:
    """Compare a file with its marks; it is read only if its size is right and its time is not."""
    if not marks or (status := status_of(path)) is None:
        return False
    sized = [mark for mark in marks if mark.size in (None, status.size)]
    if any(mark.time_ns in (None, status.time_ns) for mark in sized):
        return True
    checksums = {mark.checksum for mark in sized} - {None}
    return bool(checksums) and digest_of(Path(path)) in checksums


class Entry(NamedTuple):
    """One line about an item; a tuple, as ledgers may have 50,000 lines and dataclasses take five times as long.

    Attributes:
        command: Name of the command.
        path: Key of the item.
        size: Size of the item's inputs.
        mtime_ns: Time of their newest change.
        options: Digest of the options.
        outcome: Success, partial or error; in earlier versions also interrupted.
        files: The values of a `Mark` for each file written, by its path from the output folder with forward slashes.
        details: JSON values of the item in the result's table.
        error: One sentence, or None.
        exit_code: Exit code of the item.
        seconds: Time of the work.
        root: The input folder that `path` is relative to.
        content: SHA-256 of the inputs' contents.
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
    files: Mapping[str, Sequence[Any]]
    details: Mapping[str, Any] = MappingProxyType({})
    error: str | None = None
    exit_code: int = 0
    seconds: float = 0.0
    root: str = ""
    content: str = ""
    finished: str = ""
    host: str = ""
    memory_mb: int = 0
    threads: int = 0

    @property
    def done(self) -> bool:
        """Whether a rerun can skip the item."""
        return self.outcome == Status.SUCCESS.value

    @property
    def outputs(self) -> tuple[str, ...]:
        """The files written, in the order written."""
        return tuple(self.files)

    def mark(self, file: str) -> Mark:
        """Return the mark of a file."""
        return Mark(*self.files[file][: len(Mark._fields)])


_TYPES: dict[str, Any] = {
    **dict.fromkeys(Entry._fields, str),
    **dict.fromkeys(("size", "mtime_ns", "exit_code", "memory_mb", "threads"), int),
    **dict.fromkeys(("files", "details"), Mapping),
    "error": str | None,
    "seconds": int | float,
}
_DEFAULTS = [Entry._field_defaults.get(name) for name in Entry._fields]
_OUTCOMES = {status.value for status in Status}
_EXIT_CODES = {int(code) for code in ExitCode}


def _entry(line: Mapping[str, Any]) -> Entry | None:
    """Parse the entry in a line; None for invalid values."""
    values = [*map((line if "files" in line else _from_schema_1(line)).get, Entry._fields, _DEFAULTS)]
    if not all(map(isinstance, values, _TYPES.values())):
        return None
    entry = Entry._make(values)
    is_valid = entry.outcome in _OUTCOMES and entry.exit_code in _EXIT_CODES
    is_valid = is_valid and all(map(_is_inside, entry.files)) and all(map(_is_mark, entry.files.values()))
    return entry if is_valid else None


def _from_schema_1(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a line of schema 1, with lists of outputs, sizes and times, as one of schema 2."""
    lists = [line.get(name) or [] for name in ("outputs", "sizes", "times")]
    try:
        return {**line, "files": {output: [*stamp] for output, *stamp in zip_longest(*lists)}}
    except TypeError:  # damaged
        return line


def _is_mark(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | str | None) for value in values)


def _is_inside(path: Any) -> bool:
    """Return whether an output is a path below the folder."""
    if not isinstance(path, str) or path.startswith("/") or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")


class Ledger:
    """The ledger of a folder, read now and, by `update`, as it grows.

    Args:
        folder: The output folder; it need not exist.
        file: Name of the file that `note` appends to.
        overwrite: Whether files of the user may be replaced; None if the command has no such option.
        only_own: Whether to leave out files that this user has not written, or that others may write.

    Attributes:
        entries: The latest entry of each (command, path), in the order of writing.
        options: Options of the runs by digest.
        turn: The latest turn.

    Raises:
        InputError: If a newer version wrote the ledger.
    """

    def __init__(
        self, folder: Path | str, file: str = RECORD, *, overwrite: bool | None = None, only_own: bool = False
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.path = self.folder / file
        self.overwrite = overwrite
        self.entries: dict[tuple[str, str], Entry] = {}
        self.options: dict[str, Mapping[str, Any]] = {}
        self.turn = 0
        self._only_own = only_own
        self._marks: dict[str, list[Mark]] = {}
        self._sizes: dict[Path, int] = {}  # bytes that are read
        self._turns: dict[Path, int] = {}  # of the last run in a file
        self.update()

    def update(self, *files: Path) -> list[Entry]:
        """Read what was appended since, by default to all files; return the new entries."""
        is_enabled = gc.isenabled()
        gc.disable()  # collections would traverse all lines again and again
        try:
            paths = files or (*sorted(self.folder.glob(_SHARDS)), self.folder / RECORD)
            lines = [line for path in paths for line in self._new_lines(path)]
        finally:
            if is_enabled:
                gc.enable()
        lines.sort(key=lambda line: line[0])  # stable: lines of one turn keep their order
        entries = [entry for _, entry in lines]
        for entry in entries:
            key = entry.command, entry.path
            self.entries.pop(key, None)  # the order of `entries` is the order of writing
            self.entries[key] = entry
        return entries

    def _new_lines(self, path: Path) -> Iterator[tuple[int, Entry]]:
        """Yield turn and entry of each new line about an item, and store what the other lines say."""
        for line in records_in(self._new_content(path)):
            schema, kind = line.get("schema", 0), line.get("kind")
            if isinstance(schema, int) and schema > SCHEMA_VERSION:
                problem = "was written by a newer version of hpc"
                remedy = "update humanpose-cli or choose another `out`"
                expected = f"schema {SCHEMA_VERSION}"
                raise InputError(path, problem, expected=expected, got=str(schema), remedy=remedy)
            if kind == "item" and (entry := _entry(line)):
                if entry.outcome != Status.INTERRUPTED.value:  # then, the files may be in any state
                    for file in entry.files:
                        self._add_mark(file, entry.mark(file))
                yield self._turns.get(path, 0), entry
            elif kind == "file" and isinstance(line.get("path"), str) and _is_mark(line.get("mark")):
                self._add_mark(line["path"], Mark(*line["mark"][: len(Mark._fields)]))
            elif kind == "run":
                digest, options, turn = line.get("digest"), line.get("options"), line.get("turn", 0)
                if isinstance(digest, str) and isinstance(options, dict) and isinstance(turn, int):
                    self.options[digest] = options
                    self._turns[path] = turn
                    self.turn = max(self.turn, turn)
                if "record" not in line:  # of an early version, whose run.json has no mark
                    for name in ("run.json", f"run{path.name[6:-1]}"):
                        self._add_mark(name, Mark())

    def _new_content(self, path: Path) -> bytes:
        """Read the complete lines behind those that are read."""
        try:
            with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or (self._only_own and not _is_private(status)):
                    return b""
                if status.st_size > _MAX_BYTES:
                    raise InputError(path, "is too large", expected=f"at most {_MAX_BYTES >> 30} GiB")
                file.seek(self._sizes.get(path, 0))
                content = file.read(_MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise reading_error(path, error) from error
        complete = content[: content.rfind(b"\n") + 1]
        self._sizes[path] = self._sizes.get(path, 0) + len(complete)
        return complete

    def marks(self, path: Path | str) -> Sequence[Mark]:
        """Return the marks of a file below the folder."""
        return self._marks.get(self.name_of(path), ())

    def name_of(self, path: Path | str) -> str:
        """Return the name of a file in the ledger: its path from the folder."""
        return relative_path(os.path.abspath(path), self.folder).replace(os.sep, "/")

    def has_written(self, path: Path) -> bool:
        """Return whether a file is as hpc wrote it, by this ledger or by that of another folder above the file."""
        if is_as_written(path, self.marks(path)):
            return True
        self.update()  # another process may have written it meanwhile
        ledgers = (Ledger(folder) for folder in Path(os.path.abspath(path)).parents if folder != self.folder)
        return is_as_written(path, self.marks(path)) or any(is_as_written(path, each.marks(path)) for each in ledgers)

    def refusal(self, path: Path) -> UsageError:
        """Return the error about a file that hpc did not write as it is."""
        problem = "was changed since" if self.marks(path) else "exists already"
        remedy = "move it elsewhere, or choose another `out`" if self.overwrite is None else "`overwrite` replaces it"
        return UsageError(path, problem, remedy=remedy)

    def note(self, path: Path, mark: Mark) -> None:
        """Record a file before it takes its name."""
        self._add_mark(self.name_of(path), mark)
        line = {"kind": "file", "path": self.name_of(path), "mark": mark[:3]}
        with suppress(OSError):  # such as a read-only folder: the same command will not replace the file
            self._append_line({"schema": SCHEMA_VERSION, **line})

    def _append_line(self, line: Mapping[str, Any]) -> None:
        with open(open_existing(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as file:
            file.write(row_of(line))

    def _add_mark(self, name: str, mark: Mark) -> None:
        marks = self._marks.setdefault(name, [])
        if mark not in marks:  # this process's own lines are read again
            marks.append(mark)


def row_of(line: Mapping[str, Any]) -> bytes:
    """Format a line with its checksum as the last value; one write of it keeps lines whole with several appenders."""
    row = json.dumps(line, ensure_ascii=True, default=_plain).encode("ascii")
    return _with_checksum(row) + b"\n"


def _plain(value: Any) -> Any:
    """Convert numpy's numbers and arrays to JSON without importing numpy; other values become text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


_CHECK = b', "crc": '


def _with_checksum(row: bytes) -> bytes:
    return b"%s%s%d}" % (row[:-1], _CHECK, zlib.crc32(row))


def records_in(content: bytes) -> list[dict[str, Any]]:
    """Parse the complete lines of a ledger, without damaged ones."""
    rows = [row for row in content.split(b"\n") if row and _is_complete(row)]
    try:
        lines = json.loads(b"[%s]" % b",".join(rows))  # twice as fast as one by one
    except (ValueError, RecursionError):
        lines = [_parsed(row) for row in rows]
    return [line for line in lines if isinstance(line, dict)]


def _is_complete(row: bytes) -> bool:
    """Compare a line with its checksum; lines of early versions have none."""
    values, mark, _ = row.rpartition(_CHECK)
    return not mark or _with_checksum(values + b"}") == row


def _parsed(row: bytes) -> Any:
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


def options_digest(options: Mapping[str, Any]) -> str:
    """Compute a short SHA-256 of the options that affect results, in any order."""
    canonical = json.dumps(options, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class WriteClaim(NamedTuple):
    """The right to write a file: the ledger to note it in, and the status of the file that it replaces."""

    ledger: Ledger
    replaces: FileStatus | None


_active: list[Ledger] = []  # the innermost last


@contextmanager
def recorded(ledger: Ledger) -> Iterator[None]:
    """Ask `ledger` about the files of its folder that are written inside this context, in any thread."""
    _active.append(ledger)
    try:
        yield
    finally:
        _active.remove(ledger)


def claim(path: Path, ledger: Ledger | None = None) -> WriteClaim | None:
    """Decide whether a file may be written: who made the file that is there?

    Args:
        path: The file.
        ledger: The ledger to ask. None asks that of `recorded`, or that of the file's folder.

    A missing or empty file is written. A file that is recorded with this size and time, or with these contents, is
    hpc's and may be replaced. Any other file is the user's.

    Returns:
        The claim; None outside commands and batches, where programs replace what they like.

    Raises:
        UsageError: If the file is the user's, or an input.
    """
    refuse_input(path)
    parents = Path(os.path.abspath(path)).parents
    ledger = ledger or next((each for each in reversed(_active) if each.folder in parents), None)
    if ledger is None:
        if not is_command():
            return None
        ledger = ledger_of(parents[0])
    status = status_of(path)
    if status is not None and status.size and not ledger.overwrite and not ledger.has_written(path):
        raise ledger.refusal(path)
    return WriteClaim(ledger, status)


@lru_cache(maxsize=8)
def ledger_of(folder: Path) -> Ledger:
    """Return the ledger of a folder for commands that are no batch."""
    return Ledger(folder)


def is_own(path: Path | str) -> bool:
    """Return whether this user's hpc wrote a file where it is, and nothing has touched it since.

    The ledger of a folder above it says with which inode and status time hpc left the file. An archive may hold any
    ledger, and files with any contents and times, but not these two numbers: the file system that unpacks it chooses
    them. So a file that was unpacked, copied or downloaded is not the user's own, whatever its ledger says. File and
    ledger must belong to the user, and no one else may write them. A disk that somebody else has formatted may hold any
    numbers (SECURITY.md).
    """
    file = Path(os.path.abspath(path))
    try:
        status = os.lstat(file)
    except (OSError, ValueError):
        return False
    if not _is_private(status):
        return False
    place = status.st_ino, status.st_ctime_ns
    for folder in file.parents:
        with suppress(HpcError):
            ledger = _own_ledger(folder)
            for is_fresh in (False, True):
                if is_fresh:
                    ledger.update()
                marks = ledger.marks(file)[-_MAX_GUESSES:]  # few, so that no ledger can hold all numbers
                if any((mark.inode, mark.status_time_ns) == place for mark in marks):
                    return True
    return False


@lru_cache(maxsize=32)
def _own_ledger(folder: Path) -> Ledger:
    return Ledger(folder, only_own=True)


def _is_private(status: os.stat_result) -> bool:
    """Return whether a status is that of a regular file which this user owns and no one else may write."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "geteuid"):  # Windows' status has neither owner nor mode
        return True
    is_shared_group = status.st_gid != status.st_uid  # otherwise it is the user's own, for which umask 002 is usual
    is_writable = status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if is_shared_group else 0))
    return status.st_uid == os.geteuid() and not is_writable
