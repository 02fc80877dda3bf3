"""Native code that holds the interpreter: no handler can run; the process ends all the same, with the usual code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from helpers.patience import PATIENCE

pytestmark = [pytest.mark.posix("sends POSIX signals"), pytest.mark.slow]

STUCK = """
import signal, sys, time
from humanpose_cli.batch.signals import StopSignals

def hang():
    nested = ()
    for _ in range(64):  # its hash takes longer than anyone waits
        nested = nested, nested
    print("working", flush=True)
    hash(nested)

manner = sys.argv[1]
with StopSignals(grace=0.2, hard_limit=0.5, on_abandon=lambda number: print("told", number, flush=True),
                 last_resort=manner != "without") as stop:
    with stop.item():
        if manner == "later":
            print("working", flush=True)
            while not stop.requested:
                time.sleep(0.01)
            hang()
        elif manner == "patient":
            stop.allow(900.0)
            print("working", flush=True)
            while not stop.requested:
                time.sleep(0.01)
            time.sleep(2.5)  # longer than the first limit
        else:
            hang()
print("finished", flush=True)
"""


def start(manner: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", STUCK, manner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("manner", ["at once", "later"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_native_loop_ends_with_the_code_of_the_signal(manner, number):
    reported = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    with start(manner) as process:
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == (128 + reported if sys.platform == "linux" else -signal.SIGKILL)
    assert output.splitlines()[-1] == f"told {reported:d}"


def test_work_that_may_take_longer_is_left_alone():
    with start("patient") as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "finished\n")


def test_where_the_process_cannot_end_itself_it_is_killed():
    without = "import humanpose_cli.batch.last_resort as l; l._exit_on_byte = lambda *_: None\n"
    with subprocess.Popen([sys.executable, "-c", without + STUCK, "now"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL


def test_the_second_process_ends_with_the_first():
    """It has the same output: while it lives, the output does not end."""
    with start("now") as process:
        process.kill()
        output, _ = process.communicate(timeout=PATIENCE)
    assert output == ""


def test_nothing_of_it_is_left_after_the_work():
    program = """
import os
from humanpose_cli.batch.signals import StopSignals
with StopSignals(last_resort=True):
    pass
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "no child\n"


COMMAND = """
import sys
from humanpose_cli.cli import main, table
import humanpose_cli.cli.cache as commands

def hang(*_, **__):
    nested = ()
    for _ in range(64):
        nested = nested, nested
    print("working", file=sys.stderr, flush=True)
    hash(nested)

commands._show = hang
sys.argv = ["hpc", "cache", sys.argv[1], "--json"]
sys.exit(main.main())
"""


def test_a_command_ends_within_its_promise_and_prints_its_document(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "working\n"
    process.send_signal(signal.SIGHUP)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert json.loads(output)["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["at exit", "when libraries are torn down"])
def test_a_signal_after_the_work_leaves_its_exit_code(number, moment):
    """Otherwise a farm would repeat what is done."""
    program = f"""
import atexit, sys, time
def wait():
    print("ending", file=sys.stderr, flush=True)
    time.sleep({PATIENCE} if {moment == "at exit"} else 0.3)
if {moment != "at exit"}:
    atexit.register(wait)  # runs behind what the command registers
from humanpose_cli.cli.main import main
if {moment == "at exit"}:
    atexit_of = atexit.register
    atexit.register = lambda function: (atexit_of(function), atexit_of(wait))
sys.argv = ["hpc", "--version"]
sys.exit(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "ending\n"
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
