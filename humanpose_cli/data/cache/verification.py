"""`verify_cache`: what is damaged in a cache, named record by record.

Checksums find changed bytes, decoding finds what was damaged before it was stored, and the labels are asked whether
they can be true.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.data.cache.cache import shard_entries
from humanpose_cli.data.cache.hdf5_files import Dataset, content_digest
from humanpose_cli.data.cache.plausibility import label_problems, map_problem
from humanpose_cli.data.cache.relations import index_problems, relation_problems
from humanpose_cli.data.cache.schema import INDEX_NAME, SHARD_PATTERN, Kind
from humanpose_cli.data.cache.shard_reader import TableFile
from humanpose_cli.data.cache.shard_set import ShardEntry
from humanpose_cli.data.cache.stored_file import Place, StoredFile, dataset_checksums
from humanpose_cli.data.encoding import decode_png, decoding_problem, read_header
from humanpose_cli.errors import InputError

__all__ = ["FileReport", "Problem", "Verification", "verify_cache"]

_BLOCK = 4 << 20


@dataclass(frozen=True)
class Problem:
    """What is wrong with a record of a file; the record is "" where it is the file itself."""

    record: str
    text: str

    def __str__(self) -> str:
        return f"{self.record}: {self.text}" if self.record else self.text


@dataclass(frozen=True)
class FileReport:
    """A file that was looked at, and what is wrong with it."""

    path: Path
    pictures: int
    people: int
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Verification:
    """All files of a cache; `missing` are numbers of shards that its plan has and its index does not join."""

    files: tuple[FileReport, ...]
    missing: tuple[int, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether anything is wrong, beside shards that are still to be made."""
        return any(file.problems for file in self.files)


def verify_cache(
    path: Path | str, *, threads: int = 1, on_progress: Callable[[int], None] | None = None
) -> Verification:
    """Read everything that a cache holds and compare it with what it should be.

    path         the cache's folder, its index, or a single shard
    threads      shards that are looked at at once
    on_progress  called with the number of pictures that are done, from any thread

    Damage is told in the result; InputError only for what is no cache at all.
    """
    path = Path(path)
    if path.is_file() and path.name != INDEX_NAME:
        return Verification((_Check(on_progress).shard(ShardEntry(path, 0, 0)),))
    folder = path if path.is_dir() else path.parent
    if not (folder / INDEX_NAME).exists() and not any(folder.glob(SHARD_PATTERN)):
        raise InputError(path, "is no dataset cache", expected=f"a folder with {INDEX_NAME}")
    report, entries, missing = _index(folder)
    check = _Check(on_progress)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            reports = list(pool.map(check.shard, entries))
        except BaseException:
            check.stopped.set()  # the others stop at their next picture
            raise
    return Verification((*([report] if report is not None else []), *reports), missing)


def _index(folder: Path) -> tuple[FileReport | None, list[ShardEntry], tuple[int, ...]]:
    """The index's report, the shards there are, and those that are still to be made; the last one makes the index."""
    path = folder / INDEX_NAME
    there = [ShardEntry(shard, 0, 0) for shard in sorted(folder.glob(SHARD_PATTERN))]
    if not path.exists():
        if missing := _still_to_make(there):
            return None, there, missing
        return FileReport(path, 0, 0, (Problem("", f"is missing; run hpc cache index {folder}"),)), there, ()
    try:
        index = TableFile(path, "index")
        index.check()
        entries = shard_entries(index)
    except InputError as error:
        return FileReport(path, 0, 0, (Problem("", _own(error, path)),)), there, ()
    header = index.header
    problems = [*_changed(path), *(Problem("", text) for text in index_problems(index, entries))]
    missing = tuple(sorted(set(range(header.shard_count)) - set(index.numbers("shards/number").tolist())))
    report = FileReport(path, header.picture_count, header.person_count, tuple(problems))
    return report, entries, missing


def _still_to_make(entries: Sequence[ShardEntry]) -> tuple[int, ...]:
    """Numbers of the shards that others of their plan speak of."""
    found: set[int] = set()
    count = 0
    for entry in entries:
        with suppress(InputError):  # named where the shard is looked at
            header = TableFile(entry.path, "shard").header
            found.add(header.shard)
            count = max(count, header.shard_count)
    return tuple(sorted(set(range(count)) - found))


def _own(error: InputError, path: Path) -> str:
    """The error's sentence without the file's name where the report has it."""
    return str(error).removeprefix(f"{path}: ")


