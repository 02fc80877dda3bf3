"""Reading in a process that can do no harm: what comes back, and every way in which it may end."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io import reader_process
from humanpose_cli.io.reader_process import read_apart
from humanpose_cli.io.restricted_pickle import load_pickle

FILE = Path("x.bin")
VALUES = {
    "array": np.arange(6, dtype=">i2").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "none of them": np.zeros((0, 3)),
    "one": np.array(2.5),
    "number": np.float32(0.5),
    7: [None, True, 2.5, float("inf"), "ü\udce9", b"\0", (1, (2,)), {3}, 2**80],
}


def echoed(content: bytes) -> Any:
    return {**VALUES, "content": content}


def many_lists(content: bytes) -> Any:
    value: list[Any] = []
    for _ in range(30):
        value = [value, value]
    return value


def open_file(content: bytes) -> Any:
    return Path("/etc/hostname").read_text()


def open_socket(content: bytes) -> Any:
    return socket.socket()


def start_process(content: bytes) -> Any:
    return subprocess.run(["true"]).returncode


def much_memory(content: bytes) -> Any:
    return np.ones(1 << 29).nbytes


def no_end(content: bytes) -> Any:
    while True:
        pass


def crash(content: bytes) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def no_plain_value(content: bytes) -> Any:
    return slice(1)


def refuse(content: bytes) -> Any:
    raise InputError("inside", "is damaged", expected="a", got="b", remedy="c")


@pytest.mark.posix("forks")
def test_plain_values_come_back():
    read = read_apart(FILE, echoed, b"abc", problem="is damaged")
    assert read.pop("content") == b"abc"
    np.testing.assert_equal(read, VALUES)
    assert [type(value) for value in read.values()] == [type(value) for value in VALUES.values()]
    assert read["array"].dtype == ">i2"
    read["array"][0] = 1
    with raises(InputError, subject="x.bin", problem="is damaged", expected="a", got="b", remedy="c"):
        read_apart(FILE, refuse, b"", problem="is no file")


@pytest.mark.slow
def test_where_nothing_forks_an_interpreter_reads(monkeypatch):
    monkeypatch.setattr(reader_process, "_FORKS", False)
    content = pickle.dumps({"a": np.arange(3), "b": (1, "ü")})
    np.testing.assert_equal(
        read_apart(FILE, load_pickle, content, problem="is no file"), {"a": np.arange(3), "b": (1, "ü")}
    )
    with raises(InputError, subject="x.bin", problem="is no file", got="UnpicklingError"):
        read_apart(FILE, load_pickle, b"no pickle", problem="is no file")
    monkeypatch.setattr(reader_process, "_PATIENCE", 0.01)
    with raises(InputError, subject="x.bin", problem="is no file", got="s of work"):
        read_apart(FILE, load_pickle, content, problem="is no file")


@pytest.mark.posix("needs Linux's limits")
@pytest.mark.parametrize(
    ("read", "problem", "got"),
    [
        (open_file, "is no file", "Too many open files"),
        (open_socket, "is no file", "Too many open files"),
        (start_process, "is no file", ""),
        (much_memory, "is too large unpacked", ""),
        (many_lists, "", ""),
        (no_end, "is no file", "more than 1 s of work"),
        (crash, "is no file", "damage that ends its reader"),
        (no_plain_value, "is no file", "slice, which is no plain value"),
    ],
)
def test_what_a_reader_may_not_do_is_a_sentence(monkeypatch, read, problem, got):
    monkeypatch.setattr(reader_process, "_SECONDS", 1)
    monkeypatch.setattr(reader_process, "_MEMORY", 1 << 27)
    with raises(InputError, subject="x.bin", problem=problem, got=got):
        read_apart(FILE, read, b"", problem="is no file")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        bytes(8) + b"{}",
        (2).to_bytes(8, "big") + b"{}",
        (2**60).to_bytes(8, "big") + b"{}",
        (30).to_bytes(8, "big") + b'{"array":"O","shape":[1],"size":8}',
        (46).to_bytes(8, "big") + b'{"value":{"array":"<f8","shape":[9],"size":8}}',
    ],
)
def test_damaged_replies_are_refused(monkeypatch, reply):
    monkeypatch.setattr(reader_process, "_from_fork", lambda *_: (bytearray(reply), "damage"))
    monkeypatch.setattr(reader_process, "_FORKS", True)
    with raises(InputError, subject="x.bin", problem="is no file", got="damage"):
        read_apart(FILE, echoed, b"", problem="is no file")
