"""Target poses as rotations: AMASS archives of all kinds, and our own fit files."""

import json
import pickle

import numpy as np
import pytest
import torch
from helpers import foreign_files
from helpers.errors import raises
from helpers.fit_values import record, values
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.pose_files import AXES, read_pose


def assert_turns(pose, vectors, tolerance=1e-5):
    """Its first joints have these rotations (T, 3 J)."""
    turns = Rotation.from_rotvec(pose.params.poses[:, : vectors.shape[-1]].reshape(-1, 3))
    assert (turns.inv() * Rotation.from_rotvec(vectors.reshape(-1, 3))).magnitude().max() < tolerance


def pickled(path, content):
    """As its name says: by torch or by pickle."""
    if path.suffix == ".pt":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    return path


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
    assert_turns(pose, root.as_rotvec(), 1e-6)
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
    # The body's left is at the viewer's right, its up is the image's up, and it looks at the camera.
    np.testing.assert_allclose(turn, np.diag([1, -1, -1]), atol=1e-6)


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
    assert [note in warning for warning in pose.warnings] == [True] * bool(note)
    told = read_pose(path, axes="z-up")
    assert told.warnings == ()
    np.testing.assert_array_equal(told.axes_rotation, AXES["z-up"].astype(np.float32))


@pytest.mark.parametrize("width", [66, 69, 72, 156, 165])
def test_widths(tmp_path, width):
    path, arrays = amass(tmp_path, width=width)
    pose = read_pose(path)
    kept = 72 if width == 72 else 66
    np.testing.assert_allclose(pose.params.poses[:, 3:kept], arrays["poses"][:, 3:kept], atol=1e-6)
    assert (pose.params.poses[:, kept:] == 0).all()


def as_matrices(vectors: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape[:-1], 3, 3)


@pytest.mark.parametrize("file", ["x.npz", "x.pkl", "x.pt"])
@pytest.mark.parametrize(
    ("root", "body", "trans"), [("root_orient", "pose_body", "trans"), ("global_orient", "body_pose", "transl")]
)
@pytest.mark.parametrize("form", ["flat", "joints", "matrices"])
def test_rotations_in_parts(tmp_path, file, root, body, trans, form):
    _, arrays = amass(tmp_path)
    joints = arrays["poses"][:, 3:66].reshape(5, 21, 3)
    parts = {"flat": joints.reshape(5, 63), "joints": joints, "matrices": as_matrices(joints)}
    roots = arrays["poses"][:, :3]
    table = {root: as_matrices(roots) if form == "matrices" else roots, body: parts[form], trans: arrays["trans"]}
    if file == "x.npz":
        np.savez(tmp_path / file, **table)
    else:
        make = torch.from_numpy if file == "x.pt" else np.asarray
        pickled(tmp_path / file, {name: make(array) for name, array in table.items()})
    pose = read_pose(tmp_path / file)
    expected = read_pose(tmp_path / "walk.npz")
    np.testing.assert_allclose(pose.params.poses, expected.params.poses, atol=1e-6)
    np.testing.assert_array_equal(pose.params.trans, expected.params.trans)
    assert (pose.frame_rate, pose.warnings) == (None, ())


def test_aist_in_metres_at_60_frames_a_second(tmp_path):
    poses = np.random.default_rng(0).normal(0, 0.2, (4, 72))
    trans = np.tile((10.0, 110.0, -30.0), (4, 1))  # centimetres
    content = {"smpl_poses": poses, "smpl_scaling": np.array([92.0]), "smpl_trans": trans, "smpl_loss": 0.1}
    pose = read_pose(pickled(tmp_path / "gBR_sBM_cAll_d04_mBR0_ch01.pkl", content))
    np.testing.assert_allclose(pose.params.poses[:, 3:], poses[:, 3:], atol=1e-6)
    np.testing.assert_array_equal(pose.axes_rotation, AXES["y-up"].astype(np.float32))
    pelvis = np.array([0.0, -0.24, 0.03])
    np.testing.assert_allclose(
        pose.axes_rotation @ pelvis + pose.params.trans, (pelvis + trans / 92) @ AXES["y-up"].T, atol=1e-6
    )
    assert pose.frame_rate == 60.0
    assert "y-up" in "".join(pose.warnings)


