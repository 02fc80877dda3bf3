"""`verify_cache`: damage in a cache, named record by record.

Checksums find changed bytes, decoding finds damage from before storing, and labels are checked for impossible values.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import DENSEPOSE_CHARTS, GARMENTS, SKELETONS, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.files.sniffing import refuse_pipes
from humanpose_cli.lab.cache.cache import ShardEntry, shard_entries
from humanpose_cli.lab.cache.encoding import decode_png, decoding_problem
from humanpose_cli.lab.cache.reading import TableFile
from humanpose_cli.lab.cache.schema import INDEX_NAME, SHARD_PATTERN, Kind, value_problem
from humanpose_cli.lab.cache.writing import bytes_of, digest_of_arrays

# Whether the tables of a file agree with each other: people with images, groups, sequences, splits and pairs.


def relation_problems(shard: TableFile) -> Iterator[str]:
    """List the contradictions between the tables of a shard."""
    images = shard.header.picture_count
    people = shard.header.person_count
    first = "pictures/first_person"
    image = "people/picture"
    group = "pictures/group"
    counts = shard.numbers("pictures/person_count")
    if not _follow(shard.numbers(first), counts, people):
        yield f"{first} and person_count do not list each person once"
    elif not np.array_equal(np.repeat(np.arange(images), counts), shard.numbers(image)):
        yield f"{image} does not name the image that lists the person"
    sizes = shard.numbers("groups/picture_count")
    if not _follow(shard.numbers("groups/first_picture"), sizes, images):
        yield "groups do not list each image once"
    elif not np.array_equal(np.repeat(np.arange(len(sizes)), sizes), shard.numbers(group)):
        yield f"{group} does not name the group that lists the image"
    sequence = shard.numbers("pictures/sequence")
    frame = shard.numbers("pictures/frame")
    for row, name in enumerate(shard.texts("sequences/name")):
        rows = shard.ragged("sequences/pictures", row)
        if not np.array_equal(np.sort(rows), np.flatnonzero(sequence == row)):
            yield f"sequence {name!r} does not list the images that name it"
        elif (np.diff(frame[rows]) < 0).any():
            yield f"sequence {name!r} is not in the order of its frames"
    yield from _row_problems(shard, images)
    if len(np.unique(shard.numbers("pictures/name"))) != images:
        yield "two images have one name"


def index_problems(index: TableFile) -> Iterator[str]:
    """List the contradictions within an index; `shard_entries` has compared its counts with the shards."""
    images = index.header.picture_count
    if not _follow(index.numbers("groups/first_picture"), index.numbers("groups/picture_count"), images):
        yield "groups do not list each image once"
    yield from _row_problems(index, images)


def _follow(firsts: NDArray[np.int64], counts: NDArray[np.int64], total: int) -> bool:
    """Check that ranges of rows follow each other from 0 to `total`."""
    if ((counts < 0) | (counts > total)).any():  # more, and their sum might overflow
        return False
    ends = np.cumsum(counts)
    return int(ends[-1] if len(ends) else 0) == total and np.array_equal(firsts, ends - counts)


def _row_problems(file: TableFile, images: int) -> Iterator[str]:
    for table in ("protocols", "pairs"):
        for row, (name, split) in enumerate(file.keys(table)):
            rows = file.ragged(f"{table}/pictures", row)
            if ((rows < 0) | (rows >= images)).any():
                yield f"{table} {name}/{split} name an image that is not there"
            elif table == "protocols" and (np.diff(rows) <= 0).any():
                yield f"{table} {name}/{split} do not list their images in order"


# Whether the labels of a shard can be true: finite, within the image, and where the camera sees the joints.

# By how many pixels, and by what share of the person's size, annotated key points may miss the joints.
_PIXELS = 2.0
_SHARE = 0.03
_NEAR = 0.05  # metres before the camera; what is nearer, or behind it, is not compared
PersonProblem = tuple[int, str]  # row of the person, what is wrong


def label_problems(shard: TableFile) -> Iterator[PersonProblem]:
    """List impossible labels of the people in a shard.

    Args:
        shard: The shard.

    Yields:
        Row of a person, and the problem.
    """
    image = shard.numbers("people/picture")
    yield from rule_problems(shard, "people")
    yield from _box_problems(shard, shard.numbers("pictures/size")[image])
    yield from _reprojection_problems(shard, image)


def rule_problems(shard: TableFile, table: str) -> Iterator[tuple[int, str]]:
    """List labels that break the rule of their column.

    Args:
        shard: The shard.
        table: "pictures" or "people".

    Yields:
        Row of the table, and the problem.
    """
    for column in shard.labels():
        if column.table == table and column.optional and column.kind is not Kind.ENCODED:
            for row, value in shard.values(column.path):
                if problem := value_problem(column, value):
                    yield row, f"{column.name} {problem}"


def _box_problems(shard: TableFile, sizes: NDArray[Any]) -> Iterator[PersonProblem]:
    """List boxes outside the image; a box may reach beyond it by the image's size."""
    if "people/box" not in shard:
        return
    boxes = shard.numbers("people/box")
    outside = (boxes[:, 2:] <= 0) | (boxes[:, :2] >= sizes) | (boxes[:, :2] < -sizes) | (boxes[:, 2:] > 2 * sizes)
    for row in np.flatnonzero(outside.any(-1)).tolist():  # comparisons with NaN are false
        edges = ", ".join(f"{edge:g}" for edge in boxes[row])
        yield row, f"box ({edges}) lies outside the image of {sizes[row, 0]} × {sizes[row, 1]}"


