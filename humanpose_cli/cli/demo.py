"""`hpc demo`: type the README's commands on the package's files, and show what they wrote on a page."""

from __future__ import annotations

import html
import io
import json
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from urllib.parse import quote

from humanpose_cli.cli.options import Out
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status

_DATA = Path(__file__).parent / "data"
CLIP = _DATA / "clip.mp4"
"""A man who balances, filmed from behind."""

INPUTS = ("photo.jpg", "other.jpg", "clip.mp4")
LINES = {
    "hpc fit photo.jpg": "Pose and shape of everyone, and an overlay; what is uncertain is hatched.",
    "hpc fit clip.mp4 --refine": "Motion, moved onto the pixels, with textures.",
    "hpc view hpc-out/fit/clip.mp4.fit.npz": "A page in 3-D: drag to turn the person.",
    "hpc export hpc-out/fit/clip.mp4.fit.npz": "A file for Blender and others.",
    "hpc repose photo.jpg other.jpg": "The person of photo.jpg in the pose of other.jpg.",
}
"""The commands, and what they write."""

_IMAGE = '<img src="{}" alt="">'
_MEDIA = {
    ".jpg": _IMAGE,
    ".png": _IMAGE,
    ".mp4": '<video src="{}" controls loop muted autoplay playsinline></video>',
    ".html": '<iframe src="{}#play" title="" loading="lazy"></iframe>',
}
"""Suffix → how the page shows such a file; it only links to others."""

_STYLE = """
section{border-top:1px solid var(--line);padding:1rem 0}h2{font:1.05rem ui-monospace,Menlo,Consolas,monospace;
margin:0;overflow-wrap:anywhere}.row{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
figure{margin:0}img,video{height:26rem;max-width:100%;object-fit:contain;display:block}figure:has(iframe){width:100%}
iframe{width:100%;height:44rem;border:1px solid var(--line)}figcaption{font-size:.85rem;overflow-wrap:anywhere}
"""


@command(usual="--out", examples=("hpc demo", "hpc demo --out /tmp/demo"))
def demo(session: Session, out: Out = Path("demo")) -> CommandResult:
    """Fit, view and repose example people on a page.

    Types the commands of the README on shipped files; index.html shows what they wrote.
    """
    from humanpose_cli.outputs.atomic import ensure_folder, write_text

    folder = ensure_folder(out).absolute()
    for name in INPUTS:
        _copy(_DATA / name, folder / name)
    reporter = session.reporter
    flags = [flag for flag in ("--quiet", "--verbose", "--log-json") if flag in session.arguments]
    items: list[ItemResult] = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        with reporter.paused():
            for line in LINES:
                reporter.info(f"$ {line}")
                items.append(_typed(line, flags))
                for output in items[-1].outputs:
                    reporter.info(str(out / output))
                if items[-1].status is Status.INTERRUPTED:
                    break
        write_text("index.html", _page(items))
    finally:
        os.chdir(before)
    status, exit_code = combine_status(items)
    message = f"open {out / 'index.html'} in a browser"
    return CommandResult("demo", status, tuple(items), (message,), exit_code)


def _copy(source: Path, path: Path) -> None:
    """Copy a file, unless it is there: later runs recognise their input."""
    from humanpose_cli.files.sniffing import read_bytes
    from humanpose_cli.outputs.atomic import write_bytes

    data = read_bytes(source)
    if not (path.is_file() and read_bytes(path) == data):
        write_bytes(path, data)


def _typed(line: str, flags: Sequence[str]) -> ItemResult:
    """Run a command line in this process. Its table is not shown: the page and the paths say the same."""
    from humanpose_cli.cli.main import main

    start = time.perf_counter()
    with redirect_stdout(io.StringIO()) as printed:
        code = main([*shlex.split(line)[1:], "--json", *flags])
    document = json.loads(printed.getvalue())
    errors = [*(item["error"] for item in document["items"]), *document["messages"]]
    return ItemResult(
        line,
        Status(document["status"]),
        tuple(output for item in document["items"] for output in item["outputs"]),
        time.perf_counter() - start,
        next((error for error in errors if error), None) if code else None,
        ExitCode(code),
    )


def _page(items: Sequence[ItemResult]) -> str:
    """Compose the page: below each command its inputs and results, of the folder that is current."""
    from humanpose_cli.rendering.html_page import html_page

    sections = []
    for item in items:
        files = [name for name in INPUTS if name in item.input.split()] + [*item.outputs]
        figures = "".join(_figure(file) for file in files if Path(file).suffix in _MEDIA)
        links = " · ".join(_link(file) for file in files if Path(file).suffix not in _MEDIA)
        heading = f"<h2>{html.escape(item.input)}</h2>\n<p>{html.escape(LINES[item.input])}</p>"
        sections.append(f"<section>{heading}\n<div class=row>{figures}</div>\n<p>{links}</p></section>\n")
    facts = "hpc demo typed these commands in this folder. Next: hpc fit with a photograph of yours."
    return html_page("humanpose-cli", facts, _STYLE, "".join(sections))


def _figure(file: str) -> str:
    media = _MEDIA[Path(file).suffix].format(quote(file))
    return f"<figure>{media}<figcaption>{_link(file)}</figcaption></figure>\n"


def _link(file: str) -> str:
    return f'<a href="{quote(file)}">{html.escape(file)}</a>'
