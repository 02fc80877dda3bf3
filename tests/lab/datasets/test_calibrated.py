"""The laboratories' lenses, and the pinhole images taken of theirs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.extensive import extensive

from humanpose_cli.core.camera import Camera
from humanpose_cli.lab.datasets.calibrated import LabCamera, Lens, full_camera, person_camera

H36M_LENS = Lens((1145.05, 1143.78), (512.04, 514.95), (-0.2071, 0.24778, -0.00308), (-0.00142, -0.00098), 1.0)


def opencv_projection(points, focal, centre, k, p):
    """OpenCV's formula as its documentation writes it."""
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    r2 = x**2 + y**2
    radial = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3
    bent_x = x * radial + 2 * p[0] * x * y + p[1] * (r2 + 2 * x**2)
    bent_y = y * radial + p[0] * (r2 + 2 * y**2) + 2 * p[1] * x * y
    return np.stack((focal[0] * bent_x + centre[0], focal[1] * bent_y + centre[1]), -1)


def points_in_front(count=50, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform((-1.5, -1.5, 4), (1.5, 1.5, 6), (count, 3))


def test_a_lens_is_opencvs():
    k, p = (-0.2, 0.24, -0.003), (-0.0014, 0.001)
    lens = Lens((1145.0, 1143.0), (512.0, 515.0), k, p)
    points = points_in_front()
    np.testing.assert_allclose(lens.project(points), opencv_projection(points, (1145, 1143), (512, 515), k, p))


def test_human36ms_tangential_terms_count_half():
    """A known number: Human3.6M's ProjectPointRadial, worked out by hand for one point."""
    lens = Lens((1000.0, 1000.0), (500.0, 500.0), (0.1, 0.0, 0.0), (0.01, 0.02), 1.0)
    x, y = 0.2, 0.1
    square, tangential = 0.05, 0.01 * y + 0.02 * x
    factor = 1 + 0.1 * square + tangential
    expected = [1000 * (x * factor + 0.02 * square) + 500, 1000 * (y * factor + 0.01 * square) + 500]
    np.testing.assert_allclose(lens.project(np.array([[0.8, 0.4, 4.0]]))[0], expected)


def test_skew_shears_x_by_y():
    lens = Lens((100.0, 100.0), (0.0, 0.0), skew=0.1)
    np.testing.assert_allclose(lens.project(np.array([1.0, 2.0, 1.0])), [120, 200])


def test_a_camera_knows_where_it_stands():
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    camera = LabCamera(H36M_LENS, turn, np.array([1.0, 2, 3]))
    np.testing.assert_allclose(camera.to_camera(np.array([[10.0, 20, 30]])), [[31, 12, 23]])


def coordinate_image(size):
    """An image whose red says x / 4 and whose green says y / 4, so that a sample tells where it came from."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return np.stack((x / 4, y / 4, np.zeros_like(x)), -1).round().astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("crop", [None, 384, *extensive(900, 200, 64)])
def test_a_point_is_where_the_stored_camera_sees_it(crop):
    """The view's pixel at a point's pinhole projection shows what the lens showed at its distorted one."""
    size = (1000, 1002)
    points = points_in_front(40)
    view = full_camera(H36M_LENS, size) if crop is None else person_camera(H36M_LENS, points, crop)
    image = H36M_LENS.undistort(coordinate_image(size), view)
    assert image.shape == (view.size[1], view.size[0], 3)
    positions, original = view.project(points), H36M_LENS.project(points)
    colours = image[positions[:, 1].astype(int), positions[:, 0].astype(int), :2] * 4.0
    pixel_width = max(1.0, H36M_LENS.focal[0] / view.focal)  # a stored pixel covers that many, and grey has steps of 4
    assert np.abs(colours - original).max() < 0.5 * pixel_width + 4.1
    assert np.abs((colours - original).mean(0)).max() < 0.8 + 0.05 * pixel_width


@pytest.mark.parametrize("corner", [(0, 0), (93, 7), (-40, 60), (95, 95)])
def test_averaging_a_part_is_averaging_all(corner):
    """Whatever part of the image a view shows, also beyond its borders: the same pixels as of the whole view."""
    lens = Lens((1000.0, 1000.0), (500.0, 500.0))
    image = np.random.default_rng(2).integers(0, 256, (1003, 1007, 3)).astype(np.uint8)
    complete = lens.undistort(image, Camera(100.0, (50.0, 50.0), (100, 100)))
    part = lens.undistort(image, Camera(100.0, (50.0 - corner[0], 50.0 - corner[1]), (20, 30)))
    expected = np.zeros((300, 300, 3), np.uint8)
    expected[100:200, 100:200] = complete
    expected = expected[100 + corner[1] : 130 + corner[1], 100 + corner[0] : 120 + corner[0]]
    inside = np.s_[: 100 - corner[1] if corner[1] > 70 else 30, : 100 - corner[0] if corner[0] > 80 else 20]
    np.testing.assert_array_equal(part[inside], expected[inside])


def test_without_distortion_the_full_camera_is_the_image_itself():
    lens = Lens((900.0, 900.0), (320.0, 240.0))
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    np.testing.assert_array_equal(lens.undistort(image, full_camera(lens, (640, 480))), image)


def test_a_crop_holds_the_person_and_is_never_blown_up():
    points = points_in_front(30)
    view = person_camera(H36M_LENS, points, 384)
    pixels = view.project(points)
    assert view.size == (384, 384)
    np.testing.assert_allclose((pixels.min(0) + pixels.max(0)) / 2, [192, 192])
    np.testing.assert_allclose((pixels.max(0) - pixels.min(0)).max(), 384 / 1.3)
    small = person_camera(H36M_LENS, points * [0.2, 0.2, 1], 384)
    assert small.size[0] < 384
    assert abs(small.focal / 1144.415 - 1) < 0.02


def test_labels_are_taken_from_where_pixels_are():
    size = (300, 200)
    lens = Lens((400.0, 404.0), (150.0, 100.0), (-0.2, 0.1, 0.0))
    view = Camera(380.0, (120.0, 90.0), (250, 190))
    image = np.zeros((size[1], size[0]), np.uint8)
    image[60:140, 90:210] = 255
    pixels, labels = lens.undistort(image, view), lens.undistort_labels(image, view)
    assert set(np.unique(labels)) == {0, 255}
    np.testing.assert_array_equal(labels[(pixels == 0) | (pixels == 255)], pixels[(pixels == 0) | (pixels == 255)])
    np.testing.assert_array_equal(lens.undistort_labels(np.stack([image] * 3, -1), view)[..., 2], labels)
    assert not lens.undistort_labels(image, Camera(400.0, (-500.0, 90.0), (100, 100))).any()
