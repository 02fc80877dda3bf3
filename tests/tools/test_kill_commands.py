"""Kills at random moments: a command that goes on has no faults, one that spoils or leaves something has."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.extensive import extensive

from tools import kill_commands
from tools.kill_commands import Undisturbed, a_round, differences

PROGRAM = """
import os, signal, sys, time
out, manner = sys.argv[1:]
os.makedirs(out, exist_ok=True)
for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)):
    signal.signal(number, lambda *_, code=code: os._exit(1 if manner == "wrong code" else code))
for name in "abcd":
    path = os.path.join(out, name)
    if os.path.exists(path):
        continue
    if manner == "leaves":
        open(os.path.join(out, f".{name}.{os.getpid()}"), "w").close()
    time.sleep(0.3)
    open(os.path.join(out, f"run.{name}.json"), "w").close()
    with open(path + "~", "w") as file:
        file.write("complete")
    os.replace(path + "~", path)
"""


def test_differences_are_found_but_for_records(tmp_path):
    for name, files in {"right": {"a": "1", "b": "2", "run.json": "now"}, "run": {"a": "3", ".c": ""}}.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    assert differences(tmp_path / "run", tmp_path / "right") == [
        *(".c stayed behind", "a has other bytes", "b is missing")
    ]


@pytest.mark.extensive
@pytest.mark.posix("sends POSIX signals")
@pytest.mark.parametrize("manner", ["goes on", *extensive("wrong code", "leaves")])
def test_a_round(tmp_path, monkeypatch, manner):
    def start(arguments, out: Path, folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(out), *arguments])

    monkeypatch.setattr(kill_commands, "start", start)
    monkeypatch.setattr(kill_commands, "SIGNALS", {signal.SIGTERM: 143, signal.SIGHUP: 143})
    assert start(["goes on"], tmp_path / "whole", tmp_path).wait() == 0
    undisturbed = Undisturbed([manner], tmp_path / "whole", 1.2)
    lines = list(a_round("made", undisturbed, tmp_path, 0, random.Random(1)))
    assert any(" ended in " in line for line in lines)
    faults = [line for line in lines if line.startswith("FAULT")]
    assert (faults != []) == (manner != "goes on"), lines
    if manner == "goes on":
        assert lines[-1] == "made.0: the same 4 files"
