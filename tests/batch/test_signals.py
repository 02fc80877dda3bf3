"""Orderly stops, in processes of their own: who is interrupted, who may finish, who is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.extensive import extensive
from helpers.patience import PATIENCE

from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.outputs.ledger import Ledger

pytestmark = pytest.mark.posix("sends POSIX signals")

BATCH = """
import hashlib, json, sys, time
from pathlib import Path
from humanpose_cli.batch.items import Item
from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.render import json_text
from humanpose_cli.outputs.atomic import atomic_path

out, manner = Path(sys.argv[1]), sys.argv[2]

def worker(item):
    output = out / f"{item.key}.txt"
    with atomic_path(output) as temporary:
        temporary.write_text("half")
        if item.key == "b":
            print("working", flush=True)
            if manner == "finishes":
                time.sleep(0.3)
            elif manner == "waits":
                time.sleep(60)
            elif manner == "computes":
                while True:
                    sum(range(1000))
            elif manner.startswith("stuck"):
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)   # minutes of native code
        temporary.write_text("whole")
    return Outcome((output,))

items = [Item(key, ()) for key in "abc"]
def abandon(number):
    print(f"abandoned {number}", flush=True)

grace = 0.5 if manner in ("waits", "computes", "stuck") else 1e6
with StopSignals(grace=grace, hard_limit=1.5 if manner == "stuck" else 1e6, on_abandon=abandon) as stop:
    result = run_items(items, worker, Batch("fit", out), stop=stop)
print(json_text(result), flush=True)
sys.exit(result.exit_code)
"""


def run(out: Path, manner: str, *signals: int) -> tuple[int, str]:
    """Start the batch, send the signals once it works on b, and wait: (exit code, what it printed)."""
    process = subprocess.Popen(
        [sys.executable, "-c", BATCH, str(out), manner], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "Traceback" not in errors
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), *extensive((signal.SIGINT, 130), (signal.SIGHUP, 143))]
)
def test_an_item_that_is_nearly_done_is_finished_and_the_next_not_begun(tmp_path, number, code):
    exit_code, output = run(tmp_path, "finishes", number)
    document = json.loads(output)
    assert (exit_code, document["status"]) == (code, "interrupted")
    assert [item["input"] for item in document["items"]] == ["a", "b"]
    assert (tmp_path / "b.txt").read_text() == "whole"
    assert not (tmp_path / "c.txt").exists()


@pytest.mark.extensive
@pytest.mark.parametrize("manner", ["waits", "computes"])
def test_a_long_item_is_abandoned_without_leaving_half_a_file(tmp_path, manner):
    exit_code, output = run(tmp_path, manner, signal.SIGTERM)
    document = json.loads(output)
    assert exit_code == 143
    assert [item["input"] for item in document["items"]] == ["a"]
    assert document["messages"] == ["2 of 3 items are left; the same command goes on with them"]
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["a.txt"]
    assert not list(tmp_path.glob(".*partial"))
    assert [path for _, path in Ledger(tmp_path).entries] == ["a"]


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_grace(tmp_path):
    exit_code, output = run(tmp_path, "waits", signal.SIGINT, signal.SIGINT)
    assert exit_code == 130
    assert json.loads(output)["status"] == "interrupted"


@pytest.mark.extensive
def test_native_code_that_cannot_be_interrupted_is_left_behind(tmp_path):
    exit_code, output = run(tmp_path, "stuck", signal.SIGTERM)
    assert (exit_code, output) == (143, "abandoned 15\n")
    assert [path for _, path in Ledger(tmp_path).entries] == ["a"]


@pytest.mark.slow
def test_a_second_signal_leaves_native_code_behind(tmp_path):
    """Both limits are days, longer than the wait for the process."""
    assert run(tmp_path, "stuck for long", signal.SIGINT, signal.SIGINT) == (130, "abandoned 2\n")


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    run(tmp_path, "waits", signal.SIGTERM)
    exit_code, output = run(tmp_path, "finishes")
    assert exit_code == 0
    assert [item["status"] for item in json.loads(output)["items"]] == ["skipped", "success", "success"]


FORKED = """
import multiprocessing, threading, time
from humanpose_cli.batch.signals import StopSignals

def sleep():
    print("working", flush=True)
    time.sleep(60)

with StopSignals(grace=900.0, hard_limit=1000.0) as stop:
    child = multiprocessing.get_context("fork").Process(target=sleep, daemon=True)
    with stop.item():
        child.start()
        while not stop.requested:
            time.sleep(0.01)
        time.sleep(1.3)  # asked twice, it would have a second
watching = [thread.name for thread in threading.enumerate() if thread.name == "stop-signals"]
print("finished", child.is_alive(), watching, flush=True)
"""


@pytest.mark.extensive
def test_a_ctrl_c_that_forked_children_hear_too_counts_once_and_is_the_parents(tmp_path):
    command = [sys.executable, "-c", FORKED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "finished True []\n")


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    threads = threading.active_count()
    with StopSignals() as stop:
        assert signal.getsignal(signal.SIGTERM) != before[0]
        assert not stop.requested
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert threading.active_count() == threads


def test_outside_an_item_a_signal_interrupts_at_once():
    with StopSignals() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_in_another_thread_it_does_nothing():
    failures = []

    def enter():
        try:
            with StopSignals():
                pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failures == []


@pytest.mark.slow
def test_a_hangup_that_is_ignored_stays_so():
    """As under nohup."""
    program = """
import signal
from humanpose_cli.batch.signals import StopSignals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with StopSignals() as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop.requested, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False True\n"


@pytest.mark.extensive
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_after_the_work_leaves_its_exit_code(number):
    """Otherwise a farm would repeat what is done."""
    program = """
import atexit, sys, time
def wait():
    print("ending", file=sys.stderr, flush=True)
    time.sleep(0.3)
atexit.register(wait)
from humanpose_cli.cli.main import main
sys.argv = ["hpc", "--version"]
sys.exit(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "ending\n"
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
