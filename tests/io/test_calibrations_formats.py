"""Every layout of calibration files gives cameras that show points where OpenCV shows them, in metres."""

import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import calibration_files as files
from helpers.calibration_files import POINTS, RIG
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations import CalibratedCamera, matched_cameras, read_calibration

NAMES = [camera.name for camera in RIG]
SIZES = [camera.size for camera in RIG]


def pixels(camera: CalibratedCamera, points: np.ndarray) -> np.ndarray:
    """Where a camera that was read shows points (N, 3)."""
    rvec = cv2.Rodrigues(camera.rotation)[0]
    return cv2.projectPoints(points, rvec, camera.translation, camera.matrix, camera.distortion)[0][:, 0]


def assert_shows_the_same(camera: CalibratedCamera, expected, points: np.ndarray = POINTS) -> None:
    np.testing.assert_allclose(pixels(camera, points), expected.pixels(POINTS), atol=1e-6)


def easymocap(path: Path) -> None:
    files.write_easymocap(path if path.is_dir() else path.parent)


FREEMOCAP = "charuco_square_size = 58.0\ngroundplane_calibration = "


@pytest.mark.parametrize(
    ("name", "write", "unit", "up", "per_metre"),
    [
        ("Calib.toml", files.write_pose2sim, "m", "z", 1),
        ("cal.yaml", files.write_multiview, None, None, 1),
        ("cal.xml", files.write_multiview, None, None, 1),
        ("Calib.qca.txt", files.write_qualisys, "mm", "z", 1),
        ("part-of-the-sensor.qca.txt", partial(files.write_qualisys, crop=(32, 10)), "mm", "z", 1),
        ("hybrid-cameras.qca.txt", partial(files.write_qualisys, model="Miqus Hybrid"), "mm", "z", 1),
        ("", easymocap, "m", None, 1),
        ("intri.yml", easymocap, "m", None, 1),
        ("extri.yml", easymocap, "m", None, 1),
        ("calibration_160224.json", files.write_panoptic, "cm", None, 1),
        ("setting1.json", files.write_aniposelib_json, None, None, 100),
        ("anipose.toml", partial(files.write_toml, unit=1000, metadata="error = 0.4"), None, None, 1000),
        ("upright.toml", partial(files.write_toml, unit=1000, metadata=f"{FREEMOCAP}false"), None, None, 1000),
        ("freemocap.toml", partial(files.write_toml, unit=1000, metadata=f"{FREEMOCAP}true"), None, "z", 1000),
        ("centimetres.toml", partial(files.write_toml, unit=100, metadata='unit = "cm"'), "cm", None, 1),
    ],
)
def test_a_file_of_three_cameras(tmp_path, name, write, unit, up, per_metre):
    """per_metre  of the units in which lengths come, if the file leaves its unit to the people"""
    write(tmp_path / name)
    calibration = read_calibration(tmp_path / name)
    assert (calibration.unit, calibration.up, calibration.notes) == (unit, up, ())
    assert [camera.size for camera in calibration.cameras.values()] == SIZES
    assert list(calibration.cameras) == NAMES
    for camera, expected in zip(calibration.cameras.values(), RIG, strict=True):
        assert_shows_the_same(camera, expected, POINTS * per_metre)
        centre = -expected.rotation.T @ expected.translation
        np.testing.assert_allclose(camera.centre, centre * per_metre, atol=1e-9 * per_metre)


# Anipose and FreeMoCap


def test_a_table_without_a_name_has_its_key(tmp_path):
    path = tmp_path / "calibration.toml"
    files.write_toml(path)
    path.write_text(path.read_text().replace('name = "cam01"\n', ""))
    assert list(read_calibration(path).cameras) == ["cam_0", "cam02", "cam03"]


# EasyMocap


@pytest.mark.parametrize("name", ["3", "03"])
def test_easymocap_without_sizes_and_with_numbers_as_names(tmp_path, name):
    start = f"%YAML:1.0\n---\nnames:\n  - {name}\n"
    (tmp_path / "intri.yml").write_text(start + files.opencv_matrix(f"K_{name}", RIG[0].matrix))
    pose = files.opencv_matrix(f"Rot_{name}", RIG[0].rotation) + files.opencv_matrix(f"T_{name}", RIG[0].translation)
    (tmp_path / "extri.yml").write_text(start + pose)
    camera = read_calibration(tmp_path).cameras[name]
    assert (camera.size, camera.distortion.any()) == (None, False)
    np.testing.assert_allclose(camera.rotation, RIG[0].rotation, atol=1e-12)


