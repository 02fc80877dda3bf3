"""Every page stands in mkdocs.yml, relative links name files and headings, addresses are well formed.

`make site` checks links of docs/ with mkdocs; these tests need the checkout only, and read the other documents too.
"""

from __future__ import annotations

import pkgutil
import re
from inspect import getdoc
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.python_sources import ROOT

import humanpose_cli
from tools.site.pages import FENCE, included, slug

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "data/README.md")]
DOCUMENTS = [*OTHERS, ROOT / "humanpose_cli" / "lab" / "README.md", *PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"|<(https?://[^>\s]+)>|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


def prose(text: str) -> str:
    """The text without code."""
    lines, fenced = [], False
    for line in text.splitlines():
        fence = bool(FENCE.match(line))
        if not fenced and not fence:
            lines.append(re.sub(r"`[^`]*`", "", line))
        fenced ^= fence
    return "\n".join(lines)


def links(path: Path) -> list[str]:
    return ["".join(groups) for groups in LINK.findall(prose(path.read_text("utf-8")))]


def anchors(path: Path) -> set[str]:
    """Those of a document's headings; the second heading of a text gets `-1`, as on GitHub."""
    text = included(path.read_text("utf-8"), path) if path.is_relative_to(DOCS) else path.read_text("utf-8")
    found: set[str] = set()
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        heading = None if fenced else re.match(r"#+ (.*)", line)
        if heading:
            name = slug(heading[1])
            found.add(name if name not in found else f"{name}-1")
    return found


def dead(path: Path, link: str) -> bool:
    """Whether a relative link names no file of the checkout, or no heading of it."""
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    return not target.exists() or bool(anchor and target.suffix == ".md" and anchor not in anchors(target))


def in_nav() -> list[str]:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    return re.findall(r"[\s\"']([\w/.-]+\.md)\b", nav)


def test_every_page_stands_in_the_sites_navigation_once():
    pages = [path.relative_to(DOCS).with_suffix(".md").as_posix() for path in (*PAGES, *DOCS.rglob("*.ipynb"))]
    assert sorted(in_nav()) == sorted(name for name in pages if ".ipynb_checkpoints" not in name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings(path):
    relative = [link for link in links(path) if not urlsplit(link).scheme]
    assert [link for link in relative if dead(path, link)] == []


@pytest.mark.slow
def test_every_public_name_stands_on_a_page_of_the_python_reference():
    pages = [page.read_text("utf-8") for page in (DOCS / "reference" / "api").glob("*.md")]
    described = [path for text in pages for path in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    assert set(humanpose_cli.__all__) - {"__version__"} <= {path.rpartition(".")[2] for path in described}
    found = {path: pkgutil.resolve_name(path) for path in described}
    assert all(getdoc(thing) for thing in found.values())
