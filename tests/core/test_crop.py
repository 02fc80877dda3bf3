"""Maps between an image and its crops, against OpenCV's and scikit-image's: exact where the numbers allow it."""

import cv2
import numpy as np
import pytest
from skimage.transform import AffineTransform, warp

from humanpose_cli.core.crop import Affine2D, Crop, box_overlap, crop_around_box

TURNED = Affine2D(np.array([[0.8, -0.6, 30.0], [0.6, 0.8, -12.0]]))
SKEWED = Affine2D(np.array([[1.5, 0.25, -7.0], [0.125, 0.75, 3.0]]))
POINTS = np.array([[0.0, 0.0], [0.5, 0.5], [31.25, 7.0], [-3.0, 90.0]])
CROPS = {
    "plain": Crop(1.0, 0.0, (-5.0, 3.0), (40, 50)),
    "turned": Crop(1.5, 0.4, (12.0, -8.0), (90, 70)),
    "mirrored": Crop(0.75, -1.1, (2.0, 30.0), (60, 64), mirror=True),
}


def test_points_are_those_of_opencv_and_scikit_image():
    for affine in (TURNED, SKEWED):
        moved = affine.points(POINTS)
        np.testing.assert_allclose(moved, cv2.transform(POINTS[None], affine.matrix)[0], rtol=0, atol=1e-12)
        matrix = np.vstack((affine.matrix, [0, 0, 1]))
        np.testing.assert_allclose(moved, AffineTransform(matrix)(POINTS), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(TURNED.points([1.0, 0.0]), [30.8, -11.4])
    np.testing.assert_array_equal(Affine2D.identity().points(POINTS), POINTS)


def test_a_product_maps_by_its_right_factor_first():
    both = SKEWED @ TURNED
    np.testing.assert_allclose(both.points(POINTS), SKEWED.points(TURNED.points(POINTS)), rtol=0, atol=1e-12)
    assert np.abs(both.matrix - (TURNED @ SKEWED).matrix).max() > 1
    np.testing.assert_array_equal((SKEWED @ Affine2D.identity()).matrix, SKEWED.matrix)
    np.testing.assert_array_equal((Affine2D.identity() @ SKEWED).matrix, SKEWED.matrix)


def test_the_inverse_leads_back():
    for affine in (TURNED, SKEWED):
        back = affine.inverse()
        np.testing.assert_allclose(back.points(affine.points(POINTS)), POINTS, rtol=0, atol=1e-12)
        np.testing.assert_allclose((affine @ back).matrix, np.eye(2, 3), rtol=0, atol=1e-13)
        np.testing.assert_allclose(back.matrix, cv2.invertAffineTransform(affine.matrix), rtol=0, atol=1e-13)


def test_the_mirror_swaps_the_edges_and_undoes_itself():
    mirror = Affine2D.mirror(9)
    np.testing.assert_array_equal(mirror.points([[0.0, 2.0], [9.0, 2.0], [0.5, 7.0]]), [[9, 2], [0, 2], [8.5, 7]])
    np.testing.assert_array_equal((mirror @ mirror).matrix, np.eye(2, 3))
    image = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9)
    np.testing.assert_array_equal(mirror.warp(image, (9, 5), cv2.INTER_LINEAR), image[:, ::-1])


def test_a_coarser_source_and_a_finer_target_keep_the_content_where_it_is():
    reduced = SKEWED.scaled_source(4.0, 2.0)
    np.testing.assert_allclose(reduced.points(POINTS / (4, 2)), SKEWED.points(POINTS), rtol=0, atol=1e-12)
    finer = SKEWED.scaled_target(3.0, 0.5)
    np.testing.assert_allclose(finer.points(POINTS), SKEWED.points(POINTS) * (3, 0.5), rtol=0, atol=1e-12)


def test_warping_is_that_of_resize_and_of_scikit_image():
    random = np.random.default_rng(0)
    image = cv2.GaussianBlur(random.random((24, 31)).astype(np.float32), (0, 0), 2)
    doubled = Affine2D(np.array([[2.0, 0, 0], [0, 2, 0]])).warp(
        image, (62, 48), cv2.INTER_LINEAR, border_mode=cv2.BORDER_REPLICATE
    )
    np.testing.assert_allclose(doubled, cv2.resize(image, (62, 48), interpolation=cv2.INTER_LINEAR), atol=1e-6)
    # scikit-image counts from pixel centres too, and takes the map from the result to the image.
    size = 40, 36
    found = TURNED.warp(image, size, cv2.INTER_LINEAR)
    centres = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).reshape(-1, 2) + 0.5
    rows_columns = (TURNED.inverse().points(centres) - 0.5)[:, ::-1].T.reshape(2, size[1], size[0])
    np.testing.assert_allclose(found, warp(image, rows_columns, order=1), atol=0.01)  # OpenCV: steps of 1/32 pixel
    assert found.any()


