"""Pages of docs/ as the generator of the site gets them."""

from __future__ import annotations

import pytest

from tools.site.pages import (
    DOCS,
    REPOSITORY,
    ROOT,
    TAKE_PAGE,
    VIEW_PAGE,
    as_python_markdown,
    included,
    page_text,
    relinked,
    section,
    slug,
    view_pages,
    write_notebook,
)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Options without a flag", "options-without-a-flag"),
        ("`hpc fit`, a [b](c.md)", "hpc-fit-a-b"),
        ("A - b", "a---b"),
        ("MPI-INF-3DHP", "mpi-inf-3dhp"),
    ],
)
def test_anchors_are_githubs(heading, anchor):
    assert slug(heading) == anchor


def test_the_sites_anchors_are_the_same():
    slugs = pytest.importorskip("pymdownx.slugs")
    for heading in ("Options without a flag", "A - b", "Joints, pixels: (x, y)", "d_e 1.2"):
        assert slugs.slugify(case="lower")(heading, "-") == slug(heading)


def test_a_section_ends_at_the_next_heading_of_its_level():
    text = "# t\n## A\na\n### deep\n```\n## no heading\n```\n## B\nb\n"
    assert section(text, "a") == "a\n### deep\n```\n## no heading\n```"
    assert section(text, "b") == "b"
    with pytest.raises(ValueError, match="#c: is no heading"):
        section(text, "c")


def test_links_are_those_that_the_page_needs():
    text = "[a](../CONTRIBUTING.md#layers) ![b](../docs/assets/clip.webp) [c](../tests) [d](https://e.f) [g](#h)"
    assert relinked(text, ROOT / "data" / "README.md", DOCS / "reference" / "page.md") == (
        f"[a]({REPOSITORY}/blob/main/CONTRIBUTING.md#layers) ![b](../assets/clip.webp) "
        f"[c]({REPOSITORY}/tree/main/tests) [d](https://e.f) [g](#h)"
    )
    assert relinked("```\n[a](../tests)\n```", DOCS / "a.md", DOCS / "a.md") == "```\n[a](../tests)\n```"


def test_a_file_is_included_without_its_title():
    page = "# Title\n<!-- include ../CHANGELOG.md -->\nin its place\n<!-- end -->\nafter"
    text = included(page, DOCS / "page.md")
    assert text.count("\n# ") == 0
    assert "## [Unreleased]" in text
    assert "\nin its place\n" not in text
    assert text.endswith("after")


def test_marks_of_figures_are_left_out():
    """In the site's Markdown a comment at the beginning of a line ends the paragraph."""
    text = "| <!-- figure: a -->1<!-- /figure --> |\n<!-- figures: a b-c -->\n2\n<!-- /figures -->\n<!-- else -->"
    assert page_text(text, DOCS / "page.md") == "| 1 |\n\n2\n\n<!-- else -->"


def test_lists_and_tables_begin_after_an_empty_line():
    assert as_python_markdown("a:\n- b\n  c\n- d\n  - e") == "a:\n\n- b\n  c\n- d\n    - e"
    assert as_python_markdown("a\n|b|\n|-|") == "a\n\n|b|\n|-|"
    unchanged = "# a\n- b\n\n```\na\n- b\n```\n|b|"
    assert as_python_markdown(unchanged) == unchanged.replace("```\n|b|", "```\n\n|b|")


@pytest.mark.extensive
def test_the_home_shows_a_page_in_three_dimensions():
    shown = page_text("a\n\n<!-- live view -->\n\nb\n", DOCS / "index.md")
    assert f'\n<iframe src="{VIEW_PAGE}#play" ' in shown
    assert 'loading="lazy"' in shown
    assert "iframe" not in page_text("a\n", DOCS / "guides" / "index.md")
    for address, frames in ((VIEW_PAGE, 146), (TAKE_PAGE, 50)):
        page = view_pages()[address]
        assert f'"count": {frames},' in page
        assert '"track": 1' in page  # two people
        assert 1_600_000 < len(page) < 3_200_000


@pytest.mark.extensive
def test_notebooks_become_pages_with_their_outputs(tmp_path):
    pytest.importorskip("nbconvert")
    write_notebook(DOCS / "tutorials" / "table.ipynb", tmp_path / "table.ipynb")
    text = (tmp_path / "table.md").read_text("utf-8")
    (image,) = (tmp_path / "table").iterdir()
    assert text.startswith("# ")
    assert f"](table/{image.name})" in text
    assert image.read_bytes().startswith(b"\x89PNG")