@pytest.mark.parametrize("program", ["WHAM", "GVHMR", "PHALP"])
def test_fits_of_other_programs_in_camera_axes(tmp_path, program):
    truth = foreign_files.true_person()
    content = getattr(foreign_files, program.lower())(truth)
    pose = read_pose(pickled(tmp_path / ("x.pt" if program == "GVHMR" else "x.pkl"), content))
    count = len(pose)  # PHALP loses its person in the last frame
    assert count == foreign_files.FRAMES - (program == "PHALP")
    assert_turns(pose, truth.poses[:count, : 66 if program == "GVHMR" else 72], 1e-4)
    np.testing.assert_array_equal(pose.axes_rotation, np.eye(3))
    assert pose.warnings == (f"{program}'s poses are read in camera axes",)


def test_the_largest_of_several_people_or_the_one_requested(tmp_path):
    near, far = foreign_files.true_person(), foreign_files.true_person(1)
    content = foreign_files.wham(near)
    content[5] = {**foreign_files.wham(far)[3], "trans": np.add(far.trans, (0, 0, 9)), "frame_ids": np.array([2, 3, 6])}
    pose = read_pose(pickled(tmp_path / "x.pkl", content))
    np.testing.assert_array_equal(pose.params.betas, near.betas)
    assert "holds 2 people: 0 is taken" in pose.warnings[1]
    other = read_pose(tmp_path / "x.pkl", track=1)
    np.testing.assert_array_equal(other.params.trans[:, 0], far.trans[[0, 1, 1, 1, 2], 0])  # frames 4 and 5: held
    assert other.person == 1
    with raises(UsageError, problem="no person 2", expected="0, 1"):
        read_pose(tmp_path / "x.pkl", track=2)


REST_PELVIS = np.array([0.01, -0.24, 0.03])


def write_others(folder, person) -> None:
    """A person alone or beside a farther one, in the layouts of programs."""
    root, body, trans, betas = person.poses[:, :3], person.poses[:, 3:66], person.trans, person.betas
    both = {name: np.stack((rows, rows)) for name, rows in (("root_orient", root), ("pose_body", body))}
    both |= {"betas": betas[:2], "cam_R": np.zeros((2, 3, 3, 3)), "trans": np.stack((trans + 9, trans))}
    np.savez(folder / "slahmr.npz", **both)
    vibe = {"pose": person.poses, "betas": betas, "frame_ids": np.arange(3), "verts": np.zeros((3, 4, 3))}
    pickled(folder / "vibe.pkl", {4: {name: rows[:1] for name, rows in vibe.items()}, 7: vibe})
    np.save(folder / "motion_x.npy", np.hstack((person.poses[:, :66], np.full((3, 243), 9), trans, betas)))
    np.save(folder / "objects.npy", {"root_orient": root, "pose_body": body, "trans": trans, "betas": betas})
    turns = Rotation.from_rotvec(root).as_matrix()
    (folder / "smpl").mkdir()
    for frame in range(3):
        of_frame = {"Rh": root[frame], "Th": trans[frame] + REST_PELVIS - turns[frame] @ REST_PELVIS}
        of_frame |= {"poses": np.append((0, 0, 0), person.poses[frame, 3:]), "shapes": betas[0]}
        shown = [{"id": 5, **{name: [values.tolist()] for name, values in of_frame.items()}}]
        (folder / "smpl" / f"{frame:06d}.json").write_text(json.dumps(shown if frame % 2 else {"annots": shown}))
    rows = {"smpl_thetas": person.poses, "smpl_betas": betas, "cam_trans": trans}
    romp = {f"{n}.png": {name: np.stack((values[n] + 9, values[n])) for name, values in rows.items()} for n in range(3)}
    np.savez(folder / "video_results.npz", results=romp, sequence_results={})  # type: ignore[arg-type]
    prompt = {"pose": np.pad(person.poses[:, :66], ((0, 0), (0, 9))), "shape": betas, "trans": trans}
    people = {1: {"frames": np.arange(3), "smplx_cam": prompt}}
    camera = {"img_focal": np.float32(300), "img_center": np.array([160.0, 120])}
    pickled(folder / "results.pkl", {"people": people, "camera": camera, "has_tracks": True})


OTHERS = ("slahmr.npz", "vibe.pkl", "motion_x.npy", "smpl", "video_results.npz", "results.pkl", "objects.npy")


