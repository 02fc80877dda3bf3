"""The page of `hpc view` is whole in itself, shows the fit's people and frames, and works in a browser."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.moving_people import FRAMES, moving_people
from helpers.walking_take import walking_take

from humanpose_cli.core.errors import HpcError
from humanpose_cli.export.viewing import view
from humanpose_cli.fitting.result import FrameSource
from humanpose_cli.views.plan import draw_plan

FIT = moving_people()
PIXELS = np.tile(np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * 40, (1, 480, 640, 3))


@pytest.fixture(scope="module")
def text() -> str:
    return view(FIT, PIXELS, title="<clip>").text


def script(text: str, name: str) -> str:
    return re.search(rf'<script type="[^"]+" id="{name}">(.*?)</script>', text, re.DOTALL)[1]


def test_the_page_holds_all_it_needs(text):
    assert "<title>&lt;clip&gt;</title>" in text
    assert re.findall(r'(?:src|href)="(?!data:)[^"]+"', text) == []
    assert gzip.decompress(base64.b64decode(script(text, "people3d")))[:4] == b"glTF"
    library = gzip.decompress(base64.b64decode(script(text, "three")))
    assert all(name in library for name in (b"GLTFLoader", b"OrbitControls", b"MIT License"))
    assert "data:video/mp4;base64," in text


@pytest.mark.slow
def test_the_page_knows_people_times_and_cameras(text):
    told = json.loads(script(text, "data"))
    assert (told["count"], told["first"], told["size"]) == (FRAMES, 0, [640, 480])
    assert told["times"] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
    varying = replace(FIT, frame_times=np.array([0, 0.04, 0.1, 0.11, 0.2]))
    assert json.loads(script(view(varying).text, "data"))["times"] == [0, 0.04, 0.1, 0.11, 0.2, 0.24]
    assert told["people"] == [{"track": 0}, {"track": 2}]
    assert told["focal"] == [600.0] * FRAMES
    assert told["centre"][0] == [327.0, 237.0]
    assert 0.5 < told["target"][1] < 1.5  # above the floor, which has height 0
    assert told["radius"] >= 1


@pytest.mark.slow
def test_a_fit_that_knows_its_frames_shows_them_and_others_do_without():
    assert "<video" in view(replace(FIT, images=FrameSource(array=PIXELS))).text
    assert "<video" not in view(FIT).text
    empty = FIT.select([])
    assert '"people": []' in view(empty).text
    with pytest.raises(HpcError, match="640 × 480"):
        view(FIT, PIXELS[:, :100])


@pytest.mark.slow
def test_a_take_is_shown_from_above(text, walk):
    assert "from above" not in text
    page = view(walking_take(walk)).text
    figure = re.search(r'<figure class=sideview><img src="data:image/jpeg;base64,([^"]+)" alt="from above"', page)
    plan = cv2.imdecode(np.frombuffer(base64.b64decode(figure[1]), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(plan.astype(int) - draw_plan(walking_take(walk))[..., ::-1]).mean() < 1


def test_a_notebook_shows_the_page_in_a_frame(text):
    page = view(FIT)
    shown = page._repr_html_()
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1]) == page.text
    assert repr(page) == f'<ViewPage: {len(page.text) / 1e6:.1f} MB; save("NAME.html") writes it>'


def test_a_browser_shows_the_page(text, tmp_path):
    """In Chromium without a window or a network, drawn by the processor."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    (tmp_path / "page.html").write_text(text, "utf-8")
    line = [browser, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    line += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom"]
    ran = subprocess.run([*line, f"{(tmp_path / 'page.html').as_uri()}#through,play"], capture_output=True, text=True)
    body = re.search(r"<body[^>]*>", ran.stdout)
    assert body is not None, ran.stderr
    assert 'data-ready="5"' in body[0]  # two people, their meshes and the camera
    assert re.search(r'data-frame="\d"', body[0])
    assert re.search(r'id="play"[^>]*>❚❚<', ran.stdout)  # it plays again and again
    assert "through" in body[0]
    assert "<canvas" in ran.stdout
