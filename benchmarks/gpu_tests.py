"""The tests that need a GPU: the engine's, and trainings, resuming, inference, detection and whole commands.

Those that failed are named on stderr with what they said. On the CPU, only the second half of them runs.

    python benchmarks/gpu_tests.py [--device cuda] [--small]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

COMMANDS = "tests/contracts/test_on_a_gpu.py"
_PROCESSES = 6  # that share one GPU


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a single test")
    settings = parser.parse_args()
    on_gpu = settings.device != "cpu"
    chosen = [f"{COMMANDS}::test_the_shipped_body_network_finds_the_same_bodies"] if settings.small else [COMMANDS]
    if on_gpu and not settings.small:
        chosen.append("tests/engine")
    environment = {**os.environ, "HPC_TEST_DEVICE": "cuda:0" if settings.device == "cuda" else settings.device}
    options = ["-m", "cuda", "-q", "--tb=short", "-n", str(_PROCESSES if on_gpu else 0)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *chosen]
        code = subprocess.run(command, stdout=sys.stderr, env=environment, check=False).returncode
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    numbers = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    print(json.dumps({**numbers, "seconds": round(float(suite.get("time", 0)), 1)}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
