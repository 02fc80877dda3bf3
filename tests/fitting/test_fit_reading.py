"""Other programs' results, read in the layouts that they document, and fits that belong to no frames."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.foreign_files import (
    FRAMES,
    SIZE,
    TruePerson,
    camerahmr,
    gvhmr,
    phalp,
    sam_3d_body,
    tram,
    true_person,
    wham,
)

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.fitting.fit_reading import FrameList, in_range, list_frames, on_frames, read_fits
from humanpose_cli.fitting.grounding import on_the_ground
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.foreign_fits import _MHR70
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs

DATA = Path(__file__).parent / "data"
PERSON = true_person()
REST_OFFSET = (0.0, -0.12, 0.02)  # by which SMPL-X's rest body stands elsewhere than SMPL's


@pytest.fixture(scope="module")
def smpl() -> Body:
    """A body by SMPL's name: the licensed one is not here, and only the name is looked at."""
    body = default_body()
    body.name = "smpl-neutral"
    return body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames 000.png … of the size that the results are of."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(FRAMES):
        write_image(frames / f"{number:03d}.png", np.full((SIZE[1], SIZE[0], 3), number, np.uint8))
    return frames


def frames_of(folder: Path) -> FrameList:
    return list_frames(open_inputs([folder]))


def pickled(path: Path, stored: object) -> Path:
    path.write_bytes(pickle.dumps(stored))
    return path


def posed(body: Body, person: TruePerson) -> np.ndarray:
    rotations = torch.from_numpy(person.rotations)
    return body.pose(rotations, torch.from_numpy(person.betas), torch.from_numpy(person.trans)).joints.numpy()


def write(program: str, tmp_path: Path, person: TruePerson = PERSON) -> Path:
    if program == "WHAM":
        return pickled(tmp_path / "wham_output.pkl", wham(person))
    if program == "CameraHMR":
        np.savez(tmp_path / "labels.npz", **camerahmr(person))
        return tmp_path / "labels.npz"
    track, camera = tram(person)
    (tmp_path / "hps").mkdir()
    np.save(tmp_path / "hps" / "hps_track_0.npy", track)  # type: ignore[arg-type]
    np.save(tmp_path / "camera.npy", camera)  # type: ignore[arg-type]
    return tmp_path / "hps" / "hps_track_0.npy"


@pytest.mark.parametrize("program", ["WHAM", "CameraHMR", "TRAM"])
def test_smpl_parameters_come_back(program: str, smpl: Body, folder: Path, tmp_path: Path) -> None:
    fit = read_fits(write(program, tmp_path), smpl, frames_of(folder))
    np.testing.assert_allclose(fit.params.rotations, PERSON.rotations, atol=1e-5)
    np.testing.assert_allclose(fit.trans, PERSON.trans, atol=1e-6)
    np.testing.assert_allclose(fit.joints3d, posed(smpl, PERSON), atol=1e-5)
    assert fit.frame_names.tolist() == ["000.png", "001.png", "002.png"]
    assert (fit.track_id == 0).all()
    assert fit.options == StoredOptions(program=program, upright=program == "TRAM")
    focal = np.hypot(*SIZE) if program == "WHAM" else 300.0
    pelvis = fit.joints3d[:, 0]
    np.testing.assert_allclose(
        fit.joints2d[:, 0], focal * pelvis[:, :2] / pelvis[:, 2:] + np.array(SIZE) / 2, rtol=1e-5
    )
    inside = (fit.joints2d >= fit.boxes[:, None, :2] - 1) & (fit.joints2d <= fit.boxes[:, None, 2:] + 1)
    assert inside.all()


