"""Every reader of files, given files with random bytes changed, gives a result or a sentence: no traceback, no hang.

HPC_CORRUPTIONS=1000 in the environment tries that many a reader in place of a few; `tools/fuzz_readers.py` looks for
bytes that lead to code that no others reached.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from helpers.readers import READERS, try_reader

CORRUPTIONS = int(os.environ.get("HPC_CORRUPTIONS", "12"))
LONGEST = 10.0  # seconds a file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_random_bytes_give_a_result_or_a_sentence(tmp_path, name):
    path = tmp_path / name
    READERS[name][0](path)
    if name != "smpl.pkl":  # a whole one has 35 MB
        READERS[name][1](path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    generator = np.random.default_rng(7)
    path.write_bytes(b"")  # of which some libraries say nothing at all
    try_reader(name, path)
    for number in range(CORRUPTIONS):
        damaged = whole.copy()
        reach = len(whole) if number % 2 else min(len(whole), 300)  # headers are what readers believe
        damaged[generator.integers(0, reach, 1 + number % 6)] = generator.integers(0, 256, 1 + number % 6)
        cut = len(damaged) if number % 4 else generator.integers(0, len(damaged))
        path.write_bytes(damaged[:cut].tobytes())
        started = time.monotonic()
        try_reader(name, path)
        assert time.monotonic() - started < LONGEST
