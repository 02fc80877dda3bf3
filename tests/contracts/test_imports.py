"""What may be loaded when: the command line starts without any heavy library."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
from importlib import metadata

import pytest
import skimage.data
from helpers.python_sources import modules

import humanpose_cli
from humanpose_cli.cli.table import command_names
from humanpose_cli.io.images import write_image

HEAVY = {"torch", "warp", "onnxruntime", "numpy", "scipy", "h5py", "skimage", "imageio", "cv2", "PIL", "jax"}

FIT_MAY_LOAD = {
    "av",
    "cv2",
    "filelock",
    "imageio",
    "numpy",
    "onnxruntime",
    "PIL",
    "platformdirs",
    "safetensors",
    "tifffile",
}
FIT_MAY_LOAD |= {"filelock", "torch", "torchgen", "functorch", "tqdm", "typer", "typing_extensions", "warp"}
"""What the fit of a photograph may import of what the package requires; each takes time of a user's first command."""


def required(loaded: set[str]) -> set[str]:
    """Select the modules of distributions that the package requires, also with an extra."""
    names = {re.split(r"\W(?<!-)", line)[0] for line in metadata.requires("humanpose-cli") or ()}
    owners = metadata.packages_distributions()
    return {module for module in loaded if names & {*owners.get(module, ())}}


def loaded_after(*steps: str) -> list[set[str]]:
    """Top-level modules that a fresh interpreter has loaded after each step of a program."""
    report = "import sys, json; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})), file=sys.stderr)"
    code = "\n".join(f"{step}\n{report}" for step in steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reports = [line for line in done.stderr.splitlines() if line.startswith("[")]  # between messages of the commands
    return [set(json.loads(line)) for line in reports[-len(steps) :]]


def modules_of(package: str) -> list[str]:
    folder = f"{humanpose_cli.__path__[0]}/{package}"
    return [f"humanpose_cli.{package}.{module.name}" for module in pkgutil.iter_modules([folder])]


@pytest.mark.slow
def test_the_probe_sees_what_is_loaded():
    before, after = loaded_after("pass", "import numpy")
    assert "numpy" in after - before


@pytest.mark.slow
def test_help_loads_nothing_heavy():
    lines = [["--help"], ["--version"], *([*name.split(), "--help"] for name in command_names())]
    steps = [f"from humanpose_cli.cli.main import main\nassert main({line!r}) == 0" for line in lines]
    heavy = HEAVY | {"rich", "tqdm"}
    assert [line for line, loaded in zip(lines, loaded_after(*steps), strict=True) if loaded & heavy] == []


def test_the_list_of_commands_loads_neither_commands_nor_the_batch():
    """`hpc --help` takes less than 0.1 s more than Python itself."""
    program = "import sys\nfrom humanpose_cli.cli.main import main\nassert main(['--help']) == 0\n"
    program += "print(*sorted(name for name in sys.modules if name.startswith('humanpose_cli.')), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("humanpose_cli.") for name in done.stderr.split()}
    needed = {"batch.signals", "cli.main", "cli.stdout", "cli.table", "core.errors", "outputs.protection", "version"}
    assert loaded - needed == {"batch", "cli", "core", "outputs"}


@pytest.mark.slow
def test_modules_of_the_fit_leave_to_functions_what_few_fits_need():
    (loaded,) = loaded_after("import humanpose_cli.fitting.fitter, humanpose_cli.refining.outputs")
    assert required(loaded) <= FIT_MAY_LOAD - {"warp"}


@pytest.mark.extensive
def test_a_photograph_is_fitted_with_few_modules_and_reported_again_without_torch(tmp_path):
    """With its rows, too."""
    write_image(tmp_path / "a.png", skimage.data.astronaut())
    fit = f"from humanpose_cli.cli.main import main\nassert main(('fit', {str(tmp_path / 'a.png')!r}, '--json', "
    fit += f"'--out', {str(tmp_path / 'out')!r})) == 0"
    (first,) = loaded_after(fit)
    (again,) = loaded_after(fit)
    assert required(first) <= FIT_MAY_LOAD
    assert ("torch" in first, "torch" in again) == (True, False)


def test_the_packages_themselves_load_nothing_heavy():
    packages = [f"humanpose_cli.{m.name}" for m in pkgutil.iter_modules(humanpose_cli.__path__) if m.ispkg]
    light = ["humanpose_cli.core.errors", "humanpose_cli.core.conventions", "humanpose_cli.core.result"]
    light += ["humanpose_cli.lab.datasets.registry", *packages]
    (loaded,) = loaded_after("\n".join(f"import {name}" for name in light))
    assert loaded & HEAVY == set()


@pytest.mark.slow
def test_what_is_light_knows_nothing_of_torch():
    """Neither the batch, nor the numbers that commands need before they do anything."""
    numbers = ("core.crop", "core.camera", "geometry.body_params")
    names = [*modules_of("batch"), *(f"humanpose_cli.{name}" for name in numbers)]
    heavy = {"torch", "warp", "onnxruntime", "PIL", "cv2", "scipy"}
    steps = loaded_after(*(f"import {name}" for name in names))
    assert [name for name, loaded in zip(names, steps, strict=True) if loaded & heavy] == []


@pytest.mark.parametrize("folder", ["benchmarks", "tools"])
def test_scripts_import_names_that_exist(folder):
    missing = [
        f"{path}: {node.module}.{alias.name}"
        for path, tree in modules(folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("humanpose_cli")
        for alias in node.names
        if not is_importable(str(node.module), alias.name)
    ]
    assert missing == []
    assert not is_importable("humanpose_cli.core.errors", "NoSuchError")


def is_importable(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        return importlib.util.find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError:  # the module is no package
        return False
