"""The contents of a cache in numbers, for `hpc cache show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
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


def describe(cache: Cache) -> dict[str, Any]:
    """Count what a cache holds; reads every shard once.

    Args:
        cache: The cache.

    Returns:
        JSON values, among them:
        - shards, shards_planned: shards that the index joins, and shards of the plan.
        - sizes: the most frequent first.
        - people_in_a_picture: number of people → images.
        - different: "identity", "clothing", "activity" → number of distinct names.
        - splits, pairs: "protocol/split" → number of images or pairs.
        - labels: "table/name" of optional labels → number of rows that have them.

    Raises:
        InputError: If a shard is damaged.
    """
    header = cache.header
    sizes = Counter((int(width), int(height)) for width, height in cache.images["size"][:])
    crowds = Counter(cache.images["person_count"][:].tolist())
    names = {name: np.unique(cache.people[name][:]) for name in _NOUNS}
    return {
        "source": header.source,
        "options": header.options_values,
        "tool_version": header.tool_version,
        "schema_version": header.schema_version,
        "shards": len(cache.shard_paths),
        "shards_planned": max(header.shard_count, 1) if header.kind == "index" else 1,
        "bytes": sum(path.stat().st_size for path in cache.shard_paths),
        "pictures": len(cache),
        "people": cache.people.row_count,
        "groups": len(cache.groups),
        "sequences": len(cache.sequences),
        "sizes": [{"width": w, "height": h, "pictures": count} for (w, h), count in sizes.most_common()],
        "people_in_a_picture": {str(people): count for people, count in sorted(crowds.items())},
        "different": {name: int((values != "").sum()) for name, values in names.items()},
        "splits": {f"{p}/{s}": len(cache.rows(p, s)) for p, splits in cache.splits.items() for s in splits},
        "pairs": {f"{p}/{s}": len(cache.pairs(p, s)) for p, splits in cache.pair_splits.items() for s in splits},
        "labels": {
            column.path: count
            for table in ("pictures", "people")
            for column in columns_of(table).values()
            if (column.optional or column.is_text) and column.path != "pictures/name"
            if (count := cache.labels.get(column.path, 0))
        },
    }


def contents_lines(contents: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Format the result of `describe` as pairs of a heading and a text."""
    yield "source", contents["source"]
    yield (
        "options",
        ", ".join(f"{name} {value}" for name, value in contents["options"].items() if value is not None) or "none",
    )
    yield "made by", f"hpc {contents['tool_version']}, schema {contents['schema_version']}"
    shards = contents["shards"]
    planned_shards = contents["shards_planned"]
    missing = f" of {planned_shards}" if shards != planned_shards else ""
    yield "shards", f"{shards:,}{missing}, {contents['bytes'] / 1e6:,.1f} MB"
    yield "images", f"{contents['pictures']:,} ({_sizes(contents['sizes'])})"
    counts = contents["people_in_a_picture"].items()
    crowds = ", ".join(f"{count:,} images with {people}" for people, count in counts) or "none"
    yield "people", f"{contents['people']:,} ({crowds})"
    names = (f"{count:,} {_NOUNS[name][count > 1]}" for name, count in contents["different"].items() if count)
    yield "different", ", ".join(names) or "no names"
    yield "groups", f"{contents['groups']:,}"
    yield "sequences", f"{contents['sequences']:,}"
    for what, splits in (("protocol", contents["splits"]), ("pairs", contents["pairs"])):
        by_protocol: dict[str, list[str]] = {}
        for key, count in splits.items():
            protocol, _, split = key.rpartition("/")
            by_protocol.setdefault(protocol, []).append(f"{split} {count:,}")
        for protocol, texts in by_protocol.items():
            yield f"{what} {protocol}", ", ".join(texts)
    for table, what in (("pictures", "images"), ("people", "people")):
        yield f"labels of {what}", _labels(contents, table)


def _sizes(sizes: list[dict[str, int]]) -> str:
    texts = [f"{size['width']} × {size['height']}" for size in sizes[:_MAX_SIZES]]
    more = f" and {len(sizes) - _MAX_SIZES} other sizes" if len(sizes) > _MAX_SIZES else ""
    return f"{', '.join(texts)}{more} pixels" if texts else "none"


def _labels(contents: Mapping[str, Any], table: str) -> str:
    """Format labels by the percentage of rows that have them, the most frequent first; 100 % only for all rows."""
    shares: dict[int, list[str]] = {}
    for path, count in sorted(contents["labels"].items(), key=lambda label: -label[1]):
        if path.startswith(f"{table}/"):
            shares.setdefault(max(100 * count // contents[table], 1), []).append(path.removeprefix(f"{table}/"))
    return "; ".join(f"{share} %: {', '.join(names)}" for share, names in shares.items()) or "none"
