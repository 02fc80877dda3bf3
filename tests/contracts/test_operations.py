"""The workflow and the Dockerfiles name what there is: Pythons, make targets, files. A dead worker ends a test run."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from helpers.python_sources import ROOT

WORKFLOW = (ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8")


def test_the_workflow_runs_the_make_targets_on_every_python():
    pythons = re.search(r"python: \[(.*)\]", WORKFLOW)[1]
    classifiers = re.findall(r'Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert re.findall(r'"(.*?)"', pythons) == classifiers
    targets = set(re.findall(r"run: make (\w+)", WORKFLOW))
    assert targets == {"install", "check", "site", "test"}
    assert targets <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


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
    runs = re.findall(r"docker run .*", text)
    assert all("/tmp/.cache" in line for line in runs) or "/tmp/.cache" not in text


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_with_the_tests_name(tmp_path):
    (tmp_path / "test_crash.py").write_text(
        "import os, time, pytest\n"
        "def test_crash(): os.abort()\n"
        "@pytest.mark.parametrize('number', range(50))\n"
        "def test_other(number): time.sleep(0.1)\n",
        "utf-8",
    )
    options = ("-n", "1", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "test_crash.py::test_crash: the worker that ran this test died" in done.stdout.splitlines()[-1]
    assert "replacing crashed worker" not in done.stdout
