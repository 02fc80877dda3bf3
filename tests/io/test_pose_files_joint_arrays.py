"""Joint positions from `.npy`: what is taken, and everything that is not, with its way out."""

import numpy as np
import pytest
from helpers.errors import raises
from helpers.resting_person import person
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import SKELETONS, SMPL24
from humanpose_cli.core.errors import ExitCode, InputError, UsageError
from humanpose_cli.io.pose_files import read_pose


def in_camera(y_up: np.ndarray) -> np.ndarray:
    return y_up * (1, -1, -1) + (0, 0, 4)


def z_up(y_up: np.ndarray) -> np.ndarray:
    return y_up[..., [0, 2, 1]] * (1, -1, 1)  # faces −y


def dance(frames=20, seed=0) -> np.ndarray:
    """(T, 24, 3) camera axes: random rotations of rigid bones."""
    rng, rest, out = np.random.default_rng(seed), person(SMPL24), np.empty((frames, 24, 3))
    for t in range(frames):
        turns: list[Rotation] = []
        for j, parent in enumerate(SMPL24.parents):
            local = Rotation.from_rotvec(rng.normal(0, 0.4, 3))
            turns.append(local if parent < 0 else turns[parent] * local)
            out[t, j] = rest[j] if parent < 0 else out[t, parent] + turns[parent].apply(rest[j] - rest[parent])
    return in_camera(out)


@pytest.fixture
def save(tmp_path):
    def to_file(values, name="pose.npy"):
        np.save(tmp_path / name, np.asarray(values))
        return tmp_path / name

    return to_file


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_each_skeleton_as_pose_and_as_motion(save, skeleton):
    joints = in_camera(person(skeleton))
    wanted = skeleton.name if len(skeleton) == 17 else None
    for values in (joints, joints[None], np.stack([joints, joints + 0.1]), joints.astype(np.float32)):
        pose = read_pose(save(values), wanted)
        assert pose.skeleton is skeleton
        assert pose.joints.shape == (2 if values.ndim == 3 and len(values) == 2 else 1, len(skeleton), 3)
        np.testing.assert_allclose(pose.joints[0], joints, atol=1e-6)
        assert (pose.joint_confidence == 1).all()
        assert (pose.frame_rate, pose.warnings, len(pose)) == (None, (), len(pose.joints))


def test_seventeen_joints_need_the_skeletons_name(save):
    path = save(in_camera(person(SKELETONS["coco17"])))
    with raises(UsageError, problem="17 joints", remedy="`skeleton`: h36m17 or coco17"):
        read_pose(path)
    assert read_pose(path, "coco17").skeleton.name == "coco17"
    with raises(InputError, remedy="order of h36m17"):
        read_pose(path, "h36m17")
    with raises(UsageError, problem="unknown"):
        read_pose(path, "smpl")


def test_axes_pinned_by_hand(save):
    """A person who faces the viewer: the head is up, the left hand at the viewer's right, the toes point here."""
    y_up = person(SMPL24)
    expected = y_up * (1, -1, -1)
    for values, axes in [(y_up, "y-up"), (z_up(y_up), "z-up"), (expected, "camera")]:
        pose = read_pose(save(values), axes=axes)
        np.testing.assert_allclose(pose.joints[0], expected, atol=1e-6)
        assert pose.warnings == ()
        joint = {name: pose.joints[0, SMPL24.index(name)] for name in SMPL24.joint_names}
        assert joint["head"][1] < joint["pelvis"][1]
        assert joint["left_hand"][0] > 0.5
        assert joint["left_foot"][2] < joint["left_ankle"][2]
    with raises(UsageError, expected="camera, y-up, z-up"):
        read_pose(save(y_up), axes="x-up")


def test_a_forgotten_axes_option_is_pointed_out(save):
    y_up = person(SMPL24)
    for axes, joints in {"y-up": y_up, "z-up": z_up(y_up)}.items():
        (warning,) = read_pose(save(joints)).warnings
        assert f"in camera axes: if that is not so, give `axes={axes}`" in warning


