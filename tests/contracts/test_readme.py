"""The README stays short, and its figures are those of the notes."""

from __future__ import annotations

import re

from helpers.python_sources import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 96


def test_the_errors_on_real_video_are_those_of_the_note():
    (sentence,) = re.findall(r"On real video \(.*?\)\.", README, re.DOTALL)
    frames, views = re.search(r"(\d+) frames each", sentence)[1], re.search(r"\((\w+) calibrated", sentence)[1]
    errors = re.findall(r"(\d+) mm", sentence)
    figures = (ROOT / "docs" / "research" / "figures.md").read_text("utf-8")
    row = next(row for row in figures.splitlines() if "real video" in row)
    assert f"{views} views" in row
    assert f"{frames} frames each" in row
    assert f"{' / '.join(errors)} mm" in row
