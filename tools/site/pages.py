"""Write the pages of docs/ as the site's generator takes them, so that they read the same on GitHub and on the site.

`python tools/site/pages.py FOLDER` writes all pages into a new folder.

A page includes another file, or one section of it, between two comments; GitHub shows what stands there:

    <!-- include ../CHANGELOG.md -->
    [CHANGELOG.md](../CHANGELOG.md) lists what each version adds.
    <!-- end -->

The line `<!-- live view -->` of the site's home becomes a frame with the page that `hpc view` makes of a clip in
tools/site/view, which the site has as assets/view.html; GitHub shows nothing there. A page of four cameras is
assets/take.html.

Relative links to files outside docs/ become addresses of the repository. Lists and tables that follow a line of text
get the empty line that Python-Markdown needs before them, and nested lists its four spaces. The comments that mark
figures (benchmarks/figures.py) are left out. Notebooks become Markdown with the outputs that they hold.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
VIEW = ROOT / "tools" / "site" / "view"
VIEW_PAGE, TAKE_PAGE = "assets/view.html", "assets/take.html"
LIVE_VIEW = (
    f'<iframe src="{VIEW_PAGE}#play" title="A back flip and a walker in 3-D: drag to turn the view" loading="lazy" '
    'style="width:100%;height:min(42rem,90vh);border:0"></iframe>'
)
REPOSITORY = "https://github.com/humanpose-cli/humanpose-cli"

INCLUDE = re.compile(r"^<!-- include (\S+?)(?:#(\S+))? -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
FIGURE_MARK = re.compile(r"<!-- /?figures?\b[^>]*-->")
LINK = re.compile(r"(\]\(|\b(?:src|srcset|href)=\")(?![a-z][a-z0-9+.-]*:|[#/])([^\s\")#]+)")
ITEM = re.compile(r"^( *)(?:[-*+]|\d+\.) ")


def slug(heading: str) -> str:
    """Return GitHub's and the site's anchor of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def section(text: str, anchor: str) -> str:
    """Return the text below a heading, up to the next heading of its level or above."""
    lines, level, kept = text.splitlines(), 0, []
    fenced = False
    for line in lines:
        fenced ^= bool(FENCE.match(line))
        heading = None if fenced else re.match(r"(#+) (.*)", line)
        if heading and level and len(heading[1]) <= level:
            break
        if level:
            kept.append(line)
        elif heading and slug(heading[2]) == anchor:
            level = len(heading[1])
    if not level:
        raise ValueError(f"#{anchor}: is no heading of the included file; name one of its anchors")
    return "\n".join(kept).strip("\n")


def relinked(text: str, source: Path, page: Path) -> str:
    """Markdown of the file `source` with the links that it needs in `page`."""

    def link(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / found[2]))
        if target.is_relative_to(DOCS) and target.is_file():
            return found[1] + posixpath.relpath(target.as_posix(), page.parent.as_posix())
        if not target.exists():
            return found[0]  # mkdocs reports it
        kind = "tree" if target.is_dir() else "blob"
        return f"{found[1]}{REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}"

    return outside_fences(text, lambda line: LINK.sub(link, line))


def outside_fences(text: str, change: Any) -> str:
    """Each line that is not code, changed."""
    lines, fenced = [], False
    for line in text.split("\n"):
        fence = bool(FENCE.match(line))
        lines.append(line if fenced or fence else change(line))
        fenced ^= fence
    return "\n".join(lines)


def included(text: str, page: Path) -> str:
    """Insert the files that a page includes, without their titles."""

    def content(found: re.Match[str]) -> str:
        source = Path(os.path.normpath(page.parent / found[1]))
        source_text = source.read_text("utf-8")
        part = section(source_text, found[2]) if found[2] else re.sub(r"\A# .*\n", "", source_text)
        return relinked(part, source, page)

    return INCLUDE.sub(content, text)


def as_python_markdown(text: str) -> str:
    """Convert GitHub's lists and tables to Python-Markdown's."""
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        fence = bool(FENCE.match(line))
        if not fenced and not fence:
            item, row = ITEM.match(line), line.startswith("|")
            starts = (item and not item[1] and not ITEM.match(before) and not before.startswith(" ")) or (
                row and not before.startswith("|")
            )
            if starts and before and not before.startswith("#"):
                lines.append("")
            if item:
                line = item[1] + line
        lines.append(line)
        fenced ^= fence
    return "\n".join(lines)


@cache
def view_pages() -> dict[str, str]:
    """Make the pages of `hpc view` for the results of tools/make_site_view.py, by address."""
    import humanpose_cli as hp

    flip, take = (hp.load_fit(VIEW / f"{name}.fit.npz") for name in ("flip.mp4", "take"))
    cameras = sorted(VIEW.glob("cam*.mp4"))
    return {
        VIEW_PAGE: hp.view(flip, VIEW / "flip.mp4", title="Two people, filmed with one telephone").text,
        TAKE_PAGE: hp.view(take, cameras, title="A man who balances, filmed by four cameras").text,
    }


def page_text(text: str, path: Path) -> str:
    """Return a page's Markdown as Python-Markdown takes it."""
    text = as_python_markdown(relinked(FIGURE_MARK.sub("", included(text, path)), path, path))
    return text.replace("<!-- live view -->", LIVE_VIEW).replace(".ipynb)", ".md)")


def write_notebook(source: Path, target: Path) -> None:
    """Write a notebook as a Markdown page, with the images of its outputs beside it."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(source))
    images = target.with_suffix("")
    for name, content in resources["outputs"].items():
        images.mkdir(exist_ok=True)
        (images / name).write_bytes(content)
        text = text.replace(f"]({name})", f"]({images.name}/{name})")
    target.with_suffix(".md").write_text(page_text(text, source), "utf-8")


def write_pages(folder: Path) -> None:
    """Write all files of docs/ and the 3-D pages of the home into a folder, which is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in sorted(path for path in DOCS.rglob("*") if path.is_file()):
        target = folder / source.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(page_text(source.read_text("utf-8"), source), "utf-8")
        elif source.suffix == ".ipynb":
            write_notebook(source, target)
        else:
            shutil.copyfile(source, target)
    for address, content in view_pages().items():
        (folder / address).write_text(content, "utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
