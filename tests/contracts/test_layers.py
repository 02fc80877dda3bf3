"""Every package has a layer, which import-linter checks (`make check`), and no modules import each other."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from helpers.python_sources import modules

ROOT = Path(__file__).resolve().parents[2]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


WINGS = {"humanpose_cli": "CONTRIBUTING.md", "humanpose_cli/lab": "humanpose_cli/lab/README.md"}


def layers_of(wing: str) -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == [wing.replace("/", ".")])
    return [name for layer in layers for name in layer.split(" : ")]  # of which one may import the other


@pytest.mark.parametrize("wing", WINGS)
def test_every_package_has_a_layer(wing):
    here = {path.stem for path in (ROOT / wing).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert here - {"__init__", "__main__", "__pycache__", "lab"} == set(layers_of(wing))


@pytest.mark.parametrize(("wing", "page"), WINGS.items())
def test_the_documents_list_the_same_layers(wing, page):
    blocks = (ROOT / page).read_text("utf-8").split("```")[1::2]
    listed = [re.findall(r"^(\w+)(?:/|\.py) ", block, re.MULTILINE) for block in blocks]
    assert layers_of(wing) in listed


def import_circles() -> list[set[str]]:
    """Modules that import each other, directly or not, also in functions and for types alone."""
    packages = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree for name, tree in modules().items()
    }
    targets: dict[str, set[str]] = {}
    for name, tree in packages.items():
        found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module)
        named = {path for node in found for path in (node.module, *(f"{node.module}.{a.name}" for a in node.names))}
        targets[name] = (named & packages.keys()) - {name}
    reached = {name: set(direct) for name, direct in targets.items()}
    for middle in packages:
        for into in reached.values():
            if middle in into:
                into |= reached[middle]
    return [{other for other in reached[name] if name in reached[other]} for name in packages if name in reached[name]]


@pytest.mark.slow
def test_no_modules_import_each_other():
    assert import_circles() == []


@pytest.mark.extensive
def test_strided_pointwise_convolutions_are_pointwise_conv2d():
    """Torch's own corrupt the heap where they are narrow, see `networks.convolutions`."""
    found = []
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Conv2d":
                arguments = dict(enumerate(node.args)) | {keyword.arg: keyword.value for keyword in node.keywords}
                kernel, stride = (
                    arguments.get(2, arguments.get("kernel_size")),
                    arguments.get(3, arguments.get("stride")),
                )
                if isinstance(kernel, ast.Constant) and kernel.value == 1 and stride is not None:
                    found.append(f"{path}:{node.lineno}")
    assert not found, "use PointwiseConv2d there"
