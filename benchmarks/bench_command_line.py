"""What the command line costs beside the work: starting `hpc --help`, and dividing a batch into shards."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from humanpose_cli.batch.items import WHOLE, Item, Shard
from humanpose_cli.batch.resuming import Batch
from humanpose_cli.batch.runner import Outcome, run_items

ITEMS, SHARDS, WORK = 200, 4, 0.02  # seconds an item: far less than any real one


def start_seconds(*arguments: str, repeats: int = 15) -> float:
    """Shortest time from starting Python with these arguments to its end."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def worker(item: Item) -> Outcome:
    ending = time.perf_counter() + WORK
    while time.perf_counter() < ending:
        pass
    return Outcome()


def batch_seconds(items: list[Item], shards: list[Shard]) -> float:
    """Time to run all the shards one after the other, each writing its own ledger into one folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for shard in shards:
            run_items(items, worker, Batch("bench", Path(folder), shard=shard))
        return time.perf_counter() - started


def tell(name: str, value: float, reach: float | None = None) -> None:
    """One line of JSON; `reach` is the most it may be."""
    line = {"name": name, "value": value}
    print(json.dumps(line if reach is None else {**line, "reach": reach, "reached": value <= reach}))


def main() -> None:
    empty, whole_help = start_seconds("-c", "pass"), start_seconds("-m", "humanpose_cli.cli.main", "--help")
    tell("hpc --help beside python -c pass, seconds more", whole_help - empty, 0.3)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.jpg") for i in range(ITEMS)]
        for path in paths:
            path.write_bytes(b"x" * 100_000)
        items = [Item(path.name, (path,)) for path in paths]
        whole = min(batch_seconds(items, [WHOLE]) for _ in range(2))
        parts = min(batch_seconds(items, [Shard(i, SHARDS) for i in range(SHARDS)]) for _ in range(2))
    tell(f"{SHARDS} shards beside one process, share of time more", parts / whole - 1, 0.05)
    tell("digest, ledger line and sync of an item, ms", 1000 * (whole / ITEMS - WORK))


if __name__ == "__main__":
    main()
