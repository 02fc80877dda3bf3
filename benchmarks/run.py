"""Runs the benchmarks and writes what they measured, with the machine and the commit, to benchmarks/RESULTS.md.

    python benchmarks/run.py              all of them
    python benchmarks/run.py skinning     only these; the other sections of this machine stay, each with its own commit

A benchmark is a script bench_NAME.py in this folder that prints one JSON object a line, each a row of its table; the
first paragraph of its docstring says what is measured. A script that fails is named, and the exit code is 1.

Sections are written only if git's tracked files are those of the commit, so that a section can be measured again. In a
changed checkout, the figures are printed and RESULTS.md stays as it is.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "RESULTS.md"
TITLE = """# Results

Measured by `make bench`. Ratios come from one run in which both sides were measured side by side, and are those of the
least times. Where two ways are compared, times are the least and, in brackets, the median; peaks are what ours / theirs
need above what was held before; the roofline is the least time that this machine's memory bandwidth and multiply rate
would allow for the data and the arithmetic that nobody can spare, and the share of it that ours reaches.
"""


def machine() -> str:
    """Processor, cores, memory and GPU in a line: the heading of this machine's part."""
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

    RESULTS.md may differ from the commit: every section that is written changes it.
    """
    git = ["git", "-C", str(RESULTS.parent)]
    others = [":(top)", ":(top,exclude)benchmarks/RESULTS.md"]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "--", *others]
        changed = subprocess.check_output(status, text=True, stderr=subprocess.DEVNULL).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "this is no git checkout"
    return commit, f"not committed: {', '.join(line[3:] for line in changed)}" if changed else ""


def software(commit: str) -> str:
    """Commit and versions, the line under a section's purpose."""
    from humanpose_cli.batch.ledger import installed_versions

    versions = installed_versions(("torch", "warp-lang", "numpy", "onnxruntime"))
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Commit {commit}, Python {platform.python_version()}, {told}."


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


def table(rows: list[dict[str, object]]) -> str:
    """A Markdown table whose columns are the keys in the order of their first appearance; a single row stands up."""
    rows = [merged(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(rows) == 1:
        rows = [{"figure": key, "value": value} for key, value in rows[0].items()]
        columns = ["figure", "value"]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def merged(row: dict[str, object]) -> dict[str, object]:
    """What `side_by_side.compare` printed, in columns that a page has room for; other rows stay as they are."""
    if "ours_min_ms" not in row:
        return row
    shown: dict[str, object] = {"name": f"{row['name']}, against {row['against']}"}
    shown["times faster (reach)"] = f"{row['ratio']} ({row['reach']})"
    for side in ("ours", "theirs"):
        shown[f"{side}, ms"] = f"{cell(row[f'{side}_min_ms'])} ({cell(row[f'{side}_median_ms'])})"
    if "ours_peak_mib" in row:
        peaks = f"{cell(row['ours_peak_mib'])} / {cell(row['theirs_peak_mib'])}"
        asked = f" ({row['memory_ratio']}×, reach {row['memory_reach']})" if "memory_reach" in row else ""
        shown["peak, MiB"] = peaks + asked
    if "roofline_ms" in row:
        share = f"{100 * float(str(row['of_roofline'])):.0f} %"
        shown["roofline, ms"] = f"{cell(row['roofline_ms'])} ({row['limit']}): {share}"
    shown["on"] = f"{row['threads']} threads" if row["device"] == "cpu" else row["device"]
    if "note" in row:
        shown["note"] = row["note"]
    return shown


def cell(value: object) -> str:
    """A value in words, numbers in four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(entry)}" for key, entry in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def write(heading: str, sections: dict[str, str]) -> None:
    """Put these sections, by name, into this machine's part of RESULTS.md; all else in it stays."""
    parts = RESULTS.read_text("utf-8").split("\n## ")[1:] if RESULTS.exists() else []
    kept = {name: body.strip("\n") for name, _, body in (part.partition("\n") for part in parts)}
    _, *there = ("\n" + kept.pop(heading, "")).split("\n### ")
    merged = {name: body.strip("\n") for name, _, body in (section.partition("\n") for section in there)} | sections
    body = "\n\n".join(f"### {name}\n{merged[name]}" for name in sorted(merged))
    pages = [f"{name}\n\n{part}" for name, part in kept.items()] + [f"{heading}\n\n{body}"]
    RESULTS.write_text("\n\n## ".join([TITLE.rstrip("\n"), *pages]) + "\n", "utf-8")


def main(names: list[str]) -> int:
    scripts = [FOLDER / f"bench_{name}.py" for name in names] or sorted(FOLDER.glob("bench_*.py"))
    missing = [script.name for script in scripts if not script.exists()]
    if missing:
        there = ", ".join(sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")))
        raise SystemExit(f"{', '.join(missing)}: no such benchmark; there are {there}")
    return record([(script, (), None) for script in scripts])


def record(runs: Sequence[tuple[Path, Sequence[str], float | None]]) -> int:
    """Run scripts with their arguments and seconds, write each one's section, name those that failed: the exit code."""
    failed = []
    for script, arguments, seconds in runs:
        name = script.stem.removeprefix("bench_")
        before, problem = checkout()
        print(f"{name} …{f' not for RESULTS.md, {problem}' if problem else ''}", file=sys.stderr)
        purpose, rows, well = run(script, arguments, seconds)
        if not well:
            failed.append(name)
        body = table(rows) if rows else "Gave no result."
        if not problem and checkout() == (before, ""):
            write(machine(), {name: f"{purpose}\n\n{software(before)}\n\n{body}"})
        print(f"{purpose}\n{body}\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
