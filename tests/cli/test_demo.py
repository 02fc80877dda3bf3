"""`hpc demo` types lines as a user would, and its page shows what they wrote."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers.python_sources import ROOT

from humanpose_cli.cli import demo


@pytest.fixture
def lines(monkeypatch):
    def replace(*lines: str) -> None:
        monkeypatch.setattr(demo, "LINES", dict.fromkeys(lines, "What it writes."))

    return replace


def test_the_lines_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    typed = re.findall(r"^(hpc .*?) *#", readme, re.MULTILINE)
    assert [*demo.LINES] == [line for line in typed if line.split()[1] != "combine"]
    assert {word for line in demo.LINES for word in line.split() if "." in word and "/" not in word} == {*demo.INPUTS}


def test_it_names_what_each_line_wrote(hpc, lines, tmp_path):
    lines("hpc probe photo.jpg", "hpc probe 'b <c>.mp4'")
    here = Path.cwd()
    ran = hpc("demo", "--out", str(tmp_path), "--json")
    assert ran.code == 0
    assert Path.cwd() == here
    assert [item["outputs"] for item in ran.document["items"]] == [
        ["hpc-out/probe/photo.jpg.npz"],
        ["hpc-out/probe/b <c>.mp4.npz"],
    ]
    assert f"{tmp_path}/hpc-out/probe/photo.jpg.npz\n" in ran.err
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<h2>hpc probe photo.jpg</h2>" in page
    assert '<img src="photo.jpg"' in page
    assert 'href="hpc-out/probe/b%20%3Cc%3E.mp4.npz"' in page
    assert "<c>" not in page


def test_a_line_that_fails_fails_the_demo_and_the_others_are_shown(hpc, lines, tmp_path):
    lines("hpc probe --fault input", "hpc probe a.jpg")
    ran = hpc("demo", "--out", str(tmp_path), "--json")
    assert ran.code == 4
    assert [item["status"] for item in ran.document["items"]] == ["error", "success"]
    assert ran.details["error"] == "a.jpg: is not an image; convert it"
    assert "error: a.jpg: is not an image" in ran.err


def test_messages_are_written_once(hpc, lines, tmp_path):
    lines("hpc probe --fault talk")
    assert hpc("demo", "--out", str(tmp_path)).err.count("a message") == 1
    assert "a message" not in hpc("demo", "--out", str(tmp_path), "--quiet").err


def test_a_photograph_of_the_user_is_kept(hpc, lines, tmp_path):
    lines("hpc probe photo.jpg")
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    ran = hpc("demo", "--out", str(tmp_path))
    assert (ran.code, (tmp_path / "photo.jpg").read_bytes()) == (2, b"mine")


@pytest.mark.extensive
def test_the_page_shows_pictures(hpc, tmp_path):
    ran = hpc("demo", "--out", str(tmp_path), "--json")
    assert ran.code == 0
    page = html.unescape((tmp_path / "index.html").read_text("utf-8"))
    shown = [unquote(address) for address in re.findall(r'src="([^"#]+)', page)]
    assert {Path(file).suffix for file in shown} == {".jpg", ".png", ".mp4", ".html"}
    assert all((tmp_path / file).stat().st_size > 10_000 for file in shown)
    assert len(shown) == 11
