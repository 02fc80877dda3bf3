"""The workflow and the Dockerfiles name what there is: Pythons, make targets, files."""

from __future__ import annotations

import re

import pytest
from python_sources import ROOT

WORKFLOW = (ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8")


def test_the_workflow_runs_the_make_targets_on_every_python():
    pythons = re.search(r"python: \[(.*)\]", WORKFLOW)[1]
    classifiers = re.findall(r'Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert re.findall(r'"(.*?)"', pythons) == classifiers
    targets = set(re.findall(r"run: make (\w+)", WORKFLOW))
    assert targets == {"install", "check", "test"}
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
