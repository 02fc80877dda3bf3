"""What the source distribution and the wheel hold, by the lists that setuptools makes of them; neither is built."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.python_sources import ROOT, git_files

LIST = """
import json, sys
import setuptools  # brings distutils
from distutils.core import run_setup

project = run_setup("setup.py", ["--quiet"], stop_after="commandline")
about = project.get_command_obj("egg_info")
about.egg_base = sys.argv[1]
about.ensure_finalized()
about.run()
modules = project.get_command_obj("build_py")
modules.ensure_finalized()
wheel = [path[len(modules.build_lib) + 1 :] for path in modules.get_outputs(include_bytecode=False)]
print(json.dumps({"source": about.filelist.files, "wheel": wheel, "folder": about.egg_info}))
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> dict[str, set[str]]:
    """Paths in the source distribution, without the metadata that setuptools adds, and in the wheel."""
    pytest.importorskip("setuptools")
    line = [sys.executable, "-c", LIST, str(tmp_path_factory.mktemp("metadata"))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    source = {Path(path).as_posix() for path in found["source"] if not path.startswith(found["folder"])}
    return {"source": source, "wheel": {Path(path).as_posix() for path in found["wheel"]}}


def names(paths: list[Path]) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_the_source_distribution_holds_every_file_of_the_repository(listed):
    """So that it can be tested and its images built; nothing that runs leave behind, which git ignores."""
    committed = {name for name in names(git_files()) if not name.startswith("training/")}  # checkpoints in progress
    assert committed - listed["source"] == set()
    assert not any(name.startswith("training/") for name in listed["source"])
    assert listed["source"] - names(git_files("--cached", "--others", "--exclude-standard")) == set()


def test_the_wheel_holds_the_package_alone(listed):
    assert {name.partition("/")[0] for name in listed["wheel"]} == {"humanpose_cli"}
    assert {name for name in names(git_files()) if name.startswith("humanpose_cli/")} - listed["wheel"] == set()
