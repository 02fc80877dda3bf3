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


_PYTHON = """#!/bin/sh
case "$*" in
  *--version) exit 0 ;;
  *urlopen*) exit ${REPLY:-1} ;;
  -c*) exit 0 ;;
  "-m pip"*) ;;
  *) echo "$*" >> calls.log; exit 0 ;;
esac
echo "${*#*install }" >> calls.log
printf 'Collecting torch==2.13.0\\n  Downloading torch-2.13.0.whl.metadata (5 kB)\\n'
printf '  Downloading torch-2.13.0.whl (190 MB)\\nInstalling collected packages: torch, numpy\\n'
test -z "$PIP_FAILS" || { echo "ERROR: no space left" >&2; exit 1; }
"""
_PIP = "--progress-bar off -c constraints.txt"


@pytest.fixture
def make(tmp_path):
    """Runs `make` beside programs that only write how they are called; gives the run and these lines.

    On Linux without NVIDIA's driver, and without torch's index unless REPLY is 0.
    """
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    programs = {
        "python": _PYTHON,
        "hpc": "#!/bin/sh",
        "ruff": "",
        "mypy": "",
        "lint-imports": "",
        "uname": "echo Linux",
    }
    for name, text in programs.items():
        (binaries / name).write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        (binaries / name).chmod(0o755)
    for name in ("sh", "echo", "expr", "getconf", "test", "touch"):  # and nothing else, such as nvidia-smi
        (binaries / name).symlink_to(shutil.which(name))

    def run(*arguments: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        log = tmp_path / "calls.log"
        log.write_text("")
        line = [shutil.which("make"), *arguments, "PYTHON=.venv/bin/python"]
        environment = {"PATH": str(binaries)} | variables
        ran = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return ran, log.read_text().splitlines()

    return run


@pytest.mark.posix("make")
@pytest.mark.slow
def test_the_demo_installs_the_product_and_the_tests_their_tools(make):
    ran, calls = make("demo")
    assert ran.returncode == 0, ran.stderr
    assert calls == [f"{_PIP} --no-deps torch", f"{_PIP} -e ."]
    lines = ran.stdout.splitlines()
    assert re.match(r"Installing into \.venv: about [\d.]+ GB to download", lines[0])
    assert lines[2:4] == ["Downloading torch-2.13.0.whl (190 MB)", "Installing 2 packages"]
    _, calls = make("check")
    assert calls == [f"{_PIP} -e .[dev]", "tools/house.py"]
    assert [make(target)[1] for target in ("install", "demo", "check")] == [[], [], ["tools/house.py"]]


@pytest.mark.posix("make")
@pytest.mark.slow
def test_without_a_driver_the_cpu_build_of_torch_is_taken(make):
    """Only torch is looked up in its index; a line says what is taken, and how to choose another build."""
    index = "--index-url https://download.pytorch.org/whl"
    ran, calls = make("install", REPLY="0")
    assert calls == [f"{_PIP} --no-deps {index}/cpu torch", f"{_PIP} -e ."]
    assert "CPU build is installed. Another one: make install TORCH_BUILD=cu130\n" in ran.stdout


@pytest.mark.posix("make")
@pytest.mark.slow
def test_an_installation_fails_with_pip(make, tmp_path):
    ran, _ = make("install", PIP_FAILS="1")
    assert ran.returncode != 0
    assert "no space left" in ran.stderr
    assert not (tmp_path / ".venv" / ".installed").exists()
