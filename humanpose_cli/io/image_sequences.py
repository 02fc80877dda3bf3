"""Whether images are one sequence, and the order of their names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import image_size

_READERS = 8


def natural_order(path: Path | str) -> tuple[object, ...]:
    """Sort key by which `img2` comes before `img10`; ties keep the order of the characters."""
    text = str(path)
    parts = re.split(r"(\d+)", text)
    return tuple((int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)), text


@dataclass(frozen=True)
class SequenceVerdict:
    """Whether images are one sequence, what decides it (a phrase about the images), and the images in the order of
    their numbers.

    pattern  the numbered pattern (`f_%04d.png`) by which they are one sequence all the same; "" where there is none
    """

    is_sequence: bool
    reason: str
    files: tuple[Path, ...]
    pattern: str = ""

    def message(self, folder: str) -> str:
        """Describe what is done with the images of a folder, and how they become one sequence."""
        if self.is_sequence:
            return f"{folder}: one sequence of {len(self.files)} images, {self.reason}"
        remedy = f" ({os.path.join(folder, self.pattern)} makes them one sequence)" if self.pattern else ""
        return f"{folder}: {len(self.files)} images {self.reason}, each taken on its own{remedy}"


def check_sequence(files: Sequence[Path]) -> SequenceVerdict:
    """Recognize one sequence: at least two images, one number in their names counts up by one, and all have one size.
    An image whose header cannot be read does not decide; it is reported when its turn comes.
    """
    files = sorted(files, key=lambda path: natural_order(path.name))

    def independent(reason: str, pattern: str = "") -> SequenceVerdict:
        return SequenceVerdict(False, reason, tuple(files), pattern)

    if len(files) < 2:
        return independent("without a second one")
    series = _numbered_series([path.name for path in files])
    if series is None:
        return independent("whose names are no numbered series")
    numbers, pattern = series
    if pattern.count("%") > 1:  # of the names themselves: no pattern would find them
        pattern = ""
    pairs = sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])
    if len(set(numbers)) < len(numbers):
        return independent("with a number that occurs twice")
    if pairs[-1][0] - pairs[0][0] >= len(files):
        return independent("with gaps in their numbers", pattern)
    sizes = _sizes([file for _, file in pairs])
    distinct = sorted(set(sizes.values()))
    if len(distinct) > 1:
        sizes_text = ", ".join(f"{width} × {height}" for width, height in distinct[:3])
        return independent(f"of different sizes ({sizes_text}{' …' if len(distinct) > 3 else ''})", pattern)
    if not distinct:
        return independent("that cannot be read")
    width, height = distinct[0]
    reason = f"{width} × {height}, numbers {pairs[0][0]} to {pairs[-1][0]}"
    return SequenceVerdict(True, reason, tuple(file for _, file in pairs))


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


def _sizes(files: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    def look(file: Path) -> tuple[int, int] | None:
        try:
            return image_size(file)
        except InputError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:  # headers on a network mount wait, not work
        pairs = zip(files, pool.map(look, files), strict=True)
        return {file: size for file, size in pairs if size is not None}
