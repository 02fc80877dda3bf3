"""What may be loaded when: the command line starts without any heavy library."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import humanpose_cli
from humanpose_cli.cli.table import COMMANDS

HEAVY = {"torch", "warp", "onnxruntime", "numpy", "scipy", "h5py", "skimage", "imageio", "cv2", "PIL", "smplx", "jax"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "\nimport sys, json; sys.stderr.write(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def modules_of(package: str) -> list[str]:
    folder = f"{humanpose_cli.__path__[0]}/{package}"
    return [f"humanpose_cli.{package}.{module.name}" for module in pkgutil.iter_modules([folder])]


def test_the_probe_sees_what_is_loaded():
    assert "numpy" in loaded_after("import numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments):
    loaded = loaded_after(f"from humanpose_cli.cli.main import main\nassert main({arguments!r}) == 0")
    assert loaded & (HEAVY | {"rich", "tqdm"}) == set()


def test_the_packages_themselves_load_nothing_heavy():
    packages = [f"humanpose_cli.{m.name}" for m in pkgutil.iter_modules(humanpose_cli.__path__) if m.ispkg]
    light = ["humanpose_cli.core.errors", "humanpose_cli.core.conventions", "humanpose_cli.core.result", *packages]
    assert loaded_after("\n".join(f"import {name}" for name in light)) & HEAVY == set()


def test_command_files_load_nothing_heavy():
    assert loaded_after("\n".join(f"import {name}" for name in modules_of("cli"))) & HEAVY == set()


def test_the_batch_knows_nothing_of_torch():
    imports = "\n".join(f"import {name}" for name in modules_of("batch"))
    assert loaded_after(imports) & {"torch", "warp", "onnxruntime", "PIL"} == set()
