"""Looks for files that make a reader fail, guided by which code their bytes reach (atheris, libFuzzer).

    pip install atheris                                  # has wheels for Python 3.11 to 3.13
    python tools/fuzz_readers.py --seconds 60            # every reader of tests/helpers/readers.py, a minute each
    python tools/fuzz_readers.py x.bvh people.json       # these

A reader fails where it raises anything but the package's errors, takes longer than ten seconds, or needs more than
2 GB. What made it fail lies in --out as READER-crash, READER-timeout-… or READER-oom-…, and what reached new code in
READER.corpus, from which the next run goes on. Files of STRUCTURES there are also changed in types, shapes and values.
The exit code is 1 where something failed. Compiled libraries (codecs,
HDF5) are run, but not seen into.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# Where files are parsed; the engine's files are read by Warp and must stay as they are.
PARSERS = (
    *(
        f"humanpose_cli.{room}"
        for room in ("io", "lab.datasets", "lab.cache", "batch", "cli.settings", "lab.evaluate.predictions")
    ),
    *("humanpose_cli.body.smpl", "humanpose_cli.networks.weights", "humanpose_cli.lab.train.trainer"),
    *("humanpose_cli.fitting.result", "humanpose_cli.fitting.detection_journal", "humanpose_cli.detect.pose_model"),
    *("humanpose_cli.models.deform_and_learn.correspondences", "scipy.io.matlab", "PIL", "tifffile", "tomllib"),
)
LONGEST = 10  # seconds a file
MEMORY = 2048  # MB of a process, torch included


def fuzz(name: str, readers: ModuleType, out: Path, seconds: int) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import atheris

    warnings.simplefilter("ignore")
    corpus = out / f"{name}.corpus"
    corpus.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / name
        readers.READERS[name][0](path)
        content = path.read_bytes()
        (corpus / "whole").write_bytes(content)

        def once(data: bytes) -> None:
            path.write_bytes(data)
            try:
                readers.try_reader(name, path)
            except BaseException:
                (out / f"{name}-crash").write_bytes(data)
                raise

        def mutated(data: bytes, max_size: int, seed: int) -> bytes:
            """Half of them by a change of the whole file's structure, half by libFuzzer."""
            if seed % 2:
                return atheris.Mutate(data, max_size)
            path.write_bytes(content)
            readers.STRUCTURES[name](path, np.random.default_rng(seed))
            return path.read_bytes()[:max_size]

        more = {"custom_mutator": mutated} if name in readers.STRUCTURES else {}
        options = {"max_total_time": seconds, "timeout": LONGEST, "rss_limit_mb": MEMORY}
        options |= {"max_len": max(4096, 4 * len(content)), "artifact_prefix": out / f"{name}-", "print_final_stats": 1}
        atheris.Setup(["fuzz", *(f"-{key}={value}" for key, value in options.items()), str(corpus)], once, **more)
        atheris.Fuzz()


def main() -> int:
    """Fuzz readers one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="READER", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader (60)")
    parser.add_argument("--out", type=Path, default=Path("fuzzed"), help="folder for what is found (fuzzed)")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    import atheris
    import torch  # noqa: F401  # before the parsers, so that it is not looked into

    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=list(PARSERS)):
        readers = importlib.import_module("helpers.readers")
    failed = 0
    for name in arguments.names or readers.READERS:
        log = out / f"{name}.log"
        child = os.fork()  # what is instrumented once serves all
        if not child:
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            fuzz(name, readers, out, arguments.seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lines = log.read_text(errors="replace").splitlines()
        tried = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
        print(f"{name}: {tried} files, {f'failed, see {log}' if code else 'nothing found'}", flush=True)
        failed += code != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
