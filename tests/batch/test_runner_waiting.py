"""Items that cannot be done yet keep their part of the work."""

from __future__ import annotations

from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.resuming import Batch
from humanpose_cli.batch.runner import Outcome, run_items


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
