"""Public names are unique, and docstrings in Google's form name arguments and fields that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.python_sources import modules


def duplicates(trees: dict[str, ast.Module], kind: type[ast.ClassDef | ast.FunctionDef]) -> dict[str, list[str]]:
    """Public top-level classes or functions that stand in more than one module, with the modules."""
    paths_by_name: dict[str, list[str]] = {}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, kind) and not node.name.startswith("_"):
                paths_by_name.setdefault(node.name, []).append(path)
    return {name: paths for name, paths in paths_by_name.items() if len(paths) > 1}


def test_no_public_class_name_stands_twice():
    assert duplicates(modules(), ast.ClassDef) == {}
    trees = {"a.py": ast.parse("class A: ...\nclass _B: ..."), "b.py": ast.parse("class A: ...\nclass _B: ...")}
    assert duplicates(trees, ast.ClassDef) == {"A": ["a.py", "b.py"]}


def test_no_public_function_name_stands_twice():
    """Operations with kernels have one name in three modules, commands are called as what they run."""
    apart = re.compile(r"humanpose_cli/(engine/|fitting/linearising/|cli/|front_door\.py)")
    assert duplicates({path: tree for path, tree in modules().items() if not apart.match(path)}, ast.FunctionDef) == {}
    trees = {"a.py": ast.parse("def a(): ..."), "b.py": ast.parse("def a(): ...\nclass B:\n    def a(self): ...")}
    assert duplicates(trees, ast.FunctionDef) == {"a": ["a.py", "b.py"]}


def described_names(docstring: str) -> dict[str, list[str]]:
    """Section → names of its entries, of the sections `Args:` and `Attributes:`."""
    sections = re.findall(r"^(Args|Attributes):\n((?:    .*(?:\n|$)|\n)+)", docstring, re.MULTILINE)
    return {title: re.findall(r"^    \*{0,2}(\w+):", entries, re.MULTILINE) for title, entries in sections}


def unknown_names(tree: ast.Module) -> Iterator[str]:
    """Entries of docstrings that are no argument of their function, or no field or property of their class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            described = described_names(ast.get_docstring(node) or "")
            known = {arg.arg for part in ast.walk(node) if isinstance(part, ast.arguments) for arg in arguments(part)}
            if isinstance(node, ast.ClassDef):
                known |= {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
                known |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                known |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            yield from (f"{node.name}: {name}" for names in described.values() for name in names if name not in known)


def arguments(node: ast.arguments) -> list[ast.arg]:
    starred = [arg for arg in (node.vararg, node.kwarg) if arg]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *starred]


def test_docstrings_describe_arguments_and_fields_that_exist():
    found = {path: list(unknown_names(tree)) for path, tree in modules().items()}
    assert {path: names for path, names in found.items() if names} == {}
    source = 'def f(a, *b):\n    """Do it.\n\n    Args:\n        a: One.\n        b: More.\n        c: None.\n    """'
    assert list(unknown_names(ast.parse(source))) == ["f: c"]
