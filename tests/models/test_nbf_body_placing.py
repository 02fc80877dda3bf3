"""From the crop's fixed camera to where the person stands before the image's own."""

import numpy as np
import pytest
import torch
from helpers.nbf_people import FOCAL, HEIGHT, WIDTH, labelled_example, posed, rotations_of

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import NBF_CAMERA, Camera, project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.lab.cache.fixed_camera import to_fixed_camera
from humanpose_cli.models.crops import frame_landmarks
from humanpose_cli.models.nbf.body import (
    BodyLayer,
    BodyParameters,
    place_in_image,
    poses_to_rotations,
    relative_to_absolute,
)

CENTRE = torch.tensor([[WIDTH / 2, HEIGHT / 2]])


@pytest.fixture(scope="module")
def layer():
    return BodyLayer(default_body())


def reprojected(placed, crop, focal=FOCAL, centre=CENTRE):
    """The placed joints, as pixels of the crop."""
    pixels = project(placed.joints, torch.tensor([focal]), centre)[0].numpy()
    return crop.points(pixels)


def test_the_image_of_the_fixed_camera_changes_nothing(layer):
    """The image is the crop: same place, same rotations, and joints that are the body's own."""
    rotations, betas, _ = posed(4)
    found = BodyParameters(betas, relative_to_absolute(rotations))
    same = Crop(1.0, 0.0, (0.0, 0.0), (512, 512))
    placed = place_in_image(found, layer, [same], Camera.stack([Camera(5000.0, (256.0, 256.0))]).tensors())
    torch.testing.assert_close(placed.joints, layer(*found[:2]), atol=5e-3, rtol=0)
    torch.testing.assert_close(placed.rotations, found.rotations, atol=1e-5, rtol=0)
    pelvis = default_body().rest_pelvis(betas)[0]
    torch.testing.assert_close(placed.trans[0] + pelvis, torch.tensor(NBF_CAMERA.root), atol=5e-3, rtol=0)


@pytest.mark.parametrize("position", [(0.15, 0.1, 4.2), (-0.9, 0.3, 4.0), (0.2, 0.0, 9.0)])
def test_a_true_body_comes_back_to_where_it_was(layer, position):
    """Training's labels, placed again, are the image's labels: rotation exactly, place up to perspective."""
    example = labelled_example(6, position, maps=False)
    crop = frame_landmarks(example.person.detected, example.person.detected_world[:, :3], 256)
    fixed = to_fixed_camera(example, default_body(), 256).person
    found = BodyParameters(torch.from_numpy(fixed.betas)[None], poses_to_rotations(torch.from_numpy(fixed.poses)[None]))
    placed = place_in_image(found, layer, [crop], Camera(torch.tensor([FOCAL]), CENTRE))
    true = relative_to_absolute(rotations_of(example.person))
    # What is left is the crop's own error: it was found from perspective landmarks.
    assert float(geodesic_angle(placed.rotations, true).max()) < 0.03
    distance = position[2]
    root = placed.joints[0, SMPL24.index("pelvis")].numpy()
    wanted = example.person.joints["smpl24"][SMPL24.index("pelvis"), :3]
    np.testing.assert_allclose(root, wanted, atol=0.05 * distance)


@pytest.mark.parametrize("position", [(0.15, 0.1, 4.2), (-0.9, 0.3, 4.0), (0.2, 0.0, 12.0)])
def test_joints_land_where_the_fixed_camera_saw_them_in_the_crop(layer, position):
    example = labelled_example(2, position, maps=False)
    crop = frame_landmarks(example.person.detected, example.person.detected_world[:, :3], 256)
    rotations, betas, _ = posed(8)
    found = BodyParameters(betas, relative_to_absolute(rotations))
    placed = place_in_image(found, layer, [crop], Camera(torch.tensor([FOCAL]), CENTRE))
    expected = (layer.project(layer(*found[:2]))[0].numpy() + 1) / 2 * 256
    apart = np.linalg.norm(reprojected(placed, crop) - expected, axis=1)
    # A camera at 4 m instead of 20 bends a person of 210 pixels a little; at 12 m hardly.
    assert apart.mean() < 16 / position[2]
    assert placed.joints[..., 2].min() > 0


def test_turned_viewing_rays_turn_bodies(layer):
    """The same crop at the image's left edge and middle: bodies differ by the angle between the lines of sight."""
    rotations, betas, _ = posed(1)
    found = BodyParameters(betas.repeat(2, 1), relative_to_absolute(rotations).repeat(2, 1, 1, 1))
    middle = Crop(1.0, 0.0, (0.0, 0.0), (200, 200))
    left = Crop(1.0, 0.0, (200.0, 0.0), (200, 200))
    placed = place_in_image(found, layer, [middle, left], Camera(torch.full((2,), 200.0), torch.full((2, 2), 100.0)))
    turned = geodesic_angle(placed.rotations[0], placed.rotations[1])
    np.testing.assert_allclose(np.rad2deg(turned.numpy()), 45, atol=1.0)
    # The body is at the left, and what faced the camera there still faces it.
    assert placed.joints[1, 0, 0] < -1
    ray = placed.joints[:, 0] / placed.joints[:, 0].norm(dim=-1, keepdim=True)
    facing = torch.einsum("bij,bi->bj", placed.rotations[:, 0], ray)
    torch.testing.assert_close(facing[0], facing[1], atol=0.02, rtol=0)


def test_bodies_stay_in_front_of_the_camera(layer):
    """A crop of a few pixels at a short focal length would put the camera into the body."""
    rotations, betas, _ = posed(1)
    found = BodyParameters(betas, relative_to_absolute(rotations))
    huge = Crop(0.02, 0.0, (0.0, 0.0), (64, 64))
    placed = place_in_image(found, layer, [huge], Camera(torch.tensor([30.0]), torch.tensor([[1600.0, 1600.0]])))
    assert torch.isfinite(placed.joints).all()
    assert placed.joints[..., 2].min() >= 0.29
