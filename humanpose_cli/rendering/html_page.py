"""HTML pages of the demo and of the viewer: head and style, and embedded data and images."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.rendering.overlay import person_colour

_QUALITIES = (82, 70, 55, 40, 25)  # of JPEG
_PLAN_BYTES = 60_000  # of a plan's image
_SPEEDS = (0.25, 0.5, 1, 2)
_TIMELINE_DATA = Path(__file__).parent / "data" / "timeline.js"

STYLE = """
:root{color-scheme:light dark;--ink:#1c1e21;--dim:#5c6470;--ground:#fff;--panel:#f2f4f6;--line:#d5dae0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--dim:#9aa3ae;--ground:#15171a;--panel:#1f2226;--line:#343a41}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);
max-width:62rem;margin:1.5rem auto;padding:0 1rem}h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}
.facts{color:var(--dim);margin:.2rem 0 1rem}.bar{display:flex;gap:.7rem;align-items:center;margin:.6rem 0}
.bar input[type=range]{flex:1}#name{min-width:9rem;text-align:right;font-variant-numeric:tabular-nums;
color:var(--dim);overflow-wrap:anywhere}[hidden]{display:none!important}.bar label{white-space:nowrap}
select{height:2rem;border:1px solid var(--line);border-radius:4px;background:var(--panel);color:var(--ink)}
button{padding:0 .7rem;white-space:nowrap;min-width:2.4rem;height:2rem;border:1px solid var(--line);
border-radius:4px;background:var(--panel);color:var(--ink);cursor:pointer}
"""


# Nothing of another address: no part of a title or a name can load anything.
_POLICY = "default-src 'self' 'unsafe-inline' data: blob:; base-uri 'none'; form-action 'none'"


def html_page(title: str, facts: str, style: str, content: str) -> str:
    """Compose a page with a heading.

    Args:
        title: The heading, plain text.
        facts: A line below it, plain text.
        style: CSS in addition to `STYLE`.
        content: HTML with scripts.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{html.escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}{style}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p class=facts>{html.escape(facts)}</p>\n{content}\n</body></html>\n"
    )


def json_script(document: Any) -> str:
    """Return JSON values as a script element with the id `data`; no value can end the element."""
    text = json.dumps(document).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{text}</script>\n'


def page_scripts(document: Any, script: str) -> str:
    """Return the values of a page, its `data`, and a script after `data/timeline.js`, which it may use."""
    return f"{json_script(document)}<script>\n{_TIMELINE_DATA.read_text('utf-8')}\n{script}</script>"


def timeline_bar(count: int, more: str = "") -> str:
    """Return the elements of `data/timeline.js` for frames, hidden if there is one, and more HTML in their bar."""
    still = " hidden" if count == 1 else ""
    speeds = "".join(f"<option value={speed}{' selected' * (speed == 1)}>{speed:g}×" for speed in _SPEEDS)
    return (
        f'<div class=bar><button id=toggle aria-label="play"{still}>▶</button>'
        f'<input id=frame type=range min=0 max={count - 1} value=0 aria-label="frame"{still}>'
        f'<span id=name></span><select id=speed aria-label="speed"{still}>{speeds}</select>'
        f"<label{still}><input id=loop type=checkbox> Loop</label>{more}</div>\n"
    )


def css_colour(track_id: int) -> str:
    """Return the colour of a track in overlays."""
    return "rgb(" + ",".join(str(round(255 * float(value))) for value in person_colour(track_id)) + ")"


def data_uri(data: bytes, kind: str) -> str:
    """Encode bytes of a MIME type as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def reduced(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce an image to at most `side` pixels along its longer side."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def jpeg_within(image: NDArray[np.uint8], budget: int) -> bytes:
    """Encode an image as JPEG in the highest quality, then the largest size, of at most `budget` bytes."""
    while True:
        for quality in _QUALITIES:
            _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(jpeg) <= budget:
                return jpeg.tobytes()
        if max(image.shape[:2]) < 64:
            return jpeg.tobytes()
        image = np.asarray(cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))


def plan_figure(plan: NDArray[np.uint8]) -> str:
    """Embed the plan (H, W, 3) of a take, its cameras and people from above, as a figure."""
    image = data_uri(jpeg_within(plan, _PLAN_BYTES), "image/jpeg")
    caption = "Cameras and people from above, with a grid of metres"
    return (
        f'<figure class=sideview><img src="{image}" alt="from above" style=width:420px>'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )
