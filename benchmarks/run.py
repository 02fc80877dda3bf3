"""Runs the benchmarks, keeps what they measured as JSON, and writes the page of the figures that matter.

    python benchmarks/run.py              all of them but reposed_video, which needs videos of the user's
    python benchmarks/run.py skinning     only these
    python benchmarks/run.py --page       RESULTS.md and the README's figures again, from the JSON that is there

A benchmark is a script bench_NAME.py in this folder that prints one JSON object a line, each a row of its result; the
first paragraph of its docstring says what is measured. The result goes to results/MACHINE/NAME.json with the commit,
the date and the versions. RESULTS.md and the README's figures are written anew from all results (figures.py). A script
that fails is named, and the exit code is 1.

Results are kept only if git's tracked files are those of the commit, so that each can be measured again. In a changed
checkout the rows are printed and no file is written.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from figures import page, read_results, with_summary

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
PAGE = FOLDER / "RESULTS.md"
README = FOLDER.parent / "README.md"
# Scripts that need a folder of videos: they are run by themselves, and print a table instead of rows.
WITH_FOLDER = {"bench_reposed_video.py"}


def machine() -> str:
    """Processor, cores, memory and GPU in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    parts = [model, f"{os.cpu_count()} cores"]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    import torch

    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    return ", ".join(parts)


def checkout() -> tuple[str, str]:
    """The commit of this checkout, and why what is measured now does not belong to it; "" if it does.

    Results, their page and the README may differ from the commit: every benchmark changes them.
    """
    git = ["git", "-C", str(FOLDER)]
    written = ("benchmarks/results", "benchmarks/RESULTS.md", "README.md")
    others = [":(top)", *(f":(top,exclude){path}" for path in written)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "--", *others]
        changed = subprocess.check_output(status, text=True, stderr=subprocess.DEVNULL).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "this is no git checkout"
    return commit, f"not committed: {', '.join(line[3:] for line in changed)}" if changed else ""


def run(
    script: Path, arguments: Sequence[str] = (), seconds: float | None = None
) -> tuple[str, list[dict[str, object]], bool]:
    """(what is measured, rows, whether it ended well), within so many seconds; what was printed by then counts."""
    purpose = (ast.get_docstring(ast.parse(script.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    command = [sys.executable, script, *arguments]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, cwd=FOLDER.parent, timeout=seconds
        )
        printed, well = done.stdout, done.returncode == 0
    except subprocess.TimeoutExpired as late:
        printed, well = (late.stdout or b"").decode(), False
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return purpose, rows, well and bool(rows)


def keep(name: str, purpose: str, commit: str, rows: list[dict[str, object]]) -> None:
    """Write a benchmark's result on this machine, and the page that all results give."""
    from humanpose_cli.batch.ledger import installed_versions

    where = machine()
    result = {
        "benchmark": name,
        "purpose": purpose,
        "machine": where,
        "commit": commit,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {"python": platform.python_version()}
        | dict(installed_versions(("torch", "warp-lang", "numpy", "onnxruntime"))),
        "rows": rows,
    }
    path = RESULTS / re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    write_pages()


def write_pages() -> None:
    """RESULTS.md and the README's table, from all results."""
    results = read_results(RESULTS)
    PAGE.write_text(page(results), "utf-8")
    README.write_text(with_summary(README.read_text("utf-8"), results), "utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["--page"]:
        write_pages()
        return 0
    everything = [path for path in sorted(FOLDER.glob("bench_*.py")) if path.name not in WITH_FOLDER]
    scripts = [FOLDER / f"bench_{name}.py" for name in arguments] or everything
    missing = [script.name for script in scripts if not script.exists()]
    if missing:
        there = ", ".join(path.stem.removeprefix("bench_") for path in everything)
        raise SystemExit(f"{', '.join(missing)}: no such benchmark; there are {there}")
    return record([(script, (), None) for script in scripts])


def record(runs: Sequence[tuple[Path, Sequence[str], float | None]]) -> int:
    """Run scripts with their arguments and seconds, keep each one's result, name those that failed: the exit code."""
    failed = []
    for script, arguments, seconds in runs:
        name = script.stem.removeprefix("bench_")
        before, problem = checkout()
        print(f"{name} …{f' not kept, {problem}' if problem else ''}", file=sys.stderr)
        purpose, rows, well = run(script, arguments, seconds)
        if not well:
            failed.append(name)
        if rows and not problem and checkout() == (before, ""):
            keep(name, purpose, before, rows)
        print(purpose, *(json.dumps(row) for row in rows), "", sep="\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
