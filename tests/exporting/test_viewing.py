"""The page of `hpc view` is whole in itself, shows the fit's people and frames, and works in a browser."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.browser import document, framed, probed
from helpers.errors import raises
from helpers.moving_people import FRAMES, moving_people
from helpers.walking_take import walking_take
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import HpcError
from humanpose_cli.exporting.viewing import view
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.views.plan import draw_plan

FIT = moving_people()
PIXELS = np.tile(np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * 40, (1, 480, 640, 3))


@pytest.fixture(scope="module")
def text() -> str:
    return view(FIT, PIXELS, title="<clip>").text


def shifted(fit: Fit, metres: Any) -> Fit:
    """The bodies of each row moved to the right."""
    step = np.outer(metres, (1, 0, 0)).astype(np.float32)
    return replace(fit, trans=fit.trans + step, joints3d=fit.joints3d + step[:, None])


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
    data = json.loads(script(text, "data"))
    assert (data["count"], data["person"]["first"]) == (FRAMES, 0)
    assert data["times"] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
    varying = replace(FIT, frame_times=np.array([0, 0.04, 0.1, 0.11, 0.2]))
    assert json.loads(script(view(varying).text, "data"))["times"] == [0, 0.04, 0.1, 0.11, 0.2, 0.24]
    assert data["people"] == [{"track": 0}, {"track": 2}]
    (camera,) = data["cameras"]
    assert (camera["size"], camera["focal"]) == ([640, 480], [600.0] * FRAMES)
    assert camera["centre"][0] == [327.0, 237.0]
    assert "id=camera" not in script_free(view(varying).text)
    assert 0.5 < data["target"][1] < 1.5  # above the floor, which has height 0
    assert data["radius"] >= 1


@pytest.mark.slow
def test_the_page_shows_the_background_of_a_camera_that_walks_and_its_path(text):
    """Points lie where the camera of the shot's first frame sees them; the world stands on the ground."""
    assert "background" not in json.loads(script(text, "data"))
    points = [[0.5, -0.25, 4.0], [-1.0, 0.75, 6.0]]
    options = replace(FIT.options, camera_paths=[{"shot": 0, "background": points}])
    data = json.loads(script(view(replace(FIT, options=options)).text, "data"))
    glb = gzip.decompress(base64.b64decode(script(text, "people3d")))
    document = json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])
    (node,) = (node for node in document["nodes"] if "camera" in node)
    rotation = Rotation.from_quat(node["rotation"]).as_matrix()
    in_camera = np.array(points) * (1, -1, -1)  # glTF's cameras look along −z, with y up
    np.testing.assert_allclose(data["background"], in_camera @ rotation.T + node["translation"], atol=0.011)
    np.testing.assert_allclose(data["walk"][0], node["translation"], atol=0.011)
    assert np.linalg.norm(np.diff(data["walk"], axis=0), axis=1).sum() == pytest.approx(np.sqrt(0.14), abs=0.05)


