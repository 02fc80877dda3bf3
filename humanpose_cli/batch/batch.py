"""The settings of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from humanpose_cli.batch.items import UNSHARDED, Item, Shard
from humanpose_cli.core.progress import Progress
from humanpose_cli.outputs.desk import RunSettings
from humanpose_cli.outputs.ledger import Entry

Show: TypeAlias = Callable[[Progress, int, int | None, str], None]
Prepare: TypeAlias = Callable[[Sequence[Item], Show], Mapping[str, float]]


@dataclass(frozen=True)
class Batch(RunSettings):
    """The settings of a batch, beside those that decide about earlier results.

    Attributes:
        shard: The part of the items that this process does.
        dry_run: Whether to write nothing and only say what would be done.
        recall: (item, entry) -> the `contents` of an item that an earlier run did, read from its outputs.
        arguments: The command line, for run.json.
        group_size: Returns the number of items that `prepare` gets at once; called when there are items to do.
        prepare: Called in a thread with the next items before the worker gets them one by one; errors of an item are
            left to the worker. It returns the seconds of each item by key, without time for all items, such as loading
            models. Its second argument is called with a progress and its arguments: it shows them while the run waits,
            and raises KeyboardInterrupt if the items will not be worked on.
        prepares: Whether `prepare` works on an item; other items are left to the worker.
        past_seconds: Seconds before the run for all items, which count as the run's.
        item_timeout: Seconds after which an item fails; None for no limit.
    """

    shard: Shard = UNSHARDED
    dry_run: bool = False
    recall: Callable[[Item, Entry], Mapping[str, Any]] | None = None
    arguments: tuple[str, ...] = ()
    group_size: Callable[[], int] = lambda: 1
    prepare: Prepare | None = None
    prepares: Callable[[Item], bool] = lambda item: True
    past_seconds: float = 0.0
    item_timeout: float | None = None