def test_trams_folder_is_read_and_its_camera_maps_world_to_camera(smpl: Body, tmp_path: Path) -> None:
    file = write("TRAM", tmp_path)
    fit = read_fits(tmp_path, smpl)
    np.testing.assert_array_equal(fit.poses, read_fits(file, smpl).poses)
    camera = tram(PERSON)[1]
    point = np.array([0.3, -0.2, 4.0])
    world = (camera["world_cam_R"] @ point + camera["world_cam_T"]) * (1, -1, -1)  # ours is y down
    back = fit.world_to_camera[:, :3, :3] @ world[..., None] + fit.world_to_camera[:, :3, 3:]
    np.testing.assert_allclose(back[..., 0], np.tile(point, (FRAMES, 1)), atol=1e-5)
    np.testing.assert_allclose(fit.world_to_camera[0], np.eye(4), atol=1e-6)  # held level
    assert fit.options.upright
    (tmp_path / "camera.npy").unlink()
    with raises(InputError, problem="has no camera", expected="camera.npy"):
        read_fits(tmp_path, smpl)


def test_phalps_camera_is_that_of_the_padded_image(smpl: Body, tmp_path: Path) -> None:
    """Projected as PHALP does: 5000 px in the square of 256 that the padded image is scaled to."""
    fit = read_fits(pickled(tmp_path / "a.pkl", phalp(PERSON)), smpl)
    assert len(fit) == FRAMES - 1  # the last frame only repeats a state
    assert fit.frame_count == FRAMES
    assert (fit.track_id == 7).all()
    square = max(SIZE)
    in_square = 5000 * fit.joints3d[..., :2] / fit.joints3d[..., 2:] + 128
    expected = in_square * square / 256 - (square - np.array(SIZE)) / 2
    np.testing.assert_allclose(fit.joints2d, expected, atol=0.02)


@pytest.mark.parametrize(("name", "seed"), [("phalp", 1), ("wham", 2)])
def test_files_that_joblib_wrote_are_read(name: str, seed: int, smpl: Body, folder: Path) -> None:
    person = true_person(seed)
    fit = read_fits(DATA / f"{name}_joblib.pkl", smpl, frames_of(folder))
    np.testing.assert_allclose(fit.betas, person.betas[: len(fit)], atol=1e-6)


def test_smplx_gets_smpls_shape_and_position(smpl: Body, tmp_path: Path) -> None:
    """A SMPL-X file whose joints are those of the body itself: all is found again."""
    torch.save(gvhmr(PERSON), tmp_path / "hmr4d_results.pt")
    np.savez(
        tmp_path / "SMPLX.npz",
        J_regressor=np.eye(55, 24),
        v_template=smpl.joint_template.numpy() + np.array(REST_OFFSET),
        shapedirs=np.pad(smpl.joint_directions.numpy(), ((0, 0), (0, 0), (0, 5))),
    )
    fit = read_fits(tmp_path / "hmr4d_results.pt", smpl, smplx=tmp_path / "SMPLX.npz")
    np.testing.assert_allclose(fit.poses[:, :66], PERSON.poses[:, :66], atol=1e-6)
    bent = PERSON.poses.copy()
    bent[:, 66:] = 0
    expected = posed(smpl, TruePerson(bent, PERSON.betas, PERSON.trans))[:, :22]
    np.testing.assert_allclose(fit.joints3d[:, :22], expected + REST_OFFSET, atol=0.01)
    with raises(UsageError, remedy="give `smplx"):
        read_fits(tmp_path / "hmr4d_results.pt", smpl)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["one image", "frames", "names"])
