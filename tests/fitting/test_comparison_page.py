"""The page that compares two fits: whole in itself, and its figures are those of the fits."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.foreign_files import FRAMES, SIZE, camerahmr, known
from PIL import Image

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.comparison_page import accelerations, courses, write_comparison_page
from humanpose_cli.fitting.fit_reading import read_fits
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import COLUMNS
from humanpose_cli.rendering.html_page import jpeg_within


@pytest.fixture(scope="module")
def body() -> Body:
    body = default_body()
    body.name = "smpl-neutral"
    return body


@pytest.fixture
def fit(body: Body, tmp_path: Path) -> Fit:
    np.savez(tmp_path / "a.npz", **camerahmr(known()))
    seen = {"keypoints2d": np.ones((FRAMES, 33, 3), np.float32), "reprojection_error": np.array([3, 4, 5], np.float32)}
    return replace(read_fits(tmp_path / "a.npz", body), **seen)


def refined(fit: Fit) -> Fit:
    told = {"frames": [0, 1, 2], "accepted": [1.0, 0.05, 0.6], "overlap_before": [0.7, None, 0.7]}
    report = {"tracks": {"0": {**told, "overlap_after": [0.8, None, 0.9]}}}
    options = {**fit.options, "refinement": report}
    return replace(fit, options=options, reprojection_error=np.array([1, 2, 3], np.float32))


def frames(count: int = FRAMES) -> list[tuple[int, np.ndarray]]:
    return [(number, np.full((SIZE[1], SIZE[0], 3), 40 * number, np.uint8)) for number in range(count)]


@pytest.mark.slow
def test_the_page_is_whole_in_itself(fit: Fit, tmp_path: Path) -> None:
    write_comparison_page(tmp_path / "page.html", fit, refined(fit), frames(), title="a <b> & c")
    page = (tmp_path / "page.html").read_text()
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert not re.search(r"https?:|//\w", re.sub(r"base64,[\w+/=]+", "", page))
    assert "url(" not in page
    assert "@import" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1).replace("<\\/", "</"))
    assert [frame["frame"] for frame in data["frames"]] == [0, 1, 2]
    for frame in data["frames"]:
        for name, size in (("before", SIZE), ("after", SIZE), ("side", (260, 260))):
            jpeg = base64.b64decode(frame[name].removeprefix("data:image/jpeg;base64,"))
            assert Image.open(io.BytesIO(jpeg)).size == size
    assert data["tracks"][0]["courses"][0] == [[0.7, None, 0.7], [0.8, None, 0.9]]
    assert "55% of the refinement kept" in page
    assert "<td>4.0 px</td><td>2.0 px</td>" in page
    assert page.count("class=accepted") == 3 * 2  # charts, stretches with the refused frame between them


def test_images_stay_within_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert len(jpeg_within(noise, 6000)) <= 6000
    assert len(jpeg_within(noise, 10)) < 6000  # as small as it gets


def test_nobody_gives_a_page_that_says_so(fit: Fit, tmp_path: Path) -> None:
    nobody = fit.select([])
    write_comparison_page(tmp_path / "page.html", nobody, nobody, frames())
    assert "No person was found" in (tmp_path / "page.html").read_text()


def test_a_page_of_one_image_has_nothing_to_play(fit: Fit, tmp_path: Path) -> None:
    for count, name in ((1, "image.html"), (FRAMES, "clip.html")):
        rows = [row for row in range(len(fit)) if fit.frame_index[row] < count]
        columns = [column for column, (shape, _) in COLUMNS.items() if shape[0] == "F"]
        some = replace(fit.select(rows), **{column: getattr(fit, column)[:count] for column in columns})
        write_comparison_page(tmp_path / name, some, some, list(frames())[:count])
    image, clip = ((tmp_path / name).read_text("utf-8") for name in ("image.html", "clip.html"))
    for part in ("id=play", "<input id=frame", "<figure class=chart", "median"):
        assert (part in image, part in clip) == (False, True)
    assert "1 person in one image" in image
    assert f"1 person in {FRAMES} frames" in clip
    assert (image.count("<img id="), image.count("{timeline}")) == (3, 0)


def test_fits_of_other_rows_are_refused(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has other people or frames than before"):
        write_comparison_page(tmp_path / "page.html", fit, fit.select([0, 1]), frames())
    assert not (tmp_path / "page.html").exists()


def test_acceleration_is_that_in_the_world(fit: Fit) -> None:
    """A body that falls, before a camera that moves: 2 · 5 mm per frame², whatever the camera does."""
    joints = np.zeros((FRAMES, 24, 3), np.float32) + np.array([0.0, 0.005, 0.0], np.float32) * (
        np.arange(FRAMES, dtype=np.float32)[:, None, None] ** 2
    )
    camera = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    camera[:, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    camera[:, :3, 3] = np.arange(FRAMES)[:, None] ** 3
    seen = np.einsum("rij,rkj->rki", camera[:, :3, :3], joints) + camera[:, None, :3, 3]
    moved = replace(fit, joints3d=seen.astype(np.float32), world_to_camera=camera)
    np.testing.assert_allclose(accelerations(moved, np.arange(FRAMES)), [np.nan, 10, np.nan], rtol=1e-3)


def test_unknown_figures_are_left_out(fit: Fit) -> None:
    plain = replace(fit, keypoints2d=np.zeros((FRAMES, 33, 3), np.float32))
    assert [course.name for course in courses(plain, plain, 0)] == ["acceleration"]
    assert [course.name for course in courses(fit, refined(fit), 0)] == [
        "silhouette overlap",
        "reprojection error",
        "acceleration",
    ]
