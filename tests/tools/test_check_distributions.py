"""The trial of a wheel: which versions it is installed with, and that no failure is passed over."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.python_sources import ROOT

ABOUT = """Metadata-Version: 2.4
Name: humanpose-cli
Requires-Dist: numpy>=1.26
Requires-Dist: warp-lang<2,>=1.19
Requires-Dist: imageio[pyav]>=2.37
Requires-Dist: tomli>=2; python_version < "3.11"
Requires-Dist: pytest>=8; extra == "dev"
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    import check_distributions

    return check_distributions


def wheel_of(path: Path, about: str = ABOUT) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("humanpose_cli-1.0.0.dist-info/METADATA", about)
    return path


def test_the_lowest_versions_are_those_of_the_wheel(tool, tmp_path):
    lowest = tool.lowest_versions(wheel_of(tmp_path / "x.whl"))
    assert lowest.split() == ["numpy==1.26", "warp-lang==1.19", "imageio==2.37", "tomli==2"]
    with pytest.raises(SystemExit, match="rich<15: has no lowest version"):
        tool.lowest_versions(wheel_of(tmp_path / "y.whl", "Requires-Dist: rich<15\n"))


def test_every_dependency_has_a_lowest_version(tool, tmp_path):
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    required = re.findall(r'^    "(.*)",', text[text.index("\ndependencies") : text.index("[project.optional")], re.M)
    about = "".join(f"Requires-Dist: {each}\n" for each in required)
    assert len(tool.lowest_versions(wheel_of(tmp_path / "x.whl", about)).split()) == len(required) > 15


@pytest.fixture
def lines(tool, tmp_path, monkeypatch):
    """Lines of programs that are called, without effect."""
    called = []

    def run(*line, cwd=None):
        called.append(" ".join(str(word) for word in line[1:]).replace(f"{tmp_path}/", ""))
        return ""

    monkeypatch.setattr(tool, "run", run)
    return called


def test_torch_comes_first_and_constraints_hold_for_all(tool, lines, tmp_path):
    wheel = wheel_of(tmp_path / "x.whl")
    for name in tool.OUTPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("something")
    tool.try_wheel("python3", wheel, tmp_path, "lowest", "--index-url https://example.org/cpu torch")
    assert (tmp_path / "lowest.txt").read_text() == tool.lowest_versions(wheel)
    installs = [line.partition("--progress-bar=off ")[2] for line in lines if " install " in line]
    lowest = "--only-binary=:all: --constraint lowest.txt"
    assert installs == [f"{lowest} --no-deps --index-url https://example.org/cpu torch", f"{lowest} x.whl"]
    lines.clear()
    tool.try_wheel("python3", wheel, tmp_path)
    assert [line.partition("--progress-bar=off ")[2] for line in lines if " install " in line] == ["x.whl"]
    assert [line.split()[0] for line in lines[3:-1]] == ["--version", "doctor", "fit", "repose", "fit", "export"]


def test_an_output_that_is_missing_or_empty_fails(tool, lines, tmp_path):
    wheel = wheel_of(tmp_path / "x.whl")
    for name in tool.OUTPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "reposed.png" else "something")
    with pytest.raises(SystemExit, match=r"python3: reposed\.png was not written"):
        tool.try_wheel("python3", wheel, tmp_path)
    (tmp_path / "exports" / "balance.mp4.glb").unlink()
    with pytest.raises(SystemExit, match=r"reposed\.png, exports/balance\.mp4\.glb was not written"):
        tool.try_wheel("python3", wheel, tmp_path)


def test_a_step_that_fails_ends_the_trial(tool):
    with pytest.raises(SystemExit, match="exit code 5"):
        tool.run(sys.executable, "-c", "raise SystemExit(5)")


def test_a_release_has_figures_of_the_last_commits(tool, tmp_path, monkeypatch, capsys):
    def git(*line: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *identity, "-C", tmp_path, *line], capture_output=True, check=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "measure")
    result = {"benchmark": "repose", "machine": "A", "commit": git("rev-parse", "HEAD"), "date": "2026-11-29"}
    folder = tmp_path / "benchmarks" / "results" / "a"
    folder.mkdir(parents=True)
    (folder / "repose.json").write_text(json.dumps({**result, "rows": [{"method": "mesh", "seconds": 3.5}]}))
    unused = {**result, "benchmark": "warp3d", "commit": "0" * 40, "rows": []}
    (folder / "warp3d.json").write_text(json.dumps(unused))
    (tmp_path / "README.md").write_text("On <!-- figure: machine -->A<!-- /figure -->: ")
    monkeypatch.setattr(tool, "MAX_AGE", 2)
    for _ in range(3):
        git("commit", "--quiet", "--allow-empty", "-m", "change")
    tool.check_figures(tmp_path)  # no figure
    (tmp_path / "README.md").write_text("in <!-- figure: repose -->3.5<!-- /figure --> s")
    with pytest.raises(SystemExit, match="repose, 3; expected at most 2"):
        tool.check_figures(tmp_path)
    git("reset", "--quiet", "HEAD~1")
    tool.check_figures(tmp_path)
    assert capsys.readouterr().out == ""
    # A shallow clone lacks the commit.
    (folder / "repose.json").write_text((folder / "repose.json").read_text().replace(result["commit"], "0" * 40))
    tool.check_figures(tmp_path)
    assert "repose: its age is unknown" in capsys.readouterr().out
