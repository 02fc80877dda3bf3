"""Human3.6M from a small tree in the owners' layout."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers.dataset_files import (
    LENS,
    S1_CAMERA,
    S1_QUATERNION,
    build_h36m,
    centre_of_light,
    h36m_joints,
    spotted,
    write_cdf,
    write_metadata,
    write_python2_pickle,
    write_video,
)
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.h36m_tree import ACTIONS, FRAMES, LENS_HERE, SIZE, SMALL_LENS, SUBJECTS, write_mosh
from PIL import Image
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.joints import JointFit
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.datasets import h36m
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.h36m import H36mOptions, H36mSource, read_cameras, read_mosh


@pytest.fixture(autouse=True)
def small_release(monkeypatch):
    """Three subjects with two actions, videos of 300 × 300."""
    monkeypatch.setattr(h36m, "_SUBJECTS", SUBJECTS)
    monkeypatch.setattr(h36m, "_ACTIONS", len(ACTIONS))
    monkeypatch.setattr(h36m, "SIZES", (SIZE, (SIZE[0], SIZE[1] + 2)))


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("h36m")
    views = [(s, a, c) for s in SUBJECTS for a in ACTIONS for c in h36m.CAMERAS]
    build_h36m(root, views, SIZE, SMALL_LENS, FRAMES, LENS_HERE.project)
    return root


def first_view(source, name="S1/Directions.54138969"):
    return next(group for group in source.groups() if group.name == name)


def decode_image(sample):
    return np.asarray(Image.open(io.BytesIO(sample.image)))


def test_the_calibration_is_what_others_read_from_it(tmp_path):
    """Real numbers of S1 and camera 54138969 against VideoPose3D's quaternion and position."""
    write_metadata(tmp_path / "metadata.xml")
    camera = read_cameras(tmp_path / "metadata.xml")[1, "54138969"]
    w, x, y, z = S1_QUATERNION
    np.testing.assert_allclose(camera.rotation.T, Rotation.from_quat([x, y, z, w]).as_matrix(), atol=1e-6)
    position = np.array(S1_CAMERA[3:]) / 1000
    np.testing.assert_allclose(camera.to_camera(position), 0, atol=1e-12)
    assert camera.lens.focal == LENS[:2]
    assert camera.lens.principal_point == (LENS[2] - 0.5, LENS[3] - 0.5)
    assert camera.lens.tangential == LENS[7:]


def test_groups_are_videos_and_their_counts_what_reading_gives(intact):
    source = H36mSource(intact)
    names = [group.name for group in source.groups()]
    assert names[:2] == ["S1/Directions.54138969", "S1/Directions.55011271"]
    assert len(names) == len(set(names)) == 3 * 2 * 4 - 1
    assert "S11/Directions.54138969" not in names  # damaged in the release
    group = first_view(source)
    assert group.count == 3
    assert [sample.frame for sample in source.read(group)] == [0, 10, 20]
    assert first_view(H36mSource(intact, H36mOptions(every=5))).count == 5
    assert source.notes == ()
    assert source.info.options == {
        "allow_missing": False, "split": "", "every": 10, "crop_size": 384, "mosh": False, "densepose": False,
        "cameras": h36m.CAMERAS, "bodies_by": None,
    }  # fmt: skip


@pytest.mark.parametrize("crop", [384, *extensive(0, 96, 40)])
def test_joints_keypoints_camera_and_image_agree(intact, crop):
    """The video shows a disc at the pelvis, through the distorting lens; the sample's pinhole camera finds it."""
    source = H36mSource(intact, H36mOptions(crop_size=crop))
    true = h36m_joints(FRAMES) / 1000
    for sample in source.read(first_view(source)):
        person = sample.people[0]
        assert person.joints["h36m17"].shape == (17, 4)
        np.testing.assert_allclose(person.joints["h36m17"][:, :3], true[sample.frame, h36m._H36M17_ROWS])
        keypoints = person.keypoints["h36m17"]
        expected = sample.focal * person.joints["h36m17"][:, :2] / person.joints["h36m17"][:, 2:3]
        np.testing.assert_allclose(keypoints[:, :2], expected + sample.principal_point)
        np.testing.assert_array_equal(keypoints[:, 2], 1)
        pixels = decode_image(sample)
        assert pixels.shape == (sample.size[1], sample.size[0], 3)
        if crop:
            assert sample.size[0] <= crop
            assert ((keypoints[:, :2] > 0) & (keypoints[:, :2] < sample.size)).all()
        else:
            assert sample.size == SIZE
        np.testing.assert_allclose(centre_of_light(pixels), keypoints[0, :2], atol=0.35)
        inside = (keypoints[:, :2] >= person.box[:2]) & (keypoints[:, :2] <= person.box[2:])
        assert crop == 0 or inside.all()


