"""The first ten minutes on a GPU, as one command: what a user does, what the engine does, and how fast it is.

    python benchmarks/gpu.py              all of it, each step within its seconds
    python benchmarks/gpu.py gpu_engine   only these steps
    python benchmarks/gpu.py --device cpu --small gpu_engine gpu_training    whether the scripts themselves work

Each step's result goes to benchmarks/results, under this machine, when the step is done; run.py says when
not. Where a step reports something wrong, that comes first: an operation of gpu_engine that is not ok, a failed test of
gpu_tests, a host wait in a step of gpu_training (on stderr; nbf's two are torch.linalg.svd's own).
"""

from __future__ import annotations

import argparse
import sys

from run import FOLDER, record

__all__ = ["STEPS"]

# What is wrong shows first. Seconds, 600 in all.
STEPS = {
    "gpu_engine": 60,
    "gpu_tests": 180,
    "bench_part_warp": 35,
    "bench_rasterising": 35,
    "bench_skinning": 35,
    "bench_nbf": 40,
    "bench_warp3d": 60,
    "gpu_training": 115,
}
_HAVE_SMALL = ("gpu_tests", "gpu_training")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="gpu_tests and gpu_training in miniature")
    options = parser.parse_args(arguments)
    unknown = set(options.steps) - set(STEPS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no such step; there are {', '.join(STEPS)}")
    runs = []
    for name in options.steps or STEPS:
        small = ["--small"] if options.small and name in _HAVE_SMALL else []
        runs.append((FOLDER / f"{name}.py", ["--device", options.device, *small], STEPS[name]))
    return record(runs)


if __name__ == "__main__":
    sys.exit(main())
