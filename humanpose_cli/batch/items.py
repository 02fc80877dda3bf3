"""The items of a batch, and shards.

`--shard i/N` deals the items out in turn, ranked by a digest of their keys. The choice depends only on N and the keys
of all items, so every shard finds its items without communication, on any operating system and for any order of the
input.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanpose_cli.core.errors import HpcError, UsageError
from humanpose_cli.files.paths import relative_path

if TYPE_CHECKING:
    from humanpose_cli.io.inputs import InputItem


@dataclass(frozen=True)
class Item:
    """One independent piece of work: an image, or one sequence (a video or a folder of frames).

    Attributes:
        key: Path relative to the input root with forward slashes, the name in shards and ledgers.
        files: The input files in order; their sizes and times are its fingerprint.
        label: The name for the user.
        root: The folder that `key` is relative to.
        outputs: The files that it will write, if they are known beforehand.
        journals: Files with the worker's intermediate results; they are removed when the ledger has the item.
        payload: Data for the worker; the batch never reads it.
        error: A known problem; the item then fails without reaching the worker.
        waits: Whether it cannot be done yet and is left to a later run.
    """

    key: str
    files: tuple[Path, ...]
    label: str = ""
    root: Path | None = None
    outputs: tuple[Path, ...] = ()
    journals: tuple[Path, ...] = ()
    payload: Any = None
    error: HpcError | None = None
    waits: bool = False

    @property
    def name(self) -> str:
        """The label, or the key if there is none."""
        return self.label or self.key

    @property
    def short(self) -> str:
        """The name relative to the input root, if it is a path below it and shorter."""
        if self.root is None:
            return self.name
        try:
            below = relative_path(self.name, self.root)
        except ValueError:  # Windows: another drive
            return self.name
        if below == os.curdir:
            return Path(self.name).name
        outside = below == os.pardir or below.startswith(os.pardir + os.sep)
        return self.name if outside or len(below) > len(self.name) else below


def item_of(source: InputItem, outputs: Sequence[Path] = (), journals: Sequence[Path] = ()) -> Item:
    """Return the item for an input of the command line; `source` is its payload."""
    return Item(
        source.key,
        source.files,
        source.label,
        source.root,
        outputs=tuple(outputs),
        journals=tuple(journals),
        payload=source,
        error=source.error,
    )


def unique_items(items: Iterable[Item]) -> list[Item]:
    """List the items in order, without duplicates.

    Raises UsageError for two different items with one key, which would write the same files.
    """
    by_key: dict[str, Item] = {}
    for item in items:
        first = by_key.setdefault(item.key, item)
        if first is not item and [path.resolve() for path in first.files] != [path.resolve() for path in item.files]:
            problem = f"would write the same files as {first.name}"
            remedy = "give their common folder as the input, or run them with different `out`"
            raise UsageError(item.name, problem, remedy=remedy)
    return list(by_key.values())


def refuse_case_twins(items: Sequence[Item], folder: Path) -> None:
    """Raise UsageError if two items' names differ only in case and the folder's file system ignores case.

    The second item would replace the results of the first on macOS, Windows and memory cards.
    """
    by_key: dict[str, Item] = {}
    for item in items:
        first = by_key.setdefault(item.key.casefold(), item)
        if first.key != item.key and ignores_case(folder):
            remedy = "rename one of them, or run two commands with different `out`"
            raise UsageError(item.name, f"would write the same files as {first.name} in {folder}", remedy=remedy)


def ignores_case(folder: Path) -> bool:
    """Return whether the file system of a folder, which need not exist, ignores case."""
    for path in (folder.absolute(), *folder.absolute().parents):
        swapped = path.with_name(path.name.swapcase()) if path.name else path
        if swapped.name != path.name and path.exists():
            return swapped.exists() and path.samefile(swapped)
    return False


_SYNTAX = re.compile(r"([0-9]{1,15})/([0-9]{1,15})")


def _rank(item: Item) -> tuple[bytes, str]:
    """Return the sort key of an item: the SHA-256 of its key in NFC, as macOS decomposes names, then the key."""
    normal = unicodedata.normalize("NFC", item.key).encode("utf-8", "surrogateescape")
    return hashlib.sha256(normal).digest(), item.key


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` parts of the items; the default is all of them."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            expected = "i/N with 0 ≤ i < N, such as 0/4 … 3/4"
            raise UsageError("shard", "no such part", expected=expected, got=str(self))

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse `i/N`. Raises UsageError for anything else."""
        match = _SYNTAX.fullmatch(text.strip())
        if not match:
            raise UsageError("shard", "cannot be read", expected="i/N, such as 0/4", got=repr(text))
        return cls(int(match[1]), int(match[2]))

    def part(self, items: Sequence[Item]) -> list[Item]:
        """List the items of this shard in order; sizes of shards differ by at most one."""
        keys = {item.key for item in sorted(items, key=_rank)[self.index :: self.count]} if self.count > 1 else None
        return [item for item in items if keys is None or item.key in keys]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def file_part(self) -> str:
        """The shard in a file name: `0-of-4`."""
        return f"{self.index}-of-{self.count}"


UNSHARDED = Shard()  # all items in one process
