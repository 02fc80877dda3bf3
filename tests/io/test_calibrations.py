"""Our own calibration file, videos' cameras, undistorted points, and files that are no calibration."""

import json
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from helpers import calibration_files as files
from helpers.calibration_files import POINTS, RIG
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations import (
    CalibratedCamera,
    Calibration,
    matched_cameras,
    read_calibration,
    undistorted,
    write_calibration,
)


@pytest.fixture
def cameras(tmp_path) -> list[CalibratedCamera]:
    files.write_pose2sim(tmp_path / "Calib.toml")
    return list(read_calibration(tmp_path / "Calib.toml").cameras.values())


# cameras.json


def test_what_is_written_is_read_back_exactly_and_gives_the_same_bytes(tmp_path, cameras):
    cameras[1] = replace(cameras[1], size=None, name="Kamera zwölf")
    path, again = tmp_path / "cameras.json", tmp_path / "again.json"
    write_calibration(path, cameras)
    calibration = read_calibration(path)
    assert (calibration.unit, calibration.up, calibration.notes) == ("m", "z", ())
    for camera, expected in zip(calibration.cameras.values(), cameras, strict=True):
        for field in fields(camera):
            np.testing.assert_array_equal(getattr(camera, field.name), getattr(expected, field.name))
    write_calibration(again, calibration.cameras.values())
    assert again.read_bytes() == path.read_bytes()


def test_what_would_not_be_read_is_not_written(tmp_path, cameras):
    wrong = replace(cameras[0], rotation=np.diag([1.0, 1.0, -1.0]))
    for written in ([wrong], [cameras[0]] * 2, []):
        with pytest.raises(InputError):
            write_calibration(tmp_path / "cameras.json", written)
    assert not (tmp_path / "cameras.json").exists()


@pytest.mark.parametrize(
    ("change", "subject", "got"),
    [
        ({"schema_version": 2}, "", "2"),
        ({"unit": "ft"}, "", ""),
        *(({"cameras": cameras}, "", "") for cameras in ({}, [7], [{"name": "a"}])),
        ({"matrix": [[900, 0, 3], [0, -900, 4], [0, 0, 1]]}, "matrix", "900 0 3 0 -900 4"),
        ({"matrix": [[900, 0, 3], [0, 900, 4], [0, 0, 2]]}, "matrix", "0 0 2"),
        ({"matrix": [[900, 5, 3], [0, 900, 4], [0, 0, 1]]}, "matrix", "5"),
        ({"matrix": [[900, 0], [0, 900]]}, "matrix", "(2, 2)"),
        ({"matrix": [[900, 0, 3], [0, 900], [0, 0, 1]]}, "matrix", ""),
        ({"distortion": [0.1, 0.2]}, "distortion", "2"),
        ({"distortion": [0.1, 0, 0, 1e9]}, "distortion", "1e+09"),
        ({"rotation": (1.01 * np.eye(3)).tolist()}, "rotation", "columns off by"),
        ({"rotation": np.diag([1, 1, -1]).tolist()}, "rotation", "a reflection"),
        ({"translation": [1, 2, float("nan")]}, "translation", ""),
        ({"size": [1280, 720.5]}, "size", "720.5"),
        ({"size": [0, 720]}, "size", "0 × 720"),
        *(({"name": name}, "", got) for name, got in ((" ", "' '"), (5, "5"), ("CAM02", ""))),
    ],
)
def test_damage_and_impossible_cameras(tmp_path, cameras, change, subject, got):
    path = tmp_path / "cameras.json"
    write_calibration(path, cameras)
    document = json.loads(path.read_text())
    changed = document if change.keys() <= document.keys() else document["cameras"][0]
    changed.update(change)
    path.write_text(json.dumps(document))
    with raises(InputError, subject=("cameras.json", subject), got=got):
        read_calibration(path)


# Files of others


LENS = "[c]\nmatrix = 1\nrotation = 1\ntranslation = 1"


