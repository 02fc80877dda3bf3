"""Pages in Chromium without a window or a network, drawn by the processor."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PHONE = "position:absolute;border:0;width:390px;height:700px"


def run_browser(address: str, profile: Path, *options: str, seconds: int = 8) -> str:
    """What the browser prints for an address, after seconds of its own time. Skips the test if there is no browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    line = [browser, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    line += [f"--user-data-dir={profile}", f"--virtual-time-budget={1000 * seconds}", *options]
    ran = subprocess.run([*line, address], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def document(address: str, profile: Path, *options: str, until: str) -> str:
    """The document of an address once it matches the pattern `until`; at last after 64 s of the browser's own time.

    The browser's time does not wait for images and archives that its other threads decode.
    """
    for seconds in (8, 64):
        printed = run_browser(address, profile, "--dump-dom", *options, seconds=seconds)
        if re.search(until, printed):
            break
    return printed


def probed(page: str, folder: Path, expression: str, *options: str) -> Any:
    """The value of a JavaScript expression in a page, once it is not null."""
    probe = f"setInterval(() => {{ document.documentElement.dataset.probe = JSON.stringify({expression}); }}, 200)"
    path = folder / "probed.html"
    path.write_text(f"{page}\n<script>{probe}</script>", "utf-8")
    value = r'data-probe="(?!null")([^"]*)"'
    printed = document(path.as_uri(), folder / "profile", *options, until=value)
    found = re.search(value, printed)
    assert found is not None, printed[:2000]
    return json.loads(html.unescape(found[1]))


def framed(page: str, style: str = PHONE) -> str:
    """A page that holds another one in a frame, `frame`, which scripts can look into."""
    return f'<!doctype html><iframe id=frame srcdoc="{html.escape(page, quote=True)}" style="{style}"></iframe>'
