"""Public names keep to docs/glossary.md: no part of a name is a word of the last column of its table."""

from __future__ import annotations

import ast
import re

import pytest
from helpers.python_sources import ROOT, modules

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.table import COMMANDS

ALLOWED = {
    # Names of the cache's file format, and options that stand in its headers.
    "Header.picture_count",
    "ShardEntry.picture_count",
    "SyntheticOptions.picture_share",
    "SceneOptions.picture_share",
    # Arms of bodies.
    "MeshOptions.most_arms",
    "arms_over_trunk",
    "Coordinates.arm",
    "Coordinates.is_arm",
    "Coordinates.of_points(arm_share)",
    # The verb: to put something at a position.
    "place_about_pixels",
    "place_before_camera",
    "place_in_image",
}


def forbidden_words(text: str) -> set[str]:
    """The words in backticks of the last column of a table in Markdown."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {word for row in rows if len(row) == 3 for word in re.findall(r"`(\w+)`", row[2])}


def parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]


def public_names(tree: ast.Module) -> set[str]:
    """What `__all__` lists (else the names without an underscore), with parameters, fields and methods."""
    listed = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets)
        for name in ast.literal_eval(node.value)
    }
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names = listed or {name for name in defined if not name.startswith("_")}
    found = set(names)
    for name in names & set(defined):
        node = defined[name]
        if isinstance(node, ast.FunctionDef):
            found |= {f"{name}({parameter})" for parameter in parameters(node)}
            continue
        for member in node.body:
            if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                found.add(f"{name}.{member.target.id}")
            elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                found.add(f"{name}.{member.name}")
                found |= {f"{name}.{member.name}({parameter})" for parameter in parameters(member)}
    return {name for name in found if not re.search(r"[.(]_", name)}


def wrong(names: set[str], words: set[str]) -> list[str]:
    """The names whose last component has one of the words as a part."""
    return sorted(
        name
        for name in names
        if {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", re.split(r"[.(]", name)[-1])}
        & words
    )


@pytest.fixture(scope="module")
def words() -> set[str]:
    return forbidden_words((ROOT / "docs" / "glossary.md").read_text("utf-8"))


def test_public_names_keep_to_the_glossary(words):
    found = {f"{path}: {name}" for path, tree in modules().items() for name in wrong(public_names(tree), words)}
    assert sorted(line for line in found if line.split(": ")[1] not in ALLOWED) == []


def test_every_exception_is_needed(words):
    found = {name for tree in modules().values() for name in wrong(public_names(tree), words)}
    assert ALLOWED - found == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_keep_to_the_glossary(name, words):
    built = build_command(name, lambda invocation: 0)
    flags = {
        flag.lstrip("-").replace("-", "_")
        for parameter in built.params
        if not getattr(parameter, "hidden", False)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    assert wrong(flags, words) == []


def test_the_check_finds_what_it_should():
    words = forbidden_words("| term | meaning | not |\n| --- | --- | --- |\n| image | pixels | `picture`, `pic` |\n")
    assert words == {"picture", "pic"}
    source = (
        "__all__ = ['A', 'f']\nclass A:\n    a_picture: int\n    def picture_of(self): ...\n    def _pic(self): ...\n"
    )
    names = public_names(ast.parse(source + "def f(pic): ...\ndef picture(): ...\n"))
    assert names == {"A", "A.a_picture", "A.picture_of", "A.picture_of(self)", "f", "f(pic)"}
    assert wrong(names | {"PictureBox", "depicture", "RGBPicture"}, words) == [
        "A.a_picture",
        "A.picture_of",
        "PictureBox",
        "RGBPicture",
        "f(pic)",
    ]


def class_names_given_twice(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Public top-level classes that stand in more than one module, with the modules."""
    places: dict[str, list[str]] = {}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_no_public_class_name_stands_twice():
    assert class_names_given_twice(modules()) == {}
    trees = {"a.py": ast.parse("class A: ...\nclass _B: ..."), "b.py": ast.parse("class A: ...\nclass _B: ...")}
    assert class_names_given_twice(trees) == {"A": ["a.py", "b.py"]}
