"""HumanEva-I from a small tree in the owners' layout."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import centre_of_light, write_video
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.humaneva_tree import (
    CALIBRATION,
    LABELS,
    MARKERS,
    MEASURED,
    MOCAP_FRAMES,
    ROTATION,
    TRANSLATION,
    build,
    moving_points,
    write_c3d,
    write_measurements,
    write_numbers,
)
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from humanpose_cli.core.conventions import H36M17
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.joints import JointFit
from humanpose_cli.lab.datasets import humaneva
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.humaneva import (
    HumanEvaOptions,
    HumanEvaSource,
    joints_at,
    read_cal_file,
    read_measurements,
    synchronise,
)
from humanpose_cli.lab.datasets.mocap_files import C3dPoints, read_c3d

pytestmark = pytest.mark.slow

OFFICIAL = humaneva.FRAMES


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("humaneva")
    build(root)
    return root


def group_of(source, name="S1/Walking_1_(C1)"):
    return next(group for group in source.groups() if group.name == name)


# Joints


def turn_y(angle):
    return np.array(
        [[np.cos(angle), 0, np.sin(angle), 0], [0, 1, 0, 0], [-np.sin(angle), 0, np.cos(angle), 0], [0, 0, 0, 1]]
    )


class Oracle:
    """The owners' computation for one place in time, with 4 × 4 transforms as they write it."""

    def __init__(self, points, folder):
        self.points, self.low = points, int(folder)
        self.alpha = folder - self.low

    def point(self, label, step=0):
        number = LABELS.index(label) + step
        return self.points[self.low : self.low + 2, number]

    def frame(self, coordinates, origin, after=None):
        start, z, x, y = (self.point(coordinates, step) for step in range(4))
        axes = np.stack([(a - start) / np.linalg.norm(a - start, axis=-1, keepdims=True) for a in (x, y, z)], -1)
        transform = np.eye(4)
        transform[:3, :3] = Slerp([0, 1], Rotation.from_matrix(axes))(self.alpha).as_matrix()
        first, second = self.point(origin)
        transform[:3, 3] = (1 - self.alpha) * first + self.alpha * second
        return transform if after is None else transform @ after

    def length(self, one, other):
        return np.linalg.norm(self.point(one) - self.point(other), axis=-1).mean()

    def joints(self, radius, offsets):
        def at(transform, z=0.0):
            return (transform @ [0, 0, z, 1])[:3]

        back = np.eye(4)
        back[0, 3] = -50
        torso = self.length("TRXO", "PELO")
        pelvis = self.frame("PELO", "PELO") @ back @ turn_y(np.arctan2(radius / 2, torso))
        head = self.frame("HEDO", "TRXO")
        joints_by_name = {
            "pelvis": at(pelvis),
            "thorax": (at(pelvis, torso) + at(head)) / 2,
            "head_top": at(head, 316.103),
        }
        for side, letter, offset in zip(("left", "right"), "LR", offsets, strict=True):
            thigh = self.frame(f"{letter}FEO", f"{letter}FEP", turn_y(np.pi))
            shank = self.frame(f"{letter}TIO", f"{letter}FEO", turn_y(np.pi))
            knee = at(thigh, self.length(f"{letter}FEP", f"{letter}FEO"))
            joints_by_name[f"{side}_hip"] = at(thigh)
            joints_by_name[f"{side}_knee"] = (knee + at(shank)) / 2
            joints_by_name[f"{side}_ankle"] = at(shank, self.length(f"{letter}FEO", f"{letter}TIO"))
            upper, lower = self.length(f"{letter}CLO", f"{letter}HUO"), self.length(f"{letter}HUO", f"{letter}RAO")
            angle = np.arctan2(offset / 2, upper)
            arm, elbow = self.frame(f"{letter}HUO", f"{letter}CLO"), self.frame(f"{letter}RAO", f"{letter}HUO")
            apart = at(elbow) - at(arm, -upper)
            arm = arm @ turn_y(-angle)
            elbow[:3, 3] = at(arm, -upper) + apart
            elbow = elbow @ turn_y(angle)
            joints_by_name[f"{side}_shoulder"] = at(arm)
            joints_by_name[f"{side}_elbow"] = (at(arm, -upper) + at(elbow)) / 2
            joints_by_name[f"{side}_wrist"] = at(elbow, -lower)
        return joints_by_name


@pytest.mark.parametrize("folder", [0, 3, 7.25, 20.5, 58.75])
def test_joints_are_those_of_the_owners_code(folder):
    points = moving_points(MOCAP_FRAMES)
    joints = joints_at(C3dPoints(Path("a.c3d"), LABELS, points, "mm"), np.array([float(folder)]), MEASURED)[0]
    expected = Oracle(points, folder).joints(MEASURED.torso_radius, MEASURED.shoulder_offsets)
    assert set(expected) == {name for name, joint in zip(H36M17.joint_names, joints, strict=True) if joint[3]}
    for name, joint in expected.items():
        np.testing.assert_allclose(joints[H36M17.index(name), :3], joint / 1000, atol=2e-4, err_msg=name)
    assert joints[H36M17.index("left_hip"), 1] > joints[H36M17.index("right_hip"), 1]
    assert joints[H36M17.index("head_top"), 2] > joints[H36M17.index("pelvis"), 2]


