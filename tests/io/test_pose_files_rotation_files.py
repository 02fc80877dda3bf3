"""Target poses as rotations: AMASS archives of all kinds, and our own fit files."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record, values
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.pose_files import AXES, read_pose


def amass(tmp_path, frames=5, width=156, **others):
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.5, (frames, width))
    poses[:, :3] = rng.normal((np.pi / 2, 0, 0), 0.1, (frames, 3))  # stands along z
    arrays = {
        "poses": poses,
        "trans": rng.normal(0, 1, (frames, 3)),
        "betas": np.arange(16.0),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        **others,
    }
    np.savez(tmp_path / "walk.npz", **{name: array for name, array in arrays.items() if array is not None})
    return tmp_path / "walk.npz", arrays


@pytest.mark.parametrize("axes", [None, "z-up", "y-up", "camera"])
def test_rotations_and_translations_in_camera_axes(tmp_path, axes):
    path, arrays = amass(tmp_path)
    pose = read_pose(path, axes=axes)
    matrix = AXES[axes or "z-up"]
    root = Rotation.from_matrix(matrix) * Rotation.from_rotvec(arrays["poses"][:, :3])
    found = Rotation.from_rotvec(pose.params.poses[:, :3])
    assert np.abs((root.inv() * found).magnitude()).max() < 1e-6
    np.testing.assert_allclose(pose.params.poses[:, 3:66], arrays["poses"][:, 3:66], atol=1e-6)
    assert (pose.params.poses[:, 66:] == 0).all()  # finger rotations of SMPL-H are not SMPL's hands
    # The same point of the world: pelvis of any rest body, in camera axes.
    pelvis = np.array([0.01, -0.24, 0.03])
    np.testing.assert_allclose(
        pose.axes_rotation @ pelvis + pose.params.trans, (pelvis + arrays["trans"]) @ matrix.T, atol=1e-6
    )
    assert (pose.frame_rate, len(pose)) == (120.0, 5)
    np.testing.assert_array_equal(pose.params.betas, [np.arange(10)] * 5)


def test_a_body_upright_in_z_up_is_upright_in_the_camera(tmp_path):
    """AMASS people stand by a root rotation of 90° about x; the camera then sees their front, head up."""
    poses = np.zeros((1, 156))
    poses[0, 0] = np.pi / 2
    path, _ = amass(tmp_path, poses=poses, trans=np.zeros((1, 3)))
    turn = Rotation.from_rotvec(read_pose(path).params.poses[0, :3]).as_matrix()
    np.testing.assert_allclose(turn @ [0, 1, 0], [0, -1, 0], atol=1e-6)  # the body's up is the image's up
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, 0, -1], atol=1e-6)  # it looks at the camera
    np.testing.assert_allclose(turn @ [1, 0, 0], [1, 0, 0], atol=1e-6)  # its left is at the viewer's right


def standing(along: str, heading: float = 0.5) -> np.ndarray:
    """(3,) root rotation of a person who stands along an axis of the file, turned about it."""
    about_y = Rotation.from_rotvec([0, heading, 0])
    up = {"y": [0, 0, 0], "z": [np.pi / 2, 0, 0], "-y": [np.pi, 0, 0], "x": [0, 0, -np.pi / 2]}
    return (Rotation.from_rotvec(up[along]) * about_y).as_rotvec()


@pytest.mark.parametrize(
    ("along", "pelvis", "axes", "note"),
    [
        ("z", (2, 3, 0.9), "z-up", ""),
        ("y", (2, 0.9, 3), "y-up", "stands as in y-up axes"),  # BEAT2, AIST++
        ("y", (0, 0, 0), "y-up", "stands as in y-up axes"),
        ("-y", (0.2, 0.1, 4), "camera", "stands as in camera axes"),
        ("y", (2, 3, 0.12), "z-up", "lies in most frames"),  # on the floor of AMASS' world
        ("x", (2, 3, 0.12), "z-up", ""),
    ],
)
def test_the_median_of_chest_minus_feet_decides_what_is_up(tmp_path, along, pelvis, axes, note):
    poses = np.zeros((9, 165))
    poses[:, :3] = standing(along)
    poses[:2, :3] = standing("x")  # falls and lies at first
    path, _ = amass(tmp_path, poses=poses, trans=np.tile(np.add(pelvis, (0, 0.3, 0)), (9, 1)))
    pose = read_pose(path)
    np.testing.assert_array_equal(pose.axes_rotation, AXES[axes].astype(np.float32))
    assert note in "".join(pose.warnings)
    assert len(pose.warnings) == bool(note)
    assert read_pose(path, axes="z-up").warnings == ()
    np.testing.assert_array_equal(read_pose(path, axes="z-up").axes_rotation, AXES["z-up"].astype(np.float32))


@pytest.mark.parametrize("width", [66, 69, 72, 156, 165])
def test_widths(tmp_path, width):
    path, arrays = amass(tmp_path, width=width)
    pose = read_pose(path)
    kept = 72 if width == 72 else 66
    np.testing.assert_allclose(pose.params.poses[:, 3:kept], arrays["poses"][:, 3:kept], atol=1e-6)
    assert (pose.params.poses[:, kept:] == 0).all()


def test_what_may_be_missing_or_written_otherwise(tmp_path):
    path, _ = amass(tmp_path, trans=None, betas=None, gender=None, mocap_framerate=None)
    pose = read_pose(path)
    assert (pose.params.trans == 0).all()
    assert (pose.params.betas == 0).all()
    assert pose.frame_rate is None
    path, _ = amass(tmp_path, mocap_framerate=None, mocap_frame_rate=np.array([60]), gender=np.array(b"male"))
    assert read_pose(path).frame_rate == 60.0
    path, _ = amass(tmp_path, betas=np.ones((5, 4)), gender=np.array("female", dtype=object))
    pose = read_pose(path)  # a pickled gender is not unpickled, and not needed
    np.testing.assert_array_equal(pose.params.betas, [[1] * 4 + [0] * 6] * 5)


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"poses": None}, {"problem": "holds no poses", "got": "betas, gender"}),
        ({"poses": np.zeros((5, 63))}, {"problem": "wrong shape", "got": "(5, 63)"}),
        ({"poses": np.zeros(72)}, {"problem": "wrong shape"}),
        ({"poses": np.zeros((0, 72))}, {"problem": "wrong shape"}),
        ({"poses": np.full((5, 72), 90.0)}, {"remedy": "deg2rad"}),
        ({"poses": np.full((5, 72), np.nan)}, {"problem": ("poses", "finite")}),
        ({"trans": np.full((5, 3), np.inf)}, {"problem": ("trans", "finite")}),
        ({"trans": np.zeros((4, 3))}, {"problem": "trans", "expected": "(5, 3)"}),
        (
            {"trans": [[0, 0, 0]] * 4 + [[0, 1e30, 0]]},
            {"problem": "trans holds", "expected": "to 100000 metres", "got": "1e+30 in row 4"},
        ),
        (
            {"betas": np.full(10, -1e6)},
            {"problem": "betas holds impossible values", "expected": "-100 to 100", "got": "-1e+06 in row 0"},
        ),
        ({"mocap_framerate": np.array(0.0)}, {"problem": "framerate"}),
        ({"mocap_framerate": np.array([30.0, 30.0])}, {"problem": "framerate"}),
        ({"poses": np.array([{}], dtype=object)}, {"problem": "never loaded"}),
    ],
)
def test_refused(tmp_path, others, error):
    path, _ = amass(tmp_path, **others)
    with raises(InputError, **error) as caught:
        read_pose(path)
    assert "walk.npz" in str(caught.value)


def test_damaged_archives(tmp_path):
    path, _ = amass(tmp_path)
    data = path.read_bytes()
    for content in (b"", b"text", data[: len(data) // 2]):
        path.write_bytes(content)
        with raises(InputError, subject="walk.npz"):
            read_pose(path)


def test_a_fit_file_gives_the_largest_person_or_the_one_requested(tmp_path):
    path = tmp_path / "a.jpg.fit.npz"
    fit = record()
    write_fit(path, fit)
    pose = read_pose(path, axes="y-up")  # a fit file is in camera axes whatever one says
    np.testing.assert_array_equal(pose.params.poses, fit.poses[:2])
    np.testing.assert_array_equal(pose.params.trans, fit.trans[:2])
    np.testing.assert_array_equal(pose.axes_rotation, np.eye(3))
    assert (pose.frame_rate, len(pose)) == (25.0, 2)
    other = read_pose(path, track=2)
    np.testing.assert_array_equal(other.params.poses, fit.poses[2:])
    with raises(UsageError, problem="no person 1", expected="0, 2"):
        read_pose(path, track=1)


def test_of_equals_the_larger_person(tmp_path):
    two = values(tracks=(0, 1), frames=(0, 0), frame_count=1)
    two["boxes"] = [[0, 0, 10, 10], [0, 0, 20, 20]]
    write_fit(tmp_path / "x.fit.npz", FitRecord.build(**two))
    np.testing.assert_array_equal(read_pose(tmp_path / "x.fit.npz").params.poses[0], np.float32(two["poses"][1]))


def test_a_fit_without_people(tmp_path):
    write_fit(tmp_path / "x.fit.npz", FitRecord.empty(["a.jpg"], [(4, 4)], [5.0]))
    with raises(InputError, problem="holds no person"):
        read_pose(tmp_path / "x.fit.npz")