@pytest.mark.parametrize("axes", [None, "y-up", "z-up", "camera"])
def test_joints_of_text_to_motion_without_hands(save, axes):
    y_up = np.stack([person(SMPL24)[:22]] * 3) + np.arange(3)[:, None, None] * 0.01
    camera = y_up * (1, -1, -1)
    values = {"z-up": z_up(y_up), "camera": camera}.get(axes, y_up)
    pose = read_pose(save(values), axes=axes)
    assert (pose.skeleton, pose.frame_rate) == (SMPL24, 20.0)
    np.testing.assert_allclose(pose.joints[:, :22], camera, atol=1e-6)
    np.testing.assert_array_equal(pose.joint_confidence, [1] * 22 + [0, 0])
    assert np.isfinite(pose.joints).all()
    (warning,) = pose.warnings
    assert "SMPL's without the hands" in warning
    turned = read_pose(save(z_up(y_up)))  # the person stands along z, which the file does not say
    np.testing.assert_allclose(turned.joints[:, :22], camera, atol=1e-6)
    assert "z-up" in turned.warnings[1]


def test_limbs_of_text_to_motion_may_change_their_lengths(save):
    values = np.random.default_rng(0).normal(0, 1, (10, 22, 3))
    pose = read_pose(save(values), axes="camera")
    np.testing.assert_allclose(pose.joints[:, :22], values, rtol=1e-6)
    (warning,) = [each for each in pose.warnings if "limb lengths change from frame to frame" in each]
    assert "over 10 frames" in warning
    person_in_millimetres = np.stack([person(SMPL24)[:22]] * 10) * 1000
    with raises(InputError, problem="is not in metres"):
        read_pose(save(person_in_millimetres))
    with raises(InputError, problem="cannot be joint positions"):
        read_pose(save(values[0]))  # one pose, whose limbs have one length


@pytest.mark.slow
def test_poses_of_all_kinds_pass(save):
    toddler, giant = 0.5 * dance(), 1.4 * dance()
    noisy = dance(60) + np.random.default_rng(1).normal(0, 0.01, (60, 24, 3))
    far_away = dance(1) + np.array([100.0, -50.0, 3000.0])
    for joints in (dance(), toddler, giant, noisy, far_away):
        np.testing.assert_allclose(read_pose(save(joints)).joints, joints, rtol=1e-6, atol=1e-6)


def test_samples_of_mdm(tmp_path):
    """`results.npy` of motion-diffusion-model: (N, 22, 3, T), of which a sample's length counts."""
    joints = np.tile(person(SMPL24)[:22], (6, 1, 1))
    motion = np.stack((joints, joints + np.array([1, 0, 0]))).transpose(0, 2, 3, 1)
    content = {"motion": motion, "text": ["a", "b"], "lengths": np.array([6, 4]), "num_samples": 2}
    np.save(tmp_path / "results.npy", content)  # type: ignore[arg-type]
    first, second = read_pose(tmp_path / "results.npy"), read_pose(tmp_path / "results.npy", track=1)
    assert (len(first), first.person, first.frame_rate, len(second), second.person) == (6, 0, 20.0, 4, 1)
    np.testing.assert_allclose(second.joints, first.joints[:4] + np.array([1, 0, 0]), atol=1e-6)
    with raises(UsageError, problem="no person 2", expected="0, 1"):
        read_pose(tmp_path / "results.npy", track=2)
    np.save(tmp_path / "results.npy", {**content, "motion": motion[:, :, :2]})  # type: ignore[arg-type]
    with raises(InputError, problem="wrong shape", got="(2, 22, 2, 6)"):
        read_pose(tmp_path / "results.npy")


STANDING = in_camera(person(SMPL24))
NO_POSITIONS = "cannot be joint positions|not in metres"


def refuse(path, message, skeleton=None):
    with pytest.raises(InputError, match=rf"^[^\n]*{path}[^\n]*({message})[^\n]*$") as caught:
        read_pose(path, skeleton)
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_not_finite(save, value):
    joints = np.stack([STANDING] * 30)
    joints[3:8, SMPL24.index("left_knee"), 1] = value
    np.testing.assert_allclose(read_pose(save(joints)).joints, np.stack([STANDING] * 30), atol=1e-6)  # held
    joints[3:28, SMPL24.index("left_knee"), 1] = value
    refuse(save(joints), "not finite.*frame 13, left_knee")


