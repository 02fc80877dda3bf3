"""The README stays short."""

from __future__ import annotations

from helpers.python_sources import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_is_short():
    assert len(README.split()) <= 600
