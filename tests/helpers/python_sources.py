"""Modules of the checkout, parsed once for all contracts of a process, and the files of the checkout."""

from __future__ import annotations

import ast
import gc
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@cache
def modules(*folders: str) -> dict[str, ast.Module]:
    """Parse the modules below folders of the checkout, the product's without any, by their paths."""
    files = sorted(path for folder in folders or ("humanpose_cli",) for path in (ROOT / folder).rglob("*.py"))
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in files}
    gc.freeze()  # millions of nodes, which the garbage collector need not look through for every later test
    return trees


def git_files(*options: str) -> list[Path]:
    """The files that git tracks, or those that `git ls-files` lists with options; without git the test is skipped."""
    try:
        done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
