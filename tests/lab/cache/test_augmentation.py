"""Random crops and colours, and images for a camera that never moves."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import NBF_CAMERA, project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.cache.augmentation import (
    NO_AUGMENTATION,
    SEGMENTER_AUGMENTATION,
    WARP3D_AUGMENTATION,
    Augmentation,
    ColourChange,
    change_colour,
    example_of,
    random_crop,
)
from humanpose_cli.lab.cache.fixed_camera import scaled_shape, to_fixed_camera
from humanpose_cli.lab.cache.samples import Person, Sample

WIDTH, HEIGHT, FOCAL = 320, 280, 420.0


def joints_of(body, person):
    rotations = axis_angle_to_matrix(torch.from_numpy(person.poses).view(1, 24, 3))
    return body.pose(rotations, torch.from_numpy(person.betas)[None], torch.from_numpy(person.trans)[None]).joints[0]


@pytest.fixture(scope="module")
def example(body):
    generator = torch.Generator().manual_seed(8)
    rotations = sample_poses(1, generator)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    person = Person(
        poses=matrix_to_axis_angle(rotations).view(72).numpy(),
        betas=torch.randn(10, generator=generator).numpy(),
        trans=np.array([0.25, 0.1, 3.6], np.float32),
    )
    joints = joints_of(body, person)
    pixels = project(joints, torch.tensor([FOCAL]), torch.tensor([[WIDTH / 2, HEIGHT / 2]]))[0]
    keypoints = torch.cat((pixels, torch.ones(24, 1)), 1).numpy()
    box = np.concatenate((keypoints[:, :2].min(0), keypoints[:, :2].max(0)))
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    labels = Person(
        **{
            **vars(person),
            "box": box,
            "keypoints": {"smpl24": keypoints},
            "joints": {"smpl24": _with_confidence(joints)},
        }
    )
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return example_of(Sample("noise", data, (WIDTH, HEIGHT), FOCAL, None, (labels,)))


def _with_confidence(points):
    return np.concatenate((points.numpy(), np.ones((len(points), 1), np.float32)), 1)


def test_the_same_random_numbers_give_the_same_crop(example, body):
    once, again = (random_crop(example, 96, np.random.default_rng(3), WARP3D_AUGMENTATION, body=body) for _ in "ab")
    other = random_crop(example, 96, np.random.default_rng(4), WARP3D_AUGMENTATION, body=body)
    np.testing.assert_array_equal(once.image, again.image)
    np.testing.assert_array_equal(once.person.poses, again.person.poses)
    assert (once.image != other.image).any()


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, WARP3D_AUGMENTATION, SEGMENTER_AUGMENTATION])
def test_labels_of_a_crop_agree_with_each_other(example, body, augmentation):
    for seed in range(8):
        crop = random_crop(example, 128, np.random.default_rng(seed), augmentation, body=body)
        points = torch.from_numpy(crop.person.joints["smpl24"][:, :3])
        centre = torch.tensor([crop.principal_point])
        pixels = project(points, torch.tensor([crop.focal]), centre)[0].numpy()
        np.testing.assert_allclose(crop.person.keypoints["smpl24"][:, :2], pixels, atol=0.02)
        np.testing.assert_allclose(joints_of(body, crop.person), points, atol=4e-3)


@pytest.mark.slow
def test_draws_stay_within_the_widths_and_reach_them(example, body):
    """Known widths come back from the crops' camera, which says how each was turned, scaled and moved."""
    widths = Augmentation(rotation=0.5, scale=0.2, shift=0.1, mirror=0.5)
    plain = random_crop(example, 100, np.random.default_rng(0), body=body)
    crops = [random_crop(example, 100, np.random.default_rng(seed), widths, body=body) for seed in range(200)]
    factors = np.array([crop.focal / plain.focal for crop in crops])
    assert 0.8 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2
    left, right = (3 * SMPL24.index(f"{side}_shoulder") for side in ("left", "right"))
    is_swapped = [crop.person.poses[left] == plain.person.poses[right] for crop in crops]
    mirror_share = np.mean(is_swapped)
    np.testing.assert_array_equal(
        [crop.person.poses[left] == plain.person.poses[left] for crop in crops], ~np.array(is_swapped)
    )
    assert 0.35 < mirror_share < 0.65


def test_a_person_without_a_box_is_refused(example):
    boxless = replace(example, person=Person())
    with raises(InputError, subject="noise"):
        random_crop(boxless, 64, np.random.default_rng(0))


# Colour


