"""Cost of the command line: start of `hpc --help`, a batch of 10,000 tiny images, its rerun, and its shards."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import UNSHARDED, Item, Shard, item_of
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.io.images import encode_image
from humanpose_cli.io.inputs import open_inputs

ITEMS, SHARDS, WORK = 200, 8, 0.02  # seconds an item: far less than any real one
MANY = 10_000


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


def resident_megabytes() -> float:
    """Memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure_many(folder: Path) -> None:
    """Return the time per item of a batch of tiny images, the time of a rerun, and the memory."""
    photos, out = folder / "photos", folder / "out"
    photos.mkdir()
    image = encode_image(np.zeros((8, 8, 3), np.uint8), ".jpg")
    for number in range(MANY):
        (photos / f"{number * 7919 % 999_983:06d}.jpg").write_bytes(image)  # no sequence
    calls: list[float] = []

    def write(item: Item) -> Outcome:
        (out / item.key).write_bytes(image)
        if len(calls) in (MANY // 10, MANY - 1):
            memory.append(resident_megabytes())
        calls.append(0.0)
        return Outcome((out / item.key,), {"people": 1, "confidence": 0.5})

    memory: list[float] = []
    for name, scale in (("ms an item", 1000 / MANY), ("seconds to find all of it done again", 1.0)):
        started = time.perf_counter()
        items = [item_of(source, (out / source.key,)) for source in open_inputs([photos])]
        run_items(items, write, Batch("bench", out))
        tell(f"{MANY} tiny images: {name}", scale * (time.perf_counter() - started))
    assert len(calls) == MANY
    tell(f"{MANY} tiny images: MB more at the end than after a tenth", memory[1] - memory[0])


def tell(name: str, value: float, **more: object) -> None:
    """One line of JSON."""
    print(json.dumps({"name": name, "value": value, **more}))


def main() -> None:
    empty, help_seconds = start_seconds("-c", "pass"), start_seconds("-m", "humanpose_cli.cli.main", "--help")
    tell("hpc --help, seconds", help_seconds, python_alone=empty)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.jpg") for i in range(ITEMS)]
        for path in paths:
            path.write_bytes(b"x" * 100_000)
        items = [Item(path.name, (path,)) for path in paths]
        one_process = min(batch_seconds(items, [UNSHARDED]) for _ in range(2))
        parts = min(batch_seconds(items, [Shard(i, SHARDS) for i in range(SHARDS)]) for _ in range(2))
    tell(f"{ITEMS} items in {SHARDS} shards, seconds", parts, one_process=one_process)
    tell("digest, ledger line and sync of an item of 100 kB, ms", 1000 * (one_process / ITEMS - WORK))
    with tempfile.TemporaryDirectory() as folder:
        measure_many(Path(folder))


if __name__ == "__main__":
    main()
