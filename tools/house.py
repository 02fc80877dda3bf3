"""Measures the size of the project and holds it below ceilings; needs no torch.

    python tools/house.py             print the figures beside their ceilings; exit 1 if one is above its ceiling
    python tools/house.py --lower     write figures that are below their ceilings as the new ceilings

The ceilings stand in tests/contracts/house.json. Lower them in the commit in which a room shrinks. A ceiling rises only
to a figure that an issue names: edit the entry by hand and quote the issue in its field "quote".

Lines of code are lines of Python without docstrings, comments and blank lines, and all lines of C headers and
JavaScript. `ruff format` decides the form, so that packed lines gain nothing.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds its own folder only
CEILINGS = ROOT / "tests" / "contracts" / "house.json"
PACKAGE, LAB = "humanpose_cli", "lab"
MAX_LINES, MAX_PARAMETERS = 60, 8
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


def prose_length(paths: Iterable[Path]) -> int:
    """Count the words of texts, their code included."""
    return sum(len(path.read_text("utf-8").split()) for path in paths)


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
    """Return all figures by their names."""
    rooms, totals = Counter[str](), Counter[str]()
    long_functions = many_parameters = 0
    for path in sorted((root / PACKAGE).rglob("*")):
        parts = path.relative_to(root / PACKAGE).parts
        wing = LAB if parts[0] == LAB else "tool"
        inner = parts[1:] if wing == LAB else parts
        room = f"{wing}/{inner[0] if len(inner) > 1 else '.'}"
        if path.suffix in UNPARSED:
            rooms[room] += path.read_text("utf-8").count("\n")
        elif path.suffix == ".py":
            text = path.read_text("utf-8")
            tree = ast.parse(text)
            rooms[room] += code_lines(text, tree)
            totals["settings"] += settings_of(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines, parameters = function_size(node)
                    long_functions += lines > MAX_LINES
                    many_parameters += parameters > MAX_PARAMETERS
    tests = [path.read_text("utf-8") for path in (root / "tests").rglob("*.py")]
    figures = {f"lines of code, {room}": count for room, count in sorted(rooms.items())}
    figures |= {
        "lines of code, tool": sum(count for room, count in rooms.items() if room.startswith("tool/")),
        "lines of code, lab": sum(count for room, count in rooms.items() if room.startswith(f"{LAB}/")),
        "lines of code, tests": sum(code_lines(text, ast.parse(text)) for text in tests),
        "settings": totals["settings"],
        f"functions over {MAX_LINES} lines": long_functions,
        f"functions over {MAX_PARAMETERS} parameters": many_parameters,
    }
    return figures


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


def read_ceilings() -> dict[str, dict[str, int | str]]:
    """Read the entries by figure: `{"value": 100}`, and `"quote"` if an issue raised it."""
    entries: dict[str, dict[str, int | str]] = json.loads(CEILINGS.read_text("utf-8"))
    return entries


def lower(figures: Mapping[str, int], ceilings: Mapping[str, Mapping[str, int | str]]) -> None:
    """Write the ceilings, with the figures that are below theirs and without those that are no longer measured."""
    entries = {}
    for name, value in figures.items():
        entry = dict(ceilings.get(name, {}))
        if not entry or value < int(entry["value"]):
            entry = {"value": value}
        entries[name] = entry
    rows = (f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in entries.items())
    CEILINGS.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


def above(figures: Mapping[str, int], ceilings: Mapping[str, Mapping[str, int | str]]) -> list[str]:
    """List the figures that are above their ceilings, or have none."""
    return [name for name, value in figures.items() if name not in ceilings or value > int(ceilings[name]["value"])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lower", action="store_true", help="write lower figures as the new ceilings")
    arguments = parser.parse_args()
    figures = {**measures(), **texts()}
    if arguments.lower:
        lower(figures, read_ceilings())
    ceilings = read_ceilings()
    failures = above(figures, ceilings)
    print(f"{'':34}{'now':>10}{'ceiling':>10}")
    for name, value in figures.items():
        ceiling = ceilings.get(name, {}).get("value", "none")
        print(f"{name:34}{value:10}{ceiling:>10}{'  above' if name in failures else ''}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