def test_an_inverse_map_cuts_the_same_crop():
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    there = SKEWED.warp(image, (50, 45), cv2.INTER_LINEAR)
    back = SKEWED.inverse().warp(image, (50, 45), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    np.testing.assert_array_equal(there, back)


def test_the_border_is_a_value_or_the_edge():
    image = np.full((4, 4), 7, np.uint8)
    shifted = Affine2D(np.array([[1.0, 0, 2], [0, 1, 0]]))
    np.testing.assert_array_equal(shifted.warp(image, (6, 4), cv2.INTER_LINEAR, border=9)[0], [9, 9, 7, 7, 7, 7])
    edge = shifted.warp(image, (6, 4), cv2.INTER_LINEAR, border_mode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(edge, np.full((4, 6), 7))


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS.keys())
def test_a_label_and_its_pixel_move_alike(crop):
    """A soft spot's centre of mass in the crop lies where the crop puts the label."""
    label = np.array([31.5, 24.5])
    y, x = np.mgrid[:64, :72] + 0.5
    image = (255 * np.exp(-((x - label[0]) ** 2 + (y - label[1]) ** 2) / 18)).astype(np.float32)
    found = crop.warp(image, cv2.INTER_LINEAR).astype(np.float64)
    assert found.shape == crop.size[::-1]
    rows, columns = np.mgrid[: found.shape[0], : found.shape[1]] + 0.5
    centre = np.array([(found * columns).sum(), (found * rows).sum()]) / found.sum()
    np.testing.assert_allclose(centre, crop.points(label), atol=0.02)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS.keys())
def test_points_and_directions_follow_the_definition(crop):
    c, s = np.cos(crop.angle), np.sin(crop.angle)
    turned = crop.scale * POINTS @ np.array([[c, s], [-s, c]]) + crop.shift
    vectors = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
    rolled = np.stack((c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1], vectors[:, 2]), 1)
    if crop.mirror:
        turned[:, 0] = crop.size[0] - turned[:, 0]
        rolled[:, 0] *= -1
    np.testing.assert_allclose(crop.points(POINTS), turned, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(crop.directions(vectors), rolled, rtol=1e-6, atol=1e-6)
    assert crop.points(POINTS).dtype == crop.directions(vectors).dtype == np.float32


def test_an_integer_shift_keeps_every_pixel():
    image = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    crop = Crop(1.0, 0.0, (-4.0, -3.0), (12, 10))
    np.testing.assert_array_equal(crop.image(image), image[3:13, 4:16])
    mirrored = Crop(1.0, 0.0, (-4.0, -3.0), (12, 10), mirror=True)
    np.testing.assert_array_equal(mirrored.image(image), image[3:13, 4:16][:, ::-1])


def test_a_strongly_reduced_crop_averages():
    """At a quarter of the scale the crop holds the means of 4 × 4 blocks: INTER_AREA's, not single pixels."""
    image = np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8)
    crop = Crop(0.25, 0.0, (0.0, 0.0), (12, 8))
    np.testing.assert_array_equal(crop.image(image), cv2.resize(image, (12, 8), interpolation=cv2.INTER_AREA))
    odd = Crop(0.25, 0.0, (0.0, 0.0), (11, 7))  # a size that halving does not divide: content stays where it is
    column = np.zeros((29, 45, 3), np.uint8)
    column[:, 20:24] = 255
    values = odd.image(column)[3, :, 0].astype(float)
    assert (values * (np.arange(11) + 0.5)).sum() / values.sum() == pytest.approx(22 / 4, abs=0.05)


def test_a_box_fills_its_share_in_the_middle():
    crop = crop_around_box(np.array([10.0, 20.0, 50.0, 100.0]), 200, fill=0.8)
    assert crop.scale == pytest.approx(2.0)
    np.testing.assert_allclose(crop.points([[30.0, 60.0], [10.0, 20.0]]), [[100, 100], [60, 20]], atol=1e-5)
    turned = crop_around_box(np.array([10.0, 20.0, 50.0, 100.0]), 200, fill=0.8, angle=np.pi / 2, shift=(5.0, -6.0))
    # The box's upper end turns clockwise to the right.
    np.testing.assert_allclose(turned.points([[30.0, 60.0], [30.0, 20.0]]), [[105, 94], [185, 94]], atol=1e-4)


def test_box_overlap_of_reference_boxes() -> None:
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]], dtype=float)
    np.testing.assert_allclose(box_overlap(np.array([0.0, 0, 2, 2]), others), [1, 1 / 7, 0, 0])
    np.testing.assert_allclose(box_overlap(others[1:2], others[:, None])[:, 0], [1 / 7, 1, 0, 0])
