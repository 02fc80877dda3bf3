"""The views of a take in fit files: round trip, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.io.fit_files import fit_bytes, read_fit, write_fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.take_views import TakeViews

ROWS, FRAMES = 3, 2  # of `record`


def views(**changes) -> TakeViews:
    matrix = np.tile(np.eye(4), (2, 1, 1))
    matrix[1, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    values = {
        "names": ["left.mp4", "right.mp4"],
        "image_size": [(640, 480), (1920, 1080)],
        "focal": [600, 1700],
        "principal_point": [(320, 240), (960, 540)],
        "from_first": matrix,
        "offset": [0.0, 0.25],
        "frame": [[0, 1], [-1, 0]],
        "frame_names": [["000000", "000001"], ["", "000000"]],
        "keypoints2d": np.linspace(0, 1, 2 * ROWS * 33 * 3).reshape(2, ROWS, 33, 3),
        "boxes": np.tile([0, 1, 2, 3], (2, ROWS, 1)),
        "reprojection_error": np.arange(2 * ROWS).reshape(2, ROWS),
        "weight": np.full((2, ROWS), 0.5),
    }
    return TakeViews.build(**{**values, **changes})


MOVING = np.tile(views().from_first[:, None], (1, 2, 1, 1))
MOVING[1, 1, 0, 3] += 0.5


def test_what_is_written_is_read(tmp_path):
    fit = record(views=views())
    write_fit(tmp_path / "take.fit.npz", fit)
    stored = read_fit(tmp_path / "take.fit.npz")
    assert fit_bytes(stored, tmp_path) == fit_bytes(fit, tmp_path)
    np.testing.assert_equal(vars(stored.views), vars(fit.views))
    assert int(read_npz(tmp_path / "take.fit.npz", {"schema_version"})["schema_version"]) == 2


def test_a_fit_has_one_camera_or_more():
    one, take = record(), record(views=views())
    (camera,) = one.cameras
    assert (camera.name, camera.frames.tolist()) == ("camera", [0, 1])
    for name in ("image_size", "focal", "principal_point", "world_to_camera", "frame_names", "keypoints2d"):
        np.testing.assert_array_equal(getattr(camera, name), getattr(one, name))
    frames = [(camera.name, camera.frames.tolist()) for camera in take.cameras]
    assert frames == [("left.mp4", [0, 1]), ("right.mp4", [1])]
    world = take.world_to_camera.astype(float)
    for number, camera in enumerate(take.cameras):
        np.testing.assert_allclose(camera.world_to_camera, take.views.from_first[number] @ world)
        np.testing.assert_array_equal(camera.keypoints2d, take.views.keypoints2d[number])
        assert camera.image_size.tolist() == [take.views.image_size[number].tolist()] * FRAMES
    view = record(options=StoredOptions(of_take=True))
    assert [fit.has_other_views for fit in (one, take, view)] == [False, True, True]


def test_rows_are_sorted_and_selected_with_the_fit():
    fit = record(views=views(reprojection_error=[[1, 2, 3], [4, 5, 6]]), track_id=[2, 0, 0], frame_index=[1, 0, 1])
    np.testing.assert_array_equal(fit.views.reprojection_error, [[2, 3, 1], [5, 6, 4]])
    np.testing.assert_array_equal(fit.select([2]).views.reprojection_error, [[1], [4]])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"names": ["a", "a"]}, "do not name two views"),
        ({"focal": [600, 0]}, "focal"),
        ({"from_first": np.tile(2 * np.eye(4), (2, 1, 1))}, "not a rigid motion"),
        ({"from_first": np.flip(views().from_first, 0)}, "does not begin with the first camera"),
        ({"weight": np.full((2, ROWS), 1.5)}, "view_weight"),
        ({"frame": [[0, 1], [-2, 0]]}, "view_frame"),
        ({"boxes": np.zeros((2, ROWS, 5))}, "view_boxes"),
        ({"offset": [0, np.nan]}, "view_offset"),
        ({"poses": 2 * MOVING}, "view_poses"),
        ({"poses": np.concatenate((MOVING, MOVING), axis=1)}, "view_poses"),
    ],
)
def test_impossible_views_are_refused(changes, problem):
    with raises(InputError, problem):
        record(views=views(**changes))
    with raises(InputError, problem):
        replace(record(views=views()), views=views(**changes))


def test_a_part_of_the_views_is_refused(tmp_path):
    write_fit(tmp_path / "take.fit.npz", record(views=views()))
    with np.load(tmp_path / "take.fit.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "view_weight"}
    np.savez(tmp_path / "part.fit.npz", **arrays)
    with raises(InputError, problem="views lack weight"):
        read_fit(tmp_path / "part.fit.npz")


def test_poses_of_cameras_that_move_are_kept_and_checked(tmp_path):
    write_fit(tmp_path / "take.fit.npz", record(views=views(poses=MOVING)))
    still, moving = read_fit(tmp_path / "take.fit.npz").cameras
    assert (still.is_moving, moving.is_moving) == (False, True)
    np.testing.assert_array_equal(moving.to_camera(np.array([1, 0])), MOVING[1, ::-1])
    np.testing.assert_array_equal(still.to_camera(np.array([1, 0])), np.eye(4))
