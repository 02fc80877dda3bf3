"""Identifiers keep to docs/reference/glossary.md, and what is written for people to plain words.

No part of an identifier is a word of the last column of the glossary's table: names of functions, classes, parameters,
local variables, attributes, fields and keywords of calls, also in tests, benchmarks and tools. Docstrings and messages
of the product and docs/**/*.md have none of `IDIOMS`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from helpers.python_sources import ROOT, modules

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.table import command_names

# Identifiers that have a word of the glossary's last column, with the reason.
ALLOWED = {
    "attached_pic": "PyAV's name",
    "tell": "of files",
    "most_common": "of collections.Counter",
    "get_type_hints": "of typing",
    "picture_count": "in headers of caches",
    "picture_share": "an option in headers of caches",
    "_MAX_ARM_SHARE": "arms of bodies",
    "arms_over_trunk": "arms of bodies",
    "arm": "of bodies",
    "is_arm": "of bodies",
    "arm_share": "arms of bodies",
    "arms": "of bodies",
    "_arm": "of bodies",
    "_around_arm": "arms of bodies",
    "_ARM_RADIUS": "arms of bodies",
    "in_place": "the field's name of a motion whose path is held",
    "own_only": "an option in headers of weights",
    "own_too": "an option in headers of weights",
    "most_roll": "an option in headers of weights",
    "LeastSquaresProblem": "the field's name",
    "least_squares": "of scipy",
    "place_about_pixels": "the verb: to put something at a position",
    "place_before_camera": "the verb: to put something at a position",
    "place_in_image": "the verb: to put something at a position",
}
ALLOWED_FLAGS = {
    "whole",  # of `hpc evaluate repose`: images that are compared outside the crop, too
    "in_place",
}

# What is not written in docstrings, messages and documents, and what is written instead.
IDIOMS = {
    r"nobody|anybody|everybody": "no person, a person, all people",
    r"whoever|whom": "the caller, people who",
    r"told|tells?": "predicted, given as argument, reported; distinguish",
    r"(?:of|about) (?:which|it|them) (?:it )?says|is said of": "name the subject",
    r"obey(?:s|ed)?": "is applied, is not changed",
    r"seen|unseen": "visible, detected",
    r"asked": "requested, given",
    r"as (?:it is|they are)": "unchanged",
    r"judged?|judges|judging": "evaluate, check",
    r"pictures?": "image",
    r"whole or not|(?:is|are|last) whole": "complete, undamaged",
    r"one's own|our own": "the user's, this package's",
    r"greatest": "largest",
}
NO_IDIOM = re.compile(rf"\b(?:{'|'.join(IDIOMS)})\b", re.IGNORECASE)
# Descriptions of columns, which stand in every cache.
STORED_TEXTS = {"humanpose_cli/lab/cache/samples.py", "humanpose_cli/lab/cache/schema.py"}


def last_column(text: str) -> set[str]:
    """The words in backticks of the last column of a table in Markdown."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {word for row in rows if len(row) == 3 for word in re.findall(r"`(\w+)`", row[2])}


def identifiers(tree: ast.Module) -> set[str]:
    found: set[str | None] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                found.add(node.id)
            case ast.Attribute():
                found.add(node.attr)
            case ast.arg() | ast.keyword():
                found.add(node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler():
                found.add(node.name)
            case ast.MatchAs() | ast.MatchStar():
                found.add(node.name)
            case ast.alias():
                found.add(node.asname)
    return {name for name in found if name}


PARTS = re.compile("[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def wrong(names: set[str], forbidden: set[str]) -> set[str]:
    """The names that have one of the words as a part."""
    return {name for name in names if forbidden & {part.lower() for part in PARTS.findall(name)}}


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings that may be sentences, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@cache
def glossary() -> set[str]:
    return last_column((ROOT / "docs" / "reference" / "glossary.md").read_text("utf-8"))


@cache
def wrong_identifiers() -> dict[str, set[str]]:
    """By the modules' paths."""
    trees = modules() | modules("tests", "benchmarks", "tools")
    return {path: wrong(identifiers(tree), glossary()) for path, tree in trees.items()}


@pytest.mark.slow
def test_identifiers_keep_to_the_glossary():
    found = {path: names - set(ALLOWED) for path, names in wrong_identifiers().items()}
    assert {path: sorted(names) for path, names in found.items() if names} == {}


@pytest.mark.slow
def test_every_exception_is_needed():
    found = set[str]().union(*wrong_identifiers().values())
    assert set(ALLOWED) - found == set()


@pytest.mark.parametrize("name", command_names())
def test_flags_keep_to_the_glossary(name):
    built = build_command(name, lambda invocation: 0)
    flags = {
        flag.lstrip("-").replace("-", "_")
        for parameter in built.params
        if not getattr(parameter, "hidden", False)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    assert wrong(flags, glossary()) <= ALLOWED_FLAGS


def test_the_check_finds_what_it_should():
    forbidden = last_column("| term | meaning | not |\n| --- | --- | --- |\n| image | pixels | `picture`, `pic` |\n")
    assert forbidden == {"picture", "pic"}
    source = (
        "import pic as a_pic\nclass PictureBox:\n    a_picture: int\n"
        "def f(pic, depicture):\n    _pic, RGBPicture = g(picture=1)\n"
        "    try: x.picture_of\n    except E as my_pic: pass"
    )
    names = identifiers(ast.parse(source))
    expected = {"a_pic", "PictureBox", "a_picture", "pic", "_pic", "RGBPicture", "picture", "picture_of", "my_pic"}
    assert wrong(names, forbidden) == expected


@pytest.mark.slow
def test_docstrings_and_messages_are_plain():
    found = [
        f"{path}:{line}: {match[0]}"
        for path, tree in modules().items()
        if path not in STORED_TEXTS
        for line, text in texts(tree)
        for match in NO_IDIOM.finditer(text)
    ]
    assert found == []


def test_documents_are_plain():
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found = [
        f"{path.name}:{number}: {match[0]}"
        for path in sorted(pages)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for match in NO_IDIOM.finditer(re.sub(r"`.*?`|\w+\.json", "", line))
    ]
    assert found == []


def test_the_check_of_idioms_finds_what_it_should():
    assert [match[0] for match in NO_IDIOM.finditer("Nobody is told; a foreseen picture as it is")] == [
        *("Nobody", "told", "picture", "as it is")
    ]
    assert sorted(texts(ast.parse('f(f"a b {c} d", "ab")\n"c d"'))) == [(1, " d"), (1, "a b "), (2, "c d")]


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
    """Operations of the engine have one name in three modules, commands are called as what they run."""
    apart = re.compile(r"humanpose_cli/(engine/|cli/|front_door\.py)")
    assert duplicates({path: tree for path, tree in modules().items() if not apart.match(path)}, ast.FunctionDef) == {}
    trees = {"a.py": ast.parse("def a(): ..."), "b.py": ast.parse("def a(): ...\nclass B:\n    def a(self): ...")}
    assert duplicates(trees, ast.FunctionDef) == {"a": ["a.py", "b.py"]}
