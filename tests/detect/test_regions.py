"""Regions: cutting out and mapping back are inverse to each other, whatever the rotation, scale and image size."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from humanpose_cli.detect.regions import Pyramid, Region, region_around_box, region_from_axis


def gradients(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards: a pixel's colour tells where it came from."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([255 * x / width, 255 * y / height, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.5])
@pytest.mark.parametrize("side", [40.0, 300.0, 900.0])
def test_a_crop_shows_what_the_region_covers(angle: float, side: float) -> None:
    image = gradients(1200, 1600)
    region = Region(800, 620, side, angle)
    crop = Pyramid(image).crop(region, 64).astype(float)
    pixels = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), axis=-1)
    positions = region.to_image(64).points(pixels)
    expected = positions / [1600, 1200] * 255
    inside = ((positions > 5) & (positions < [1595, 1195])).all(-1)
    assert np.abs(crop[..., :2] - expected)[inside].max() < 2.5


def test_a_turned_region_shows_upright_what_leans() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    centre, head = np.array([200.0, 200.0]), np.array([260.0, 140.0])
    cv2.circle(image, (260, 140), 12, (255, 255, 255), -1)
    region = region_from_axis(centre, head)
    assert region.angle == pytest.approx(math.pi / 4)
    crop = Pyramid(image).crop(region, 100)
    y, x = np.nonzero(crop[..., 0] > 127)
    assert abs(x.mean() + 0.5 - 50) < 1.0
    assert abs(y.mean() + 0.5 - (50 - 100 / region.side * math.hypot(60, 60))) < 1.0


def test_mirroring_a_crop_is_reversing_its_columns() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    pyramid, region = Pyramid(image), Region(150, 90, 128, 0.3)
    plain, mirrored = pyramid.crop(region, 64), pyramid.crop(region, 64, mirror=True)
    assert np.abs(plain[:, ::-1].astype(int) - mirrored).max() <= 1


def test_shrinking_averages_instead_of_picking() -> None:
    checks = np.indices((1024, 1024)).sum(0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    crop = Pyramid(image).crop(Region(512, 512, 1024), 64)
    assert np.abs(crop.astype(int) - 127).max() <= 2


def test_a_huge_image_is_cut_in_its_pixels() -> None:
    image = np.zeros((200, 6000, 3), np.uint8)
    image[:, 4000:] = 200
    crop = Pyramid(image).crop(Region(4000, 100, 128), 128)
    assert crop[:, :60].max() < 20
    assert crop[:, 68:].min() > 180


def test_beyond_the_edge_lies_the_edge_or_black() -> None:
    image = np.full((100, 100, 3), 80, np.uint8)
    region = Region(0, 50, 60)
    assert Pyramid(image).crop(region, 30).min() == 80
    assert Pyramid(image).crop(region, 30, pad=cv2.BORDER_CONSTANT)[:, :14].max() == 0


def test_moving_happens_along_the_axes_of_the_region() -> None:
    region = Region(10, 20, 100, math.pi / 2)
    moved = region.moved(right=0.1, down=0.2, scale=2.0, turn=0.5)
    assert (moved.x, moved.y) == (pytest.approx(10 - 20), pytest.approx(20 + 10))
    assert (moved.side, moved.angle) == (200, pytest.approx(math.pi / 2 + 0.5))


def test_vectors_turn_with_the_region_and_keep_their_depth() -> None:
    up_in_crop = np.array([0.0, -1.0, 0.3])
    turned = Region(0, 0, 1, math.pi / 2).axes_to_image(up_in_crop)
    np.testing.assert_allclose(turned, [1.0, 0.0, 0.3], atol=1e-12)


def test_a_box_lies_within_its_region() -> None:
    region = region_around_box(np.array([10, 20, 30, 100]))
    assert (region.x, region.y, region.angle) == (20, 60, 0)
    assert region.side >= 80
