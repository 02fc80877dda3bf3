"""The workflow and the Dockerfiles name what there is: make targets, files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.patience import PATIENCE
from helpers.python_sources import ROOT

from humanpose_cli.core.extras import EXTRAS
from humanpose_cli.io.images import write_image

WORKFLOW = (ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8")


def test_the_workflow_runs_targets_of_make():
    targets = set(re.findall(r"run: make ([\w-]+)", WORKFLOW))
    assert targets == {"install", "check", "fresh", "site", "test-all"}
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", sorted((ROOT / "docker").iterdir()), ids=lambda path: path.name)
def test_what_the_dockerfiles_copy_is_there_and_not_left_out(path):
    text = path.read_text("utf-8")
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in copied)
    assert f"-f docker/{path.name} " in text
    installs = re.findall(r"pip install .*", text)
    assert all("--constraint" in install or "==" in install for install in installs), "a version is left open"
    (extras,) = re.findall(r'"/source\[(.*?)\]"', text)
    assert {*extras.split(",")} == {"heic", "usd", "c3d", "slurm"} <= EXTRAS.keys()
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim", text, re.MULTILINE)
    assert f'"Programming Language :: Python :: {python}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    runs = re.findall(r"docker run .*", text)
    assert all("/tmp/.cache" in line for line in runs) or "/tmp/.cache" not in text


@pytest.mark.extensive
def test_the_template_of_open_job_description_runs_all_parts(tmp_path):
    """By the reference implementation's `openjd run`, on images that show nobody."""
    openjd = shutil.which("openjd", path=os.path.dirname(sys.executable))
    if openjd is None:
        pytest.skip("openjd-cli is not installed")
    (tmp_path / "in").mkdir()
    for number in range(2):
        write_image(tmp_path / "in" / f"{'ab'[number]}.png", np.full((96, 64, 3), 90 * number, np.uint8))
    template = ROOT / "docs" / "farms" / "hpc-fit.template.yaml"
    values = (f"Input={tmp_path}/in", f"Output={tmp_path}/out", "Parts=2")
    environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    line = [openjd, "run", template, *(part for value in values for part in ("--job-param", value))]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Chunks run: 2" in done.stdout
    fits = sorted(path.name for path in (tmp_path / "out").glob("*.npz"))
    assert fits == ["a.png.fit.npz", "b.png.fit.npz"]
