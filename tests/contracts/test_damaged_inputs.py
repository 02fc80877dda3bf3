"""Every reader of files, given files with random bytes changed, gives a result or a sentence: no traceback, no hang.

HPC_CORRUPTIONS=1000 in the environment tries that many a reader in place of a few. Files of `STRUCTURES` get other
types, shapes and values as well, in a process of their own, whose crash fails the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.errors import raises
from helpers.patience import PATIENCE
from helpers.readers import NAMING, NATIVE, READERS, read_damaged

from humanpose_cli.core.errors import InputError

CORRUPTIONS = int(os.environ.get("HPC_CORRUPTIONS", "12"))
LONGEST = 10.0  # seconds a file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in READERS if name not in NATIVE])
def test_random_bytes_give_a_result_or_a_sentence(tmp_path, name):
    read_damaged(name, tmp_path, CORRUPTIONS, LONGEST)


@pytest.mark.parametrize("name", NAMING)
def test_a_missing_file_and_one_of_another_kind_are_named(tmp_path, name):
    path, (_, read) = tmp_path / name, READERS[name]
    with raises(InputError, subject=name):
        read(path)
    path.write_bytes(b"%PDF-1.7 \xff")
    with raises(InputError, subject=name, got="a PDF document"):
        read(path)


@pytest.mark.extensive
def test_no_bytes_end_the_interpreter(tmp_path):
    """Files that compiled parsers read, in a process of their own: each name is printed before its files are tried."""
    code = (
        "import pathlib, sys, warnings; from helpers import readers; warnings.simplefilter('ignore')\n"
        "for name in readers.NATIVE:\n"
        "    print(name, flush=True)\n"
        f"    readers.read_damaged(name, pathlib.Path(sys.argv[1]), {CORRUPTIONS}, {LONGEST})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*Path(__file__).parents[1:3], *sys.path)))}
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(tmp_path)]
    patience = PATIENCE + CORRUPTIONS * len(NATIVE)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience)
    assert done.returncode == 0, f"{done.stdout.split()[-1]}: {done.stderr[-2000:]}"
    assert done.stdout.split() == list(NATIVE)
    assert not done.stderr  # ONNX Runtime's own lines would stand between those of --json
