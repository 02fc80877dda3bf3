"""The page that compares two fits: whole in itself, and its figures are those of the fits."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import probed
from helpers.errors import raises
from helpers.foreign_files import FRAMES, SIZE, camerahmr, true_person
from PIL import Image
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.comparison_page import accelerations, joint_distances, matched_rows, write_comparison_page
from humanpose_cli.fitting.fit_reading import read_fits
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import COLUMNS, ROW_COLUMNS
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.rendering.html_page import jpeg_within


@pytest.fixture(scope="module")
def body() -> Body:
    body = default_body()
    body.name = "smpl-neutral"
    return body


@pytest.fixture
def fit(body: Body, tmp_path: Path) -> Fit:
    np.savez(tmp_path / "a.npz", **camerahmr(true_person()))
    arrays = {
        "keypoints2d": np.ones((FRAMES, 33, 3), np.float32),
        "reprojection_error": np.array([3, 4, 5], np.float32),
    }
    return replace(read_fits(tmp_path / "a.npz", body), **arrays)


def refined(fit: Fit) -> Fit:
    refinement = {"frames": [0, 1, 2], "accepted": [1.0, 0.05, 0.6], "overlap_before": [0.7, None, 0.7]}
    report = {"tracks": {"0": {**refinement, "overlap_after": [0.8, None, 0.9]}}}
    options = {**fit.options, "refinement": report}
    return replace(fit, options=options, reprojection_error=np.array([1, 2, 3], np.float32))


def frames(count: int = FRAMES) -> list[tuple[int, np.ndarray]]:
    return [(number, np.full((SIZE[1], SIZE[0], 3), 40 * number, np.uint8)) for number in range(count)]


def data_of(page: str) -> dict[str, Any]:
    """The values that the page's script reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1).replace("<\\/", "</"))


def captions(page: str) -> list[str]:
    """What its charts show."""
    return re.findall(r"data-course=\"\d\"><figcaption>([^<\[]*?)(?: \[.*?\])?<output>", page)


@pytest.mark.slow
def test_the_page_is_self_contained(fit: Fit, tmp_path: Path) -> None:
    fits = {"before": fit, "after": refined(fit)}
    write_comparison_page(tmp_path / "page.html", fits, frames(), title="a <b> & c")
    page = (tmp_path / "page.html").read_text()
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert not re.search(r"https?:|//\w", re.sub(r"base64,[\w+/=]+", "", page))
    assert "url(" not in page
    assert "@import" not in page
    data = data_of(page)
    assert [frame["frame"] for frame in data["frames"]] == [0, 1, 2]
    for frame in data["frames"]:
        for image, size in zip((*frame["overlays"], frame["side"]), (SIZE, SIZE, (260, 260)), strict=True):
            jpeg = base64.b64decode(image.removeprefix("data:image/jpeg;base64,"))
            assert Image.open(io.BytesIO(jpeg)).size == size
    assert data["tracks"][0]["courses"][0] == [[0.7, None, 0.7], [0.8, None, 0.9]]
    assert "55% of the refinement kept" in page
    assert "<td style=color:var(--c0)>4.0 px</td><td style=color:var(--c1)>2.0 px</td>" in page
    assert page.count("<select") == 1  # of the speed: two fits need no choice
    assert page.count("class=accepted") == 3 * 2  # charts, stretches with the refused frame between them


def test_images_stay_within_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert len(jpeg_within(noise, 6000)) <= 6000
    assert len(jpeg_within(noise, 10)) < 6000  # as small as it gets


def test_a_page_without_people_states_it(fit: Fit, tmp_path: Path) -> None:
    empty = fit.select([])
    write_comparison_page(tmp_path / "page.html", {"before": empty, "after": empty}, frames(), truth=empty)
    assert "No person was found" in (tmp_path / "page.html").read_text()


def of_first_frames(path: Path, fit: Fit, count: int) -> str:
    """The page of the first frames of a fit, twice."""
    columns = [column for column, (shape, _) in COLUMNS.items() if shape[0] == "F"]
    some = fit.select([row for row in range(len(fit)) if fit.frame_index[row] < count])
    some = replace(some, **{column: getattr(fit, column)[:count] for column in columns})
    write_comparison_page(path, {"before": some, "after": some}, frames(count))
    return path.read_text("utf-8")


