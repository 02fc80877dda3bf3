"""Reading in a process that can do no harm: what comes back, and every way in which it may end."""

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import isolated_readers
from helpers.errors import raises
from helpers.isolated_readers import VALUES, echoed, refuse

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.files import reader_process
from humanpose_cli.files.reader_process import read_isolated
from humanpose_cli.files.restricted_pickle import load_pickle

FILE = Path("x.bin")


@pytest.mark.posix("forks")
def test_plain_values_come_back():
    read = read_isolated(FILE, echoed, b"abc", problem="is damaged")
    assert read.pop("content") == b"abc"
    np.testing.assert_equal(read, VALUES)
    assert [type(value) for value in read.values()] == [type(value) for value in VALUES.values()]
    assert read["array"].dtype == ">i2"
    read["array"][0] = 1
    with raises(InputError, subject="x.bin", problem="is damaged", expected="a", got="b", remedy="c"):
        read_isolated(FILE, refuse, b"", problem="is no file")


@pytest.mark.extensive
def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(reader_process, "_PATIENCE", 2.0)
    with raises(InputError, subject="x.bin", problem="is no file", got="more than 2 s of work"):
        read_isolated(FILE, isolated_readers.sleep, b"", problem="is no file")
    monkeypatch.setattr(reader_process, "_PATIENCE", 60.0)
    assert read_isolated(FILE, echoed, b"next", problem="is no file")["content"] == b"next"


@pytest.mark.posix("forks")
def test_threads_and_forks_of_this_process_read_too():
    def echo(content):
        return read_isolated(FILE, echoed, content, problem="")["content"]

    contents = [b"%d" % n for n in range(6)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(echo, contents)) == contents
    process = os.fork()
    if process == 0:
        os._exit(echo(b"child") != b"child")
    assert os.waitpid(process, 0)[1] == 0
    assert echo(b"parent") == b"parent"


@pytest.mark.slow
def test_modules_in_the_working_folder_are_not_imported(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader_process, "_WORKERS", defaultdict(reader_process._Worker))
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert read_isolated(FILE, load_pickle, pickle.dumps(1), problem="is no file") == 1


@pytest.mark.posix("needs Linux's limits")
@pytest.mark.parametrize(
    ("read", "problem", "got"),
    [
        (isolated_readers.open_file, "is no file", "Too many open files"),
        (isolated_readers.open_socket, "is no file", "Too many open files"),
        (isolated_readers.start_process, "is no file", ""),
        (isolated_readers.much_memory, "is too large unpacked", ""),
        (isolated_readers.many_lists, "", ""),
        (isolated_readers.no_end, "is no file", "more than 1 s of work"),
        (isolated_readers.crash, "is no file", "damage that ends its reader"),
        (isolated_readers.no_plain_value, "is no file", "slice, which is no plain value"),
    ],
)
def test_what_a_reader_may_not_do_is_a_sentence(monkeypatch, read, problem, got):
    monkeypatch.setattr(reader_process, "_SECONDS", 1)
    monkeypatch.setattr(reader_process, "_MEMORY", 1 << 27)
    with raises(InputError, subject="x.bin", problem=problem, got=got):
        read_isolated(FILE, read, b"", problem="is no file")
    assert read_isolated(FILE, echoed, b"next", problem="is no file")["content"] == b"next"


@pytest.mark.posix("signals")
def test_a_process_that_is_killed_from_outside_is_asked_once_more():
    worker = read_isolated(FILE, isolated_readers.process_number, b"", problem="is no file")
    assert read_isolated(FILE, isolated_readers.killed, b"", worker, problem="is no file") != worker
    with raises(UnavailableError, subject="x.bin", problem="cannot be read", got="its reader was killed from outside"):
        read_isolated(FILE, isolated_readers.killed, b"", 0, problem="is no file")


@pytest.mark.slow
def test_no_process_is_left_behind():
    code = (
        "import pathlib\nfrom helpers.isolated_readers import process_number\n"
        "from humanpose_cli.files.reader_process import read_isolated\n"
        "print(read_isolated(pathlib.Path('x'), process_number, b'', problem=''))"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
