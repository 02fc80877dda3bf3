"""Which group goes to which shard: a rule that looks at nothing but the list of groups."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from humanpose_cli.data.cache.header import Header, options_text
from humanpose_cli.data.samples import Group, Source
from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.version import __version__

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What a cache is made of.

    header  what all its shards have in common; number, counts and digest are still to come
    shards  the groups of each shard
    """

    header: Header
    shards: tuple[tuple[Group, ...], ...]

    def pictures_of(self, shard: int) -> int:
        """How many pictures a shard will have."""
        return sum(group.count for group in self.shards[shard])


def make_plan(source: Source, shard_size: int | None) -> Plan:
    """Deal a source's groups out to shards of about `shard_size` pictures, in their order.

    A group that no longer fits begins the next shard, and one that is larger than a shard has one for itself.
    InputError for a source without groups, for two groups of one name and for an empty one; UsageError for a size
    below 1, and for options that are no JSON.
    """
    if shard_size is not None and shard_size < 1:
        raise UsageError("shard size", "is too small", expected="at least 1 picture", got=str(shard_size))
    groups = source.groups()
    _check(source.info.name, groups)
    try:
        options = options_text(source.info.options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"options of {source.info.name}", f"are no JSON values ({error})") from error
    shards = _dealt(groups, _usual_size(groups) if shard_size is None else shard_size)
    header = Header(
        kind="shard",
        source=source.info.name,
        options=options,
        tool_version=__version__,
        plan=_digest(source.info.name, options, shards),
        shard=0,
        shard_count=len(shards),
        picture_count=0,
        person_count=0,
        group_count=0,
        content_digest="",
    )
    return Plan(header, shards)


def _check(source: str, groups: Sequence[Group]) -> None:
    if not groups:
        raise InputError(source, "has no pictures")
    seen: set[str] = set()
    for group in groups:
        if group.name in seen:
            raise InputError(source, f"has two groups named {group.name!r}")
        if group.count < 1:
            raise InputError(source, f"has a group without pictures, {group.name!r}")
        seen.add(group.name)


def _usual_size(groups: Sequence[Group]) -> int:
    """Pictures a shard: a sixteenth of all, 32 to 1024, so that several processes also share a small cache.

    It does not depend on their number: the same source is the same bytes.
    """
    return min(max(-(-sum(group.count for group in groups) // 16), 32), 1024)


def _dealt(groups: Sequence[Group], shard_size: int) -> tuple[tuple[Group, ...], ...]:
    shards: list[list[Group]] = [[]]
    filled = 0
    for group in groups:
        if shards[-1] and filled + group.count > shard_size:
            shards.append([])
            filled = 0
        shards[-1].append(group)
        filled += group.count
    return tuple(tuple(shard) for shard in shards)


def _digest(source: str, options: str, shards: Sequence[Sequence[Group]]) -> str:
    """Of everything that decides what is in which shard. A group's key is the source's own affair, and may name a
    folder that another machine has elsewhere.
    """
    digest = hashlib.sha256(json.dumps([source, options]).encode())
    for shard in shards:
        for group in shard:
            pairs = sorted((list(key), [list(pair) for pair in pairs]) for key, pairs in group.pairs.items())
            digest.update(json.dumps([group.name, group.count, pairs]).encode())
        digest.update(b"\n")
    return digest.hexdigest()
