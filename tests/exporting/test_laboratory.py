"""Markers and joint angles for laboratories: known poses have known angles, and OpenSim reads the files."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from helpers.moving_people import FRAMES, PRESENT, moving_people, world_joints

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting.bvh import bvh_text
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.exporting.laboratory import joint_angles, trc_text, turn_to_x
from humanpose_cli.exporting.motion import person_motion

FIT = moving_people()
BODY = default_body()
TURN = turn_to_x([person_motion(FIT, 0, BODY)])


def angles_of(turns: dict[str, tuple[float, float, float]], pelvis=(np.pi, 0, 0)) -> dict[str, float]:
    """The angles of a T pose before a level camera, with joints that turn by axis-angles in degrees."""
    poses = np.zeros((1, 72), np.float32)
    poses[0, :3] = pelvis
    for joint, turn in turns.items():
        poses[0, 3 * SMPL24.index(joint) :][:3] = np.radians(turn)
    level = np.tile(np.eye(4, dtype=FIT.world_to_camera.dtype), (FRAMES, 1, 1))
    fit = replace(FIT.select(FIT.rows_of(0)[:1]), poses=poses, world_to_camera=level)
    person = person_motion(fit, 0, BODY)
    return {name: float(values[0]) for name, values in joint_angles(person, turn_to_x([person])).items()}


@pytest.mark.parametrize(
    ("joint", "turn", "name", "expected"),
    [
        ("left_knee", (60, 0, 0), "knee_angle_l", 60),
        ("right_hip", (-40, 0, 0), "hip_flexion_r", 40),
        ("right_hip", (0, 0, -20), "hip_adduction_r", -20),
        ("left_hip", (0, 0, 20), "hip_adduction_l", -20),
        ("right_hip", (0, 20, 0), "hip_rotation_r", 20),
        ("left_hip", (0, -20, 0), "hip_rotation_l", 20),
        ("right_ankle", (-15, 0, 0), "ankle_angle_r", 15),
        ("spine3", (20, 0, 0), "lumbar_extension", -20),
        ("left_shoulder", (0, 0, -70), "arm_add_l", -20),
        ("right_shoulder", (0, 0, 70), "shoulder_elevation_r", 20),
        ("right_shoulder", (0, 60, 0), "shoulder_plane_r", 60),
        ("left_elbow", (0, -90, 0), "elbow_flex_l", 90),
        ("right_elbow", (0, 90, 0), "elbow_flex_r", 90),
    ],
)
def test_known_poses_have_known_angles(joint, turn, name, expected):
    """Other angles of joints that do not turn stay as they are."""
    found, rest = angles_of({joint: turn}), angles_of({})
    assert found[name] == pytest.approx(expected, abs=0.05)
    changed = {key.split("_")[0] for key in found if abs(found[key] - rest[key]) > 0.05}
    assert changed <= {name.split("_")[0], "shoulder", "arm"}


def test_the_first_person_faces_along_x():
    """From wherever the camera looks; leaning to the back tilts the pelvis."""
    for pelvis in ((np.pi, 0, 0), (0, 0, np.pi)):
        assert angles_of({}, pelvis=pelvis)["pelvis_rotation"] == pytest.approx(0, abs=0.01)
    assert angles_of({}, pelvis=(np.pi - np.radians(10), 0, 0))["pelvis_tilt"] == pytest.approx(10, abs=0.01)


def test_names_make_no_further_lines_or_cells():
    person = person_motion(FIT, 0, BODY)
    head = trc_text(FIT, BODY, person, TURN, "a\tb\nc").split("\n")[0]
    assert head.split("\t") == ["PathFileType", "4", "(X/Y/Z)", r"a\tb\nc"]
    names = (*person.skeleton.joint_names[:-1], "right hand\nOFFSET 9  9")
    text = bvh_text(replace(person, skeleton=replace(person.skeleton, joint_names=names)), FIT.frame_rate)
    assert [line.split()[1:] for line in text.split("\n") if "OFFSET_" in line] == [[r"right_hand\nOFFSET_9_9"]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    base = tmp_path_factory.mktemp("laboratory") / "walk"
    written = export_fit(FIT, base, "trc,mot,csv", body=BODY)
    assert [path.name for path in written] == [
        f"walk.person{n}.{kind}" for kind in ("trc", "mot", "csv") for n in (0, 2)
    ]
    return base.parent


def trc_values(path) -> tuple[list[str], np.ndarray]:
    """Names, and frame, time and positions (F, 2 + 3 M), NaN where the file is empty."""
    lines = path.read_text().split("\n")
    values = [[float(cell or "nan") for cell in line.split("\t")] for line in lines[6:] if line]
    return lines[3].split("\t")[2::3], np.array(values)


@pytest.mark.parametrize("track", PRESENT)
def test_markers_are_at_the_joints_in_millimetres(files, track):
    names, values = trc_values(files / f"walk.person{track}.trc")
    assert values[:, 0].tolist() == list(range(1, FRAMES + 1))
    np.testing.assert_allclose(values[:, 1], np.arange(FRAMES) / 25, atol=1e-6)
    present = np.isfinite(values).all(1)
    assert np.flatnonzero(present).tolist() == list(PRESENT[track])
    positions = values[:, 2:].reshape(FRAMES, -1, 3)
    joints = 1000 * world_joints(FIT)[FIT.rows_of(track)] @ TURN.T
    for name, joint in (("RHJC", "right_hip"), ("LKJC", "left_knee"), ("RAJC", "right_ankle"), ("LEJC", "left_elbow")):
        np.testing.assert_allclose(positions[present, names.index(name)], joints[:, SMPL24.index(joint)], atol=0.01)
    for lateral, medial, centre in (("RLFC", "RMFC", "RKJC"), ("LLMAL", "LMMAL", "LAJC"), ("RLEL", "RMEL", "REJC")):
        sides = [
            positions[present, names.index(name)] - positions[present, names.index(centre)]
            for name in (lateral, medial)
        ]
        assert max(np.linalg.norm(side, axis=1).max() for side in sides) < 90
        assert ((sides[0] * sides[1]).sum(1) < 0).all(), "the joint lies between them"


@pytest.mark.parametrize("times", [None, np.array((0, 2, 3, 4, 5)) / 25])
def test_c3d_holds_the_markers_with_z_up(files, tmp_path, times):
    """Frames without the person have no valid points, and uneven times the rate of the clip."""
    ezc3d = pytest.importorskip("ezc3d", reason='ezc3d is not installed: pip install "humanpose-cli[c3d]"')
    export_fit(replace(FIT, frame_times=times), tmp_path / "walk", "c3d", body=BODY)
    read = ezc3d.c3d(str(tmp_path / "walk.person2.c3d"))
    names, values = trc_values(files / "walk.person2.trc")
    point = read["parameters"]["POINT"]
    assert point["LABELS"]["value"] == names
    stated = [point[key]["value"][0] for key in ("RATE", "UNITS", "X_SCREEN", "Y_SCREEN")]
    assert stated == [25, "mm", "+X", "+Z"]
    frames = np.arange(FRAMES) if times is None else np.array((0, 0, 1, 2, 3, 4))
    shown = np.isin(frames, PRESENT[2]) & (np.arange(len(frames)) != 1 if times is not None else np.ones(FRAMES, bool))
    residuals = read["data"]["meta_points"]["residuals"][0]
    assert (residuals == np.where(shown, 0, -1)).all()
    expected = values[frames[shown], 2:].reshape(-1, len(names), 3) @ np.array(((1, 0, 0), (0, 0, 1), (0, -1, 0)))
    np.testing.assert_allclose(read["data"]["points"][:3].T[shown], expected, atol=2e-3)


def test_tables_have_the_angles_at_the_times_of_the_frames(files):
    with (files / "walk.person2.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows if row["knee_angle_r"]] == [str(frame) for frame in PRESENT[2]]
    lines = (files / "walk.person2.mot").read_text().split("\n")
    names = lines[6].split("\t")
    values = np.array([line.split("\t") for line in lines[7:] if line], float)
    assert lines[2:4] == [f"nRows={len(PRESENT[2])}", f"nColumns={len(names)}"]
    np.testing.assert_allclose(values[:, 0], np.array(PRESENT[2]) / 25)
    truth = joint_angles(person_motion(FIT, 2, BODY), TURN)
    for name in ("hip_flexion_l", "elbow_flex_r", "pelvis_list"):
        np.testing.assert_allclose(values[:, names.index(name)], truth[name], atol=1e-6)
        np.testing.assert_allclose([float(rows[frame][name]) for frame in PRESENT[2]], truth[name], atol=1e-5)


def test_opensim_reads_the_files(files):
    opensim = pytest.importorskip("opensim")
    table = opensim.TimeSeriesTableVec3(str(files / "walk.person2.trc"))
    assert table.getNumRows() == FRAMES
    assert table.getTableMetaDataString("Units") == "mm"
    motion = opensim.Storage(str(files / "walk.person2.mot"))
    assert (motion.getSize(), motion.isInDegrees()) == (len(PRESENT[2]), True)