def test_sam_3d_bodys_keypoints_become_a_body(layout: str, folder: Path, tmp_path: Path) -> None:
    body, offset = default_body(), np.array([0.1, 0.0, 4.0])
    rotations, betas = torch.from_numpy(PERSON.rotations[:1]), torch.from_numpy(PERSON.betas[:1])
    pose = body.pose(rotations, betas)
    landmarks = body.pose_landmarks("blazepose33", pose, betas)[0].numpy()
    points = np.full((70, 3), 9.0)
    points[list(_MHR70.values())] = landmarks[BLAZEPOSE33.indices(_MHR70)]
    people = [sam_3d_body(points, offset)]
    stored = {"one image": people, "frames": [people] * 3, "names": {"x/001.png": people}}[layout]
    frames = None if layout == "one image" else frames_of(folder)
    if frames is None:
        with raises(UsageError, problem="SAM 3D Body's file does not hold their size"):
            read_fits(pickled(tmp_path / "a.pkl", stored), body)
        frames = list_frames(open_inputs([folder / "000.png"]))
    fit = read_fits(pickled(tmp_path / "a.pkl", stored), body, frames)
    assert fit.frame_index.tolist() == {"one image": [0], "frames": [0, 1, 2], "names": [1]}[layout]
    assert fit.body == "default"
    assert np.linalg.norm(fit.joints3d[0] - pose.joints[0].numpy() - offset, axis=-1).mean() < 0.03
    assert (fit.track_id == 0).all()  # one person by overlap


def test_an_amass_export_and_its_fit_file_give_the_fit_again(smpl: Body, folder: Path, tmp_path: Path) -> None:
    fit = read_fits(write("TRAM", tmp_path), smpl, frames_of(folder))
    fit.save(tmp_path / "a.fit.npz")
    np.savez(tmp_path / "amass.npz", **fit.to_amass())
    again = read_fits(tmp_path / "amass.npz", smpl, frames_of(folder), camera=tmp_path / "a.fit.npz")
    np.testing.assert_allclose(again.joints3d, fit.joints3d, atol=1e-4)
    np.testing.assert_allclose(again.joints2d, fit.joints2d, atol=0.05)
    np.testing.assert_allclose(again.world_to_camera, fit.world_to_camera, atol=1e-6)
    np.testing.assert_allclose(again.to_amass()["trans"], fit.to_amass()["trans"], atol=1e-4)
    assert again.options == StoredOptions(program="AMASS", upright=True)
    replace(fit, options=StoredOptions()).save(tmp_path / "level.fit.npz")
    assert not read_fits(tmp_path / "amass.npz", smpl, camera=tmp_path / "level.fit.npz").options.upright
    with raises(UsageError, problem="has no camera"):
        read_fits(tmp_path / "amass.npz", smpl, frames_of(folder))


def test_a_motion_of_several_people_has_no_fit(smpl: Body, tmp_path: Path) -> None:
    np.savez(tmp_path / "people.npz", root_orient=np.zeros((2, 3, 3)), pose_body=np.zeros((2, 3, 63)))
    with raises(InputError, subject="people.npz", problem="axis of people"):
        read_fits(tmp_path / "people.npz", smpl, camera=tmp_path / "camera.npz")


@pytest.mark.slow
def test_an_amass_export_knows_its_world(smpl: Body, folder: Path, tmp_path: Path) -> None:
    """One that stands on the ground comes back before the cameras; what other programs wrote again is in the fit's."""
    fit = read_fits(write("TRAM", tmp_path), smpl, frames_of(folder))
    fit.save(tmp_path / "a.fit.npz")
    grounded = on_the_ground(fit, smpl).to_amass()
    assert np.abs(grounded["trans"] - fit.to_amass()["trans"]).max() > 0.1
    rewritten = {name: values for name, values in fit.to_amass().items() if name != "world_to_camera"}
    for arrays in (grounded, rewritten):
        np.savez(tmp_path / "amass.npz", **arrays)
        again = read_fits(tmp_path / "amass.npz", smpl, frames_of(folder), camera=tmp_path / "a.fit.npz")
        np.testing.assert_allclose(again.joints3d, fit.joints3d, atol=1e-4)
        np.testing.assert_allclose(again.to_amass()["trans"], arrays["trans"], atol=1e-4)


