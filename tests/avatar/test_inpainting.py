"""Backgrounds made up behind removed people."""

import numpy as np
import pytest

from humanpose_cli.avatar.inpainting import _Copies, inpaint


def stripes(height: int = 120, width: int = 160) -> np.ndarray:
    """Vertical stripes with a period of 16 pixels over ground that darkens downwards."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    value = 128 + 60 * np.sin(2 * np.pi * x / 16)
    return np.stack((value, 0.5 * value + 60, 200 - y), 2).astype(np.uint8)


def disc(height: int, width: int, radius: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= radius**2


@pytest.mark.slow
def test_pattern_continues_through_the_hole() -> None:
    truth = stripes()
    hole = disc(120, 160, 24)
    damaged = truth.copy()
    damaged[hole] = (255, 0, 255)
    filled = inpaint(damaged, hole)
    error = np.abs(filled.astype(int) - truth)[hole].mean()
    flat = np.abs(truth[~hole].mean(0) - truth[hole]).mean()
    assert error < 0.35 * flat


@pytest.mark.extensive
def test_a_slanted_edge_goes_on_as_an_edge() -> None:
    """As of a door or a window, which no patch of the same height shows."""
    y, x = np.mgrid[:200, :240]
    post = np.abs(x - 120 + 0.5 * (y - 100)) < 14
    truth = np.where(post[..., None], np.uint8([70, 50, 40]), np.uint8([210, 205, 190]))
    hole = disc(200, 240, 45)
    filled = inpaint(truth, hole)
    wrong = np.abs(filled.astype(int) - truth).max(2)[hole] > 40
    assert wrong.mean() < 0.08


@pytest.mark.extensive
def test_grain_of_the_image_is_kept() -> None:
    noise = np.random.default_rng(1).normal(0, 8, (200, 200, 1))
    image = np.clip(120 + np.repeat(noise, 3, 2), 0, 255).astype(np.uint8)
    hole = disc(200, 200, 40)
    filled = inpaint(image, hole)
    assert 0.5 < filled[hole].std() / image[~hole].std() < 1.2


@pytest.mark.extensive
@pytest.mark.parametrize("scale", [1, 4])
def test_what_is_filled_is_as_sharp_as_the_image(scale: int) -> None:
    """Edges of a brick wall: their gradients are no weaker inside the hole than outside, at any size."""
    y, x = np.mgrid[: 150 * scale, : 200 * scale] // scale
    mortar = (y % 12 < 2) | ((x + 12 * (y // 12 % 2)) % 24 < 2)
    image = np.where(mortar[..., None], np.uint8([190, 185, 180]), np.uint8([140, 70, 50]))
    hole = disc(150 * scale, 200 * scale, 35 * scale)
    filled = inpaint(np.where(hole[..., None], np.uint8(0), image), hole).astype(int)
    steps = np.abs(np.diff(filled[..., 0], axis=1)) > 30
    within, outside = (
        disc(150 * scale, 200 * scale, 32 * scale)[:, 1:],
        ~disc(150 * scale, 200 * scale, 38 * scale)[:, 1:],
    )
    assert steps[within].mean() == pytest.approx(steps[outside].mean(), rel=0.35)


@pytest.mark.slow
def test_everything_but_the_hole_stays_as_it_is() -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    hole = disc(90, 120, 20)
    before = image.copy()
    filled = inpaint(image, hole)
    np.testing.assert_array_equal(image, before)
    away = ~disc(90, 120, 24)
    np.testing.assert_array_equal(filled[away], image[away])
    np.testing.assert_array_equal(inpaint(image, np.zeros_like(hole)), image)


@pytest.mark.slow
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


def repeated_noise(brighter: float = 0) -> _Copies:
    """Noise that repeats itself every 20 columns, its right half brighter, with a hole in that half."""
    tile = np.random.default_rng(3).uniform(60, 180, (40, 20, 3)).astype(np.float32)
    image = np.tile(tile, (1, 4, 1))
    image[:, 40:] += brighter
    hole = np.zeros((40, 80), bool)
    hole[12:26, 48:62] = True
    image[hole] = 0
    return _Copies(image, hole, ~hole, ~hole)


def test_an_offset_that_is_off_by_pixels_is_put_right() -> None:
    copies = repeated_noise()
    aligned = copies.align(np.where(copies.hole, 0, -1), np.array([[2, -38]]), 2)
    np.testing.assert_array_equal(aligned, [[0, -40]])


def test_a_seam_moves_to_where_it_is_not_visible() -> None:
    """A spur of wrong copies amid right ones goes over to them, and nothing else does."""
    copies = repeated_noise()
    regions = np.where(copies.hole, 0, -1)
    expected = regions.copy()
    regions[18, 53:57] = 1
    np.testing.assert_array_equal(copies.mend_seams(regions, np.array([[0, -40], [-7, -33]])), expected)


def test_a_copy_from_a_darker_part_is_brightened() -> None:
    copies = repeated_noise(brighter=25)
    change = copies.blend(np.where(copies.hole, 0, -1), np.array([[0, -40]]))
    np.testing.assert_allclose(change[copies.hole], 25, atol=5)  # the pull towards its own colours takes the rest
    np.testing.assert_array_equal(change[~copies.hole], 0)


def test_a_seam_between_different_things_does_not_glow() -> None:
    """Copies that do not fit keep their own colours: no light spreads from where they end."""
    copies = repeated_noise(brighter=160)
    change = copies.blend(np.where(copies.hole, 0, -1), np.array([[0, -40]]))
    assert np.abs(change).max() < 1


@pytest.mark.slow
def test_a_shaded_wall_goes_on_without_steps() -> None:
    """Also where copies end amid the hole, and below what is not copied."""
    y, x = np.mgrid[:180, :120]
    shade = y / np.float32(110) / (1 + np.exp((x - 48) / np.float32(5)))
    image = np.repeat((235 - 25 * shade)[..., None], 3, 2).astype(np.uint8)
    hole = y >= 110
    avoid = (abs(x - 60) < 30) & (y > 30) & ~hole
    filled = inpaint(np.where(hole[..., None], np.uint8(0), image), hole, avoid, continue_avoided=True)
    assert max(np.abs(np.diff(filled[108:, :, 0].astype(int), axis=axis)).max() for axis in (0, 1)) < 4


def test_what_is_not_copied_does_not_tint_the_hole() -> None:
    image = np.full((60, 80, 3), 180, np.uint8)
    hole = np.zeros((60, 80), bool)
    hole[15:50, 25:45] = True
    avoid = np.zeros_like(hole)
    avoid[15:55, 45:60] = True
    image[avoid] = 150
    filled = inpaint(np.where(hole[..., None], np.uint8(0), image), hole, avoid)
    assert np.abs(filled[hole].astype(int) - 180).max() <= 3
