"""The pinhole camera: known points, numpy against torch, and parts and crops against moving the pixels."""

import cv2
import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.camera import Camera, default_focal, project
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError

CAMERA = Camera(500.0, (320.0, 240.0), (640, 480))
POINTS = np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [-0.3, 0.7, 4.0]])
PIXELS = np.array([[320.0, 240.0], [570.0, 240.0], [320.0, 490.0], [282.5, 327.5]])  # x right, y down


def test_points_land_on_their_pixels():
    np.testing.assert_array_equal(CAMERA.project(POINTS), PIXELS)
    np.testing.assert_array_equal(CAMERA.project(POINTS[3]), PIXELS[3])
    matrix = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    expected = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), matrix, None)[0][:, 0]
    np.testing.assert_allclose(CAMERA.project(POINTS), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numpy_and_torch_agree_to_the_last_bit(dtype):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 7, 3, generator=generator, dtype=dtype) + torch.tensor([0, 0, 3.0], dtype=dtype)
    np.testing.assert_array_equal(CAMERA.project(points.numpy()).astype(points.numpy().dtype), CAMERA.project(points))
    many = Camera.stack([CAMERA, Camera(700.0, (1.0, 2.0)), Camera(90.0, (-5.0, 60.0))])
    tensors = many.tensors(dtype)
    arrays = Camera(tensors.focal.numpy(), tensors.principal_point.numpy())
    np.testing.assert_array_equal(arrays.project(points.numpy()), tensors.project(points))


def test_several_cameras_project_as_each_alone():
    cameras = [CAMERA, Camera(300.0, (10.0, 20.0), (64, 64))]
    many = Camera.stack(cameras)
    points = np.stack((POINTS, POINTS[::-1]))
    np.testing.assert_array_equal(
        many.project(points), np.stack([c.project(p) for c, p in zip(cameras, points, strict=True)])
    )
    assert many[1] == Camera(300.0, (10.0, 20.0))
    turned = many[[1, 0]]
    np.testing.assert_array_equal(turned.focal, [300.0, 500.0])
    np.testing.assert_array_equal(turned.principal_point, [[10.0, 20.0], [320.0, 240.0]])
    assert Camera.stack([]).principal_point.shape == (0, 2)


@pytest.mark.slow
def test_points_behind_the_camera_stay_finite_and_so_do_their_gradients():
    points = torch.tensor([[1.0, 1.0, -3.0], [1.0, 1.0, 0.0]], requires_grad=True)
    pixels = CAMERA.project(points)
    torch.testing.assert_close(pixels, torch.tensor([[5320.0, 5240.0]] * 2))  # as 0.1 m away
    pixels.sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    torch.testing.assert_close(CAMERA.project(points, near=0.5), torch.tensor([[1320.0, 1240.0]] * 2))
    alone = project(points, torch.tensor(500.0), torch.tensor([320.0, 240.0]))
    torch.testing.assert_close(alone, pixels)


def test_a_scaled_image_and_a_part_of_it_move_every_pixel_alike():
    np.testing.assert_array_equal(CAMERA.scaled(0.5).project(POINTS), PIXELS / 2)
    assert CAMERA.scaled(0.5).size == (320, 240)
    part = CAMERA.part((100, 50, 400, 170))
    np.testing.assert_array_equal(part.project(POINTS), PIXELS - (100, 50))
    assert part.size == (300, 120)


@pytest.mark.parametrize(
    "crop",
    [
        Crop(0.5, 0.0, (-30.0, 12.0), (64, 48)),
        Crop(1.7, 0.6, (90.0, -40.0), (240, 200)),
        Crop(1.3, -0.4, (-60.0, 40.0), (230, 250), mirror=True),
    ],
    ids=["smaller", "turned", "mirrored"],
)
def test_a_cropped_camera_shows_turned_points_where_the_crop_moves_their_pixels(crop):
    camera = CAMERA.cropped(crop)
    np.testing.assert_allclose(camera.project(crop.directions(POINTS)), crop.points(PIXELS), rtol=0, atol=2e-3)
    assert camera.size == crop.size
    assert camera.focal == 500.0 * crop.scale


def test_a_photo_without_a_focal_length_is_looked_at_over_its_longer_side():
    assert default_focal(1920, 1080) == default_focal(1080, 1920) == 0.9 * 1920
    assert Camera.of_image((1920, 1080)) == Camera(0.9 * 1920, (960.0, 540.0), (1920, 1080))
    assert Camera.of_image((100, 80), 90.0) == Camera(90.0, (50.0, 40.0), (100, 80))


@pytest.mark.parametrize("focal", [0.0, -5.0, float("nan"), float("inf")])
def test_impossible_focal_lengths_are_refused(focal):
    with raises(UsageError, problem="must be positive"):
        Camera(focal, (0.0, 0.0))


def test_empty_images_are_refused():
    with raises(UsageError, problem="empty"):
        Camera(1.0, (1.0, 1.0), (4, 0))