def test_colours_change_as_named():
    image = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    grey = change_colour(image, ColourChange(saturation=0.0))
    assert np.ptp(grey[0, 0]) <= 1
    assert grey[0, 0, 0] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)
    brighter = change_colour(image, ColourChange(brightness=0.1))
    np.testing.assert_allclose(brighter[0, 0], np.array((200, 100, 50)) + 25.5, atol=1)
    rotation = change_colour(image, ColourChange(hue=120.0))  # a third of the circle exchanges the channels
    np.testing.assert_allclose(rotation[0, 0], (50, 200, 100), atol=1)
    two = np.array([[[100] * 3, [140] * 3]], np.uint8)
    np.testing.assert_allclose(change_colour(two, ColourChange(contrast=2.0))[0, :, 0], (80, 160), atol=1)
    assert change_colour(np.full((2, 2, 3), 250, np.uint8), ColourChange(brightness=0.5)).max() == 255


# The fixed camera of Neural Body Fitting


def points_and_pixels(body, example):
    points = joints_of(body, example.person)
    centre = torch.tensor([example.principal_point])
    return points, project(points, torch.tensor([example.focal]), centre)[0].numpy()


def test_the_body_stands_at_the_fixed_position_and_fits_its_image(example, body):
    result = to_fixed_camera(example, body, 256)
    points, pixels = points_and_pixels(body, result)
    np.testing.assert_allclose(points[0], NBF_CAMERA.root, atol=1e-4)
    assert result.image.shape == (256, 256, 3)
    error = np.linalg.norm(result.person.keypoints["smpl24"][:, :2] - pixels, axis=1)
    assert error.mean() < 4.0  # what perspective at 3.6 and at 20 metres differs in, of a person of 220 pixels
    tall = np.ptp(pixels[:, 1])
    assert 60 < tall < 230
    np.testing.assert_allclose(result.person.joints["smpl24"][:, :3], points, atol=1e-4)


def test_a_larger_image_has_a_larger_body(example, body):
    result, larger = (to_fixed_camera(example, body, 256, scale=scale) for scale in (1.0, 1.06))
    (_, small), (points, large) = points_and_pixels(body, result), points_and_pixels(body, larger)
    height = np.ptp(large[:, 1]) / np.ptp(small[:, 1])
    assert height == pytest.approx(1.06, abs=0.01)
    np.testing.assert_allclose(points[0], NBF_CAMERA.root, atol=1e-4)
    keypoints = larger.person.keypoints["smpl24"][:, :2]
    assert np.linalg.norm(keypoints - large, axis=1).mean() < 5.0
    assert np.abs(larger.person.betas - result.person.betas).max() > 0.1


def test_a_mirrored_image_has_a_mirrored_body(example, body):
    middle = replace(NBF_CAMERA, root=(0.0, *NBF_CAMERA.root[1:]))
    plain, mirror_image = (
        to_fixed_camera(example, body, 256, camera=middle, mirror=mirror) for mirror in (False, True)
    )
    np.testing.assert_array_equal(mirror_image.image, plain.image[:, ::-1])
    (_, plain_pixels), (_, pixels) = points_and_pixels(body, plain), points_and_pixels(body, mirror_image)
    mirror_pixels = plain_pixels[list(SMPL24.mirror)] * (-1, 1) + (256, 0)
    np.testing.assert_allclose(pixels, mirror_pixels, atol=0.8)


def test_a_mirrored_body_stands_at_the_fixed_position_too(example, body):
    mirror_image = to_fixed_camera(example, body, 256, shift=(5.0, 0.0), mirror=True)
    points, pixels = points_and_pixels(body, mirror_image)
    np.testing.assert_allclose(points[0], NBF_CAMERA.root, atol=1e-4)
    target = pixels - np.array((5.0, 0.0))  # shifted before it was mirrored
    assert np.linalg.norm(mirror_image.person.keypoints["smpl24"][:, :2] - target, axis=1).mean() < 4.0
    assert not {"depth", "normals"} & mirror_image.maps.keys()


def test_shapes_scale_exactly_where_some_shape_is_that_large(body):
    betas = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    assert scaled_shape(body, betas, 1.0) is betas
    pelvis = SMPL24.index("pelvis")
    before, after = (body.rest_joints(b) for b in (betas, scaled_shape(body, betas, 1.04)))
    target = 1.04 * (before - before[:, pelvis : pelvis + 1])
    assert (after - after[:, pelvis : pelvis + 1] - target).norm(dim=-1).mean() < 0.006


def test_a_person_without_parameters_is_refused(example, body):
    with raises(InputError, problem="body parameters"):
        to_fixed_camera(replace(example, person=Person()), body, 64)
