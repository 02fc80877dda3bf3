"""Measures the size of the project and compares it with its budgets; needs no torch.

    python tools/house.py             print figures, budgets and the room that is left; exit 1 if a budget is exceeded

The budgets stand in tests/contracts/house.json. Each may rise at any time, by at most 1 % in an issue: a line of the
changelog says by how much and what for.

Lines of code are lines of Python without docstrings, comments and blank lines, and all lines of C headers and
JavaScript. `ruff format` decides the form, so that packed lines gain nothing.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds its own folder only
BUDGETS = ROOT / "tests" / "contracts" / "house.json"
PACKAGE, LAB = "humanpose_cli", "lab"
MAX_LINES, MAX_PARAMETERS = 60, 8
FOLDERS = {"tests": ("tests",), "tools and benchmarks": ("tools", "benchmarks")}  # counted beside the package
UNPARSED = (".h", ".js")  # suffixes of which all lines count
_NO_CODE = frozenset(
    [
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    ]
)


def code_lines(text: str, tree: ast.Module) -> int:
    """Count the lines of Python that hold code: no blank lines, comments and docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):  # docstrings, also those of attributes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def function_size(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """Return the lines of a function with decorators and without its docstring, and its parameters without self."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    explained = 0 if docstring is None else (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    is_method = bool(arguments) and arguments[0].arg in ("self", "cls")
    return (node.end_lineno or node.lineno) - first + 1 - explained, len(arguments) - is_method


def settings_of(tree: ast.Module) -> int:
    """Count the fields that `option` declares, directly or through a helper of the module."""
    declare = {"option"}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            returns = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            if any(_called(value) == "option" for value in returns):
                declare.add(node.name)
    return sum(isinstance(node, ast.AnnAssign) and _called(node.value) in declare for node in ast.walk(tree))


def _called(node: ast.expr | None) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


# No prose: the marks of tests/journeys, which readers do not see, and the tables that `benchmarks/run.py --pages` and
# tools/document_commands.py write.
_NO_PROSE = re.compile(
    r"<!-- journey: .*? -->|<!-- figures: (?s:.*?)<!-- /figures -->|^\| `--format` \| files \|\n(?:\|.*\n)+",
    re.MULTILINE,
)
_GENERATED = "commands.md"  # a page that tools/document_commands.py writes


def prose_length(paths: Iterable[Path]) -> int:
    """Count the words of texts, their code included, without what programs write."""
    written = (path.read_text("utf-8") for path in paths if path.name != _GENERATED)
    return sum(len(_NO_PROSE.sub("", text).split()) for text in written)


def help_texts() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the name of each command, its flags, and the lines of its help at 80 columns."""
    from humanpose_cli.cli.command import build_command
    from humanpose_cli.cli.table import CONTEXT, command_names

    for name in command_names():
        command = build_command(name, lambda invocation: 0)
        context = command.make_context(
            name, [], resilient_parsing=True, **{**CONTEXT, "terminal_width": 80, "max_content_width": 80}
        )
        flags = [each for p in command.params if p.name != "help_all" for each in p.opts if each.startswith("--")]
        yield name, flags, command.get_help(context).splitlines()


def measures(root: Path = ROOT) -> dict[str, int]:
    """Return the figures of the code by their names."""
    totals = Counter[str]()
    settings = long_functions = many_parameters = 0
    for path in sorted((root / PACKAGE).rglob("*")):
        wing = LAB if path.relative_to(root / PACKAGE).parts[0] == LAB else "tool"
        if path.suffix in UNPARSED:
            totals[wing] += path.read_text("utf-8").count("\n")
        elif path.suffix == ".py":
            text = path.read_text("utf-8")
            tree = ast.parse(text)
            totals[wing] += code_lines(text, tree)
            settings += settings_of(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines, parameters = function_size(node)
                    long_functions += lines > MAX_LINES
                    many_parameters += parameters > MAX_PARAMETERS
    for name, folders in FOLDERS.items():
        for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            totals[name] += code_lines(text, ast.parse(text))
    return {f"lines of code, {name}": totals[name] for name in ("tool", LAB, *FOLDERS)} | {
        "settings": settings,
        f"functions over {MAX_LINES} lines": long_functions,
        f"functions over {MAX_PARAMETERS} parameters": many_parameters,
    }


def texts() -> dict[str, int]:
    """Return the figures of the documentation and of the command line."""
    flags: set[str] = set()
    lines: dict[str, int] = {}
    for name, names, printed in help_texts():
        flags |= set(names)
        lines[name] = len(printed)
    docs = ROOT / "docs"
    return {
        "words, docs": prose_length(docs.rglob("*.md")),
        "words, docs/guides": prose_length((docs / "guides").rglob("*.md")),
        "words, README": prose_length([ROOT / "README.md"]),
        "flags": len(flags),
        "lines of help, hpc fit": lines["fit"],
        "lines of help, all commands": sum(lines.values()),
    }


def exceeded(figures: Mapping[str, int], budgets: Mapping[str, int]) -> list[str]:
    """List the figures that exceed their budgets, or have none."""
    return [name for name, value in figures.items() if value > budgets.get(name, -1)]


def main() -> int:
    figures = {**measures(), **texts()}
    budgets: dict[str, int] = json.loads(BUDGETS.read_text("utf-8"))
    failures = exceeded(figures, budgets)
    print(f"{'':34}{'now':>10}{'budget':>10}{'left':>8}")
    for name, value in figures.items():
        budget = budgets.get(name, 0)
        print(f"{name:34}{value:10}{budget:10}{budget - value:8}{'  exceeded' if name in failures else ''}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