def test_an_amass_file_before_its_cameras_stands_in_its_world(smpl: Body, folder: Path, tmp_path: Path) -> None:
    """Its z axis is up, where ours has −y: a camera 1.5 m up that looks along +y sees a pelvis 1 m up and 4 m away."""
    poses = PERSON.poses.copy()
    poses[:, :3] = (np.pi / 2, 0, 0)  # upright, faces −y: the camera
    np.savez(tmp_path / "amass.npz", poses=poses, betas=np.zeros(10), trans=np.tile((0.0, 4, 1), (FRAMES, 1)))
    camera = np.eye(4)
    camera[:3] = ((1, 0, 0, 0), (0, 0, -1, 1.5), (0, 1, 0, 0))
    np.savez(tmp_path / "camera.npz", focal=300.0, world_to_camera=camera)
    fit = read_fits(tmp_path / "amass.npz", smpl, frames_of(folder), camera=tmp_path / "camera.npz")
    assert fit.options == StoredOptions(program="AMASS", upright=True)
    np.testing.assert_allclose(fit.joints3d[:, 0], np.tile((0, 0.5, 4), (FRAMES, 1)), atol=1e-5)
    in_world = (fit.joints3d[0] - fit.world_to_camera[0, :3, 3]) @ fit.world_to_camera[0, :3, :3]
    np.testing.assert_allclose(in_world[0], (0, -1, 4), atol=1e-5)
    assert in_world[SMPL24.index("left_ankle"), 1] > -0.5


@pytest.mark.parametrize("shown", [(1, 2), (2,)], ids=["all", "last"])
def test_an_amass_export_of_a_part_stands_on_its_frames(smpl: Body, folder: Path, tmp_path: Path, shown) -> None:
    """The fit's frames are the last two of three, and the person may be in one of them alone."""
    fit = read_fits(write("TRAM", tmp_path), smpl, open_inputs([folder], frames=parse_range("1:")))
    fit = fit.select([row for row, frame in enumerate(fit.frame_index + 1) if frame in shown])
    fit.save(tmp_path / "a.fit.npz")
    np.savez(tmp_path / "amass.npz", **fit.to_amass())
    again = read_fits(tmp_path / "amass.npz", smpl, frames_of(folder), camera=tmp_path / "a.fit.npz")
    assert again.frame_index.tolist() == list(shown)
    np.testing.assert_allclose(again.joints2d, fit.joints2d, atol=0.05)
    alone = read_fits(tmp_path / "amass.npz", smpl, camera=tmp_path / "a.fit.npz")
    assert alone.frame_names.tolist() == ["001.png", "002.png"]
    np.testing.assert_allclose(alone.joints3d, fit.joints3d, atol=1e-4)
    np.savez(tmp_path / "amass.npz", **{**fit.to_amass(), "poses": np.zeros((9, 72)), "trans": np.ones((9, 3))})
    with raises(InputError, problem="whose frames the fit does not identify", expected="2 frames", got="9"):
        read_fits(tmp_path / "amass.npz", smpl, frames_of(folder), camera=tmp_path / "a.fit.npz")