def _changed(path: Path) -> Iterator[Problem]:
    """Datasets whose bytes are not those that were written."""
    file = StoredFile(path)
    datasets, told = _datasets(file), dataset_checksums(path)
    wrong = [name for name, dataset in datasets.items() if dataset.checksum() != told.get(name)]
    for name in wrong:
        yield Problem(f"column {name}", "does not match its checksum")
    if not wrong and content_digest(datasets) != file.attributes.get("content_digest"):
        yield Problem("", "its contents do not match the digest in its header")


@dataclass(frozen=True)
class _StoredBlocks:
    file: StoredFile
    place: Place

    def blocks(self) -> Iterator[bytes]:
        size = self.place.row_bytes * (self.place.shape[0] if self.place.shape else 1)
        for start in range(0, size, _BLOCK):
            yield self.file.read(self.place.offset + start, min(_BLOCK, size - start))


def _datasets(file: StoredFile) -> dict[str, Dataset]:
    places = file.layout().places.items()
    return {name: Dataset(place.dtype, place.shape, _StoredBlocks(file, place)) for name, place in places}


class _Check:
    """Looks at shards, several at once."""

    def __init__(self, on_progress: Callable[[int], None] | None) -> None:
        self.stopped = threading.Event()
        self._on_progress, self._done, self._lock = on_progress, 0, threading.Lock()

    def shard(self, entry: ShardEntry) -> FileReport:
        """Everything about one shard."""
        path = entry.path
        try:
            shard = TableFile(path, "shard")
            shard.check()
            problems = list(self._problems(shard, entry))
        except InputError as error:
            return FileReport(path, 0, 0, (Problem("", _own(error, path)),))
        return FileReport(path, shard.header.picture_count, shard.header.person_count, tuple(problems))

    def _problems(self, shard: TableFile, entry: ShardEntry) -> Iterator[Problem]:
        if entry.digest and entry.digest != shard.header.content_digest:
            yield Problem("", "is not the shard that the index was made for")
        encoded = {f"column {path}/values" for path, column in shard.columns.items() if column.kind is Kind.ENCODED}
        changed = [problem for problem in _changed(shard.path) if problem.record not in encoded]
        yield from changed  # encoded pictures are named one by one below
        broken = [Problem("", text) for text in relation_problems(shard)]
        yield from broken
        if broken:  # whose labels belong to what is not known
            return
        names, pictures = shard.texts("pictures/name"), shard.numbers("people/picture").tolist()
        firsts = shard.numbers("pictures/first_person").tolist()

        def person(row: int) -> str:
            return f"picture {names[pictures[row]]!r}, person {row - firsts[pictures[row]]}"

        yield from self._encoded(shard, names, person)
        for row, text in label_problems(shard):
            yield Problem(person(row), text)

    def _encoded(self, shard: TableFile, names: Sequence[str], person: Callable[[int], str]) -> Iterator[Problem]:
        """Every picture, map and mask, read and decoded."""
        sizes = shard.numbers("pictures/size").tolist()
        counts = shard.numbers("pictures/person_count").tolist()
        firsts = shard.numbers("pictures/first_person").tolist()
        columns = [path for path, column in shard.columns.items() if column.kind is Kind.ENCODED and path in shard]
        checksums = {path: shard.checksums(path) for path in columns}
        for row, name in enumerate(names):
            if self.stopped.is_set():
                return
            for path in columns:
                of_person = path.startswith("people/")
                rows = range(firsts[row], firsts[row] + counts[row]) if of_person else (row,)
                for place in rows:
                    data = shard.encoded(path, place)
                    text = _encoded_problem(path, data, int(checksums[path][place]), sizes[row], counts[row])
                    if text:
                        record = person(place) if of_person else f"picture {name!r}"
                        yield Problem(record, f"{path.partition('/')[2]} {text}")
            self._count()

    def _count(self) -> None:
        if self._on_progress is not None:
            with self._lock:
                self._done += 1
                self._on_progress(self._done)


def _encoded_problem(path: str, data: bytes, checksum: int, size: list[int], people: int) -> str:
    if zlib.crc32(data) != checksum:
        return "does not match its checksum"
    if not data:
        return "is missing" if path == "pictures/image" else ""
    header = read_header(data)
    if header is None:
        return "is neither JPEG nor PNG"
    if list(header.size) != size:
        return f"is {header.size[0]} × {header.size[1]} pixels where {size[0]} × {size[1]} are told"
    if problem := decoding_problem(data):
        return f"cannot be decoded ({problem})"
    if not path.startswith("pictures/maps/"):
        return ""
    pixels = decode_png(data)
    return "cannot be decoded" if pixels is None else map_problem(path.rpartition("/")[2], pixels, people)
