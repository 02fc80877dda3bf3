"""What is in a cache, counted: for `hpc cache show`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.cache.schema import columns_of

_NOUNS = {
    "identity": ("identity", "identities"),
    "clothing": ("outfit", "outfits"),
    "activity": ("activity", "activities"),
}
_MAX_SIZES = 4


@dataclass(frozen=True)
class Coverage:
    """A label: how many of the images or people have it."""

    table: str
    name: str
    count: int
    total: int

    @property
    def percent(self) -> str:
        """The share of them: at least 1 where any has it, 100 only where all have."""
        share = math.floor(100 * self.count / self.total) if self.total else 0
        return f"{max(share, 1)} %" if self.count else "0 %"


@dataclass(frozen=True)
class Contents:
    """A cache in numbers.

    shards     (joined, planned)
    sizes      (width, height) → images, the most frequent first
    crowds     people in an image → images
    names      "identity", "clothing", "activity" → how many different ones are named
    splits     (protocol, split) → images; pairs  (protocol, split) → pairs
    """

    source: str
    options: Mapping[str, Any]
    tool_version: str
    schema_version: int
    shards: tuple[int, int]
    bytes: int
    images: int
    people: int
    groups: int
    sequences: int
    sizes: Mapping[tuple[int, int], int]
    crowds: Mapping[int, int]
    names: Mapping[str, int]
    splits: Mapping[tuple[str, str], int]
    pairs: Mapping[tuple[str, str], int]
    labels: tuple[Coverage, ...]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield (what, how much), for people."""
        shard_count, plan_count = self.shards
        yield "source", self.source
        options = (f"{name} {value}" for name, value in self.options.items() if value is not None)
        yield "options", ", ".join(options) or "none"
        yield "made by", f"hpc {self.tool_version}, schema {self.schema_version}"
        missing = f" of {plan_count}" if shard_count != plan_count else ""
        yield "shards", f"{shard_count:,}{missing}, {self.bytes / 1e6:,.1f} MB"
        yield "images", f"{self.images:,} ({self._sizes()})"
        crowds = ", ".join(f"{count:,} images with {people}" for people, count in self.crowds.items()) or "none"
        yield "people", f"{self.people:,} ({crowds})"
        names = ", ".join(f"{count:,} {_NOUNS[name][count > 1]}" for name, count in self.names.items() if count)
        yield "different", names or "no names"
        yield "groups", f"{self.groups:,}"
        yield "sequences", f"{self.sequences:,}"
        yield from _by_protocol("protocol", self.splits)
        yield from _by_protocol("pairs", self.pairs)
        for table, what in (("pictures", "images"), ("people", "people")):
            yield f"labels of {what}", self._labels(table)

    def _labels(self, table: str) -> str:
        """List labels by how many rows have them, the most frequent first."""
        shares: dict[str, list[str]] = {}
        for label in sorted(self.labels, key=lambda label: -label.count):
            if label.table == table:
                shares.setdefault(label.percent, []).append(label.name)
        return "; ".join(f"{share}: {', '.join(names)}" for share, names in shares.items()) or "none"

    def _sizes(self) -> str:
        texts = [f"{width} × {height}" for width, height in list(self.sizes)[:_MAX_SIZES]]
        more = f" and {len(self.sizes) - _MAX_SIZES} other sizes" if len(self.sizes) > _MAX_SIZES else ""
        return f"{', '.join(texts)}{more} pixels" if texts else "none"

    def document(self) -> dict[str, Any]:
        """Return the contents as JSON values."""
        return {
            "source": self.source,
            "options": dict(self.options),
            "tool_version": self.tool_version,
            "schema_version": self.schema_version,
            "shards": self.shards[0],
            "shards_planned": self.shards[1],
            "bytes": self.bytes,
            "pictures": self.images,
            "people": self.people,
            "groups": self.groups,
            "sequences": self.sequences,
            "sizes": [{"width": w, "height": h, "pictures": count} for (w, h), count in self.sizes.items()],
            "people_in_a_picture": {str(people): count for people, count in self.crowds.items()},
            "different": dict(self.names),
            "splits": {"/".join(key): count for key, count in self.splits.items()},
            "pairs": {"/".join(key): count for key, count in self.pairs.items()},
            "labels": {f"{label.table}/{label.name}": label.count for label in self.labels},
        }


def _by_protocol(what: str, counts: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, str]]:
    for protocol in dict.fromkeys(name for name, _ in counts):
        splits = [f"{split} {count:,}" for (name, split), count in counts.items() if name == protocol]
        yield f"{what} {protocol}", ", ".join(splits)


def describe(cache: Cache) -> Contents:
    """Count a cache; looks at every shard once. Raises InputError if one is damaged."""
    header = cache.header
    sizes = Counter((int(width), int(height)) for width, height in cache.images["size"][:])
    crowds = Counter(cache.images["person_count"][:].tolist())
    names = {name: np.unique(cache.people[name][:]) for name in _NOUNS}
    return Contents(
        source=header.source,
        options=header.options_values,
        tool_version=header.tool_version,
        schema_version=header.schema_version,
        shards=(len(cache.shard_paths), max(header.shard_count, 1) if header.kind == "index" else 1),
        bytes=sum(path.stat().st_size for path in cache.shard_paths),
        images=len(cache),
        people=cache.people.row_count,
        groups=len(cache.groups),
        sequences=len(cache.sequences),
        sizes=dict(sizes.most_common()),
        crowds=dict(sorted(crowds.items())),
        names={name: int((values != "").sum()) for name, values in names.items()},
        splits={(p, s): len(cache.rows(p, s)) for p, splits in cache.splits.items() for s in splits},
        pairs={(p, s): len(cache.pairs(p, s)) for p, splits in cache.pair_splits.items() for s in splits},
        # Labels that need not be there.
        labels=tuple(
            Coverage(table, name, count, total)
            for table, total in (("pictures", len(cache)), ("people", cache.people.row_count))
            for name, column in columns_of(table).items()
            if (column.optional or column.is_text) and column.path != "pictures/name"
            if (count := cache.labels.get(column.path, 0))
        ),
    )