@pytest.mark.parametrize(("unit", "factor"), [("millimetres", 1000), ("centimetres", 100)])
def test_the_unit_is_the_one_in_which_a_person_has_a_human_size(save, unit, factor):
    pose = read_pose(save(STANDING * factor))
    np.testing.assert_allclose(pose.joints[0], STANDING, atol=1e-6)
    assert pose.warnings == (f"joint positions are read as {unit}, in which a person has a human size",)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((23, 3), "wrong number of joints.*24 .smpl24.*23"),
        ((21, 3), "wrong number of joints.*22 .smpl24 without hands.*21"),
        ((196, 263), "features of HumanML3D"),
        ((24, 2), "needs depth"),
        ((24, 4), "confidence"),
        ((3, 24), "transposed"),
        ((72,), "axis-angle.*numpy.savez"),
        ((10, 156), "axis-angle"),
        ((10, 24, 3, 3), "rotation matrices"),
        ((10, 2, 24, 3), "several persons"),
        ((0, 24, 3), "wrong shape"),
        ((), "wrong shape"),
        ((24,), "wrong shape"),
    ],
)
def test_shapes(save, shape, message):
    refuse(save(np.zeros(shape)), message)


def test_axis_angles_and_random_numbers(save):
    """Most rotations small, knees and elbows bent, the pelvis turned upside down: as SMPL fits look."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        rotations = rng.normal(0, 0.15, (24, 3))
        rotations[0] = (np.pi, 0.1, 0)
        rotations[SMPL24.indices(["left_knee", "right_knee"]), 0] = rng.uniform(0, 1.5, 2)
        rotations[SMPL24.indices(["left_hand", "right_hand"])] = 0
        refuse(save(rotations), "cannot be joint positions.*numpy.savez")
    refuse(save(rng.normal(0, 0.4, (40, 24, 3))), NO_POSITIONS)
    for skeleton in SKELETONS.values():
        for _ in range(5):
            refuse(save(rng.normal(0, 0.5, (len(skeleton), 3))), NO_POSITIONS, skeleton.name)
        refuse(save(np.zeros((len(skeleton), 3))), "one point", skeleton.name)


@pytest.mark.parametrize(
    ("values", "message", "skeleton"),
    [
        (STANDING, "expected 17 for coco17, found 24", "coco17"),
        (STANDING[np.random.default_rng(0).permutation(24)], "order of smpl24", None),
        (STANDING * 39.37, "as in inches", None),
        (STANDING * 3.281, "as in feet", None),
        (STANDING * 0.01, "not in metres.*multiply them by", None),
        (STANDING + np.array((0, 0, 1e6)), r"-200000 to 200000 metres, found 1e\+06 in row 0", None),
        # The public pose files of the reposing method: pixels of a 256 image, z around 128.
        (person(SKELETONS["reposing19"]) * (1, -1, -1) * 120 + (128, 240, 128), "or pixels", None),
        (np.array(["a"] * 72), "no numbers", None),
        (np.zeros((24, 3), complex), "no numbers", None),
        (np.zeros((24, 3), bool), "no numbers", None),
    ],
)
def test_orders_units_and_types(save, values, message, skeleton):
    refuse(save(values), message, skeleton)


def test_bone_lengths_that_change(save):
    joints = dance(30)
    refuse(save(joints * np.linspace(1, 1.5, 30)[:, None, None]), "bone lengths change")
    stretched = joints.copy()
    elbow, wrist, hand = SMPL24.indices(["left_elbow", "left_wrist", "left_hand"])
    stretch = np.linspace(0, 0.8, 30)[:, None] * (joints[:, wrist] - joints[:, elbow])
    stretched[:, [wrist, hand]] += stretch[:, None]
    refuse(save(stretched), r"left forearm of 0\.25 to 0\.45 m")
    refuse(save(np.where(np.arange(30)[:, None, None] % 2, joints, 0.6 * joints)), "one person")
