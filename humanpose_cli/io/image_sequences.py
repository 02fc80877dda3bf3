"""Whether images are one sequence, and the order of their names."""

from __future__ import annotations

import itertools
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
    """Whether images are one sequence, why (a clause), and the images in the order of their numbers."""

    is_sequence: bool
    reason: str
    files: tuple[Path, ...]


def check_sequence(files: Sequence[Path]) -> SequenceVerdict:
    """One sequence if there are at least two images, one number in their names counts up by one, and all have
    one size. An image whose header cannot be read does not decide; it is reported when its turn comes.
    """
    files = sorted(files, key=lambda path: natural_order(path.name))

    def independent(reason: str) -> SequenceVerdict:
        return SequenceVerdict(False, reason, tuple(files))

    if len(files) < 2:
        return independent("there is only one image")
    numbers = _running_numbers([path.name for path in files])
    if numbers is None:
        return independent("their names are not one numbered series")
    ordered = sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])
    for (number, _), (following, _) in itertools.pairwise(ordered):
        if following != number + 1:
            return independent(
                f"number {number} comes twice" if following == number else f"number {number + 1} is missing"
            )
    sizes = _sizes([file for _, file in ordered])
    distinct = sorted(set(sizes.values()))
    if len(distinct) > 1:
        listed = ", ".join(f"{width} × {height}" for width, height in distinct[:3])
        return independent(f"their sizes differ ({listed}{' …' if len(distinct) > 3 else ''})")
    if not distinct:
        return independent("none of them can be read")
    width, height = distinct[0]
    reason = f"{len(files)} images of {width} × {height} with the numbers {ordered[0][0]} to {ordered[-1][0]}"
    return SequenceVerdict(True, reason, tuple(file for _, file in ordered))


def _running_numbers(names: Sequence[str]) -> list[int] | None:
    """The one number in which the names differ, or None if they differ in anything else."""
    split = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(parts[::2]) for parts in split}) != 1:
        return None
    columns = list(zip(*(parts[1::2] for parts in split), strict=True))
    changing = [column for column in columns if len({int(digits) for digits in column}) > 1]
    return [int(digits) for digits in changing[0]] if len(changing) == 1 else None


def _sizes(files: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    def look(file: Path) -> tuple[int, int] | None:
        try:
            return image_size(file)
        except InputError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:  # headers on a network mount wait, not work
        pairs = zip(files, pool.map(look, files), strict=True)
        return {file: size for file, size in pairs if size is not None}
