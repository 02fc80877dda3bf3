"""Files of Human3.6M and MPI-INF-3DHP as calibrations, and the takes of folders with many videos of each camera."""

from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import write_metadata
from helpers.errors import raises
from helpers.h36m_tree import SMALL_LENS

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations import matched_cameras, read_calibration, takes_of
from humanpose_cli.lab.datasets.h36m import read_cameras
from humanpose_cli.lab.datasets.laboratory_calibrations import H36M_CAMERAS, read_take_calibration

POINTS = np.array([[0.1, -0.2, 0.0], [-0.4, 0.3, 1.1], [0.2, 0.5, 1.7]])
SKELETOOL = """Skeletool Camera Calibration File V1.0
name          0
  size        2048 2048
  intrinsic   1497.5 0 1024.5 0 0 1497 1051 0 0 0 1 0 0 0 0 1
  extrinsic   1 0 0 -562.5 0 1 0 1398 0 0 1 3852 0 0 0 1
  radial      0
name          12
  size        2048 2048
  intrinsic   1495 0 983 0 0 1497 1014 0 0 0 1 0 0 0 0 1
  extrinsic   0 0 1 50 0 1 0 1400 -1 0 0 3500 0 0 0 1
  radial      0
"""


def test_human36m_has_a_camera_of_each_subject(tmp_path: Path) -> None:
    write_metadata(tmp_path / "metadata.xml")
    calibration = read_take_calibration(tmp_path / "metadata.xml")
    assert len(calibration.cameras) == 44
    assert (calibration.unit, calibration.up) == ("mm", "z")
    for (subject, name), expected in read_cameras(tmp_path / "metadata.xml").items():
        camera = calibration.cameras[f"S{subject}/{name}"]
        np.testing.assert_allclose(camera.rotation, expected.rotation, atol=1e-12)
        np.testing.assert_allclose(camera.translation, expected.translation, atol=1e-12)
        np.testing.assert_allclose(camera.matrix[[0, 1], [0, 1]], expected.lens.focal)
        np.testing.assert_allclose(camera.matrix[:2, 2], expected.lens.principal_point)
    k1, k2, k3, p1, p2 = SMALL_LENS[4:]
    np.testing.assert_allclose(calibration.cameras["S1/54138969"].distortion, [k1, k2, p1, p2, k3])


def test_a_camera_is_found_by_the_subject_s_folder(tmp_path: Path) -> None:
    write_metadata(tmp_path / "metadata.xml")
    calibration = read_take_calibration(tmp_path / "metadata.xml")
    videos = [f"/data/S8/Videos/Walking 1.{name}.mp4" for name in H36M_CAMERAS]
    found = matched_cameras(calibration, videos)
    assert [camera.name for camera in found.cameras] == [f"S8/{name}" for name in H36M_CAMERAS]
    with raises(InputError, problem="does not match the videos", got="/data/Walking 1.54138969.mp4"):
        matched_cameras(calibration, ["/data/Walking 1.54138969.mp4", "/data/Walking 1.55011271.mp4"])


def test_videos_of_a_camera_belong_to_takes(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(SKELETOOL)
    calibration = read_take_calibration(tmp_path / "c")
    names = ["a_video_0.avi", "a_video_12.avi", "b_video_0.avi", "b_video_12.avi"]
    assert takes_of(calibration, names) == {"a_video": [0, 1], "b_video": [2, 3]}
    assert takes_of(calibration, names[:2]) == {"": [0, 1]}
    assert takes_of(calibration, [*names, "other.avi"]) == {"": [0, 1, 2, 3, 4]}
    streets = ["Straße_0.avi", "Straße_12.avi", "Weg_0.avi", "Weg_12.avi"]
    assert takes_of(calibration, streets) == {"Straße": [0, 1], "Weg": [2, 3]}


def test_videos_that_have_the_complete_names_of_cameras_are_one_take(tmp_path: Path) -> None:
    """As cameras.json names cameras: of two folders' videos nothing says which belong together."""
    named = SKELETOOL.replace("name          0", "name  a.mp4").replace("name          12", "name  b.mp4")
    (tmp_path / "c").write_text(named)
    assert takes_of(read_take_calibration(tmp_path / "c"), ["a.mp4", "b.mp4"] * 2) == {"": [0, 1, 2, 3]}


def test_mpi_inf_3dhp_s_cameras_are_in_metres(tmp_path: Path) -> None:
    (tmp_path / "camera.calibration").write_text(SKELETOOL)
    calibration = read_take_calibration(tmp_path / "camera.calibration")
    assert [camera.size for camera in calibration.cameras.values()] == [(2048, 2048)] * 2
    camera = calibration.cameras["12"]
    np.testing.assert_allclose(camera.matrix, [[1495, 0, 983.5], [0, 1497, 1014.5], [0, 0, 1]])
    expected = np.stack((POINTS[:, 2] + 0.05, POINTS[:, 1] + 1.4, 3.5 - POINTS[:, 0]), 1)
    np.testing.assert_allclose(POINTS @ camera.rotation.T + camera.translation, expected)
    assert not camera.distortion.any()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SKELETOOL.replace("name          0", "nome 0"), "nome"),
        (SKELETOOL.replace("  size        2048 2048\n", "", 1), ""),
        (SKELETOOL.replace("1497.5 0 1024.5", "1497.5 x 1024.5"), "(camera 0): intrinsic"),
        (SKELETOOL.replace("  radial      0", "  radial      0.1", 1), "(camera 0): radial"),
        (SKELETOOL.replace("1 0 0 -562.5", "2 0 0 -562.5"), "(camera 0): rotation"),
        ("<a><w0>[1 2 3]</w0></a>", "300 numbers"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "c").write_text(text)
    with raises(InputError, found):
        read_take_calibration(tmp_path / "c")


@pytest.mark.parametrize("text", [SKELETOOL, "<a><w0>[1 2 3]</w0></a>"])
def test_the_tool_does_not_read_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    with raises(InputError, subject="c", problem="is no calibration file"):
        read_calibration(tmp_path / "c")
