"""The demo's index page: one HTML file without scripts or anything from outside."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figure", "Section", "index_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.8rem; margin-bottom: 0; } h2 { margin-top: 2.5rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-end; }
figure { margin: 0; flex: 1 1 14rem; max-width: 32rem; } img, video { width: 100%; display: block; border-radius: 4px; }
figcaption { font-size: .85rem; color: #555; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { background: #f3f3f3; border-radius: 3px; padding: .1rem .3rem; } pre { padding: .6rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } figcaption { color: #aaa; }
  code, pre { background: #2a2a2a; } }
"""


@dataclass(frozen=True)
class Figure:
    """A picture or video (.mp4) beside the page, with what it shows."""

    file: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, a paragraph, the command that gives the same, pictures, a table of figures."""

    title: str
    text: str
    command: str
    figures: Sequence[Figure]
    table: Sequence[tuple[str, str]] = ()


def index_page(sections: Sequence[Section]) -> str:
    """The whole page."""
    parts = [_section(section) for section in sections]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>humanpose-cli: demo</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>humanpose-cli</h1>\n"
        "<p>People in pictures as 3-D bodies, and in new poses. All of it was made here, just now.</p>\n"
        + "".join(parts)
        + "</body></html>\n"
    )


def _section(section: Section) -> str:
    figures = "".join(_figure(figure) for figure in section.figures)
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(value)}</td></tr>'
        for name, value in section.table
    )
    table = f"<table>{rows}</table>\n" if rows else ""
    return (
        f"<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.text)}</p>\n"
        f"<pre>{html.escape(section.command)}</pre>\n{table}"
        f'<div class="row">{figures}</div>\n'
    )


def _figure(figure: Figure) -> str:
    file, caption = html.escape(figure.file, quote=True), html.escape(figure.caption)
    if figure.file.endswith(".mp4"):
        shown = f'<video src="{file}" controls loop muted autoplay playsinline></video>'
    else:
        shown = f'<a href="{file}"><img src="{file}" alt="{caption}" loading="lazy"></a>'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n"
