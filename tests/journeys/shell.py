"""A line typed in a shell: what it prints on a terminal of 80 columns, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from helpers.python_sources import ROOT

from tools.run_tutorials import terminal_text

MARK = "HPC_JOURNEY"
GRACE = 5.0  # seconds in which processes may end after the one that started them
OF_TORCH = re.compile(r"torchinductor_\w+")  # an empty folder for each user, made with the first optimiser
OF_THE_TESTS = re.compile(r"PYTEST|OMP_NUM_THREADS|MALLOC_|ORT_|HPC_|COV_|MPLBACKEND|WARP_")


@dataclass(frozen=True)
class Outcome:
    """What a line has done.

    Attributes:
        code: The exit code; None if the line was ended after its time limit.
        screen: What the terminal shows in the end.
        seconds: Wall time.
        processor_seconds: Processor time of all its processes.
        processes: Command lines of processes that the line left running.
        temporary: Files that it left in the folder of temporary files.
    """

    code: int | None
    screen: str
    seconds: float
    processor_seconds: float
    processes: list[str]
    temporary: list[str]


def type_line(line: str, folder: Path, limit: float, bin_folder: Path | None = None) -> Outcome:
    """Type a line in a folder, in a shell and a process group of its own; end it after `limit` seconds.

    `bin_folder` is searched for programs first, then the folder of this interpreter, where `hpc` is.
    """
    programs = [str(path) for path in (bin_folder, Path(sys.executable).parent) if path]
    kept = {name: value for name, value in os.environ.items() if not OF_THE_TESTS.match(name)}
    token = uuid.uuid4().hex
    started, used = time.monotonic(), _processor_seconds()
    with tempfile.TemporaryDirectory() as temporary:
        environment = kept | {
            "PATH": os.pathsep.join([*programs, kept.get("PATH", "")]),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": temporary,
            "TERM": "xterm",
            MARK: token,
        }
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        shell = subprocess.Popen(
            ["bash", "-c", line],
            cwd=folder,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=os.setpgrp,  # the end of a session would end its processes, too, and hide what is left
        )
        os.close(slave)
        shown, code = _read(shell, master, started + limit)
        processes = _end_processes(token)
        os.close(master)
        left = sorted(path.relative_to(temporary).as_posix() for path in Path(temporary).rglob("*"))
    seconds = time.monotonic() - started
    screen = terminal_text(shown.decode("utf-8", "replace"))
    left = [name for name in left if not OF_TORCH.fullmatch(name)]
    return Outcome(code, screen, seconds, _processor_seconds() - used, processes, left)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(shell: subprocess.Popen[bytes], terminal: int, end: float) -> tuple[bytes, int | None]:
    """Read what a terminal shows until its shell ends, or kill its processes."""
    shown = b""
    while True:
        code = shell.poll()
        if select.select([terminal], [], [], 0.1 if code is None else 0)[0]:
            try:
                shown += os.read(terminal, 1 << 16)
                continue
            except OSError:  # all processes have closed it
                pass
        if code is not None:
            return shown, code
        if time.monotonic() > end:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            return shown, None
        time.sleep(0.02)


def _end_processes(token: str) -> list[str]:
    """Kill the processes of a line that are still there after a while, and list them."""
    end = time.monotonic() + GRACE
    time.sleep(0.05)  # a process that begins a program has no environment for a moment
    while (processes := _processes(token)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    return list(processes.values())


def _processes(token: str) -> dict[int, str]:
    """List processes with the token in their environment, and their command lines. A zombie has neither."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found[int(folder.name)] = command.strip()
        except OSError:  # it has ended, or is another user's
            continue
    return found