def test_fit_files_are_put_on_the_frames(smpl: Body, folder: Path, tmp_path: Path) -> None:
    fit = read_fits(write("CameraHMR", tmp_path), smpl, frames_of(folder))
    hidden = {"box": [1.0, 2.0, 30.0, 40.0], "score": 0.5, "reason": "too small"}
    not_fitted = [{"frame": 0, **hidden}, {"frame": 2, **hidden}]
    options = StoredOptions(camera_unknown=[0, 2], camera_walks=[2], damaged=[0], not_fitted=not_fitted)
    fit = replace(fit, frame_times=np.array([0, 0.04, 0.1]), options=options)
    fit.save(tmp_path / "a.fit.npz")
    again = read_fits(tmp_path / "a.fit.npz", smpl, frames_of(folder))
    np.testing.assert_array_equal(again.frame_times, fit.frame_times)
    np.testing.assert_array_equal(again.joints2d, fit.joints2d)
    part = read_fits(tmp_path / "a.fit.npz", smpl, list_frames(open_inputs([folder], frames=range_of("1:3"))))
    assert part.frame_names.tolist() == ["001.png", "002.png"]
    np.testing.assert_array_equal(part.poses, fit.poses[1:])
    np.testing.assert_allclose(part.frame_times, [0, 0.06])
    assert again.options == options
    remaining = [{"frame": 1, **hidden}]
    assert part.options == StoredOptions(camera_unknown=[1], camera_walks=[1], damaged=[], not_fitted=remaining)
    part.save(tmp_path / "part.fit.npz")  # as `hpc fit --frames 1:3` makes it
    complete = read_fits(tmp_path / "part.fit.npz", smpl, open_inputs([folder]))
    assert complete.frame_names.tolist() == ["001.png", "002.png"]
    np.testing.assert_array_equal(complete.frame_index, part.frame_index)
    np.testing.assert_array_equal(complete.frame_times, part.frame_times)
    assert complete.images is not None
    assert [frame.name for frame in complete.images.frames()] == ["001.png", "002.png"]
    with raises(UsageError, problem="holds fits of another body", expected="default", got="smpl-neutral"):
        read_fits(tmp_path / "a.fit.npz")


def test_a_part_begins_before_its_first_camera(smpl: Body, folder: Path, tmp_path: Path) -> None:
    """As if it had been fitted alone, shot by shot; a world that is known to be upright stays."""
    fit = read_fits(write("CameraHMR", tmp_path), smpl, frames_of(folder))
    turns = axis_angle_to_matrix(torch.tensor([[0.0, 0.1 * frame, 0.0] for frame in range(FRAMES)])).numpy()
    cameras = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    cameras[:, :3, :3] = turns
    fit = replace(fit, world_to_camera=cameras)
    np.testing.assert_array_equal(on_frames(fit, frames_of(folder)).world_to_camera, cameras)
    last_two = list_frames(open_inputs([folder], frames=range_of("1:3")))
    part = on_frames(fit, last_two)
    np.testing.assert_allclose(part.world_to_camera, cameras[:2], atol=1e-6)
    x, y, z = PERSON.trans[1]
    np.testing.assert_allclose(part.to_amass()["trans"][0], (x, z, -y), atol=1e-5)
    cut = replace(fit, shot_id=np.array([0, 0, 1], np.int32))
    np.testing.assert_allclose(on_frames(cut, last_two).world_to_camera, cameras[[0, 2]], atol=1e-6)
    upright = on_frames(replace(fit, options=StoredOptions(upright=True)), last_two)
    np.testing.assert_array_equal(upright.world_to_camera, cameras[1:])


def test_a_range_counts_the_frames_of_the_video(smpl: Body, folder: Path, tmp_path: Path) -> None:
    """The fit has frames 10, 12 and 14 of a video of 50 frames a second."""
    fit = read_fits(write("CameraHMR", tmp_path), smpl, frames_of(folder))
    fit = replace(fit, sources=(), frame_rate=25.0)
    assert in_range(fit, range_of("1:")).frame_names.tolist() == ["001.png", "002.png"]
    fit = replace(fit, frame_files=(FrameFiles("video", (tmp_path / "a.mp4",), FrameRange(10, 15, 2)),))
    for text, rows, step in (("11:15", [1, 2], 2), ("0.23s:", [1, 2], 2), (":11", [0], 2), ("2::4", [0, 2], 4)):
        part = in_range(fit, range_of(text))
        np.testing.assert_array_equal(part.poses, fit.poses[rows])
        assert part.frame_files[0].range == FrameRange(10 + 2 * rows[0], 11 + 2 * rows[-1], step)
        assert part.frame_rate == 50 / step
    with raises(UsageError, problem="holds no frame", expected="some of 10:16", got="20:30"):
        in_range(fit, range_of("20:30"))