@pytest.mark.parametrize("name", OTHERS)
def test_layouts_of_other_programs(tmp_path, name):
    truth = foreign_files.true_person()
    truth.poses[:, :3] = Rotation.from_euler("xyz", [(3.0, 0.1, 0), (3.2, 0.2, 0.1), (2.9, 0, -0.1)]).as_rotvec()
    write_others(tmp_path, truth)
    pose = read_pose(tmp_path / name, track=1 if name == "slahmr.npz" else None)
    assert_turns(pose, truth.poses[:, :66])
    pelvis = pose.axes_rotation @ REST_PELVIS + pose.params.trans
    np.testing.assert_allclose(pelvis - REST_PELVIS, truth.trans * (name != "vibe.pkl"), atol=1e-5)
    np.testing.assert_allclose(pose.params.betas[0], truth.betas[0], atol=1e-5)
    last = pose.rows(np.array([2]))
    np.testing.assert_allclose(last.axes_rotation @ REST_PELVIS + last.params.trans, pelvis[2:], atol=1e-6)


def test_people_of_a_motion_are_chosen_by_their_numbers(tmp_path):
    write_others(tmp_path, foreign_files.true_person())
    assert len(read_pose(tmp_path / "vibe.pkl", track=4)) == 1
    assert "holds 2 people: 7 is taken" in read_pose(tmp_path / "vibe.pkl").warnings[0]
    for name, expected in (("vibe.pkl", "4, 7"), ("slahmr.npz", "0, 1"), ("smpl", "5")):
        with raises(UsageError, problem="no person 3", expected=expected):
            read_pose(tmp_path / name, track=3)
    (tmp_path / "smpl" / "000001.json").write_text('[{"id": 5, "Rh": [[0, 0, 0]], "poses": "x"}]')
    with raises(InputError, subject="smpl"):
        read_pose(tmp_path / "smpl")


def test_one_frame_of_two_people(tmp_path):
    np.savez(tmp_path / "x.npz", root_orient=np.zeros((2, 1, 3)), pose_body=np.ones((2, 1, 63)) * [[[0.1]], [[0.2]]])
    pose = read_pose(tmp_path / "x.npz", track=1)
    np.testing.assert_allclose(pose.params.poses[:, 3:66], np.full((1, 63), 0.2), atol=1e-6)
    assert not any("holds 2 people" in warning for warning in pose.warnings)  # which one was said


def test_rows_of_unnumbered_people_are_no_motion(tmp_path):
    """CamSMPLify's table has a row a person of any image."""
    rows = {"pose": np.zeros((2, 72)), "shape": np.zeros((2, 10)), "cam_t": np.ones((2, 3))}
    np.savez(tmp_path / "x.npz", imgname=np.array(["a.jpg"] * 2), cam_int=np.tile(np.eye(3), (2, 1, 1)), **rows)
    with raises(InputError, problem="CameraHMR without numbers of people"):
        read_pose(tmp_path / "x.npz")


@pytest.mark.parametrize("root", [(1, 3), (3,), (1, 3, 3), (3, 3)])
@pytest.mark.parametrize("body", [(21, 3), (63,), (1, 21, 3), (21, 3, 3)])
def test_one_pose_in_any_form(tmp_path, root, body):
    poses = foreign_files.true_person().poses[0, :66]
    table = {"global_orient": poses[:3], "body_pose": poses[3:].reshape(21, 3)}
    for name, shape in (("global_orient", root), ("body_pose", body)):
        values = as_matrices(table[name]) if np.prod(shape) == 3 * table[name].size else table[name]
        table[name] = values.reshape(shape)
    np.savez(tmp_path / "x.npz", **table)
    assert_turns(read_pose(tmp_path / "x.npz", axes="camera"), poses[None])


@pytest.mark.parametrize(
    ("content", "problem", "got"),
    [
        ({"a": 1}, "no poses", "a table of a"),
        ({"root_orient": np.zeros((3, 3))}, "no pose_body", "root_orient"),
        ({"smpl_poses": np.zeros((3, 63))}, "smpl_poses", "(3, 63)"),
        ({"root_orient": np.zeros((3, 3)), "pose_body": np.zeros((2, 63))}, "pose_body", "(3, 3) and (2, 63)"),
        ({"smpl_poses": print}, "refused", ""),
        ({"a": {"pose": np.zeros((1, 72)), "frame_ids": [0]}}, "layout", "str"),
        ({0: {"pose": np.zeros((1, 72)), "frame_ids": [10**12]}}, "frame", "1e+12"),
        ({0: {"pose": np.zeros((2, 72)), "frame_ids": [0, 1, 2]}}, "layout", "out of bounds"),
        ([], "no poses", "list of 0"),
    ],
)
def test_pickles_without_poses(tmp_path, content, problem, got):
    with raises(InputError, problem=problem, got=got):
        read_pose(pickled(tmp_path / "x.pkl", content))