def test_what_is_missing_and_lenses_that_are_no_pinholes(tmp_path):
    files.write_easymocap(tmp_path)
    (tmp_path / "extri.yml").unlink()
    files.write_storage(tmp_path / "stereo.yml", K1=RIG[0].matrix, D1=RIG[0].distortion)
    files.write_toml(tmp_path / "fisheye.toml", fisheye="fisheye = true\n")
    files.write_multiview(tmp_path / "fisheye.yml")
    text = (tmp_path / "fisheye.yml").read_text()
    (tmp_path / "fisheye.yml").write_text(text.replace("[ 0, 0, 0 ]", "[ 0, 1, 0 ]"))
    problems = {"intri.yml": "lacks R_cam01", "": r"extri\.yml: does not exist", "stereo.yml": "lacks Ks.*found K1, D1"}
    problems |= {"fisheye.toml": "which is not supported", "fisheye.yml": "which are not supported"}
    for name, problem in problems.items():
        with pytest.raises(InputError, match=problem):
            read_calibration(tmp_path / name)


# Qualisys


# The first camera of Pose2Sim/Demo_SinglePerson/calibration/Calib.qca.txt, perfanalytics/pose2sim@e270c6d1.
POSE2SIM = """<calibration><cameras><camera active="1" model="none" serial="cam01" viewrotation="0">
<fov_video bottom="1919" left="0" right="1087" top="0"/>
<transform r11="0.5536380477336265" r12="0.8046719867383512" r13="0.2144479094331626" r21="-0.4345300743838753"
r22="0.05946489349975602" r23="0.8986921279821063" r31="0.7104002579937896" r32="-0.5907342212870501"
r33="0.3825762057979294" x="1460.2323709212087" y="-1909.1590482454608" z="1896.5058524092062"/>
<intrinsic centerPointU="34110.316406" centerPointV="60680.792969" focalLengthU="107599.671875"
focalLengthV="107588.828125" radialDistortion1="-0.046183" radialDistortion2="0.139983" radialDistortion3="0"
sensorMaxU="69568" sensorMaxV="122816" skew="0" tangentalDistortion1="0.000608" tangentalDistortion2="0.00069"/>
</camera></cameras></calibration>"""


def test_a_camera_of_pose2sim_s_example_as_pose2sim_converts_it(tmp_path):
    """Calib_qualisys.toml of its S00_Demo_Session, perfanalytics/pose2sim@a948c205; there, distortions are a 64th."""
    (tmp_path / "Calib.qca.txt").write_text(POSE2SIM)
    camera = read_calibration(tmp_path / "Calib.qca.txt").cameras["cam01"]
    assert camera.size == (1088, 1920)
    converted = [[1681.244873046875, 0, 532.97369384375], [0, 1681.075439453125, 948.137390140625], [0, 0, 1]]
    np.testing.assert_allclose(camera.matrix, converted, atol=1e-9)
    np.testing.assert_allclose(camera.distortion / 64, [-0.000721609375, 0.002187234375, 9.5e-06, 1.078125e-05, 0])
    vector = cv2.Rodrigues(camera.rotation)[0].ravel()
    np.testing.assert_allclose(vector, [1.68827548, 1.04832205, -0.41955852], atol=1e-8)
    np.testing.assert_allclose(camera.translation, [0.32110489, 0.95633206, 2.89071305], atol=1e-8)


# A camera of IMOVE-23 as tests/test_eval_imove.py of flodelaplace/HumanCalib@fe12dbf2 has it.
IMOVE = """<calibration><cameras><camera active="1" serial="22" viewrotation="270" static_boxes="">
<transform x="1037.91" y="-69.4007" z="8188.1" r11="0.37971" r12="-0.0322406" r13="0.924544"
 r21="-0.0679489" r22="-0.997665" r23="-0.00688382" r31="0.922609" r32="-0.0597996" r33="-0.380985"/>
<intrinsic focallength="4.59107e-41" sensorMinU="0" sensorMaxU="1920" sensorMinV="0" sensorMaxV="1080"
 focalLengthU="2139.87" focalLengthV="2138.55" centerPointU="967.724" centerPointV="518.245" skew="0"
 radialDistortion1="-0.0749605" radialDistortion2="0.0126639" radialDistortion3="0.242452"
 tangentalDistortion1="-0.000283447" tangentalDistortion2="0.00165544"/></camera></cameras></calibration>"""


