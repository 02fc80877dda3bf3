"""Fits registered to charts: a body of other proportions, whose surface is known in the image, comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.registering import register_fit
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.models.deform_and_learn.correspondences import texture_charts

FOCAL, SIZE = 2000.0, (1000, 1000)
_PELVIS = SMPL24.index("pelvis")


def person_with_surface(x: float, principal_point: float) -> tuple[Fit, dict[int, np.ndarray], torch.Tensor]:
    """A fit of the mean shape with arms 15 degrees off, the surface points of the true body, and its joints.

    x  metres to the right of the optical axis; principal_point  x of it, pixels
    """
    body, random = default_body(), torch.Generator().manual_seed(1)
    poses = torch.zeros(1, 24, 3)
    poses[0, SMPL24.index("pelvis")] = torch.tensor([torch.pi, 0.0, 0.0])
    poses[0, SMPL24.index("left_shoulder"), 2], poses[0, SMPL24.index("right_shoulder"), 2] = -0.9, 0.7
    scales = torch.ones(1, 24)
    scales[0, SMPL24.indices(("left_knee", "right_knee", "left_hip", "right_hip"))] = 1.1
    trans, shape = torch.tensor([[x, -0.1, 8.0]]), torch.zeros(1, body.shape_count)
    camera = Camera(np.array([FOCAL]), np.array([[principal_point, 500.0]]))
    true = body.pose(axis_angle_to_matrix(poses), shape, trans, scales)
    assert true.vertices is not None
    charts = texture_charts(body)
    chosen = torch.randint(len(charts.vertices), (400,), generator=random)
    pixels = camera.project(true.vertices[:, charts.vertices[chosen]].numpy())[0]
    surface = np.column_stack((pixels, charts.charts[chosen].numpy(), charts.uv[chosen].numpy(), np.full(400, -1)))
    landmarks = camera.project(body.pose_landmarks("blazepose33", true, shape).numpy())
    poses[0, SMPL24.index("left_shoulder"), 2] += 0.26
    start = body.pose(axis_angle_to_matrix(poses), shape, trans, vertices=False)
    low, high = pixels.min(0) - 5, pixels.max(0) + 5
    fit = Fit.build(
        track_id=[0], frame_index=[0], interpolated=[False], frame_names=["a.png"], shot_id=[0], image_size=[SIZE],
        focal=[FOCAL], principal_point=[(principal_point, 500.0)], world_to_camera=np.eye(4)[None],
        poses=poses.flatten(1).numpy(), betas=shape.numpy(), trans=trans.numpy(), segment_scales=np.ones((1, 24)),
        joints3d=start.joints.numpy(), joints2d=camera.project(start.joints.numpy()),
        keypoints2d=np.concatenate((landmarks, np.full((1, 33, 1), 0.9)), 2), boxes=[[*low, *high]], confidence=[0.2],
        joint_confidence=np.full((1, 24), 0.2), reprojection_error=[20.0], body="default", gender="neutral",
    )  # fmt: skip
    return fit, {0: surface}, true.joints


@pytest.fixture(scope="module")
def near_person() -> tuple[Fit, dict[int, np.ndarray], torch.Tensor]:
    """A person near the optical axis."""
    return person_with_surface(0.1, 500.0)


@pytest.mark.slow
def test_the_body_comes_back(near_person: tuple[Fit, dict[int, np.ndarray], torch.Tensor]) -> None:
    fit, surface, joints = near_person
    body = default_body()
    found = register_fit(fit, body, texture_charts(body), surface)
    assert found.options["registered"] == [True]
    image = joints[0, :, :2].numpy() / joints[0, :, 2:].numpy() * FOCAL + 500
    before, after = (np.linalg.norm(f.joints2d[0] - image, axis=-1).mean() for f in (fit, found))
    assert after < 6 < before  # of 450 pixels that the body is high
    legs, rest = (SMPL24.indices(names) for names in (("left_knee", "right_knee"), ("left_elbow", "right_elbow")))
    assert found.segment_scales[0, legs].mean() > 1.04 * found.segment_scales[0, rest].mean()
    assert found.reprojection_error[0] < 8
    assert found.confidence[0] > 0.5  # the body explains the landmarks
    assert found.joint_confidence.min() > 0.3


@pytest.mark.extensive
def test_without_surface_points_a_fit_stays_as_it_is(
    near_person: tuple[Fit, dict[int, np.ndarray], torch.Tensor],
) -> None:
    fit, surface, _ = near_person
    body = default_body()
    empty = register_fit(fit, body, texture_charts(body), {})
    shifted = register_fit(fit, body, texture_charts(body), {0: surface[0] + np.array([300.0, 0, 0, 0, 0, 0])})
    for found in (empty, shifted):
        assert found.options["registered"] == [False]
        assert np.array_equal(found.poses, fit.poses)
        assert np.array_equal(found.joints3d, fit.joints3d)
    without_people = fit.select([])
    assert register_fit(without_people, body, texture_charts(body), surface).options["registered"] == []


@pytest.mark.extensive
def test_a_body_far_from_the_optical_axis_is_registered_as_well_as_one_on_it(
    near_person: tuple[Fit, dict[int, np.ndarray], torch.Tensor],
) -> None:
    """Along the line of sight, 37 degrees from the axis, it is neither stretched nor sheared."""
    body, about_pelvis = default_body(), []
    for fit, surface, joints in (near_person, person_with_surface(6.0, -1000.0)):
        found = register_fit(fit, body, texture_charts(body), surface)
        assert found.options["registered"] == [True]
        assert found.reprojection_error[0] < 3
        true = joints[0].numpy()
        apart = np.linalg.norm(found.joints3d[0] - true, axis=-1)
        # One image does not determine the size: 3 % of the distance.
        assert apart[_PELVIS] < 0.04 * np.linalg.norm(true[_PELVIS])
        offset = (found.joints3d[0] - found.joints3d[0, _PELVIS]) - (true - true[_PELVIS])
        about_pelvis.append(np.linalg.norm(offset, axis=-1).mean())
    assert about_pelvis[1] == pytest.approx(about_pelvis[0], abs=0.002)
    assert about_pelvis[1] < 0.045
