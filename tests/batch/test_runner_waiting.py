"""Items that cannot be done yet keep their part of the work, and those that take too long fail."""

from __future__ import annotations

import time

import pytest
from helpers.patience import PATIENCE

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.result import Status


def test_an_item_that_waits_keeps_its_part_and_is_left_to_a_later_run(tmp_path):
    file = tmp_path / "a.jpg"
    file.touch()

    def shares(waiting: str) -> list[list[str]]:
        parts: list[list[str]] = []
        items = [Item(key, (file,), waits=key in waiting) for key in "abcd"]
        for index in range(3):
            parts.append([])
            batch = Batch("fit", tmp_path / f"out {waiting}", shard=Shard(index, 3))
            run_items(items, lambda item: parts[-1].append(item.key) or Outcome(), batch)
        return parts

    assert sorted(key for keys in shares("") for key in keys) == list("abcd")
    assert shares("abc") == [[key for key in keys if key == "d"] for keys in shares("-")]


SHORT = 0.2  # seconds


@pytest.mark.posix
def test_an_item_that_takes_too_long_fails_and_the_next_one_is_done(tmp_path):
    def work(item):
        if item.key == "slow":
            time.sleep(PATIENCE)
        return Outcome(())

    items = [Item(name, ()) for name in ("slow", "quick")]
    result = run_items(items, work, Batch("test", tmp_path / "out", item_timeout=SHORT))
    assert [item.status for item in result.items] == [Status.ERROR, Status.SUCCESS]
    assert result.items[0].error == "slow: takes too long, expected at most 0.2 s, the `item_timeout`"
    assert result.items[0].seconds < PATIENCE / 2
    time.sleep(0.3)  # the timer of the second item has been stopped
