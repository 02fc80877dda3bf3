"""What is left to do: items against what the ledgers of earlier runs say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from humanpose_cli.batch.items import Item, content_digest, fingerprint
from humanpose_cli.batch.job import Batch
from humanpose_cli.batch.ledger import Entry, History
from humanpose_cli.errors import HpcError, UsageError

__all__ = ["Decision", "decide", "refuse_conflicts"]


class Decision(Enum):
    """What to do with an item: work on it, skip it as done, or tell again how it failed."""

    DO = "do"
    SKIP = "skip"
    FAILED_BEFORE = "failed before"


def decide(item: Item, batch: Batch, digest: str, history: History) -> Decision:
    """Decide about one item, given this run's options digest."""
    entry = history.of(batch.command, item)
    if entry is None or not batch.resume or entry.options != digest or not _unchanged(item, entry, batch):
        return Decision.DO
    if not all((batch.out / output).exists() for output in entry.outputs):
        return Decision.DO
    if entry.done:
        return Decision.SKIP
    return Decision.DO if batch.retry_failed else Decision.FAILED_BEFORE


def refuse_conflicts(items: Sequence[Item], batch: Batch, digest: str, history: History) -> None:
    """Raise UsageError, before anything is done, if results of something else would be replaced.

    That is: results of the same item with other options, of another folder's item with the same relative path, or of
    another item or command that wrote one of the very files that this item will write.
    """
    if batch.overwrite:
        return
    writers = history.writers()
    for item in items:
        own = history.of(batch.command, item)
        if own is not None and _standing(own, batch):
            if own.options != digest:
                raise _refusal(item, batch, _changed_options(own, batch.options, history))
            if _other_folder(item, own) and not _unchanged(item, own, batch):
                raise _refusal(item, batch, f"another picture or video of that name, from {own.root}")
        for output in item.outputs:
            writer = writers.get(Path(os.path.relpath(output, batch.out)).as_posix())
            other = writer is not None and (writer.command, writer.path) != (batch.command, item.key)
            if other and writer is not None and output.exists():
                raise _refusal(item, batch, f"hpc {writer.command} of {writer.path}")


def _standing(entry: Entry, batch: Batch) -> bool:
    return any((batch.out / output).exists() for output in entry.outputs)


def _other_folder(item: Item, entry: Entry) -> bool:
    return bool(entry.root) and item.root is not None and str(item.root.resolve()) != entry.root


def _unchanged(item: Item, entry: Entry, batch: Batch) -> bool:
    try:
        if batch.verify_inputs:
            return bool(entry.content) and content_digest(item) == entry.content
        return entry.same_input(fingerprint(item))
    except HpcError:
        return False  # its turn will come, and then it fails with the reason


def _changed_options(entry: Entry, options: Mapping[str, Any], history: History) -> str:
    """Name what differs, such as `other options (people=all, was largest)`."""
    before = _leaves(history.options.get(entry.options, {}))
    now = _leaves(json.loads(json.dumps(options, default=str)))  # as a ledger keeps them: tuples are lists there
    changed = [
        f"{name}={now.get(name)}, was {before.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return f"other options ({'; '.join(changed)})" if before and changed else "other options"


def _leaves(options: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Options with nested ones under dotted names, so that only what differs need be named."""
    leaves: dict[str, Any] = {}
    for name, value in options.items():
        leaves |= _leaves(value, f"{within}{name}.") if isinstance(value, Mapping) else {within + name: value}
    return leaves


def _refusal(item: Item, batch: Batch, origin: str) -> HpcError:
    return UsageError(
        batch.out,
        f"already holds the results of {item.key} made by {origin}",
        remedy="--overwrite replaces them, another --out keeps both",
    )