def range_of(text: str) -> Any:
    from humanpose_cli.io.frame_range import parse_range

    return parse_range(text)


def test_missing_frames_are_named(smpl: Body, folder: Path, tmp_path: Path) -> None:
    (folder / "001.png").unlink()
    with raises(InputError, problem="has fits of frames that are not there: 001.png", got="2 frames"):
        read_fits(write("CameraHMR", tmp_path), smpl, list_frames(open_inputs([folder])))


def test_numbered_frames_beyond_the_end_are_named(smpl: Body, folder: Path, tmp_path: Path) -> None:
    (folder / "002.png").unlink()
    with raises(InputError, problem="has fits of frames that are not there: 000002", got="2 frames"):
        read_fits(write("WHAM", tmp_path), smpl, list_frames(open_inputs([folder])))


def test_images_of_another_size_are_refused(smpl: Body, tmp_path: Path) -> None:
    for number in range(FRAMES):
        write_image(tmp_path / f"{number:03d}.png", np.zeros((50, 40, 3), np.uint8))
    for file in (pickled(tmp_path / "phalp.pkl", phalp(PERSON)), write("CameraHMR", tmp_path)):
        with raises(InputError, problem="belongs to images of another size", expected="320 × 240", got="40 × 50"):
            read_fits(file, smpl, list_frames(open_inputs([tmp_path / f"{n:03d}.png" for n in range(FRAMES)])))


def test_smpl_parameters_ask_for_the_users_file(tmp_path: Path) -> None:
    with raises(UsageError, remedy="register at https://smpl.is.tue.mpg.de and give --body smpl:FILE"):
        read_fits(write("WHAM", tmp_path))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def test_hostile_files_run_nothing(smpl: Body, tmp_path: Path) -> None:
    table = phalp(PERSON)
    next(iter(table.values()))["extra_data"] = [Bomb()]
    with raises(InputError, problem="would run code"):
        read_fits(pickled(tmp_path / "a.pkl", table), smpl)
    torch.save({**gvhmr(PERSON), "net_outputs": Bomb()}, tmp_path / "a.pt")
    with raises(InputError, problem="would run code"):
        read_fits(tmp_path / "a.pt", smpl)


@pytest.mark.extensive
@pytest.mark.parametrize("name", ["phalp", "wham"])
def test_damage_is_an_input_error(name: str, smpl: Body, folder: Path, tmp_path: Path) -> None:
    content, frames = (DATA / f"{name}_joblib.pkl").read_bytes(), frames_of(folder)
    path = tmp_path / "a.pkl"
    for seed in range(40):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content[: rng.integers(1, len(content))] if seed % 2 else content)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(HpcError):  # anything else is a bug
            read_fits(path, smpl, frames)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"a": 1}, "holds no fits that are known"),
        ([], "holds no fits that are known"),
        ({0: {"pose": np.zeros((2, 71)), "trans": 0, "betas": 0, "frame_ids": np.arange(2)}}, "documented layout"),
        ({0: {"pose": 1, "trans": 0, "betas": 0}}, "documented layout"),
    ],
)
def test_other_contents_are_refused(stored: object, message: str, smpl: Body, tmp_path: Path) -> None:
    with raises(InputError, problem=message):
        read_fits(pickled(tmp_path / "a.pkl", stored), smpl)


