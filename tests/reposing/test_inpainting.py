"""Backgrounds made up behind removed people."""

import numpy as np
import pytest

from humanpose_cli.avatar.inpainting import inpaint


def stripes(height: int = 120, width: int = 160) -> np.ndarray:
    """Vertical stripes with a period of 16 pixels over ground that darkens downwards."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    value = 128 + 60 * np.sin(2 * np.pi * x / 16)
    return np.stack((value, 0.5 * value + 60, 200 - y), 2).astype(np.uint8)


def disc(height: int, width: int, radius: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= radius**2


def test_pattern_continues_through_the_hole() -> None:
    truth = stripes()
    hole = disc(120, 160, 24)
    damaged = truth.copy()
    damaged[hole] = (255, 0, 255)
    filled = inpaint(damaged, hole)
    error = np.abs(filled.astype(int) - truth)[hole].mean()
    flat = np.abs(truth[~hole].mean(0) - truth[hole]).mean()
    assert error < 0.35 * flat


def test_horizon_stays_level() -> None:
    truth = np.zeros((160, 200, 3), np.uint8)
    truth[:80], truth[80:] = (120, 160, 220), (60, 140, 50)
    truth = np.clip(truth + np.random.default_rng(0).normal(0, 6, truth.shape), 0, 255).astype(np.uint8)
    hole = disc(160, 200, 45)
    filled = inpaint(truth, hole)
    assert np.abs(filled.astype(int) - truth)[hole].mean() < 15


def test_a_slanted_edge_goes_on_as_an_edge() -> None:
    """As of a door or a window, which no patch of the same height shows."""
    y, x = np.mgrid[:200, :240]
    post = np.abs(x - 120 + 0.5 * (y - 100)) < 14
    truth = np.where(post[..., None], np.uint8([70, 50, 40]), np.uint8([210, 205, 190]))
    hole = disc(200, 240, 45)
    filled = inpaint(truth, hole)
    wrong = np.abs(filled.astype(int) - truth).max(2)[hole] > 40
    assert wrong.mean() < 0.08


def test_grain_of_the_image_is_kept() -> None:
    noise = np.random.default_rng(1).normal(0, 8, (200, 200, 1))
    image = np.clip(120 + np.repeat(noise, 3, 2), 0, 255).astype(np.uint8)
    hole = disc(200, 200, 40)
    filled = inpaint(image, hole)
    assert 0.5 < filled[hole].std() / image[~hole].std() < 1.2


def test_everything_but_the_hole_stays_as_it_is() -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    hole = disc(90, 120, 20)
    before = image.copy()
    filled = inpaint(image, hole)
    np.testing.assert_array_equal(image, before)
    away = ~disc(90, 120, 24)
    np.testing.assert_array_equal(filled[away], image[away])
    np.testing.assert_array_equal(inpaint(image, np.zeros_like(hole)), image)


def test_other_people_are_neither_copied_nor_changed() -> None:
    image = np.full((120, 200, 3), 100, np.uint8)
    avoid = np.zeros((120, 200), bool)
    avoid[20:100, 120:150] = True
    image[avoid] = (250, 20, 20)
    hole = np.zeros((120, 200), bool)
    hole[20:100, 70:120] = True
    image[hole] = (0, 255, 0)
    filled = inpaint(image, hole, avoid)
    np.testing.assert_array_equal(filled[avoid], image[avoid])
    assert np.abs(filled[hole].astype(int) - 100).max() < 20


def test_same_seed_same_image() -> None:
    image, hole = stripes(), disc(120, 160, 30)
    np.testing.assert_array_equal(inpaint(image, hole), inpaint(image, hole))


@pytest.mark.parametrize("rows", [slice(0, 60), slice(0, 58), slice(2, 60), slice(30, 60)])
def test_images_with_hardly_any_background_are_filled_somehow(rows: slice) -> None:
    image = np.full((60, 40, 3), 90, np.uint8)
    hole = np.zeros((60, 40), bool)
    hole[rows] = True
    image[hole] = 255
    filled = inpaint(image, hole)
    assert filled.shape == image.shape
    expected = 128 if hole.all() else 90
    assert np.abs(filled[hole].astype(int) - expected).max() <= 2