def test_frames_without_a_marker_have_no_joints():
    points = moving_points(8)
    points[3, MARKERS.index("RTOE")] = 0
    points[6, LABELS.index("HEDA")] = 0
    joints = joints_at(
        C3dPoints(Path("a"), LABELS, points, "mm"), np.array([1, 2, 2.5, 3, 3.5, 4, 6, 7, 7.5]), MEASURED
    )
    assert joints[..., 3].any(1).tolist() == [True, True, False, False, False, True, True, True, False]
    assert joints[6, H36M17.index("head_top"), 3] == 0
    assert joints[6, H36M17.index("left_knee"), 3] == 1
    assert not joints[3].any()


def test_a_head_below_the_neck_is_missing():
    points = moving_points(3)
    points[:, LABELS.index("HEDP")] = 2 * points[:, LABELS.index("HEDO")] - points[:, LABELS.index("HEDP")]
    points[:, LABELS.index("HEDL")] = 2 * points[:, LABELS.index("HEDO")] - points[:, LABELS.index("HEDL")]
    joints = joints_at(C3dPoints(Path("a"), LABELS, points, "mm"), np.array([1.0]), MEASURED)[0]
    assert joints[H36M17.index("head_top"), 3] == 0
    assert joints[H36M17.index("thorax"), 3] == 1


# Files


def test_calibration(tmp_path):
    write_numbers(tmp_path / "C1.cal", [*CALIBRATION, *ROTATION.ravel(), *TRANSLATION])
    camera = read_cal_file(tmp_path / "C1.cal")
    assert camera.lens.focal == (500, 496)
    assert camera.lens.principal_point == (320.8, 239.6)
    assert (camera.lens.radial, camera.lens.tangential) == ((-0.2, 0.1, 0.01), (0.001, -0.0005))
    assert camera.lens.skew == 0.002
    # Four metres away, the actor's left hand 0.5 m to the left: right in the image.
    np.testing.assert_allclose(camera.to_camera(np.array([0, 0.5, 1.2])), [0.53, -0.2, 4.0])
    write_numbers(tmp_path / "C1.cal", [1, 2, 3])
    with raises(InputError, subject="C1.cal", got="3"):
        read_cal_file(tmp_path / "C1.cal")
    write_numbers(tmp_path / "C1.cal", [*CALIBRATION, *range(9), *TRANSLATION])
    with raises(InputError, subject="C1.cal, lines 11 to 19"):
        read_cal_file(tmp_path / "C1.cal")


def test_synchronisation_by_hand(tmp_path):
    """C1 shows frame 82 at mocap 5, C2 one earlier; two mocap frames an image. The clock begins where C2 does."""
    files = {}
    for camera, numbers in {"C1": (82, 5, 2), "C2": (81, 5, 2), "C3": (84, 9, 2)}.items():
        files[camera] = tmp_path / f"{camera}.ofs"
        write_numbers(files[camera], numbers)
    clock = synchronise(files)
    # All cameras to the same time: 82, 81, 82; moved to 2, 1, 2, which is mocap 5 - 2 · 80 < 1, hence 78 frames later.
    assert clock.image_starts == {"C1": 80, "C2": 79, "C3": 80}
    assert (clock.mocap_start, clock.mocap_step) == (1, 2)
    assert clock.video_frame("C1", 3) == 81  # image 82, counted from 1
    np.testing.assert_allclose(clock.mocap_times(np.array([3])), [4])  # mocap 5, counted from 1
    write_numbers(files["C2"], (81, 5, 0))
    with raises(InputError, subject="C2.ofs"):
        synchronise(files)


def test_measurements(tmp_path):
    write_measurements(tmp_path / "S1.mp", 40, 44)
    write_c3d(tmp_path / "Static.c3d", moving_points(3))
    measurements = read_measurements(tmp_path / "S1.mp", read_c3d(tmp_path / "Static.c3d"))
    assert measurements.shoulder_offsets == (40, 44)
    assert measurements.torso_radius == pytest.approx(390 / 2 - 7, abs=0.01)
    (tmp_path / "S1.mp").write_text("$LShoulderOffset = 40\n")
    with raises(InputError, subject="S1.mp"):
        read_measurements(tmp_path / "S1.mp", read_c3d(tmp_path / "Static.c3d"))


# The source


def test_groups_are_videos(intact):
    source = HumanEvaSource(intact)
    names = [group.name for group in source.groups()]
    assert names == [f"S1/Walking_1_({c})" for c in ("C1", "C2", "C3")] + [
        f"S2/Jog_1_({c})" for c in ("C1", "C2", "C3")
    ]
    assert [group.count for group in source.groups()] == [10] * 3 + [7] * 3
    assert source.notes == ()
    assert group_of(HumanEvaSource(intact, HumanEvaOptions(every=4))).count == 3


