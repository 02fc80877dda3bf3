"""Writes constraints.txt: the newest versions that fit together, for every Python that the project supports.

    python tools/lock.py constraints.txt python3.10 python3.11 python3.12 python3.13 python3.14

Each interpreter resolves the package with its extras `dev` and `docs` in a fresh virtual environment; nothing is
installed there. torch stays at the version that constraints.txt names, because its kernels and its size decide much
else: change it by hand. Versions that differ between interpreters get a marker. What only other platforms need (torch's
CUDA packages) is left open. Needs nothing but pip.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD = "torch"
HEADER = "# Made by `make lock`. Versions that differ between Pythons carry a marker.\n"
# pip and the build tools are the environment's own business; CUDA packages are torch's, which pins them itself.
LEFT_OPEN = re.compile(r"(pip|setuptools|wheel|humanpose-cli|triton|nvidia-.*|cuda-.*)")


def held_version(constraints: Path) -> str:
    """Return the line that pins torch, without a local part such as `+cpu`."""
    found = re.search(rf"^{HELD}==([^+;\s]+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit(f"{constraints}: has no line {HELD}==VERSION to hold on to; add one")
    return f"{HELD}=={found[1]}"


def resolve(python: str, held: str) -> tuple[str, dict[str, str]]:
    """(Python's version such as 3.11, version of each package) as that interpreter would install them."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "venv")
        subprocess.run([python, "-m", "venv", environment], check=True)
        inside = environment / "bin" / "python"
        pip = [inside, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--upgrade", "pip"], check=True)
        report, pinned = Path(folder, "report.json"), Path(folder, "held.txt")
        pinned.write_text(held + "\n", encoding="utf-8")
        plan = ["install", "--dry-run", "--ignore-installed", "--report", report, "-c", pinned, f"{ROOT}[dev,docs]"]
        subprocess.run([*pip, *plan], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(report.read_text(encoding="utf-8"))
    version = ".".join(found["environment"]["python_full_version"].split(".")[:2])
    packages = {}
    for item in found["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if not LEFT_OPEN.fullmatch(name):
            packages[name] = item["metadata"]["version"].partition("+")[0]
    return version, packages


def merged(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Return the lines for all Pythons: one for each version of a package, with a marker if versions differ."""
    pythons_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for python in sorted(resolved, key=lambda version: [int(part) for part in version.split(".")]):
        for name, version in resolved[python].items():
            pythons_of[name][version].append(python)
    lines = []
    for name in sorted(pythons_of):
        for version, pythons in pythons_of[name].items():
            marker = " or ".join(f'python_version == "{python}"' for python in pythons)
            lines.append(f"{name}=={version}" + (f" ; {marker}" if len(pythons_of[name]) > 1 else ""))
    return lines


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    target, pythons = Path(arguments[0]), arguments[1:]
    held = held_version(target)
    resolved = {}
    for python in pythons:
        version, packages = resolve(python, held)
        print(f"{python}: Python {version}, {len(packages)} packages")
        resolved[version] = packages
    target.write_text(HEADER + "\n".join(merged(resolved)) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
