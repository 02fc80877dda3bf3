"""What a batch is asked to do, and what a worker hands back for an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanpose_cli.batch.items import Item
from humanpose_cli.batch.ledger import Entry
from humanpose_cli.batch.shards import WHOLE, Shard

__all__ = ["Batch", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a worker hands back for an item that did not fail.

    outputs  files written, in the order written
    details  further JSON values for the result
    problem  one sentence if only part of the item could be done; a rerun with --retry-failed does it again
    """

    outputs: tuple[Path, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Batch:
    """How a batch is run.

    command        its name, part of the key of every item
    out            output folder; ledger and run.json are kept there
    options        JSON values of everything that decides a result, and of nothing else
    shard          the part of the items that this process does
    resume         skip what an earlier run finished
    retry_failed   do again what an earlier run failed at
    overwrite      replace results that other options made
    verify_inputs  know an unchanged input by its contents instead of size and time
    recall         (item, entry) -> details of an item that an earlier run did, read from its outputs
    arguments      the command line, for run.json
    """

    command: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    shard: Shard = WHOLE
    resume: bool = True
    retry_failed: bool = False
    overwrite: bool = False
    verify_inputs: bool = False
    recall: Callable[[Item, Entry], Mapping[str, Any]] | None = None
    arguments: tuple[str, ...] = ()
