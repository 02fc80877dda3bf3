"""Options that errors name exist: a remedy that is refused is worse than none."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache

from helpers.python_sources import modules

import humanpose_cli as hp
from humanpose_cli.cli.command import build_command, flags_of
from humanpose_cli.cli.table import command_names
from humanpose_cli.fitting.result import Fit

_PARTS = {"remedy", "expected", "got", "problem"}
_OF_LAB = ("humanpose_cli/lab", "humanpose_cli/io/densepose_files.py")
_LAB = ("preprocess", "train", "evaluate", "cache")
OTHERS = {"--nproc-per-node", "--upgrade", "--keypoint_scale", "--help"}  # of other programs, and typer's


@cache
def arguments(*, lab: bool) -> frozenset[str]:
    """What errors may name: options of the commands, settings, and arguments of the public functions."""
    commands = [name for name in command_names() if lab or not name.startswith(_LAB)]
    found = {name for command in commands for name in flags_of(command)}
    for path, tree in modules().items():
        for node in ast.walk(tree) if lab or not path.startswith("humanpose_cli/lab") else ():
            declares = isinstance(node, ast.ClassDef) and node.name.endswith(("Options", "Config", "Selection"))
            fields = [each.target for each in node.body if isinstance(each, ast.AnnAssign)] if declares else []
            found |= {ast.unparse(field) for field in fields}
    functions = [value for name in hp.__all__ if inspect.isfunction(value := getattr(hp, name))]
    functions += [value for _, value in inspect.getmembers(Fit, inspect.isfunction) if value.__name__[0] != "_"]
    return frozenset(found.union(*(inspect.signature(function).parameters for function in functions)))


def said(tree: ast.Module) -> list[str]:
    """The texts of a module's errors."""
    found = []
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Assign) and _PARTS & {
            name.id for name in ast.walk(node) if isinstance(name, ast.Name)
        }:
            parts = [node.value]
        texts = (each.value for part in parts for each in ast.walk(part) if isinstance(each, ast.Constant))
        found += [text for text in texts if isinstance(text, str)]
    return found


def test_arguments_in_errors_exist():
    unknown = {
        f"{path}: {name}"
        for path, tree in modules().items()
        for text in said(tree)
        for name in re.findall(r"`([a-z][\w.]*)(?:=[^`]*`|`)", text)
        if name.split(".")[-1] not in arguments(lab=path.startswith(_OF_LAB))
    }
    assert unknown == set()


def test_flags_in_errors_exist():
    """After the name of a command its own flags, else those of any."""
    of = {name: {opt for p in build_command(name, lambda _: 0).params for opt in p.opts} for name in command_names()}
    unknown = set()
    for text in (text for tree in modules().values() for text in said(tree)):
        for command, line in re.findall(r"(?:hpc ([a-z]+))?([^;,]*?(?=hpc [a-z]|[;,]|$))", text):
            flags = of.get(command) or set().union(*of.values())
            unknown |= {flag for flag in re.findall(r"--[a-z][a-z_-]*", line) if flag not in flags | OTHERS}
    assert unknown == set()
