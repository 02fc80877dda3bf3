"""The page shows files, commands and what they print, and nothing from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.browser import probed
from helpers.moving_people import FRAMES, moving_people

from humanpose_cli.demo.page import Figure, Section, index_page
from humanpose_cli.exporting.viewing import view


def test_the_page_shows_files_and_escapes_text():
    figures = [Figure("a b.png", '"quoted"', 0.5), Figure("c.mp4", "v"), Figure("d.html", "p")]
    section = Section("A <b>", "x & y", ["hpc fit <a>"], figures, [("n & m", "1 mm")], printed="warning: <c>")
    page = index_page([section], ["hpc fit next.jpg"])
    for text in ("A &lt;b&gt;", "x &amp; y", "hpc fit &lt;a&gt;", "n &amp; m", "warning: &lt;c&gt;", "&quot;quoted"):
        assert text in page
    assert '<img src="a%20b.png"' in page
    assert '<video src="c.mp4"' in page
    assert 'src="d.html#play"' in page  # which plays by itself
    assert "--shape:0.500" in page
    assert page.index("hpc fit &lt;a") < page.index("hpc fit next.jpg")
    assert "://" not in page


@pytest.mark.extensive
def test_the_page_opens_at_its_top(tmp_path):
    """Although a page in it plays by itself."""
    view(moving_people(), np.zeros((FRAMES, 480, 640, 3), np.uint8)).save(tmp_path / "d.html")
    text = Section("A", "words " * 400, ["hpc"])
    page = index_page([text] * 4 + [Section("B", "", ["hpc"], [Figure("d.html", "p")]), text], ["hpc"])
    page = page.replace(' loading="lazy"', "")  # the frame is loaded although it is far below
    shown = probed(page, tmp_path, "[scrollY, document.documentElement.scrollHeight > 2 * innerHeight, frames.length]")
    assert shown == [0, True, 1]
