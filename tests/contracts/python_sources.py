"""The product's modules, parsed once for all contracts of a process."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def modules() -> dict[str, ast.Module]:
    """The product's modules by their paths."""
    files = sorted((ROOT / "humanpose_cli").rglob("*.py"))
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in files}
    gc.freeze()  # millions of nodes, which the garbage collector need not look through for every later test
    return trees
