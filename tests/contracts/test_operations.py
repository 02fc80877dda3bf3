"""The workflow and the Dockerfiles name what there is: Pythons, make targets, files. How a run of the tests ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


LIMIT = re.compile(r"timeout=[\d.]+|\.(?:wait|join|get|result|communicate|alarm)\([\d.]+\)|monotonic\(\) \+ [\d.]+")


def test_limits_of_waiting_tests_are_those_of_the_helper():
    """A number that is ample on a quiet machine fails on a busy one."""
    assert LIMIT.search("process.communicate(timeout=30)")
    assert LIMIT.search("closed.wait(5)")
    assert LIMIT.search("until = time.monotonic() + 0.5")
    sources = {
        path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name
    }
    assert [f"{path.name}: {found[0]}" for path, text in sources.items() for found in LIMIT.finditer(text)] == []


def run_tests(folder: Path, workers: int) -> subprocess.CompletedProcess[str]:
    """A run of the tests of a folder with this project's conftest."""
    options = ("-q", "-n", str(workers), "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", folder)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    line = [sys.executable, "-m", "pytest", *options, folder]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_says_in_one_line_what_was_skipped_and_why(tmp_path, workers):
    (tmp_path / "test_skipped.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_gpu(number): pytest.skip('no CUDA device on this machine')\n"
        "def test_import(): pytest.importorskip('no_such_module')\n"
        "def test_run(): pass\n",
        "utf-8",
    )
    lines = run_tests(tmp_path, workers).stdout.splitlines()
    told = "4 skipped: no CUDA device on this machine (3), no_such_module is not installed (1); -rs lists them"
    assert [line for line in lines if " skipped: " in line] == [told]
    (tmp_path / "test_skipped.py").write_text("def test_run(): pass\n", "utf-8")
    assert "skipped" not in run_tests(tmp_path, workers).stdout


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_with_the_tests_name(tmp_path):
    (tmp_path / "test_crash.py").write_text(
        "import os, time, pytest\n"
        "def test_crash(): os.abort()\n"
        "@pytest.mark.parametrize('number', range(50))\n"
        "def test_other(number): time.sleep(0.1)\n",
        "utf-8",
    )
    done = run_tests(tmp_path, 1)
    assert done.returncode == 1
    assert "test_crash.py::test_crash: the worker that ran this test died" in done.stdout.splitlines()[-1]
    assert "replacing crashed worker" not in done.stdout


_PIP = """#!/bin/sh
test "$3" = --version && exit 0
echo "$PIP_EXTRA_INDEX_URL | $*" >> pip.log
printf 'Collecting torch==2.13.0\\n  Downloading torch-2.13.0.whl.metadata (5 kB)\\n'
printf '  Downloading torch-2.13.0.whl (190 MB)\\nInstalling collected packages: torch, numpy\\n'
test -z "$PIP_FAILS" || { echo "ERROR: no space left" >&2; exit 1; }
"""


@pytest.fixture
def make_install(tmp_path):
    """Runs `make install` beside a pip that only writes what it is called with; gives the run and these lines."""
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(_PIP)
    python.chmod(0o755)

    def run(**variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
        line = ["make", "install", f"PYTHON={sys.executable}"]
        ran = subprocess.run(line, cwd=tmp_path, env=environment | variables, capture_output=True, text=True)
        return ran, (tmp_path / "pip.log").read_text().splitlines()

    return run


@pytest.mark.posix("make")
@pytest.mark.slow
def test_an_installation_shows_a_line_for_each_package(make_install):
    ran, calls = make_install()
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert re.match(r"Installing into \.venv: about [\d.]+ GB to download", lines[0])
    assert lines[-3:-1] == ["Downloading torch-2.13.0.whl (190 MB)", "Installing 2 packages"]
    assert len(calls) == 1
    assert calls[0].endswith("-c constraints.txt -e .[dev]")


@pytest.mark.posix("make")
@pytest.mark.slow
def test_only_torch_is_looked_up_in_its_index(make_install):
    index = "https://download.pytorch.org/whl/cpu"
    ran, (torch, rest) = make_install(PIP_EXTRA_INDEX_URL=f"https://example.org/simple {index}")
    assert ran.returncode == 0, ran.stderr
    assert torch.startswith(f"https://example.org/simple {index} | ")
    assert torch.endswith("-c constraints.txt --no-deps torch")
    assert rest.startswith("https://example.org/simple | ")
    assert "NVIDIA" not in ran.stdout


@pytest.mark.posix("make")
@pytest.mark.slow
def test_an_installation_fails_with_pip(make_install, tmp_path):
    ran, _ = make_install(PIP_FAILS="1")
    assert ran.returncode != 0
    assert "no space left" in ran.stderr
    assert not (tmp_path / ".venv" / ".installed").exists()
