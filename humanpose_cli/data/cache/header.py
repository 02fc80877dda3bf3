"""What the root of a shard or of the index says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from humanpose_cli.data.cache.hdf5_files import Attributes
from humanpose_cli.data.cache.schema import FORMAT, SCHEMA_VERSION
from humanpose_cli.errors import InputError

__all__ = ["Header", "options_text"]


@dataclass(frozen=True)
class Header:
    """The root attributes.

    kind            "shard" or "index"
    source          name of the source
    options         its options as JSON with sorted keys
    tool_version    of the program that wrote the file
    plan            digest of the source, its options and groups, and how these are dealt out to shards
    shard           number of the shard; in the index how many shards it joins
    shard_count     how many shards the plan has
    picture_count, person_count, group_count   rows of these tables; in the index those of all shards together
    content_digest  SHA-256 over all datasets; see `hdf5_files.content_digest`
    """

    kind: str
    source: str
    options: str
    tool_version: str
    plan: str
    shard: int
    shard_count: int
    picture_count: int
    person_count: int
    group_count: int
    content_digest: str
    schema_version: int = SCHEMA_VERSION

    @property
    def options_values(self) -> dict[str, Any]:
        """The options as JSON values."""
        return dict(json.loads(self.options))

    @property
    def attributes(self) -> dict[str, str | int]:
        """As they are written."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, path: Path, attributes: Attributes, kind: str | None = None) -> Header:
        """From a file's root attributes.

        InputError for a file of another program, of the other kind, of a newer schema, or without an attribute.
        """
        if attributes.get("format") != FORMAT:
            raise InputError(path, "is no file of a dataset cache", expected=f"the format {FORMAT!r}")
        version = attributes.get("schema_version")
        if not isinstance(version, int):
            raise InputError(path, "does not tell the version of its schema", remedy="copy or make it again")
        if version > SCHEMA_VERSION:
            raise InputError(
                path,
                "was written by a newer version of this program",
                expected=f"schema version {SCHEMA_VERSION} or older",
                got=str(version),
                remedy="run pip install --upgrade humanpose-cli",
            )
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = attributes.get(field.name)
            if (str if field.type == "str" else int) is not type(value):
                raise InputError(path, f"lacks the attribute {field.name}", remedy="copy or make it again")
            values[field.name] = value
        header = cls(**values)
        if kind is not None and header.kind != kind:
            raise InputError(path, f"is no {kind}", got=f"the {header.kind} of a dataset cache")
        return header


def options_text(options: Mapping[str, Any]) -> str:
    """Options as JSON with sorted keys, the same for equal options. TypeError or ValueError if they are no JSON."""
    return json.dumps(dict(options), ensure_ascii=False, sort_keys=True, allow_nan=False)
