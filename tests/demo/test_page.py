"""The page shows files, commands and what they print, and nothing from elsewhere."""

from __future__ import annotations

from humanpose_cli.demo.page import Figure, Section, index_page


def test_the_page_shows_files_and_escapes_words():
    figures = [Figure("a b.png", '"quoted"', 0.5), Figure("c.mp4", "v"), Figure("d.html", "p")]
    section = Section("A <b>", "x & y", ["hpc fit <a>"], figures, [("n & m", "1 mm")], printed="warning: <c>")
    page = index_page([section], ["hpc fit next.jpg"])
    for text in ("A &lt;b&gt;", "x &amp; y", "hpc fit &lt;a&gt;", "n &amp; m", "warning: &lt;c&gt;", "&quot;quoted"):
        assert text in page
    assert '<img src="a%20b.png"' in page
    assert '<video src="c.mp4"' in page
    assert '<iframe src="d.html#play"' in page  # which plays by itself
    assert "--shape:0.500" in page
    assert page.index("hpc fit &lt;a") < page.index("hpc fit next.jpg")
    assert "http" not in page
