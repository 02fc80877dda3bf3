from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from helpers import probe_commands

from humanpose_cli.cli import table
from humanpose_cli.cli.main import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.out.count("\n") == 1, "stdout must hold one document and nothing else"
        return json.loads(self.out)

    @property
    def details(self) -> dict[str, Any]:
        return self.document["items"][0]


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hpc(capsys, monkeypatch):
    """Run the command line in this process, with the commands of probe_commands beside the real ones."""
    for name, line in probe_commands.install().items():
        monkeypatch.setitem(table.COMMANDS, name, line)
    for name in ("GLOG_minloglevel", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that what the command line sets is undone afterwards
    probe_commands.CALLS.clear()

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
