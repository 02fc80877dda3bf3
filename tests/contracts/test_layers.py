"""Imports only go up the list of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from python_sources import modules

ROOT = Path(__file__).resolve().parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not installed")
def test_the_layers_hold():
    done = subprocess.run([LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_package_has_a_layer():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = {name.strip("( )") for layer in contract["layers"] for name in re.split(r"[|:]", layer)}
    here = {path.stem for path in (ROOT / "humanpose_cli").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert here - {"__init__", "__main__", "__pycache__", "py"} <= layers


def test_contributing_lists_the_same_layers():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Layers", 1)[1].split("```")[1]
    assert re.findall(r"^(\w+)(?:/|\.py) ", text, re.MULTILINE) == contract["layers"]


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