def _reprojection_problems(shard: TableFile, image: NDArray[np.int64]) -> Iterator[PersonProblem]:
    if "pictures/focal" not in shard:
        return
    focal = shard.numbers("pictures/focal")[image]
    centre = shard.numbers("pictures/size")[image] / 2
    if "pictures/principal_point" in shard:
        point = shard.numbers("pictures/principal_point")[image]
        centre = np.where(np.isnan(point), centre, point)
    for skeleton in SKELETONS:
        paths = f"people/keypoints/{skeleton}", f"people/joints/{skeleton}"
        if all(path in shard for path in paths):
            with np.errstate(invalid="ignore"):  # NaN of other bits than usual
                keypoints, joints = (shard.numbers(path).astype(float) for path in paths)
            for row, error in _misses(keypoints, joints, focal, centre):
                yield row, f"keypoints {skeleton} lie {error:.1f} pixels from where the camera sees the joints"


def _misses(
    keypoints: NDArray[Any], joints: NDArray[Any], focal: NDArray[Any], centre: NDArray[Any]
) -> Iterator[tuple[int, float]]:
    """Yield rows whose keypoints (P, J, 3) miss their joints (P, J, 4), with the median in pixels."""
    for row in np.flatnonzero(~np.isnan(focal)).tolist():
        points = keypoints[row]
        positions = joints[row]
        usable = (points[:, 2] > 0) & (positions[:, 3] > 0) & (positions[:, 2] > _NEAR)
        if usable.sum() < 3:
            continue
        # The median of the errors against a share of the person's size: a few joints may be annotated badly.
        pixels = positions[usable, :2] / positions[usable, 2:3] * focal[row] + centre[row]
        error = float(np.median(np.linalg.norm(pixels - points[usable, :2], axis=-1)))
        extent = float(np.linalg.norm(np.ptp(pixels, axis=0)))
        if not error <= _PIXELS + _SHARE * extent:
            yield row, error


def map_problem(name: str, pixels: NDArray[Any], people: int) -> str:
    """Describe the impossible value of a decoded label map; "" if there is none.

    Args:
        name: Name of the map.
        pixels: (H, W) or (H, W, C) values.
        people: Number of people in the image.
    """
    limits: Mapping[str, int] = {
        "persons": people,
        "parts": len(SMPL24),
        "densepose": DENSEPOSE_CHARTS,
        "garments": len(GARMENTS),
    }
    if name not in limits:
        return ""
    largest = int((pixels[..., 0] if pixels.ndim == 3 else pixels).max(initial=0))
    return f"says {largest} where {limits[name]} is the maximum" if largest > limits[name] else ""


