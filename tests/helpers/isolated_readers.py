"""Readers for the worker that reads files of others: harmless ones, and one for each thing that it may not do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError

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


def sleep(content: bytes) -> Any:
    time.sleep(60)


def crash(content: bytes) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def process_number(content: bytes) -> Any:
    return os.getpid()


def killed(content: bytes, worker: int) -> Any:
    """End this process if it is that worker, or any one for 0; otherwise return its number."""
    if worker in (0, os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def no_plain_value(content: bytes) -> Any:
    return slice(1)


def refuse(content: bytes) -> Any:
    raise InputError("inside", "is damaged", expected="a", got="b", remedy="c")
