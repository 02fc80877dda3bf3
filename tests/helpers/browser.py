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


def run_browser(address: str, profile: Path, *options: str) -> str:
    """What the browser prints for an address, after 8 s of its own time. Skips the test if there is no browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    line = [browser, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    line += [f"--user-data-dir={profile}", "--virtual-time-budget=8000", *options]
    ran = subprocess.run([*line, address], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def probed(page: str, folder: Path, expression: str, *options: str) -> Any:
    """The value of a JavaScript expression in a page, at last."""
    probe = f"setInterval(() => {{ document.documentElement.dataset.probe = JSON.stringify({expression}); }}, 200)"
    path = folder / "probed.html"
    path.write_text(f"{page}\n<script>{probe}</script>", "utf-8")
    printed = run_browser(path.as_uri(), folder / "profile", "--dump-dom", *options)
    found = re.search(r'data-probe="([^"]*)"', printed)
    assert found is not None, printed[:2000]
    return json.loads(html.unescape(found[1]))


def framed(page: str, style: str = PHONE) -> str:
    """A page that holds another one in a frame, `frame`, which scripts can look into."""
    return f'<!doctype html><iframe id=frame srcdoc="{html.escape(page, quote=True)}" style="{style}"></iframe>'
