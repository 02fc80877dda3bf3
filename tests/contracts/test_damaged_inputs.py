"""Every reader of files, given files with random bytes changed, gives a result or a sentence: no traceback, no hang.

HPC_CORRUPTIONS=1000 in the environment tries that many a reader in place of a few; `tools/fuzz_readers.py` looks for
bytes that lead to code that no others reached. Files of `STRUCTURES` get other types, shapes and values as well, in a
process of their own, whose crash fails the test.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE
from helpers.readers import READERS, STRUCTURES, try_reader

CORRUPTIONS = int(os.environ.get("HPC_CORRUPTIONS", "12"))
LONGEST = 10.0  # seconds a file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_random_bytes_give_a_result_or_a_sentence(tmp_path, name):
    if name not in STRUCTURES:
        read_damaged(name, tmp_path)
        return
    process = multiprocessing.get_context("spawn").Process(target=read_damaged, args=(name, tmp_path))
    process.start()
    process.join(PATIENCE * (1 + CORRUPTIONS // 100))
    process.kill()  # where it has not ended
    process.join()
    assert process.exitcode == 0, f"reading {tmp_path / name} ended with {process.exitcode}"


def read_damaged(name: str, folder: Path) -> None:
    """Read a file whole, empty, with random bytes changed, cut off, and with its structure changed."""
    path = folder / name
    READERS[name][0](path)
    if name != "smpl.pkl":  # a whole one has 35 MB
        READERS[name][1](path)
    whole = path.read_bytes()
    generator = np.random.default_rng(7)
    path.write_bytes(b"")  # of which some libraries say nothing at all
    try_reader(name, path)
    for number in range(CORRUPTIONS):
        path.write_bytes(damaged(np.frombuffer(whole, np.uint8), number, generator))
        timed(name, path)
    for number in range(CORRUPTIONS if name in STRUCTURES else 0):
        path.write_bytes(whole)
        STRUCTURES[name](path, np.random.default_rng(number))
        timed(name, path)


def damaged(whole: np.ndarray, number: int, generator: np.random.Generator) -> bytes:
    """A file with random bytes changed, every fourth time cut off, too."""
    changed = whole.copy()
    reach = len(whole) if number % 2 else min(len(whole), 300)  # headers are what readers believe
    changed[generator.integers(0, reach, 1 + number % 6)] = generator.integers(0, 256, 1 + number % 6)
    cut = len(changed) if number % 4 else generator.integers(0, len(changed))
    return changed[:cut].tobytes()


def timed(name: str, path: Path) -> None:
    """Read the file within `LONGEST`."""
    started = time.monotonic()
    try_reader(name, path)
    assert time.monotonic() - started < LONGEST
