"""What a folder holds, and whether its pictures are one sequence or independent."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from humanpose_cli.errors import InputError
from humanpose_cli.io.images import PICTURE_SUFFIXES, picture_size
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.io.video import VIDEO_SUFFIXES

__all__ = ["FolderListing", "SequenceVerdict", "judge_sequence", "list_folder", "natural_order"]

# Never entered on the way down: archives' and systems' own folders, and where our own results go by default.
_SKIPPED_FOLDERS = {"__MACOSX", "hpc-out", "lost+found", "$RECYCLE.BIN"}
_READERS = 8


def natural_order(path: Path | str) -> tuple[object, ...]:
    """Sort key by which `img2` comes before `img10`; ties keep the order of the characters."""
    text = str(path)
    parts = re.split(r"(\d+)", text)
    return tuple((int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)), text


@dataclass
class FolderListing:
    """What lies in a folder and below it, in natural order.

    pictures  per folder that has some, its pictures
    videos  all videos
    ignored  how many other files there were (hidden ones not counted)
    errors  folders that cannot be read
    """

    pictures: dict[Path, list[Path]] = field(default_factory=dict)
    videos: list[Path] = field(default_factory=list)
    ignored: int = 0
    errors: list[InputError] = field(default_factory=list)


def list_folder(folder: Path, exclude: Collection[Path] = (), own_suffixes: Collection[str] = ()) -> FolderListing:
    """Pictures and videos by their names, at any depth; names ending in one of `own_suffixes` are our own outputs.

    Hidden files and folders, folders named in `exclude` (absolute), and `hpc-out` are passed over. Links to folders
    are followed, but no folder is entered twice.
    """
    listing = FolderListing()
    entered: set[str] = set()
    excluded = {os.path.realpath(path) for path in exclude}

    def visit(place: Path) -> None:
        real = os.path.realpath(place)
        if real in entered or (real in excluded and place != folder):
            return
        entered.add(real)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: natural_order(entry.name))
        except OSError as error:
            listing.errors.append(reading_error(place, error))
            return
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in visible:
            if not entry.is_dir() and not entry.name.endswith(tuple(own_suffixes)):
                _sort_in(listing, place / entry.name)
        for entry in visible:
            if entry.is_dir() and entry.name not in _SKIPPED_FOLDERS:
                visit(place / entry.name)

    visit(folder)
    return listing


def _sort_in(listing: FolderListing, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        listing.pictures.setdefault(path.parent, []).append(path)
    elif suffix in VIDEO_SUFFIXES:
        listing.videos.append(path)
    else:
        listing.ignored += 1


@dataclass(frozen=True)
class SequenceVerdict:
    """Whether pictures are one sequence, why (a clause), and the pictures in the order of their numbers."""

    is_sequence: bool
    reason: str
    files: tuple[Path, ...]


def judge_sequence(files: Sequence[Path], size_of: Callable[[Path], tuple[int, int]] = picture_size) -> SequenceVerdict:
    """One sequence if there are at least two pictures, one number in their names counts up by one, and all have
    one size. A picture whose header cannot be read does not decide; it is reported when its turn comes.
    """
    files = sorted(files, key=lambda path: natural_order(path.name))

    def independent(reason: str) -> SequenceVerdict:
        return SequenceVerdict(False, reason, tuple(files))

    if len(files) < 2:
        return independent("there is only one picture")
    numbers = _running_numbers([path.name for path in files])
    if numbers is None:
        return independent("their names are not one numbered series")
    ordered = sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])
    for (number, _), (following, _) in itertools.pairwise(ordered):
        if following != number + 1:
            return independent(
                f"number {number} comes twice" if following == number else f"number {number + 1} is missing"
            )
    sizes = _sizes([file for _, file in ordered], size_of)
    distinct = sorted(set(sizes.values()))
    if len(distinct) > 1:
        listed = ", ".join(f"{width} × {height}" for width, height in distinct[:3])
        return independent(f"their sizes differ ({listed}{' …' if len(distinct) > 3 else ''})")
    if not distinct:
        return independent("none of them can be read")
    width, height = distinct[0]
    reason = f"{len(files)} pictures of {width} × {height} with the numbers {ordered[0][0]} to {ordered[-1][0]}"
    return SequenceVerdict(True, reason, tuple(file for _, file in ordered))


def _running_numbers(names: Sequence[str]) -> list[int] | None:
    """The one number in which the names differ, or None if they differ in anything else."""
    split = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(parts[::2]) for parts in split}) != 1:
        return None
    columns = list(zip(*(parts[1::2] for parts in split), strict=True))
    changing = [column for column in columns if len({int(digits) for digits in column}) > 1]
    return [int(digits) for digits in changing[0]] if len(changing) == 1 else None


def _sizes(files: Sequence[Path], size_of: Callable[[Path], tuple[int, int]]) -> dict[Path, tuple[int, int]]:
    def look(file: Path) -> tuple[int, int] | None:
        try:
            return size_of(file)
        except InputError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:  # headers on a network mount wait, not work
        found = zip(files, pool.map(look, files), strict=True)
        return {file: size for file, size in found if size is not None}
