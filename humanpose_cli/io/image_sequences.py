"""Recognition of images that are one sequence, and the order of their names."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import image_size_and_time, thumbnail

_READERS = 8
_CAMERA_NAME = re.compile(
    r"(IMG|_MG|MVIMG|IMAG|DSC|_DSC|DSCN|DSCF|PXL|DJI|GOPR|SAM|CIMG|PICT|IMGP|HPIM|SDC|KIF|WP|P\d{3})[-_]?\d{4}"
)
"""Beginnings of names that cameras and phones give to photographs; they count up like frames."""
_MIN_SHARE = 0.8  # of the numbers between the first and the last one that a sequence has
_MAX_GAPS = 5  # missing numbers that are listed
_MAX_NUMBER = 9_999_999  # of a frame: a day has 5,184,000 at 60 a second
_MAX_SECONDS = 1.0  # from one frame to the next; bursts of photographs are as fast as slow sequences
_MAX_PAIRS = 8  # pairs of neighbours that are compared
_THUMBNAIL = (32, 24)
_MIN_CORRELATION = 0.5  # of two thumbnails; frames of walking cameras have 0.8 and more, other views 0.1
_Header: TypeAlias = "tuple[tuple[int, int], float | None]"  # size, seconds
_MIN_CONTRAST = 2.0  # grey levels: thumbnails with less contrast are not compared


def natural_order(path: Path | str) -> tuple[object, ...]:
    """Return a sort key by which `img2` comes before `img10`; ties are sorted by characters."""
    text = str(path)
    parts = re.split(r"(\d+)", text)
    return tuple((int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)), text


NUMBER_PLACEHOLDER = re.compile(r"%(?:0(?P<width>\d+))?d|(?:(?P<first>\d+)-(?P<last>\d+))?(?P<places>#+|@+)")


def min_digits(placeholder: re.Match[str]) -> int:
    """Return the minimum number of digits: 4 for `%04d`, `####`, `@@@@` and `#`, as compositing programs write them."""
    places = placeholder["places"]
    return int(placeholder["width"] or 1) if places is None else 4 if places == "#" else len(places)


def numbered_paths(path: Path, numbers: Iterable[int]) -> list[Path]:
    """Return the files of a pattern with %04d before its ending, or the path itself if it is none."""
    match = re.fullmatch(r"(.*)%0?(\d*)d(\.\w+)", path.name)
    return [path.with_name(f"{match[1]}{n:0{match[2] or 1}d}{match[3]}") for n in numbers] if match else [path]


def numbered_path(pattern: Path, number: int) -> Path | None:
    """Return a file of a numbered pattern: `f_0007.png` for `f_%04d.png` and 7; None if the name has no pattern."""
    match = NUMBER_PLACEHOLDER.search(pattern.name)
    if match is None:
        return None
    digits = f"{number:0{min_digits(match)}d}"
    return pattern.with_name(pattern.name[: match.start()] + digits + pattern.name[match.end() :])


def sequence_name(pattern: Path) -> str:
    """Return a file's name, of a numbered pattern without numbers: `shot.exr` for `shot.%04d.exr`.

    `%04d.exr` has the name of its folder, `plates.exr`.
    """
    match = None if pattern.exists() else NUMBER_PLACEHOLDER.search(pattern.name)
    if match is None:
        return pattern.name
    before = pattern.name[: match.start()].rstrip("._- ") or pattern.absolute().parent.name or "root"
    return before + pattern.name[match.end() :]


@dataclass(frozen=True)
class SequenceVerdict:
    """The answer whether images are one sequence.

    Attributes:
        is_sequence: Whether they are.
        reason: The reason, a phrase about the images.
        files: The images in the order of their numbers.
        numbers: Their numbers, rising; () if the names have none.
        pattern: Numbered pattern (`f_%04d.png`) by which the user can make them one sequence; "" if there is none.
    """

    is_sequence: bool
    reason: str
    files: tuple[Path, ...]
    numbers: tuple[int, ...] = ()
    pattern: str = ""

    def message(self, folder: str) -> str:
        """Describe how the images of a folder are used, and how they can become one sequence."""
        if self.is_sequence:
            return f"{folder}: one sequence of {len(self.files)} images, {self.reason}"
        remedy = f" ({os.path.join(folder, self.pattern)} makes them one sequence)" if self.pattern else ""
        return f"{folder}: {len(self.files)} images {self.reason}, each taken on its own{remedy}"


def check_sequence(files: Sequence[Path]) -> SequenceVerdict:
    """Decide whether images are one sequence.

    A sequence has at least two images of one size. One number in their names counts up by one, with few gaps, and
    neighbours look alike. Photographs also count up: images are independent if their EXIF times are more than a second
    apart, or if they have a camera's names and not all of them have such times.

    Images with unreadable headers are ignored here; reading reports them.
    """
    files = sorted(files, key=lambda path: natural_order(path.name))

    def independent(reason: str, pattern: str = "") -> SequenceVerdict:
        return SequenceVerdict(False, reason, tuple(files), pattern=pattern)

    if len(files) < 2:
        return independent("without a second one")
    series = _numbered_series([path.name for path in files])
    if series is None:
        return independent("with names that are no numbered series")
    numbers, pattern = series
    if pattern.count("%") > 1:  # the names contain %, so that no pattern matches them
        pattern = ""
    pairs = sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])
    if len(set(numbers)) < len(numbers):
        return independent("with a number that occurs twice")
    if len(files) < _MIN_SHARE * (pairs[-1][0] - pairs[0][0] + 1):
        return independent("with gaps in their numbers", pattern)
    ordered = [file for _, file in pairs]
    headers = _headers(ordered)
    distinct = sorted({size for size, _ in headers.values()})
    if len(distinct) > 1:
        sizes_text = ", ".join(f"{width} × {height}" for width, height in distinct[:3])
        return independent(f"of different sizes ({sizes_text}{' …' if len(distinct) > 3 else ''})", pattern)
    if not distinct:
        return independent("that cannot be read")
    if reason := _photographs(ordered, headers):
        return independent(reason, pattern)
    width, height = distinct[0]
    return numbered_sequence({file: number for number, file in pairs}, f"{width} × {height}")


def numbered_sequence(files: Mapping[Path, int], reason: str) -> SequenceVerdict:
    """Return files, in the order of their numbers, as one sequence; the reason tells missing numbers."""
    numbers = tuple(files.values())
    if not _are_frame_numbers(numbers):
        return SequenceVerdict(True, reason, tuple(files))
    between = (number for low, high in itertools.pairwise(numbers) for number in range(low + 1, high))
    missing = list(itertools.islice(between, _MAX_GAPS + 1))
    gaps = ", ".join(map(str, missing[:_MAX_GAPS])) + (" …" if len(missing) > _MAX_GAPS else "")
    reason += f", numbers {numbers[0]} to {numbers[-1]}" + (f" without {gaps}" if missing else "")
    return SequenceVerdict(True, reason, tuple(files), numbers)


def frame_numbers_of(files: Sequence[Path]) -> tuple[int, ...]:
    """Return the rising numbers in which the names of files differ, or that a video's one frame has; () for others."""
    names = [path.name for path in files]
    series = _numbered_series(names) if len(names) > 1 else None
    numbers = tuple(series[0] if series else map(int, filter(str.isdecimal, names[:1])))
    return numbers if numbers and _are_frame_numbers(numbers) else ()