@dataclass(frozen=True)
class FileReport:
    """The result of checking a file.

    Attributes:
        path: The file.
        images: Number of its images.
        people: Number of its people.
        problems: Problems of its records ("image 'a/0': size: …") or of the file itself.
    """

    path: Path
    images: int
    people: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """The result of checking a cache.

    Attributes:
        files: Reports on all its files.
        missing: Numbers of shards in its plan that the index does not join.
    """

    files: tuple[FileReport, ...]
    missing: tuple[int, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether anything is wrong, apart from shards that are still to be made."""
        return any(file.problems for file in self.files)


def verify_cache(path: Path | str, *, threads: int = 1, progress: Progress = no_progress) -> Verification:
    """Read everything in a cache and check it; damage is reported in the result.

    Args:
        path: The cache's folder, its index, or a single shard.
        threads: Number of shards to check at once.
        progress: Called from any thread.

    Raises:
        InputError: If this is not a cache.
    """
    path = Path(path)
    refuse_pipes(path)
    if path.is_file() and path.name != INDEX_NAME:
        return Verification((_Check(progress).shard(ShardEntry(path, 0, 0)),))
    folder = path if path.is_dir() else path.parent
    if not (folder / INDEX_NAME).exists() and not any(folder.glob(SHARD_PATTERN)):
        raise InputError(path, "is no dataset cache", expected=f"a folder with {INDEX_NAME}")
    index, entries, missing = _index(folder)
    check = _Check(progress)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            return Verification((*index, *pool.map(check.shard, entries)), missing)
        except BaseException:
            check.stop.set()  # the others stop at their next image
            raise


def _index(folder: Path) -> tuple[tuple[FileReport, ...], list[ShardEntry], tuple[int, ...]]:
    """Report on the index; return the report, the existing shards, and the missing ones."""
    path = folder / INDEX_NAME
    present = [ShardEntry(shard, 0, 0) for shard in sorted(folder.glob(SHARD_PATTERN))]
    if not path.exists():
        headers = []
        for entry in present:
            with suppress(InputError):  # reported with the shard
                headers.append(TableFile(entry.path, "shard").header)
        plan_numbers = range(max((header.shard_count for header in headers), default=0))
        # The process that writes the last missing shard makes the index.
        if missing := tuple(sorted({*plan_numbers} - {header.shard for header in headers})):
            return (), present, missing
        return (_failed(path, "is missing; run hpc preprocess with the same options again"),), present, ()
    try:
        index = TableFile(path, "index")
        index.check()
        entries = shard_entries(index)
    except InputError as error:
        return (_failed(path, str(error)),), present, ()
    header = index.header
    problems = [*_changed(index), *index_problems(index)]
    missing = tuple(sorted(set(range(header.shard_count)) - set(index.numbers("shards/number").tolist())))
    return (FileReport(path, header.picture_count, header.person_count, tuple(problems)),), entries, missing


def _failed(path: Path, problem: str) -> FileReport:
    """Report a file that cannot be read; the problem does not repeat the file's name."""
    return FileReport(path, 0, 0, (problem.removeprefix(f"{path}: "),))


def changed_datasets(file: TableFile) -> Iterator[str]:
    """Yield the names of datasets whose bytes differ from the written ones.

    Args:
        file: A shard or index.
    """
    checksums = file.checksums_of_datasets()
    for name, array in file.arrays():
        if zlib.crc32(bytes_of(array)) != checksums[name]:
            yield name


def _is_encoded(file: TableFile, name: str) -> bool:
    column = file.columns.get(name.removesuffix("/values"))
    return column is not None and column.kind is Kind.ENCODED


def _changed(file: TableFile) -> Iterator[str]:
    wrong = list(changed_datasets(file))
    for name in wrong:
        if not _is_encoded(file, name):  # those are named one by one
            yield f"column {name}: does not match its checksum"
    if not wrong and digest_of_arrays(file.arrays()) != file.header.content_digest:
        yield "its contents do not match the digest in its header"


class _Check:
    """Checks shards, several at once."""

    def __init__(self, progress: Progress) -> None:
        self.stop = threading.Event()
        self._progress = progress
        self._image_count = 0
        self._lock = threading.Lock()

    def shard(self, entry: ShardEntry) -> FileReport:
        """Check everything about one shard."""
        path = entry.path
        try:
            shard = TableFile(path, "shard")
            shard.check()
            problems = list(self._problems(shard, entry))
        except InputError as error:
            return _failed(path, str(error))
        return FileReport(path, shard.header.picture_count, shard.header.person_count, tuple(problems))

    def _problems(self, shard: TableFile, entry: ShardEntry) -> Iterator[str]:
        if entry.digest and entry.digest != shard.header.content_digest:
            yield "is not the shard that the index was made for"
        yield from _changed(shard)
        contradictions = list(relation_problems(shard))
        yield from contradictions
        if contradictions:  # labels cannot be assigned to people
            return
        names = shard.texts("pictures/name")
        images = shard.numbers("people/picture").tolist()
        people = [shard.people_of(row) for row in range(len(names))]

        def record(table: str, row: int) -> str:
            if table == "pictures":
                return f"image {names[row]!r}"
            return f"image {names[images[row]]!r}, person {row - people[images[row]].start}"

        yield from self._encoded(shard, people, record)
        for row, text in rule_problems(shard, "pictures"):
            yield f"{record('pictures', row)}: {text}"
        for row, text in label_problems(shard):
            yield f"{record('people', row)}: {text}"

    def _encoded(self, shard: TableFile, people: Sequence[range], record: Callable[[str, int], str]) -> Iterator[str]:
        """Read and decode every image, map and mask."""
        columns = [column for column in shard.labels() if column.kind is Kind.ENCODED]
        for row, person_rows in enumerate(people):
            if self.stop.is_set():
                return
            for column in columns:
                for number in person_rows if column.table == "people" else (row,):
                    path = column.path
                    text = shard.encoded_problem(path, number) or _decoding_problem(
                        shard, path, number, len(person_rows)
                    )
                    if text:
                        yield f"{record(column.table, number)}: {column.name} {text}"
            with self._lock:
                self._image_count += 1
                self._progress(self._image_count, None, "images")


def _decoding_problem(shard: TableFile, path: str, row: int, people: int) -> str:
    """Describe why bytes cannot be decoded, or the impossible value of a map; "" if all is well."""
    data = shard.encoded(path, row)
    if not data:
        return ""
    if problem := decoding_problem(data):
        return f"cannot be decoded ({problem})"
    if not path.startswith("pictures/maps/"):
        return ""
    pixels = decode_png(data)
    return "cannot be decoded" if pixels is None else map_problem(path.rpartition("/")[2], pixels, people)