def test_samples_name_subject_activity_and_camera(intact):
    source = H36mSource(intact, H36mOptions(every=5))
    samples = list(source.read(first_view(source, "S8/WalkingDog_1.60457274")))
    assert samples[1].name == "S8/WalkingDog_1.60457274/000005"
    assert samples[1].sequence == "S8/WalkingDog_1.60457274"
    person = samples[1].people[0]
    assert (person.identity, person.activity, person.gender, person.body) == ("S8", "WalkDog", "", "")
    every = {"deform-and-learn": "train", "p1": "train", "p2": "train"}
    assert samples[1].splits == every  # nbf takes every 10th frame
    assert samples[2].splits == {**every, "nbf": "validation"}
    for subject, splits in {"S1": ("train", "train"), "S11": ("test", "test")}.items():
        sample = next(source.read(first_view(source, f"{subject}/WalkingDog_1.54138969")))
        assert (sample.splits["nbf"], sample.splits["deform-and-learn"]) == splits


@pytest.mark.slow
def test_protocols_1_and_2_take_every_fifth_frame_and_2_the_frontal_camera(intact):
    for every, fifth in ((1, 5), (5, 5), (10, None)):
        source = H36mSource(intact, H36mOptions(every=every))
        for camera, frontal in (("60457274", True), ("54138969", False)):
            samples = list(source.read(first_view(source, f"S11/WalkingDog_1.{camera}")))
            for sample in samples:
                is_evaluated = fifth is not None and sample.frame % 5 == 0
                assert ("p1" in sample.splits) == is_evaluated
                assert ("p2" in sample.splits) == (is_evaluated and frontal)


def test_the_papers_protocols():
    assert h36m.PROTOCOLS["nbf"] == {
        "S1": "train", "S5": "train", "S6": "train", "S7": "train", "S8": "validation", "S9": "test", "S11": "test",
    }  # fmt: skip
    assert {s for s, split in h36m.PROTOCOLS["deform-and-learn"].items() if split == "test"} == {"S9", "S11"}


def test_joints_in_world_axes_are_turned_into_the_camera(tree):
    """D3_Positions instead of D3_Positions_mono: the same samples."""
    mono = list(H36mSource(tree).read(first_view(H36mSource(tree))))
    camera = read_cameras(tree / "metadata.xml")[1, "54138969"]
    for subject in SUBJECTS:
        features = tree / subject / "MyPoseFeatures"
        shutil.rmtree(features / "D3_Positions_mono")
        world = (h36m_joints(FRAMES) / 1000 - camera.translation) @ camera.rotation * 1000
        for action in ACTIONS:
            write_cdf(features / "D3_Positions" / f"{action}.cdf", world.reshape(FRAMES, 96))
    source = H36mSource(tree)
    for one, other in zip(source.read(first_view(source)), mono, strict=True):
        joints = [sample.people[0].joints["h36m17"] for sample in (one, other)]
        np.testing.assert_allclose(*joints, atol=1e-9)


@pytest.mark.parametrize("folder", ["images", "S1/images/S1_WalkingDog_1.55011271"])
def test_extracted_frames_replace_the_video(tree, folder):
    (tree / "S1" / "Videos" / "WalkingDog 1.55011271.mp4").unlink()
    for frame in (0, 10, 20):
        pelvis = LENS_HERE.project(h36m_joints(FRAMES)[frame, 0] / 1000)
        write_image(tree / folder / f"S1_WalkingDog_1.55011271_{frame + 1:06d}.jpg", spotted(SIZE, pelvis))
    source = H36mSource(tree)
    samples = list(source.read(first_view(source, "S1/WalkingDog_1.55011271")))
    for sample in samples:
        centre = centre_of_light(decode_image(sample))
        np.testing.assert_allclose(centre, sample.people[0].keypoints["h36m17"][0, :2], atol=0.35)
    (tree / folder / "S1_WalkingDog_1.55011271_000011.jpg").unlink()
    with raises(InputError, subject="S1_WalkingDog_1.55011271_000011.jpg"):
        list(source.read(first_view(source, "S1/WalkingDog_1.55011271")))


@pytest.mark.slow
def test_frames_of_either_official_size(tree):
    """Of some actions the frames are two rows higher than the camera's others."""
    for path in (tree / "S1" / "Videos").glob("Directions.*.mp4"):
        write_video(path, [np.zeros((SIZE[1] + 2, SIZE[0], 3), np.uint8)] * FRAMES)
    source = H36mSource(tree)
    assert len(list(source.read(first_view(source)))) == 3
    assert h36m.FRAME_RATE == next(source.read(first_view(source))).frame_rate == 50


