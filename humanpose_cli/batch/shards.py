"""Which machine does which item: `--shard i/N` picks items by a digest of their path.

The choice depends on nothing but the item's key and N, so every shard finds its own items without asking the
others, on any operating system and in any order of the input.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from humanpose_cli.errors import UsageError

__all__ = ["WHOLE", "Shard", "shard_of"]

_SYNTAX = re.compile(r"(\d+)/(\d+)")


def shard_of(key: str, count: int) -> int:
    """Shard 0 … count-1 of an item: SHA-256 of its NFC-normalised key, as an integer, modulo `count`.

    Normalised, because macOS hands out decomposed names and Linux composed ones for the same file.
    """
    normal = unicodedata.normalize("NFC", key).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(normal).digest(), "big") % count


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` parts of the items; the default is all of them."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise UsageError(
                "--shard",
                "no such part",
                expected="i/N with 0 ≤ i < N, such as 0/4 … 3/4",
                got=f"{self.index}/{self.count}",
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/N`; UsageError if it is anything else."""
        match = _SYNTAX.fullmatch(text.strip())
        if not match:
            raise UsageError("--shard", "cannot be read", expected="i/N, such as 0/4", got=repr(text))
        return cls(int(match[1]), int(match[2]))

    def owns(self, key: str) -> bool:
        """Whether the item with this key is this shard's to do."""
        return self.count == 1 or shard_of(key, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def file_part(self) -> str:
        """The shard in a file name: `0-of-4`."""
        return f"{self.index}-of-{self.count}"


WHOLE = Shard()  # all items in one process
