"""Fresh processes that have loaded torch and Warp, which takes seconds: forked from one that did nothing else."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

from helpers.patience import PATIENCE


def run_fresh(code: str, cache: Path | None = None, **environment: str) -> CompletedProcess[str]:
    """Run a program in a process that has begun nothing of Warp's yet; what it printed comes back.

    cache  the folder of kernels
    """
    environment |= {"WARP_CACHE_PATH": str(cache)} if cache else {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "warp"])
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_run, args=(code, environment, streams))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise AssertionError("waited too long")
        return CompletedProcess(code, process.exitcode, *(path.read_text("utf-8") for path in streams))


def _run(code: str, environment: dict[str, str], streams: list[Path]) -> None:
    os.environ.update(environment)
    tempfile.tempdir = None  # what was loaded before may have looked for it
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out