def test_people_behind_the_camera_are_refused(smpl: Body, folder: Path, tmp_path: Path) -> None:
    turned = TruePerson(PERSON.poses, PERSON.betas, -PERSON.trans)
    with raises(InputError, problem="people behind the camera"):
        read_fits(write("WHAM", tmp_path, turned), smpl, frames_of(folder))
    first_behind = TruePerson(
        PERSON.poses, PERSON.betas, PERSON.trans * np.where(np.arange(FRAMES) == 0, -1, 1)[:, None]
    )
    with pytest.warns(UserWarning, match="1 of 3 rows .* behind the camera"):
        fit = read_fits(write("WHAM", tmp_path, first_behind), smpl, frames_of(folder))
    assert fit.frame_index.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("shape", 1e6, "betas holds impossible values, expected -30 to 30, found 1e+06 in row 1"),
        ("trans_cam", 1e30, "trans holds impossible values, expected -100000 to 100000 metres, found 1e+30 in row 1"),
        ("pose_cam", 90.0, "poses holds impossible values, expected -12.5664 to 12.5664 radians, found 90 in row 1"),
        ("cam_int", 1e20, "focal holds impossible values, expected 0.01 to 1e+07 pixels, found 1e+20 in row 1"),
    ],
)
def test_numbers_that_no_person_has_are_refused(
    name: str, value: float, sentence: str, smpl: Body, folder: Path, tmp_path: Path
) -> None:
    stored = {key: np.array(values) for key, values in camerahmr(PERSON).items()}
    stored[name] = stored[name].astype(np.float64)
    stored[name][1] = value
    np.savez(tmp_path / "labels.npz", **stored)
    with pytest.raises(InputError) as caught:
        read_fits(tmp_path / "labels.npz", smpl, frames_of(folder))
    assert str(caught.value) == f"{tmp_path / 'labels.npz'}: {sentence}"


def test_impossible_image_sizes_and_frame_numbers_are_refused(smpl: Body, tmp_path: Path) -> None:
    table = phalp(PERSON)
    for frame in table.values():
        frame["size"] = [[2**30, 2**30]]
    with raises(InputError, problem="image_size holds", expected="pixels", got="1073741824 × 1073741824 in row 0"):
        read_fits(pickled(tmp_path / "a.pkl", table), smpl)
    table = phalp(PERSON)
    for number, frame in enumerate(table.values()):
        frame["time"] = number * 10**12
    with raises(InputError, problem="frame holds impossible values", expected="0 to 1e+07", got="1e+12 in row 1"):
        read_fits(pickled(tmp_path / "a.pkl", table), smpl)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"focal": 1e20}, "focal holds impossible values, expected 0.01 to 1e+07 pixels, found 1e+20 in row 0"),
        (
            {"image_size": np.array([2**30, 2**30])},
            "image_size holds impossible values, expected sides from 1 and at most 256 million pixels, "
            "found 1073741824 × 1073741824 in row 0",
        ),
    ],
)
def test_impossible_cameras_of_a_motion_are_refused(
    change: dict[str, object], sentence: str, smpl: Body, tmp_path: Path
) -> None:
    np.savez(tmp_path / "amass.npz", poses=PERSON.poses, betas=np.zeros(10), trans=np.zeros((FRAMES, 3)))
    camera = {"focal": 300.0, "world_to_camera": np.eye(4), "image_size": np.array(SIZE)}
    np.savez(tmp_path / "camera.npz", **{**camera, **change})  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        read_fits(tmp_path / "amass.npz", smpl, camera=tmp_path / "camera.npz")
    assert str(caught.value) == f"{tmp_path / 'camera.npz'}: {sentence}"


def test_two_people_keep_their_numbers_by_overlap(smpl: Body, folder: Path, tmp_path: Path) -> None:
    other = TruePerson(PERSON.poses, PERSON.betas, PERSON.trans + np.float32([1.2, 0, 0]))
    both = [camerahmr(PERSON), camerahmr(other)]
    order = np.array([0, 3, 4, 1, 2, 5])  # the second image has them the other way round
    np.savez(tmp_path / "a.npz", **{name: np.concatenate([one[name] for one in both])[order] for name in both[0]})
    fit = read_fits(tmp_path / "a.npz", smpl, frames_of(folder))
    for track in (0, 1):
        assert np.ptp(fit.trans[fit.rows_of(track), 0]) < 0.2
    assert len(SMPL24) == fit.joints3d.shape[1]
