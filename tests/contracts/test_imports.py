"""What may be loaded when: the command line starts without any heavy library."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import humanpose_cli
from humanpose_cli.cli.table import COMMANDS

HEAVY = {"torch", "warp", "onnxruntime", "numpy", "scipy", "h5py", "skimage", "imageio", "cv2", "PIL", "smplx", "jax"}


def loaded_after(*steps: str) -> list[set[str]]:
    """Top-level modules that a fresh interpreter has loaded after each step of a program."""
    report = "import sys, json; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})), file=sys.stderr)"
    code = "\n".join(f"{step}\n{report}" for step in steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(json.loads(line)) for line in done.stderr.splitlines()[-len(steps) :]]


def modules_of(package: str) -> list[str]:
    folder = f"{humanpose_cli.__path__[0]}/{package}"
    return [f"humanpose_cli.{package}.{module.name}" for module in pkgutil.iter_modules([folder])]


def test_the_probe_sees_what_is_loaded():
    before, after = loaded_after("pass", "import numpy")
    assert "numpy" in after - before


def test_help_loads_nothing_heavy():
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    steps = [f"from humanpose_cli.cli.main import main\nassert main({line!r}) == 0" for line in lines]
    heavy = HEAVY | {"rich", "tqdm"}
    assert [line for line, loaded in zip(lines, loaded_after(*steps), strict=True) if loaded & heavy] == []


def test_the_packages_themselves_load_nothing_heavy():
    packages = [f"humanpose_cli.{m.name}" for m in pkgutil.iter_modules(humanpose_cli.__path__) if m.ispkg]
    light = ["humanpose_cli.core.errors", "humanpose_cli.core.conventions", "humanpose_cli.core.result"]
    light += ["humanpose_cli.datasets.registry", *packages]
    (loaded,) = loaded_after("\n".join(f"import {name}" for name in light))
    assert loaded & HEAVY == set()


def test_command_files_load_nothing_heavy():
    (loaded,) = loaded_after("\n".join(f"import {name}" for name in modules_of("cli")))
    assert loaded & HEAVY == set()


def test_what_is_light_knows_nothing_of_torch():
    """Neither the batch, nor the numbers that commands need before they do anything."""
    numbers = ("core.crop", "core.camera", "geometry.body_params")
    names = [*modules_of("batch"), *(f"humanpose_cli.{name}" for name in numbers)]
    heavy = {"torch", "warp", "onnxruntime", "PIL", "cv2", "scipy"}
    steps = loaded_after(*(f"import {name}" for name in names))
    assert [name for name, loaded in zip(names, steps, strict=True) if loaded & heavy] == []