def _are_frame_numbers(numbers: Sequence[int]) -> bool:
    """Return whether numbers rise and are none of a clock, such as nanoseconds."""
    return numbers[-1] <= _MAX_NUMBER and all(low < high for low, high in itertools.pairwise(numbers))


def _photographs(files: Sequence[Path], headers: Mapping[Path, _Header]) -> str:
    """Explain why numbered images of one size are photographs; "" if they are frames."""
    times = [headers[file][1] for file in files if file in headers]
    steps = [abs(b - a) for a, b in itertools.pairwise(times) if a is not None and b is not None]
    if steps and max(steps) > _MAX_SECONDS:
        return "that were taken more than a second apart by EXIF"
    if _CAMERA_NAME.match(files[0].name) and len(steps) < len(files) - 1:
        return "with a camera's names"
    return "" if _look_alike(files) else "with neighbours that show different views"


def _numbered_series(names: Sequence[str]) -> tuple[list[int], str] | None:
    """Find the one number in which the names differ, and their pattern; None if they differ in anything else."""
    split = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(parts[::2]) for parts in split}) != 1:
        return None
    columns = zip(*split, strict=True)
    changing = [i for i, column in enumerate(columns) if i % 2 and len(set(map(int, column))) > 1]
    if len(changing) != 1:
        return None
    digits = [parts[changing[0]] for parts in split]
    width = min(map(len, digits))
    has_zeros = any(text.startswith("0") for text in digits) and width > 1
    parts = split[0]
    parts[changing[0]] = f"%0{width}d" if has_zeros else "%d"
    return [int(text) for text in digits], "".join(parts)


def _headers(files: Sequence[Path]) -> dict[Path, _Header]:
    """Read size in pixels and time in seconds (None: unknown) of images with readable headers."""

    def look(file: Path) -> _Header | None:
        try:
            return image_size_and_time(file)
        except InputError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:  # network mounts answer slowly
        pairs = zip(files, pool.map(look, files), strict=True)
        return {file: header for file, header in pairs if header is not None}


def _look_alike(files: Sequence[Path]) -> bool:
    """Return whether at least half of the compared pairs of neighbours show one view."""
    starts = np.unique(np.linspace(0, len(files) - 2, _MAX_PAIRS).round().astype(int)).tolist()
    correlations = []
    for start in starts:
        try:
            pair = np.stack([thumbnail(file, _THUMBNAIL) for file in files[start : start + 2]])
        except InputError:
            continue
        pair -= pair.mean((1, 2), keepdims=True)
        deviations = np.sqrt((pair**2).mean((1, 2)))
        if deviations.min() >= _MIN_CONTRAST:
            correlations.append(float((pair[0] * pair[1]).mean() / deviations.prod()))
    return not correlations or float(np.median(correlations)) >= _MIN_CORRELATION