@pytest.mark.parametrize("digits", [5, 6])
def test_extracted_frames_may_have_gaps(tree, digits):
    """In the folders and by the names of MMPose."""
    (tree / "S1" / "Videos" / "WalkingDog 1.55011271.mp4").unlink()
    folder = tree / "images" / "S1" / "S1_WalkingDog_1.55011271"
    for frame in (0, 20):
        write_image(folder / f"S1_WalkingDog_1.55011271_{frame + 1:0{digits}d}.jpg", spotted(SIZE, (150, 150)))
    with raises(InputError, subject=f"S1_WalkingDog_1.55011271_{11:0{digits}d}.jpg"):
        H36mSource(tree).groups()
    source = H36mSource(tree, H36mOptions(allow_missing=True))
    group = first_view(source, "S1/WalkingDog_1.55011271")
    assert group.count == 2
    true = h36m_joints(FRAMES) / 1000
    for sample in source.read(group):
        joints = sample.people[0].joints["h36m17"][:, :3]
        np.testing.assert_allclose(joints, true[sample.frame, h36m._H36M17_ROWS])
    assert "1 of 3 frames are missing" in source.notes[0]


def test_one_split_needs_its_actors_alone(tree):
    for subject in ("S1", "S8"):
        shutil.rmtree(tree / subject)
    source = H36mSource(tree, H36mOptions(split="test"))
    assert {group.name[:3] for group in source.groups()} == {"S11"}
    with raises(UsageError, subject="split"):
        H36mSource(tree, H36mOptions(split="exam"))


@dataclass
class ShiftingFitter:
    """Says that bodies stand at the pelvis; cannot fit the second frame."""

    info = {"name": "shifting"}  # noqa: RUF012

    def fit(self, joints, skeleton):
        assert skeleton == "h36m17"
        count = len(joints)
        error = np.zeros(count)
        error[1] = np.nan
        poses, betas = np.full((count, 72), 0.1), np.full((count, 10), 0.5)
        return JointFit(poses, betas, joints[:, 0, :3], error)


def test_bodies_come_from_the_fitter_that_is_passed_in(intact):
    source = H36mSource(intact, tools=SourceTools(joint_fitter=ShiftingFitter()))
    people = [sample.people[0] for sample in source.read(first_view(source))]
    assert [person.body for person in people] == ["default", "", "default"]
    assert people[1].poses is None
    np.testing.assert_array_equal(people[2].trans, people[2].joints["h36m17"][0, :3])
    assert source.info.options["bodies_by"] == {"name": "shifting"}


def test_mosh_fits_are_turned_and_placed(intact, tmp_path):
    poses, betas = write_mosh(tmp_path / "mosh")
    body = default_body()
    tools = SourceTools(bodies={"neutral": body})
    source = H36mSource(intact, H36mOptions(every=5, mosh=str(tmp_path / "mosh")), tools)
    people = [sample.people[0] for sample in source.read(first_view(source))]
    assert {(person.body, person.gender) for person in people} == {("smpl", "neutral")}
    half_turn = np.diag([1.0, -1, -1])
    for row, person in enumerate(people):
        np.testing.assert_array_equal(person.poses[3:], poses[row, 3:])
        np.testing.assert_array_equal(person.betas, betas)
        root = Rotation.from_rotvec(person.poses[:3]).as_matrix()
        np.testing.assert_allclose(root, Rotation.from_rotvec(poses[row, :3]).as_matrix() @ half_turn, atol=1e-9)
        assert 3 < person.trans[2] < 5.5
    assert source.info.options["mosh"] is True
    # Without the model nobody knows where the fits stand, and every 5th frame has one.
    source = H36mSource(intact, H36mOptions(every=4, mosh=str(tmp_path / "mosh")))
    people = [sample.people[0] for sample in source.read(first_view(source))]
    assert [person.body for person in people] == ["smpl", "", "", "", "", "smpl"]
    assert people[0].trans is None


def test_a_placed_body_has_its_joints(tmp_path):
    """trans is recovered exactly from the joints of a body that was posed and moved."""
    import torch

    from humanpose_cli.geometry.rotations import axis_angle_to_matrix
    from humanpose_cli.lab.datasets.calibrated import trans_by_joints

    body = default_body()
    random = np.random.default_rng(0)
    poses, betas, trans = random.normal(0, 0.2, (4, 72)), random.normal(size=10), random.normal(size=(4, 3))
    shape = torch.as_tensor(betas[None], dtype=torch.float32)
    rotations = axis_angle_to_matrix(torch.as_tensor(poses, dtype=torch.float32).unflatten(1, (24, 3)))
    pose = body.pose(rotations, shape, torch.as_tensor(trans, dtype=torch.float32), vertices=False)
    landmarks = body.pose_landmarks("h36m17", pose, shape).numpy()
    joints = np.concatenate((landmarks, np.ones((4, 17, 1))), -1)
    joints[:, 5] = [9, 9, 9, 0]  # unknown
    np.testing.assert_allclose(trans_by_joints(body, poses, betas, joints, "h36m17"), trans, atol=1e-5)


