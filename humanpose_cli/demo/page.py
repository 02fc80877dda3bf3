"""The page of `hpc demo`: sections with a command, its output and its files."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from humanpose_cli.io.video import VIDEO_SUFFIXES
from humanpose_cli.rendering.html_page import html_page

_STYLE = """
body{max-width:70rem;margin:2.5rem auto 5rem}h1{font-size:2rem}h2{margin:0 0 .3rem;font-size:1.35rem}
.facts{font-size:1.05rem;margin:.3rem 0 1.5rem}section{border-top:1px solid var(--line);padding:1.8rem 0 1.2rem}
section p{margin:.2rem 0 .9rem;max-width:46rem}
.row{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
figure{margin:0;flex:var(--shape,1) 1 calc(var(--shape,1)*9rem);min-width:min(100%,calc(var(--shape,1)*10.5rem));
max-width:max(50%,calc(var(--shape,1)*30rem))}
figure.page{flex-basis:100%;max-width:none}img,video{width:100%;aspect-ratio:var(--shape);display:block;border-radius:6px;background:var(--panel)}
iframe{width:100%;height:34rem;border:1px solid var(--line);border-radius:6px;display:block;background:var(--ground)}
figcaption{font-size:.85rem;color:var(--dim);margin-top:.35rem}
table{border-collapse:collapse;margin:1rem 0}td{padding:.2rem 1.2rem .2rem 0}
td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{background:var(--panel);border-radius:6px;padding:.7rem .9rem;margin:1rem 0 0;overflow-x:auto;
font:.88rem/1.55 ui-monospace,Menlo,Consolas,monospace}
pre.command{white-space:pre-wrap;overflow-wrap:anywhere}
pre.command span::before{content:"$ ";color:var(--dim)}pre.printed{border-left:3px solid #d08a2e;white-space:pre-wrap}
.next pre{font-size:1rem}
@media(max-width:40rem){iframe{height:40rem}h1{font-size:1.6rem}}
"""


@dataclass(frozen=True)
class Figure:
    """An image, a video (.mp4) or a page (.html) beside the page.

    Attributes:
        file: The file's name.
        caption: The caption.
        shape: The ratio of width to height, by which images of a row share its width.
    """

    file: str
    caption: str
    shape: float = 1.0


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: The heading.
        text: A paragraph.
        commands: The commands that make the same files.
        figures: The images.
        table: Rows of a name and a value.
        printed: The output of the commands; "" for none.
    """

    title: str
    text: str
    commands: Sequence[str]
    figures: Sequence[Figure] = ()
    table: Sequence[tuple[str, str]] = ()
    printed: str = ""


def index_page(sections: Sequence[Section], commands: Sequence[str]) -> str:
    """Compose the page from its sections and the commands that follow."""
    facts = "People in images and videos as 3-D bodies, and in new poses. hpc demo made all of this on your machine."
    following = (
        "<section class=next><h2>Next: a photograph of yours</h2>\n"
        "<p>One that shows a person from head to feet. Results are in hpc-out/.</p>\n"
        f"{_commands(commands)}</section>\n"
    )
    where = (
        "<p>The commands below run in this folder, in the environment that hpc is installed in: "
        "activate it if hpc is not found.</p>\n"
    )
    return html_page("humanpose-cli", facts, _STYLE, where + "".join(map(_section, sections)) + following)


def _commands(commands: Sequence[str]) -> str:
    lines = "\n".join(f"<span>{html.escape(command)}</span>" for command in commands)
    return f"<pre class=command>{lines}</pre>\n"


def _section(section: Section) -> str:
    figures = "".join(_figure(figure) for figure in section.figures)
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(value)}</td></tr>'
        for name, value in section.table
    )
    output = f"<pre class=printed>{html.escape(section.printed)}</pre>\n" if section.printed else ""
    table = f"<table>{rows}</table>\n" if rows else ""
    return (
        f"<section><h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.text)}</p>\n"
        f'<div class="row">{figures}</div>\n{table}{_commands(section.commands)}{output}</section>\n'
    )


def _figure(figure: Figure) -> str:
    file = quote(figure.file)
    caption = html.escape(figure.caption)
    kind = ""
    if Path(figure.file).suffix in VIDEO_SUFFIXES:
        media = f'<video src="{file}" controls loop muted autoplay playsinline></video>'
    elif figure.file.endswith(".html"):
        kind = " class=page"
        media = f'<iframe src="{file}#play" title="{caption}" loading="lazy"></iframe>'
        caption = f'<a href="{file}">{caption}</a>'
    else:
        media = f'<a href="{file}"><img src="{file}" alt="{caption}" loading="lazy"></a>'
    style = f' style="--shape:{figure.shape:.3f}"'
    return f"<figure{kind}{style}>{media}<figcaption>{caption}</figcaption></figure>\n"