def script_free(text: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.extensive
def test_all_cameras_of_a_take_can_be_chosen_with_their_frames(walk, tmp_path):
    """Through the second one, its lens and video are shown at the chosen speed."""
    take = walking_take(walk)
    take = replace(take, views=replace(take.views, focal=np.float32([600, 700])))
    page = view(take).text
    assert re.findall(r"<video data-camera=(\d)( hidden)? ", page) == [("0", ""), ("1", " hidden")]
    assert re.findall(r"<option value=\d>([^<]*\.mp4)", page) == ["front.mp4", "right.mp4"]
    cameras = json.loads(script(page, "data"))["cameras"]
    assert [camera["focal"][0] for camera in cameras] == [600, 700]
    choose = "const set = (id, value) => { const e = find(id); e.value = value; e.onchange({target: e}); };"
    expression = (
        "(() => { const find = id => document.querySelector(id);"
        f"{choose} if (!document.body.dataset.ready) return null;"
        "if (find('#camera').value !== '1') { set('#camera', '1'); set('#speed', '0.5'); }"
        "const videos = [...document.querySelectorAll('video')];"
        "return videos.map(each => [getComputedStyle(each).display, each.playbackRate]) })()"
    )
    assert probed(page, tmp_path, expression) == [["none", 0.5], ["block", 0.5]]


@pytest.mark.extensive
def test_a_texture_is_not_lit_because_light_is_in_its_colours(tmp_path):
    colour = np.array((200, 110, 50), np.uint8)
    one = FIT.select(FIT.rows_for(0))
    page = view(one, textures={0: np.broadcast_to(colour, (32, 32, 3))}).text
    (tmp_path / "page.html").write_text(page, "utf-8")
    options = (f"--screenshot={tmp_path / 'page.png'}", "--window-size=900,800", "--hide-scrollbars")
    document((tmp_path / "page.html").as_uri(), tmp_path / "profile", *options, until="data-ready")
    pixels = cv2.imread(str(tmp_path / "page.png"))[80:650, 30:870, ::-1].astype(int)
    body = np.ptp(pixels, axis=-1) > 60
    assert body.sum() > 10_000
    same = np.abs(pixels - colour).max(-1) <= 2
    assert same[body].mean() > 0.95  # the others are at its edge


@pytest.mark.extensive
def test_a_fit_that_knows_its_frames_shows_them_and_others_do_without():
    assert "<video" in view(replace(FIT, sources=(FrameSource(array=PIXELS),))).text
    assert "<video" not in view(FIT).text
    empty = FIT.select([])
    assert '"people": []' in view(empty).text
    with raises(HpcError, expected="640 × 480"):
        view(FIT, PIXELS[:, :100])


@pytest.mark.extensive
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


@pytest.mark.extensive
def test_a_browser_shows_the_page(text, tmp_path):
    (tmp_path / "page.html").write_text(text, "utf-8")
    address = f"{(tmp_path / 'page.html').as_uri()}#through,play"
    printed = document(address, tmp_path / "profile", until="data-ready")
    body = re.search(r"<body[^>]*>", printed)
    assert body is not None, printed[:2000]
    assert 'data-ready="5"' in body[0]  # two people, their meshes and the camera
    assert re.search(r'data-frame="\d"', body[0])
    assert re.search(r'id="toggle"[^>]*>❚❚<', printed)  # it plays again and again
    assert "through" in body[0]
    assert "<canvas" in printed


def test_no_word_after_the_address_is_an_element_that_browsers_scroll_to(text):
    keywords = re.findall(r'words\.includes\("(\w+)"\)', text)
    elements = {one or other for one, other in re.findall(r'<[^>]*? id=(?:"([^"]+)"|([\w-]+))', text)}
    assert sorted(keywords) == ["play", "through"]
    assert {"frame", "view", "data"} <= elements
    assert elements.isdisjoint(keywords)


@pytest.mark.extensive
def test_the_view_follows_the_main_person_and_those_beside_them():
    def aim(fit: Fit) -> dict[str, Any]:
        return json.loads(script(view(fit).text, "data"))["person"]

    slow = replace(FIT, frame_rate=5.0)
    still, moving = aim(slow), aim(shifted(slow, 4 * FIT.frame_index))
    path = np.array(moving["path"])
    assert path.shape == (FRAMES, 3)
    assert np.linalg.norm(path[-1] - path[0]) > 10  # of 16 m; it is smoothed
    assert moving["height"] == pytest.approx(still["height"], abs=0.05)  # not that of the whole way
    later = FIT.select(np.flatnonzero((FIT.track_id == 2) | (FIT.frame_index > 1)))
    assert aim(later)["first"] == 2  # where the main person begins
    beside = FIT.select(FIT.rows_for(1))
    alone = beside.select([0])
    widths = [aim(fit)["width"] for fit in (alone, beside, shifted(beside, [0, 5]))]
    assert widths[1] > widths[0] + 0.2
    assert widths[2] == pytest.approx(widths[0], abs=0.15)


@pytest.mark.extensive
def test_the_person_fills_the_view_and_stands_on_a_shadow(tmp_path):
    """Also where another person is far away."""
    (tmp_path / "page.html").write_text(view(shifted(FIT.select(FIT.rows_for(1)), [0, 9])).text, "utf-8")
    image = tmp_path / "page.png"
    options = (f"--screenshot={image}", "--window-size=900,800", "--hide-scrollbars")
    document((tmp_path / "page.html").as_uri(), tmp_path / "profile", *options, until="data-ready")
    pixels = cv2.imread(str(image)).astype(int)[80:650, 30:870]  # most of the scene
    body = np.flatnonzero((np.ptp(pixels, axis=-1) > 60).any(1))
    assert 0.5 * len(pixels) < len(body) < 0.95 * len(pixels)
    lower, grey = pixels[body[-1] - 40 :], 190  # the grid is brighter
    assert ((np.ptp(lower, axis=-1) < 15) & (lower.max(-1) < grey)).sum() > 100


@pytest.mark.extensive
def test_the_page_fits_a_phone_and_lets_the_page_around_it_scroll(walk, tmp_path):
    """A take's page has the plan of the cameras, which is wider than a phone."""
    inside = "document.querySelector('#frame').contentDocument"
    wheel = "new WheelEvent('wheel', {deltaY: 9, cancelable: true, bubbles: true})"
    expression = (
        f"(page => {{ const canvas = page.querySelector('canvas'); return page.body?.dataset.ready && {{"
        "beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,"
        "ratio: canvas.width / canvas.clientWidth,"
        f"touch: canvas.style.touchAction, free: canvas.dispatchEvent({wheel})}} }})"
    )
    page, phone = view(walking_take(walk)).text, ("--force-device-scale-factor=3", "--window-size=500,900")
    embedded = probed(framed(page), tmp_path, f"{expression}({inside})", *phone)
    assert embedded == {"beyond": 0, "ratio": 2, "touch": "pan-y", "free": True}
    alone = probed(view(FIT).text, tmp_path, f"{expression}(document)", *phone)
    assert alone == {"beyond": 0, "ratio": 2, "touch": "none", "free": False}