def test_a_file_in_pixels_maps_the_world_to_the_camera(tmp_path):
    """Of its cameras HumanCalib says: 2.16 to 2.56 m above the ground; k1 k2 p1 p2 k3."""
    (tmp_path / "calibration.txt").write_text(IMOVE)
    calibration = read_calibration(tmp_path / "calibration.txt")
    camera = calibration.cameras["22"]
    assert (camera.size, camera.matrix[0, 0]) == ((1920, 1080), 2139.87)
    np.testing.assert_array_equal(camera.distortion, [-0.0749605, 0.0126639, -0.000283447, 0.00165544, 0.242452])
    np.testing.assert_allclose(camera.translation, [1.03791, -0.0694007, 8.1881])
    assert 2.155 < camera.centre[2] < 2.565
    assert "shown turned (22 by 270°)" in calibration.notes[0]


def test_caliscope_s_cameras_by_their_numbers(tmp_path):
    path = tmp_path / "camera_array.toml"
    files.write_caliscope(path)
    calibration = read_calibration(path)
    assert [(name, camera.turns) for name, camera in calibration.cameras.items()] == [("0", 3), ("1", 0), ("2", 1)]
    for camera, expected in zip(calibration.cameras.values(), RIG, strict=True):
        assert_shows_the_same(camera, expected)
    assert "1 of 4 cameras are not calibrated" in calibration.notes[0]
    matched = matched_cameras(calibration, ["cam_2.mp4", "cam_0.mp4"])
    assert [camera.name for camera in matched.cameras] == ["2", "0"]
    # A pose that is the text null is none.
    pose = '[cameras.8]\ncam_id = 8\nsize = [9, 9]\nmatrix = [[9, 0, 4], [0, 9, 4], [0, 0, 1]]\nrotation = "null"\n'
    path.write_text(path.read_text() + pose + 'translation = "null"\ndistortions = "null"\nexposure = "null"\n')
    calibration = read_calibration(path)
    assert list(calibration.cameras) == ["0", "1", "2"]
    assert "2 of 5 cameras are not calibrated" in calibration.notes[0]


def test_the_world_s_up_decides_which_way_a_view_is_turned(tmp_path):
    files.write_qualisys(tmp_path / "x.qca.txt", view=90)
    text = (tmp_path / "x.qca.txt").read_text()
    number = re.compile(r'(?<=r[12][123]=")[^"]+')
    x, y = np.array([float(value) for value in number.findall(text)]).reshape(-1, 2, 3)[0]
    for side, sign in ((1, -1.0), (3, 1.0)):  # rolled so that up is to the left, then to the right
        rolled = iter((*(sign * y), *(-sign * x)))
        (tmp_path / "y.qca.txt").write_text(number.sub(lambda _, rolled=rolled: repr(float(next(rolled))), text, 6))
        assert read_calibration(tmp_path / "y.qca.txt").cameras["cam01"].turns == side


@pytest.mark.parametrize("view", [90, 270])
def test_turned_views_of_qualisys(tmp_path, view):
    """Videos that were turned upright show points where the turned image has them; others where they were."""
    files.write_qualisys(tmp_path / "x.qca.txt", view=view)
    calibration = read_calibration(tmp_path / "x.qca.txt")
    assert "shown turned" in calibration.notes[0]
    names = [camera.name for camera in RIG]
    unturned = matched_cameras(calibration, names, [(1280, 720)] * 3).cameras
    turned = matched_cameras(calibration, names, [(720, 1280)] * 3).cameras
    assert {camera.turns for camera in unturned} == {view // 90}
    for before, after in zip(unturned, turned, strict=True):
        x, y = pixels(before, POINTS).T
        clockwise = np.stack((720 - y, x), 1)
        expected = clockwise if before.turns == 1 else np.stack((y, 1280 - x), 1)
        np.testing.assert_allclose(pixels(after, POINTS), expected, atol=1e-6)
        assert (after.size, after.turns) == ((720, 1280), 0)
    with raises(InputError, problem="is not what camera"):
        matched_cameras(calibration, names, [(800, 1280)] * 3)
