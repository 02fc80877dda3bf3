"""Runs the benchmarks, keeps what they measured as JSON, and writes RESULTS.md and the figures of all pages.

    python benchmarks/run.py                  all of them but those that need something of the user's
    python benchmarks/run.py skinning         only these
    python benchmarks/run.py --real FOLDER    real_video, too, on the videos in FOLDER
    python benchmarks/run.py --tracker PYTHON mediapipe, too, with MediaPipe in this interpreter's environment
    python benchmarks/run.py --pages          RESULTS.md and the figures of all pages again, from the JSON that is there

A benchmark is a script bench_NAME.py in this folder that prints one JSON object a line, each a row of its result; the
first paragraph of its docstring says what is measured. The result goes to results/MACHINE/NAME.json with the commit,
the date and the versions. RESULTS.md, and the figures in README.md and docs/ (figures.py), are written anew from all
results. A script that fails is named, and the exit code is 1.

Results are kept only if git's tracked files are those of the commit, so that each can be measured again. In a changed
checkout the rows are printed and no file is written.
"""

from __future__ import annotations

import argparse
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

from figures import filled, page, read_results

FOLDER = Path(__file__).resolve().parent


def processor(cpuinfo: str) -> tuple[str, ...]:
    """The model named in /proc/cpuinfo, and a lack of AVX-512, with which networks are up to three times faster."""
    values = dict(re.findall(r"^(model name|flags)\s*:\s*(.+)$", cpuinfo, re.MULTILINE))
    lacks = "flags" in values and "avx512f" not in values["flags"].split()
    return (values.get("model name") or platform.processor() or platform.machine(), *["no AVX-512"] * lacks)


def machine() -> str:
    """Processor, cores, memory and GPU in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    parts = [*processor(cpuinfo.read_text() if cpuinfo.exists() else ""), f"{os.cpu_count()} cores"]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    import torch

    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    return ", ".join(parts)


def checkout() -> tuple[str, str]:
    """Return the commit of this checkout, and why measurements do not belong to it; "" if they do.

    Results and the pages with figures may differ from the commit: every benchmark changes them.
    """
    git = ["git", "-C", str(FOLDER)]
    written = ("benchmarks/results/**", "benchmarks/RESULTS.md", "README.md", "docs/**/*.md")
    excluded = [":(top)", *(f":(top,exclude,glob){path}" for path in written)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "--", *excluded]
        changed = subprocess.check_output(status, text=True, stderr=subprocess.DEVNULL).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "this is no git checkout"
    return commit, f"not committed: {', '.join(line[3:] for line in changed)}" if changed else ""


def run(
    script: Path, arguments: Sequence[str] = (), seconds: float | None = None
) -> tuple[str, list[dict[str, object]], bool]:
    """Return (title, rows, success) of a benchmark within a time limit; rows printed until then count."""
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
    from humanpose_cli.batch.run_record import installed_versions

    where = machine()
    versions = installed_versions(("torch", "warp-lang", "numpy", "onnxruntime", "onnxruntime-gpu"))
    result = {
        "benchmark": name,
        "purpose": purpose,
        "machine": where,
        "commit": commit,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {"python": platform.python_version()} | {name: v for name, v in versions.items() if v},
        "rows": rows,
    }
    path = FOLDER / "results" / re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    write_pages()


def pages() -> list[Path]:
    """Return the files with figures: the README and all of docs/."""
    return [FOLDER.parent / "README.md", *sorted((FOLDER.parent / "docs").rglob("*.md"))]


def write_pages() -> None:
    """RESULTS.md and the figures of all pages, from all results."""
    results = read_results(FOLDER / "results")
    texts = {FOLDER / "RESULTS.md": page(results)}
    for path in pages():
        try:
            texts[path] = filled(path.read_text("utf-8"), results)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(FOLDER.parent)}: {error}") from None
    for path, text in texts.items():
        path.write_text(text, "utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--real", metavar="FOLDER")
    parser.add_argument("--tracker", metavar="PYTHON")
    parser.add_argument("--pages", action="store_true")
    options = parser.parse_args(arguments)
    if options.pages:
        write_pages()
        return 0
    everything = [path.stem.removeprefix("bench_") for path in sorted(FOLDER.glob("bench_*.py"))]
    needed = {"real_video": options.real, "reposed_video": None, "mediapipe": options.tracker}
    names = options.names or [name for name in everything if needed.get(name, "none")]
    missing = [name for name in names if name not in everything]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: no such benchmark; there are {', '.join(everything)}")
    if any(needed.get(name, "none") is None for name in names):
        hints = "--real FOLDER for real_video, --tracker PYTHON for mediapipe, bench_reposed_video.py by itself"
        raise SystemExit(f"more is needed: run.py {hints}")
    given = {name: (os.path.abspath(path),) for name, path in needed.items() if path}
    return record([(FOLDER / f"bench_{name}.py", given.get(name, ()), None) for name in names])


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