def test_a_page_of_one_image_has_nothing_to_play(fit: Fit, tmp_path: Path) -> None:
    image, clip = (of_first_frames(tmp_path / "page.html", fit, count) for count in (1, FRAMES))
    for part in ('aria-label="play">', 'value=0 aria-label="frame">', "<figure class=chart", "median"):
        assert (part in image, part in clip) == (False, True)
    assert "1 person in one image" in image
    assert f"1 person in {FRAMES} frames" in clip
    assert (image.count("<img id="), image.count("{timeline}")) == (3, 0)


@pytest.mark.extensive
@pytest.mark.parametrize(("count", "clip"), [(1, "inset(0px 100% 0px 0px)"), (FRAMES, "inset(0px 50% 0px 0px)")])
def test_a_page_of_one_image_opens_on_the_second_fit(fit: Fit, tmp_path: Path, count: int, clip: str) -> None:
    page = of_first_frames(tmp_path / "page.html", fit, count)
    assert probed(page, tmp_path, "getComputedStyle(document.querySelector('.clip')).clipPath") == clip


@pytest.mark.extensive
def test_the_slider_and_the_charts_choose_the_frame(fit: Fit, tmp_path: Path) -> None:
    """And the images and figures of that frame are shown."""
    page = of_first_frames(tmp_path / "page.html", fit, FRAMES)
    state = "[find('#name').textContent, find('#side').src === data.frames[K].side, find('output').textContent]"
    slide = "find('#frame').value = 1, find('#frame').oninput(), " + state.replace("K", "1")
    click = "find('svg').onclick({clientX: 1e6}), " + state.replace("K", "2")
    steps = f"(() => window.seen ??= [({slide}), ({click})])()"
    (slid, clicked) = probed(page, tmp_path, steps)
    assert [slid[:2], clicked[:2]] == [["001.png (1)", True], ["002.png (2)", True]]
    assert slid[2].startswith("frame 1: ")
    assert clicked[2].startswith("frame 2: ")


def test_fits_without_any_of_the_people_are_refused(fit: Fit, tmp_path: Path) -> None:
    elsewhere = replace(fit, joints2d=fit.joints2d + np.float32([0, 5000]))
    other_clip = replace(fit, frame_names=np.array(["x", "y", "z"]))
    for other in (elsewhere, other_clip, fit.select([])):
        with raises(UsageError, subject="other", problem="shows none of the people"):
            write_comparison_page(tmp_path / "page.html", {"before": fit, "other": other}, frames())
        with raises(UsageError, subject="truth", problem="shows none of the people"):
            write_comparison_page(tmp_path / "page.html", {"before": fit, "after": fit}, frames(), truth=other)
    assert not (tmp_path / "page.html").exists()


def two_people(fit: Fit, swapped: bool = False) -> Fit:
    """Track 0 of the fit, and its copy 300 px to the right as track 1; the other way round where they are swapped."""
    shift = np.float32([300, 0])
    columns = {}
    for name in ROW_COLUMNS:
        values = getattr(fit, name)
        copy = values + shift if name == "joints2d" else values
        columns[name] = np.concatenate((copy, values) if swapped else (values, copy))
    columns["track_id"] = np.repeat(np.int32([0, 1]), len(fit))
    return replace(fit, **columns)


def test_people_are_matched_by_their_positions_and_frames_by_their_names(fit: Fit) -> None:
    first, other = two_people(fit), two_people(fit, swapped=True)
    assert matched_rows(first, other).tolist() == [3, 4, 5, 0, 1, 2]
    part = other.select([1, 3, 4])
    assert matched_rows(first, part).tolist() == [1, 2, -1, -1, 0, -1]
    renamed = replace(other, frame_names=first.frame_names[::-1].copy())
    assert matched_rows(first, renamed).tolist() == [5, 4, 3, 2, 1, 0]


