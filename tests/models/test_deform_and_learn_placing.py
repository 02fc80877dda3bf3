"""From a crop's weak-perspective camera to the image's perspective one."""

from __future__ import annotations

import pytest
import torch
from helpers.deform_weights import bent_pose

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, in_image
from humanpose_cli.core.camera import Camera
from humanpose_cli.geometry.rotations import geodesic_angle, viewing_rotation
from humanpose_cli.models.deform_and_learn.placing import CropUnits, to_camera

CAMERA = Camera(torch.tensor([1000.0]), torch.tensor([[640.0, 360.0]]))


@pytest.fixture(scope="module")
def body() -> ScaledBody:
    return ScaledBody(default_body())


def units(x: float, y: float, unit: float) -> CropUnits:
    return CropUnits(torch.tensor([[x, y]]), torch.tensor([unit]))


def joints_of(body: ScaledBody, placed, scales: torch.Tensor) -> torch.Tensor:
    """(1, 24, 3) metres, camera axes, by the body that files are read with."""
    rig, shape = body.body, torch.zeros(1, body.body.shape_count)
    trans = rig.translation_of_root(placed.pelvis, shape)
    return rig.pose(placed.rotations, shape, trans, scales, vertices=False).joints


@pytest.mark.parametrize(("x", "tolerance"), [(640.0, 0.08), (1200.0, 0.25)])
def test_a_person_far_away_projects_to_the_pixels_of_the_crop(body, x, tolerance):
    """From afar, a perspective camera is a weak-perspective one, but that it stretches what is off the middle."""
    pose, crop = bent_pose(), units(x, 300.0, 5.0)
    placed = to_camera(body, pose, crop, CAMERA)
    expected = crop.origin + 5.0 * in_image(body.points(pose, body.landmarks("smpl24")), pose)[0, :, :2]
    pixels = CAMERA.project(joints_of(body, placed, pose.segment_scales))[0]
    assert float((pixels - expected).norm(dim=-1).max()) < tolerance  # of 5 pixels a metre
    assert float((pixels - expected).mean(0).norm()) < 0.01


def test_a_person_in_the_middle_is_as_far_away_as_they_are_small(body):
    pose = bent_pose()._replace(translation=torch.zeros(1, 2))
    placed = to_camera(body, pose, units(640.0, 360.0, 20.0), CAMERA)
    assert float(placed.pelvis[0, 2]) == pytest.approx(1000 / (0.9 * 20), rel=0.02)
    torch.testing.assert_close(placed.rotations, pose.rotations, atol=0.01, rtol=0)


def test_the_same_crop_near_the_edge_is_a_person_turned_to_the_viewing_ray(body):
    """Whoever turns the camera about its centre sees the same crop elsewhere: the bodies differ by that turn."""
    pose = bent_pose()._replace(translation=torch.zeros(1, 2))
    middle, edge = (to_camera(body, pose, units(x, 360.0, 20.0), CAMERA) for x in (640.0, 1240.0))
    turn = viewing_rotation(torch.tensor([[1240.0, 360.0]]), CAMERA.focal, CAMERA.principal_point)
    assert float(geodesic_angle(turn, torch.eye(3))) == pytest.approx(0.54, abs=0.01)
    torch.testing.assert_close(edge.rotations[:, 0], turn @ middle.rotations[:, 0], atol=0.01, rtol=0)
    torch.testing.assert_close(edge.rotations[:, 1:], middle.rotations[:, 1:])
    ray = edge.pelvis / edge.pelvis.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(ray, turn[:, :, 2], atol=0.01, rtol=0)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1e-6])
def test_a_scale_that_is_none_gives_a_body_far_away(body, scale):
    pose = bent_pose()._replace(scale=torch.tensor([scale]))
    placed = to_camera(body, pose, units(640.0, 360.0, 100.0), CAMERA)
    assert torch.isfinite(placed.pelvis).all()
    assert 100 < float(placed.pelvis[0, 2]) < 2000
