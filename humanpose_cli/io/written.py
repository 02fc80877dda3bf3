"""Records of the files that hpc wrote, by which it knows them when it would replace them.

A batch records its files in the ledgers of its folder, a training in a file in its folder, and every other command in
the user's data folder. A record is a file of JSON lines; those of kind `file` have name, size, time and checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from humanpose_cli.io.digests import digest_of
from humanpose_cli.io.paths import data_folder, relative_path
from humanpose_cli.io.sniffing import read_bytes

_MOVE = "move it elsewhere, or choose another `out`"


class Mark(NamedTuple):
    """A file as it was written.

    Attributes:
        size: Bytes; None if unknown, as in early ledgers.
        time_ns: Time of change in nanoseconds; None if unknown.
        checksum: SHA-256 of the contents, by which a copy with another time is known; None if unknown.
    """

    size: int | None
    time_ns: int | None
    checksum: str | None = None


class WrittenFiles:
    """The record of a folder's files.

    Args:
        folder: The folder; files elsewhere belong to other records.
        file: The file of the record.
        pattern: Pattern of all files of the record beside `file`, such as the ledgers of other shards.
        overwrite: Whether files of the user may be replaced.
        remedy: What the user can do about a file that is not replaced.
    """

    def __init__(
        self, folder: Path, file: Path, pattern: str = "", *, overwrite: bool = False, remedy: str = _MOVE
    ) -> None:
        self.folder = os.path.abspath(folder)
        self.file, self.pattern = file, pattern
        self.overwrite, self.remedy = overwrite, remedy
        self._marks: dict[str, list[Mark]] | None = None

    def covers(self, path: Path) -> bool:
        """Return whether a path lies below the folder."""
        return os.path.abspath(path).startswith(os.path.join(self.folder, ""))

    def marks(self, path: Path | str, *, fresh: bool = False) -> Sequence[Mark]:
        """Return the marks of a file, with `fresh` also those that other shards have made meanwhile."""
        if self._marks is None or (fresh and self.pattern):
            self._marks = {}
            for file in self.file.parent.glob(self.pattern) if self.pattern else [self.file]:
                for line in read_records(file) if file.is_file() else ():
                    with suppress(TypeError, LookupError):  # damaged
                        for name, mark in _marks_in(line, f"run{file.name[6:-1]}"):
                            self._marks.setdefault(name, []).append(mark)
        return self._marks.get(self._name(path), ())

    def note(self, path: Path, mark: Mark) -> None:
        """Record a file before it takes its name, so that a killed process leaves none that is not known."""
        if self._marks is not None:
            self._marks.setdefault(self._name(path), []).append(mark)
        with suppress(OSError):  # such as a read-only home: the same command will not replace the file
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.file.open("ab", buffering=0) as record:
                record.write(json.dumps({"kind": "file", "path": self._name(path), "mark": mark}).encode() + b"\n")

    def _name(self, path: Path | str) -> str:
        return relative_path(os.path.abspath(path), self.folder).replace(os.sep, "/")


def _marks_in(line: dict[str, Any], record: str) -> Iterator[tuple[str, Mark]]:
    """Yield the marks in a line about a file, or about the outputs of an item; `record` is run.i-of-N.json."""
    if line["kind"] == "file":
        yield line["path"], Mark(*line["mark"])
    elif line["kind"] == "item" and line["outcome"] != "interrupted":  # then, the files may be in any state
        stamps = zip(line.get("sizes") or repeat(None), line.get("times") or repeat(None), strict=False)
        yield from ((output, Mark(*stamp)) for output, stamp in zip(line["outputs"], stamps, strict=False))
    elif line["kind"] == "run" and "record" not in line:  # of an earlier version, whose run.json has no mark
        yield from ((name, Mark(None, None)) for name in ("run.json", record))


_CHECK = b', "crc": '


def checked(row: bytes) -> bytes:
    """Format a JSON object with its checksum as the last value."""
    return b"%s%s%d}" % (row[:-1], _CHECK, zlib.crc32(row))


def read_records(path: Path) -> list[dict[str, Any]]:
    return records_in(read_bytes(path))


def records_in(content: bytes) -> list[dict[str, Any]]:
    """Parse the complete lines of a record, without damaged ones."""
    rows = [row for row in content.split(b"\n") if row and _is_complete(row)]
    try:
        lines = json.loads(b"[%s]" % b",".join(rows))  # twice as fast as one by one
    except (ValueError, RecursionError):
        lines = [_parsed(row) for row in rows]
    return [line for line in lines if isinstance(line, dict)]


def _is_complete(row: bytes) -> bool:
    """Compare a line with its checksum; lines of early versions have none."""
    values, mark, _ = row.rpartition(_CHECK)
    return not mark or checked(values + b"}") == row


def _parsed(row: bytes) -> Any:
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


@lru_cache(maxsize=8)
def user_record(folder: Path, maker: str = "", *, overwrite: bool = False, remedy: str = _MOVE) -> WrittenFiles:
    """Return the record of a folder, an absolute path, in the user's data folder; each maker has its own."""
    file = Path(os.devnull)  # without a home
    with suppress(RuntimeError):
        text = f"{folder}\n{maker}" if maker else str(folder)
        name = hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
        file = data_folder() / "written" / f"{name}.jsonl"
    record = WrittenFiles(folder, file, overwrite=overwrite, remedy=remedy)
    record.marks(folder)  # now: what another process writes meanwhile is not replaced
    return record


def mark_of(path: Path) -> Mark:
    """Return the mark of a file, which is read."""
    status = path.stat()
    return Mark(status.st_size, status.st_mtime_ns, digest_of(path))


def is_as_written(path: Path, marks: Sequence[Mark]) -> bool:
    """Compare a file with its marks; it is read only if its size is right and its time is not."""
    status = path.stat()
    sized = [mark for mark in marks if mark.size in (None, status.st_size)]
    if any(mark.time_ns in (None, status.st_mtime_ns) for mark in sized):
        return True
    checksums = {mark.checksum for mark in sized} - {None}
    return bool(checksums) and digest_of(path) in checksums