def test_what_may_be_missing_or_written_otherwise(tmp_path):
    path, _ = amass(tmp_path, trans=None, betas=None, gender=None, mocap_framerate=None)
    pose = read_pose(path)
    assert (pose.params.trans.any(), pose.params.betas.any(), pose.frame_rate) == (False, False, None)
    path, _ = amass(tmp_path, mocap_framerate=None, mocap_frame_rate=np.array([60]), gender=np.array(b"male"))
    assert read_pose(path).frame_rate == 60.0
    path, _ = amass(tmp_path, betas=np.ones((5, 4)), gender=np.array("female", dtype=object))
    pose = read_pose(path)  # a pickled gender is not unpickled, and not needed
    np.testing.assert_array_equal(pose.params.betas, [[1] * 4 + [0] * 6] * 5)


@pytest.mark.parametrize(
    ("others", "problem", "got"),
    [
        ({"poses": None}, "no poses", "betas, gender"),
        ({"poses": np.zeros((3, 2, 5, 72))}, "poses", "(3, 2, 5, 72)"),
        ({"poses": np.zeros((0, 72))}, "poses", "(0, 72)"),
        ({"poses": np.full((5, 72), 90.0)}, "too large", "90"),
        ({"trans": np.full((5, 3), np.inf)}, "trans", ""),
        ({"trans": np.zeros((4, 3))}, "trans", "(4, 3)"),
        ({"poses": None, "root_orient": np.zeros((3, 5)), "pose_body": np.zeros((5, 63))}, "root_orient", "(3, 5)"),
        ({"trans": [[0, 0, 0]] * 4 + [[0, 1e30, 0]]}, "trans", "1e+30 in row 4"),
        ({"betas": np.full(10, -1e6)}, "betas", "-1e+06 in row 0"),
        ({"mocap_framerate": np.array(0.0)}, "framerate", "0.0"),
        ({"mocap_framerate": np.array([30.0, 30.0])}, "framerate", "[30. 30.]"),
        ({"poses": np.array([{}], dtype=object)}, "poses", ""),
    ],
)
def test_refused(tmp_path, others, problem, got):
    path, _ = amass(tmp_path, **others)
    with raises(InputError, subject="walk.npz", problem=problem, got=got):
        read_pose(path)


def test_a_fit_file_gives_the_largest_person_or_the_one_requested(tmp_path):
    path, fit = tmp_path / "a.jpg.fit.npz", record()
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


def test_of_equals_the_larger_person_and_without_people_none(tmp_path):
    path = tmp_path / "x.fit.npz"
    two = {**values(tracks=(0, 1), frames=(0, 0), frame_count=1), "boxes": [[0, 0, 10, 10], [0, 0, 20, 20]]}
    write_fit(path, FitRecord.build(**two))
    np.testing.assert_array_equal(read_pose(path).params.poses[0], np.float32(two["poses"][1]))
    write_fit(path, FitRecord.empty(["a.jpg"], [(4, 4)], [5.0]))
    with raises(InputError, problem="holds no person"):
        read_pose(path)


def test_two_people_as_tables_in_one_table(tmp_path):
    """InterHuman's motions: a table a person beside the rate that they share."""
    people = {
        f"person{number}": {
            "root_orient": np.tile((np.pi / 2, 0, 0.1 * number), (3, 1)),
            "pose_body": np.zeros((3, 63)),
            "trans": np.full((3, 3), float(number)),
        }
        for number in (1, 2)
    }
    path = tmp_path / "two.pkl"
    path.write_bytes(pickle.dumps({"mocap_framerate": 30.0, "frames": 3, **people}))
    first, second = (read_pose(path, axes="camera", track=track) for track in (None, 1))
    assert (first.frame_rate, first.person, second.person) == (30.0, 0, 1)
    assert any("holds 2 people" in warning for warning in first.warnings)
    np.testing.assert_allclose(second.params.trans - first.params.trans, 1, atol=1e-6)
    with raises(UsageError, problem="holds no person 2"):
        read_pose(path, track=2)