def test_people_who_cross_are_not_exchanged(fit: Fit) -> None:
    """In the first frame both people stand at nearly the same position; their tracks decide."""
    first, other = two_people(fit), two_people(fit, swapped=True)
    crossing, meeting = first.joints2d.copy(), other.joints2d.copy()
    crossing[3] = crossing[0] + np.float32([6, 0])
    meeting[0], meeting[3] = crossing[0], crossing[3]  # each nearer to the wrong person
    found = matched_rows(replace(first, joints2d=crossing), replace(other, joints2d=meeting))
    assert found.tolist() == [3, 4, 5, 0, 1, 2]


def test_errors_of_joints_are_those_of_constructed_motions() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(4, 24, 3))
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    found = np.stack((true[0] + 5, 1.2 * true[1] @ turn.T, true[2], true[3]))
    found[2, 7] += [0, 0.24, 0]  # 10 mm on average
    found[3] = np.nan
    aligned, rooted = joint_distances(found, true)
    np.testing.assert_allclose(aligned[:2], 0, atol=1e-6)
    np.testing.assert_allclose(aligned[:3], 1000 * pa_mpjpe(found[:3], true[:3]), atol=1e-6)
    assert aligned[2] > 5
    np.testing.assert_allclose(rooted[[0, 2]], [0, 10], atol=1e-6)
    assert rooted[1] > 100
    assert np.isnan([aligned[3], rooted[3]]).all()


@pytest.mark.slow
def test_several_fits_and_the_truth(fit: Fit, tmp_path: Path) -> None:
    """One that lacks a frame, and a truth that is 24 mm from all others at one joint."""
    joints = fit.joints3d.copy()
    joints[:, 20] += np.float32([0.024, 0, 0])
    fits = {"before": fit, "after": refined(fit), "<other>": fit.select([0, 2])}
    write_comparison_page(tmp_path / "page.html", fits, frames(), truth=replace(fit, joints3d=joints))
    page = (tmp_path / "page.html").read_text()
    data = data_of(page)
    assert [len(frame["overlays"]) for frame in data["frames"]] == [4, 4, 4]
    after_procrustes, about_pelvis, overlap, *_ = data["tracks"][0]["courses"]
    assert about_pelvis == [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, None, 1.0]]
    assert np.isfinite(after_procrustes[0]).all()
    assert overlap == [[0.7, None, 0.7], [0.8, None, 0.9], [None, None, None]]
    assert [name for name in captions(page) if "joint" in name] == [
        "joint error after Procrustes",
        "joint error about the pelvis",
    ]
    assert page.count("<option value=") == 2 * 4 + 4  # speeds
    assert page.count("<img data-fit=") == 4
    assert "<other>" not in page
    assert page.count("&lt;other&gt;</b>") >= 2
    lacking, present = (data["frames"][frame]["overlays"][2] for frame in (1, 0))
    assert len(lacking) < len(present)  # nobody is drawn


def test_acceleration_is_that_in_the_world(fit: Fit) -> None:
    """A body that falls, before a camera that moves: 2 · 5 mm per frame², whatever the camera does."""
    joints = np.zeros((FRAMES, 24, 3), np.float32) + np.array([0.0, 0.005, 0.0], np.float32) * (
        np.arange(FRAMES, dtype=np.float32)[:, None, None] ** 2
    )
    camera = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    camera[:, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    camera[:, :3, 3] = np.arange(FRAMES)[:, None] ** 3
    in_camera = np.einsum("rij,rkj->rki", camera[:, :3, :3], joints) + camera[:, None, :3, 3]
    np.testing.assert_allclose(accelerations(in_camera, np.arange(FRAMES), camera), [np.nan, 10, np.nan], rtol=1e-3)


@pytest.mark.slow
def test_unknown_figures_are_left_out(fit: Fit, tmp_path: Path) -> None:
    plain = replace(fit, keypoints2d=np.zeros((FRAMES, 33, 3), np.float32))
    for first, second, names in (
        (plain, plain, ["acceleration"]),
        (fit, refined(fit), ["silhouette overlap", "reprojection error", "acceleration"]),
    ):
        write_comparison_page(tmp_path / "page.html", {"before": first, "after": second}, frames())
        assert captions((tmp_path / "page.html").read_text()) == names