@pytest.mark.parametrize(
    ("text", "subject", "got"),
    [
        ("a = 1", "", ""),
        ("cameras: none", "", "at line 1"),
        ("%YAML:1.0\n---\nK: 3\n", "", "K"),
        ("%YAML:1.0\n---\nKs: [a, b]\nTs: 3\n", "(Ks)", ""),
        ("%YAML:1.0\n---\nnames: [a, 2.5]\n", "(names)", ""),
        ("<a><b/></a>", "", "<a>"),
        ("<a><cameras><camera serial='3'/></cameras></a>", "(camera 3)", ""),
        ("<a><cameras><camera active='0'/></cameras></a>", "", ""),
        ('{"a": 1}', "", "a"),
        ("[c]\nmatrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "(camera c)", ""),
        (f"{LENS}\n[metadata]\nunit = 'ft'", "(unit)", "'ft'"),
        (LENS, "matrix", "()"),
        ("cam0:\n  camera_model: pinhole\n", "", ""),
        ("# Camera list with one line of data per camera:\n", "", ""),
    ],
)
def test_a_file_that_is_no_calibration(tmp_path, text, subject, got):
    (tmp_path / "x.toml").write_text(text)
    with raises(InputError, subject=("x.toml", subject), got=got):
        read_calibration(tmp_path / "x.toml")


def test_more_cameras_than_any_studio_has(tmp_path):
    lens = "matrix = [[900, 0, 600], [0, 900, 400], [0, 0, 1]]\nrotation = [0, 0, 0]\n"
    tables = [f"[c{number}]\n{lens}translation = [{number}, 0, 0]\n" for number in range(1001)]
    (tmp_path / "x.toml").write_text("".join(tables[:1000]))
    assert len(read_calibration(tmp_path / "x.toml").cameras) == 1000
    (tmp_path / "x.toml").write_text("".join(tables))
    with raises(InputError, expected="1,000"):
        read_calibration(tmp_path / "x.toml")


# Videos


def calibration_of(*names: str) -> Calibration:
    camera = CalibratedCamera("", None, np.eye(3), np.zeros(5), np.eye(3), np.zeros(3))
    return Calibration({name: replace(camera, name=name) for name in names}, "m")


@pytest.mark.parametrize(
    ("cameras", "videos", "expected"),
    [
        (["cam1", "cam2"], ["cam2.mp4", "CAM1.MOV"], ["cam2", "cam1"]),
        (["Cam1.mp4", "cam2.mp4"], ["take/cam2.mp4", "take/cam1.mp4"], ["cam2.mp4", "Cam1.mp4"]),
        (["cam1", "cam2", "cam3"], ["cam3.mp4", "cam1.mp4"], ["cam3", "cam1"]),
        (["26580", "26578"], ["Miqus_26578.avi", "Miqus_26580.avi"], ["26578", "26580"]),
        (["1", "2"], ["view_2.mp4", "view_1.mp4"], ["2", "1"]),
        (["1", "12"], ["view_12.mp4", "view_1.mp4"], ["12", "1"]),
        (["cam", "cam_left"], ["cam_left.mp4", "cam.mp4"], ["cam_left", "cam"]),
        (["cam", "left"], ["cam.mp4", "cam_left.mp4"], ["cam", "left"]),
        (["A", "B", "C"], ["walk_A.mp4", "walk_B.mp4", "walk_C.mp4"], ["A", "B", "C"]),  # not the a of walk
        (["1", "2", "3", "4"], [f"take3_cam{n}.mp4" for n in (3, 1, 4, 2)], ["3", "1", "4", "2"]),
        (["1", "2"], ["run 2.cam1.mp4", "run 2.cam2.mp4"], ["1", "2"]),
        (["0", "1"], ["2026-10-01_cam_0.mp4", "2026-10-01_cam_1.mp4"], ["0", "1"]),
    ],
)
def test_videos_have_the_cameras_of_their_names(cameras, videos, expected):
    matched = matched_cameras(calibration_of(*cameras), videos)
    assert [camera.name for camera in matched.cameras] == expected
    assert matched.note == ""


def test_videos_of_other_names_have_the_cameras_in_order(cameras):
    matched = matched_cameras(calibration_of("1", "2"), ["left.mp4", "right.mp4"])
    assert [camera.name for camera in matched.cameras] == ["1", "2"]
    assert matched.note.endswith("their order decides: left.mp4 is 1, right.mp4 is 2")


def test_videos_with_numbers_are_in_their_order():
    names = [f"c{number:02d}" for number in range(1, 12)]
    videos = sorted(f"v{number}.mp4" for number in range(1, 12))  # v1, v10, v11, v2 …
    matched = matched_cameras(calibration_of(*names), videos)
    assert [camera.name for camera in matched.cameras] == [f"c{int(video[1:-4]):02d}" for video in videos]
    assert "v2.mp4 is c02, v3.mp4 is c03" in matched.note


@pytest.mark.parametrize(
    ("cameras", "videos"),
    [
        (["1", "2", "3"], ["left.mp4", "right.mp4"]),  # no name matches, and the numbers differ
        (["cam1", "cam2"], ["cam1.mp4", "other.mp4"]),
        (["cam1", "cam2"], ["a/cam1.mp4", "b/cam1.mp4"]),
        (["a", "b"], ["take_a_1.mp4", "take_a_2.mp4"]),
        (["left", "up"], ["left_up.mp4", "other.mp4"]),
        (["cam1"], ["cam1.mp4", "cam2.mp4"]),
    ],
)
def test_ambiguous_names_are_refused_with_all_of_them(cameras, videos):
    with raises(InputError, expected=", ".join(cameras), got=", ".join(videos), remedy="name"):
        matched_cameras(calibration_of(*cameras), videos)


# Lenses


@pytest.mark.parametrize("number", range(3))
def test_undistorted_points_are_those_of_a_pinhole(cameras, number):
    camera, distorting = cameras[number], RIG[number]
    shown = POINTS @ camera.rotation.T + camera.translation
    pinhole = shown @ camera.matrix.T
    found = undistorted(distorting.pixels(POINTS), camera)
    np.testing.assert_allclose(found, pinhole[:, :2] / pinhole[:, 2:], atol=1e-7)
    expected = 1000 * shown[:, :2] / shown[:, 2:] + camera.matrix[:2, 2]  # with one focal length for both directions
    np.testing.assert_allclose(undistorted(distorting.pixels(POINTS), camera, focal=1000), expected, atol=1e-7)


def test_undistorted_keeps_shapes_and_inverts_opencv_s_projection_up_to_the_border(cameras):
    corners = np.array([[[0.0, 0.0], [1280, 0]], [[0, 720], [1280, 720]]])
    straight = undistorted(corners, cameras[0])
    assert straight.shape == (2, 2, 2)
    rays = np.linalg.solve(cameras[0].matrix, np.append(straight.reshape(-1, 2), np.ones((4, 1)), 1).T).T
    back, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), cameras[0].matrix, cameras[0].distortion)
    np.testing.assert_allclose(back.reshape(2, 2, 2), corners, atol=1e-7)
    assert np.abs(straight - corners).max() > 5
    assert undistorted(np.zeros((0, 33, 2)), cameras[0]).shape == (0, 33, 2)


def test_a_pinhole_s_points_stay_as_they_are(cameras):
    points = np.random.default_rng(0).uniform(0, 700, (5, 2))
    np.testing.assert_array_equal(undistorted(points, cameras[2]), points)
