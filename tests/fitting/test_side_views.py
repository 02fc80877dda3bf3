"""People stand upright on the ground in the views from the side, whatever the camera's tilt and motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.moving_people import FRAMES, moving_people
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.grounding import on_the_ground, world_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.side_views import side_views
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import COLUMNS, ROW_COLUMNS

FIT, BODY = moving_people(), default_body()


def walker(pitch: float, roll: float) -> Fit:
    """A person in mid-step before a camera that is tilted by so many radians, in one frame."""
    one, poses = FIT.select([0]), torch.zeros(1, 24, 3)
    tilt = Rotation.from_euler("zx", (roll, pitch))
    poses[0, 0] = torch.from_numpy((tilt * Rotation.from_rotvec((np.pi, 0, 0))).as_rotvec())
    poses[0, SMPL24.index("left_hip"), 0], poses[0, SMPL24.index("right_hip"), 0] = -0.5, 0.5
    posed = BODY.pose(axis_angle_to_matrix(poses), torch.zeros(1, 10), torch.tensor(one.trans))
    values = {"poses": poses.reshape(1, 72).numpy(), "betas": np.zeros((1, 10)), "joints3d": posed.joints.numpy()}
    values |= {"joint_confidence": np.ones((1, 24)), "segment_scales": np.ones((1, 24))}
    return Fit.build(**{name: getattr(one, name) for name in COLUMNS} | values)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.25, 0.1), (-0.2, -0.4)])
def test_who_walks_before_a_tilted_camera_is_upright_in_the_view_and_on_the_ground(pitch, roll):
    """Where no person stands in balance, the way from neck to ankles is down; exports keep their level camera."""
    fit = walker(pitch, roll)
    views = side_views(BODY, fit)
    joints = views.upright(torch.from_numpy(fit.joints3d), 0)[0].numpy()
    down = joints[SMPL24.indices(("left_ankle", "right_ankle")),].mean(0) - joints[SMPL24.index("neck")]
    assert down[1] > 0.9999 * np.linalg.norm(down)
    vertices = world_vertices(on_the_ground(fit, BODY, by_people=True), np.array([0]), BODY)
    assert float(vertices[..., 1].max()) == pytest.approx(0, abs=1e-5)
    assert views.views[0].grounds == pytest.approx((0,), abs=1e-5)
    level = on_the_ground(fit, BODY).world_to_camera[0, :3, :3]
    assert np.abs(level - np.eye(3)).max() < 1e-6


def test_people_far_behind_others_have_a_ground_of_their_own_unless_the_images_show_one():
    one = walker(0.0, 0.0)
    two = {name: np.repeat(getattr(one, name), 2, 0) if name in ROW_COLUMNS else getattr(one, name) for name in COLUMNS}
    away = np.array([(0.0, 0.0, 0.0), (0.0, -0.5, 6.0)])
    two |= {"track_id": [0, 1], "trans": two["trans"] + away, "joints3d": two["joints3d"] + away[:, None]}
    fit = replace(Fit.build(**two), options={"upright": True})
    assert side_views(BODY, fit).views[0].grounds == pytest.approx((0, -0.5), abs=1e-4)
    known = replace(fit, ground=np.float32([[0, -1, 0, 1.5]] * FRAMES), focal_people=np.zeros(FRAMES, np.int32))
    assert side_views(BODY, known).views[0].grounds == (0, 0)


def test_views_are_rigid_move_with_the_camera_and_look_along_its_first_heading():
    views, grounded = side_views(BODY, FIT), on_the_ground(FIT, BODY, by_people=True)
    matrix = views.to_upright
    assert np.abs(matrix[:, :3, :3] @ matrix[:, :3, :3].transpose(0, 2, 1) - np.eye(3)).max() < 1e-6
    from_world = matrix @ grounded.world_to_camera
    assert np.abs(from_world - from_world[0]).max() < 1e-5  # one view of one world
    assert np.abs(from_world[0, 1] - (0, 1, 0, 0)).max() < 1e-6  # about the vertical alone
    ahead = matrix[0, :3, :3] @ (0, 0, 1)
    assert abs(ahead[0]) < 1e-6
    assert ahead[2] > 0


def test_each_shot_has_a_view_that_holds_all_of_its_people():
    fit = replace(FIT, shot_id=np.array([0, 0, 1, 1, 1], FIT.shot_id.dtype))
    views = side_views(BODY, fit)
    assert sorted(views.views) == [0, 1]
    assert views.views[0] != views.views[1]
    for frame in range(FRAMES):
        view, rows = views.views[int(fit.shot_id[frame])], fit.rows_for(frame)
        joints = views.upright(torch.from_numpy(fit.joints3d[rows]), frame).numpy()
        joints[..., 2] -= np.array([view.shifts[track] for track in fit.track_id[rows].tolist()])[:, None]
        for axis, reach in ((2, view.reach[0]), (1, view.reach[1])):
            assert np.abs(joints[..., axis] - view.centre[axis]).max() < reach