def test_damaged_mosh_fits_are_reported(intact, tmp_path):
    write_mosh(tmp_path, rows=4)
    options = H36mOptions(every=5, mosh=str(tmp_path))
    source = H36mSource(intact, options)
    with raises(InputError, subject="Directions_cam0_aligned.pkl"):
        list(source.read(first_view(source)))
    lenient = H36mSource(intact, replace(options, allow_missing=True))
    assert [s.people[0].body for s in lenient.read(first_view(lenient))] == ["smpl"] * 4 + [""]
    path = tmp_path / "S1" / "Directions_cam0_aligned.pkl"
    write_python2_pickle(path, {"new_poses": np.zeros((5, 66)), "betas": np.zeros(10)})
    with raises(InputError, subject="new_poses)", got="(5, 66)"):
        read_mosh(path)
    path.unlink()
    with raises(InputError, subject="Directions_cam0_aligned.pkl"):
        H36mSource(intact, options).groups()


def test_denseposes_output_goes_through_the_same_lens(intact, tmp_path):
    """A chart painted where the disc is: the stored map has it where the stored image has the disc."""
    for frame in (0, 10, 20):
        pelvis = LENS_HERE.project(h36m_joints(FRAMES)[frame, 0] / 1000)
        disc = spotted(SIZE, pelvis)[..., 0] > 100
        iuv = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        iuv[disc] = [33, 22, 7]  # written through OpenCV: V, U, chart
        write_image(tmp_path / f"S1_Directions.54138969_{frame + 1:06d}_IUV.png", iuv)
    source = H36mSource(intact, H36mOptions(densepose=str(tmp_path)))
    for sample in source.read(first_view(source)):
        charts = np.asarray(Image.open(io.BytesIO(sample.maps["densepose"])))
        assert charts.shape == (sample.size[1], sample.size[0], 3)
        np.testing.assert_array_equal(np.unique(charts.reshape(-1, 3), axis=0), [[0, 0, 0], [7, 22, 33]])
        rows, columns = np.nonzero(charts[..., 0])
        centre = np.array([columns.mean(), rows.mean()]) + 0.5
        np.testing.assert_allclose(centre, sample.people[0].keypoints["h36m17"][0, :2], atol=0.5)
    with raises(InputError, subject="S8_Directions.54138969_000001_IUV.png"):
        list(source.read(first_view(source, "S8/Directions.54138969")))


def test_missing_subjects_and_actions_are_counted(tree):
    for path in (tree / "S1" / "MyPoseFeatures" / "D3_Positions_mono").glob("WalkingDog 1.*"):
        path.unlink()
    with raises(InputError, subject="D3_Positions_mono"):
        H36mSource(tree).groups()
    shutil.rmtree(tree / "S1")
    with raises(InputError, subject="S1"):
        H36mSource(tree).groups()
    lenient = H36mSource(tree, H36mOptions(allow_missing=True))
    assert len(lenient.groups()) == 2 * 2 * 4 - 1
    assert lenient.notes == (f"{tree / 'S1'}: does not exist",)


def test_short_and_damaged_files_are_named(tree):
    source = H36mSource(tree)
    group = first_view(source)
    video = tree / "S1" / "Videos" / "Directions.54138969.mp4"
    write_video(video, [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * 12)
    with raises(InputError, subject="Directions.54138969.mp4"):
        list(source.read(group))
    write_video(video, [np.zeros((100, 100, 3), np.uint8)] * FRAMES)
    with raises(InputError, subject="Directions.54138969.mp4"):
        list(source.read(group))
    poses = tree / "S1" / "MyPoseFeatures" / "D3_Positions_mono" / "Directions.54138969.cdf"
    write_cdf(poses, np.full((FRAMES, 96), np.nan))
    with raises(InputError, subject="Directions.54138969.cdf"):
        list(source.read(group))
    write_cdf(poses, np.zeros((FRAMES, 64)))
    with raises(InputError, subject="Directions.54138969.cdf"):
        H36mSource(tree).groups()


def test_the_videos_of_one_camera(intact):
    groups = H36mSource(intact, H36mOptions(cameras=("55011271",))).groups()
    every = H36mSource(intact, H36mOptions()).groups()
    assert [group.name for group in groups] == [group.name for group in every if group.name.endswith(".55011271")]
    assert 0 < len(groups) < len(every)
