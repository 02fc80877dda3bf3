"""What the package needs of an operating system, imitated on this one: nothing that POSIX alone has is needed to import
any module or to fit a photograph, and texts do not depend on the encoding of the machine (ruff's PLW1514)."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import humanpose_cli
from humanpose_cli.io.images import write_image

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
"""Modules of the standard library that Windows does not have."""

NAMES = {
    "os": (
        *("chown", "fchmod", "fork", "forkpty", "geteuid", "getuid", "getpgid", "killpg", "mkfifo", "posix_fallocate"),
        *("pread", "pwrite", "register_at_fork", "sched_getaffinity", "setsid", "sysconf", "sysconf_names", "uname"),
        *("waitid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
    ),
    "signal": (
        *("SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "pthread_kill", "pthread_sigmask", "setitimer"),
        *("alarm", "pause", "sigwait"),
    ),
}
"""Names that Windows' modules do not have, less those that the standard library of this system uses itself."""

WITHOUT_POSIX = f"""
import importlib, os, signal, sys
def take_away():
    'Other packages are loaded: they have their own ways on Windows. Ours are loaded anew.'
    for name in [name for name in sys.modules if name.partition('.')[0] == 'humanpose_cli']:
        del sys.modules[name]
    for name in {MODULES!r}:
        sys.modules[name] = None
    for module, names in {NAMES!r}.items():
        for name in names:
            vars(sys.modules[module]).pop(name, None)
"""


def run(program: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-c", program]
    return subprocess.run(line, cwd=folder, env={**os.environ, **environment}, capture_output=True)


def all_modules() -> list[str]:
    walk = pkgutil.walk_packages(humanpose_cli.__path__, "humanpose_cli.")
    return [module.name for module in walk if not module.name.endswith("__main__")]


@pytest.mark.extensive
def test_every_module_can_be_imported_without_what_posix_alone_has(tmp_path):
    load = f"for name in {all_modules()!r}:\n    importlib.import_module(name)"
    done = run(f"{WITHOUT_POSIX}\n{load}\ntake_away()\n{load}", tmp_path)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.extensive
def test_a_photograph_is_fitted_without_what_posix_alone_has(tmp_path):
    """With ledger, signals and atomic files as they are there, except for the locks themselves."""
    write_image(tmp_path / "photo.png", np.zeros((64, 64, 3), np.uint8))
    command = """
def fit(out):
    from humanpose_cli.cli.main import main
    assert main(["fit", "photo.png", "--detector", "fast", "--out", out]) == 0
fit("posix")
take_away()
fit("elsewhere")
"""
    done = run(WITHOUT_POSIX + command, tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    fits = [(tmp_path / name / "photo.png.fit.npz").read_bytes() for name in ("posix", "elsewhere")]
    assert fits[0] == fits[1]


@pytest.mark.extensive
def test_texts_on_a_console_of_western_windows_are_complete(tmp_path):
    """Of cp1252, which lacks ≤ and Ł; and no file is read or written in the machine's encoding."""
    write_image(tmp_path / "Łódź.png", np.zeros((64, 64, 3), np.uint8))
    program = (
        "import sys, warnings\nwarnings.filterwarnings('error', category=EncodingWarning, module='humanpose_cli')\n"
    )
    program += "from humanpose_cli.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    settings = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "PYTHONWARNDEFAULTENCODING": "1"}
    options = ["fit", "Łódź.png", "--detector", "fast"]
    line = [sys.executable, "-c", program, *options]
    environment = {**os.environ, **settings}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("cp1252")
    assert "\\u0141ódz".encode("cp1252") in done.stdout.replace(b"\\u017a", b"z")
    help_ = [sys.executable, "-c", program, "fit", "--help"]
    assert subprocess.run(help_, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    assert (tmp_path / "hpc-out/fit/Łódź.png.fit.npz").is_file()