@pytest.mark.parametrize("camera", ["C1", "C2", "C3"])
@pytest.mark.parametrize("crop", [200, *extensive(0)])
def test_images_and_joints_are_of_one_moment(intact, camera, crop):
    """The videos' disc follows the pelvis by each camera's own clock: it must lie where the sample has the pelvis."""
    source = HumanEvaSource(intact, HumanEvaOptions(crop_size=crop))
    samples = list(source.read(group_of(source, f"S1/Walking_1_({camera})")))
    assert len(samples) == 10
    errors = []
    for sample in samples:
        pelvis = sample.people[0].keypoints["h36m17"][H36M17.index("pelvis")]
        errors.append(centre_of_light(np.asarray(Image.open(io.BytesIO(sample.image)))) - pelvis[:2])
        assert pelvis[2] == 1
        joints = sample.people[0].joints["h36m17"]
        hips = [sample.people[0].keypoints["h36m17"][H36M17.index(f"{side}_hip"), 0] for side in ("left", "right")]
        assert hips[0] > hips[1] + 10  # the actor's left is right in the image
        assert 3.4 < joints[H36M17.index("pelvis"), 2] < 4.2
        assert joints[H36M17.index("spine")].tolist() == [0, 0, 0, 0]
    assert np.abs(errors).max() < 0.4


def test_splits(intact):
    source = HumanEvaSource(intact)
    walking = list(source.read(group_of(source)))
    assert [sample.splits["humaneva"] for sample in walking] == ["validation"] * 4 + ["train"] * 6
    assert [sample.splits["nbf"] for sample in walking] == ["test"] * 4 + ["train"] * 6
    assert walking[0].people[0].activity == "Walking"
    for name in ("S1/Walking_1_(C2)", "S2/Jog_1_(C1)"):
        assert {sample.splits.get("nbf") for sample in source.read(group_of(source, name))} == {None, "train"}


def test_the_official_frames():
    """VideoPose3D's table of the owners' partitions, which it checks against their data."""
    assert OFFICIAL["S1"]["Walking"] == (590, 1203)
    assert OFFICIAL["S2"]["ThrowCatch"] == (550, 1128)
    assert OFFICIAL["S3"]["Box"] == (512, 1021)
    assert [sorted(actions) for actions in OFFICIAL.values()] == [
        ["Box", "Gestures", "Jog", "ThrowCatch", "Walking"],
        ["Box", "Gestures", "Jog", "ThrowCatch", "Walking"],
        ["Box", "Gestures", "Jog", "Walking"],
    ]


class Fitter:
    info = {"name": "fitter"}  # noqa: RUF012

    def fit(self, joints, skeleton):
        assert skeleton == "h36m17"
        count = len(joints)
        return JointFit(np.zeros((count, 72)), np.zeros((count, 10)), joints[:, 0, :3], np.zeros(count))


def test_bodies_come_from_the_fitter(intact):
    source = HumanEvaSource(intact, tools=SourceTools(joint_fitter=Fitter()))
    person = next(source.read(group_of(source))).people[0]
    assert person.body == "default"
    np.testing.assert_array_equal(person.trans, person.joints["h36m17"][0, :3])
    assert source.info.options["bodies_by"] == {"name": "fitter"}


def test_a_missing_actor_is_named(tree):
    shutil.rmtree(tree / "S1")
    with raises(InputError, subject="S1"):
        HumanEvaSource(tree).groups()
    assert len(HumanEvaSource(tree, HumanEvaOptions(allow_missing=True)).groups()) == 3
    shutil.rmtree(tree / "S2")
    with raises(InputError, problem="holds no complete trial"):
        HumanEvaSource(tree, HumanEvaOptions(allow_missing=True)).groups()


def test_short_and_damaged_files_are_named(tree):
    source = HumanEvaSource(tree)
    group = group_of(source)
    video = tree / "S1" / "Image_Data" / "Walking_1_(C1).avi"
    write_video(tree / "short.mp4", [np.zeros((480, 640, 3), np.uint8)] * 12)
    shutil.copyfile(tree / "short.mp4", video)
    with raises(InputError, subject="Walking_1_(C1).avi"):
        list(source.read(group))
    write_video(tree / "small.mp4", [np.zeros((120, 160, 3), np.uint8)] * 24)
    shutil.copyfile(tree / "small.mp4", video)
    with raises(InputError, subject="Walking_1_(C1).avi"):
        list(source.read(group))
    points = moving_points(MOCAP_FRAMES)
    points[:, MARKERS.index("C7")] = 0
    write_c3d(tree / "S1" / "Mocap_Data" / "Walking_1.c3d", points)
    with raises(InputError, subject="Walking_1.c3d"):
        HumanEvaSource(tree).groups()
