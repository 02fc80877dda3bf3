"""Print the tables of docs/research/install-size.md: the size of a plain install.

    python tools/install_size.py

It looks at the environment that runs it: the distributions that pyproject.toml requires, directly or not, with the
bytes of their files. Times are processor seconds of a fresh interpreter, the least of five, less those of an empty one.
"""

from __future__ import annotations

import os
import platform
import runpy
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LISTED = 4.0  # MB from which a distribution has a row of its own
PROGRAMS = {
    "`hpc --help`": "from humanpose_cli.cli.main import main; main(['--help'])",
    "`import humanpose_cli`": "import humanpose_cli",
    "`hpc fit`, before its first image": "import humanpose_cli; humanpose_cli.Fitter()",
    "`import matplotlib.figure`": "import matplotlib.figure",
}


def closure(requirements: Iterable[str]) -> set[str]:
    """Normalised names of the installed distributions that requirements lead to."""
    found: set[str] = set()
    pending = [(Requirement(text), "") for text in requirements]
    while pending:
        requirement, extra = pending.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        wanted = [Requirement(text) for text in metadata.distribution(name).requires or ()]
        for each in ("", *requirement.extras):
            if (key := f"{name}[{each}]") not in found:
                found.add(key)
                pending += [(other, each) for other in wanted]
    return {key.partition("[")[0] for key in found}


def size(name: str) -> float:
    """MB of the files of a distribution, without compiled Python."""
    paths = [Path(str(path.locate())) for path in metadata.distribution(name).files or () if path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def seconds(program: str) -> float:
    """Processor seconds of a program in a fresh interpreter, the least of five."""
    timed = "import os; before = sum(os.times()[:2]); exec(os.environ['PROGRAM'])\n"
    timed += "import sys; sys.stderr.write(f'\\n{sum(os.times()[:2]) - before}')"
    environment = {**os.environ, "PROGRAM": program, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", timed], env=environment, capture_output=True, encoding="utf-8", check=True
        )
        for _ in range(5)
    ]
    return min(float(run.stderr.splitlines()[-1]) for run in runs)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    plain = closure(project["dependencies"])
    package = sum(path.stat().st_size for path in (ROOT / "humanpose_cli").rglob("*") if path.suffix != ".pyc") / 1e6
    sizes = {name: size(name) for name in plain}
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    print("| distribution | version | MB |\n|---|---|---|")
    version = runpy.run_path(str(ROOT / "humanpose_cli" / "version.py"))["__version__"]
    print(f"| humanpose-cli | {version} | {package:.0f} |")
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if sizes[name] >= LISTED:
            print(f"| {name} | {metadata.version(name)} | {sizes[name]:.0f} |")
    small = [name for name in sizes if sizes[name] < LISTED]
    print(f"| {len(small)} others | | {sum(sizes[name] for name in small):.0f} |")
    print(f"| **plain install** | | **{package + sum(sizes.values()):.0f}** |")
    print("\n| what is started | processor seconds |\n|---|---|")
    for title, program in PROGRAMS.items():
        print(f"| {title} | {seconds(program):.2f} |")


if __name__ == "__main__":
    main()
