"""The light of a photograph, recovered from surfaces of known colour and light."""

import numpy as np
import pytest
import torch

from humanpose_cli.avatar.light import PhotoLight, light_of, limb_light
from humanpose_cli.core.conventions import SMPL24

LIGHT = np.array([0.3, -0.2, -0.25])


def lit_points(count: int, seed: int = 0, light: np.ndarray = LIGHT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, normals towards the camera and parts of points under a light that is linear in the normal."""
    random = np.random.default_rng(seed)
    normals = random.normal(size=(count, 3))
    normals[:, 2] = -np.abs(normals[:, 2]) - 0.3
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    paints = np.array([(0.6, 0.2, 0.2), (0.25, 0.3, 0.7), (0.5, 0.5, 0.5)])
    parts = random.integers(0, 3, count)  # pelvis, left and right hip
    colours = paints[parts] * np.exp(normals @ light)[:, None]
    return colours, normals, parts


def test_light_is_recovered_up_to_its_mean() -> None:
    colours, normals, parts = lit_points(3000)
    found = light_of(colours, normals, parts, np.ones(len(colours)))
    _, fresh, _ = lit_points(500, seed=1)
    apart = np.log(found.brightness(fresh)) - fresh @ LIGHT
    assert apart.std() < 0.03
    assert (fresh @ LIGHT).std() > 0.15


def test_a_pattern_is_no_light() -> None:
    colours, normals, parts = lit_points(3000, light=np.zeros(3))
    colours = colours * np.random.default_rng(2).choice([0.5, 1.0], (len(colours), 1), p=[0.3, 0.7])
    found = light_of(colours, normals, parts, np.ones(len(colours)))
    np.testing.assert_allclose(found.brightness(normals) / found.brightness(normals).mean(), 1, atol=0.04)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_too_few_points_give_no_light(weight: float) -> None:
    count = 3000 if weight == 0 else 50
    colours, normals, parts = lit_points(count)
    found = light_of(colours, normals, parts, np.full(count, weight))
    np.testing.assert_array_equal(found.brightness(normals), 1)


def test_a_limb_of_one_point_gives_no_light() -> None:
    colours, normals, parts = lit_points(3000)
    alone = np.append(parts[:-1], SMPL24.index("left_shoulder"))
    bright, without = (
        light_of(colours[rows], normals[rows], alone[rows], np.ones(3000)[rows]).brightness(normals)
        for rows in (slice(None), slice(-1))
    )
    np.testing.assert_allclose(bright, without, atol=0.002)


def test_dark_hair_and_a_shirt_of_a_grey_photograph_are_no_light() -> None:
    _, normals, _ = lit_points(4000)
    random = np.random.default_rng(3)
    head = random.random(4000) < 0.5
    normals[head, 0] = np.abs(normals[head, 0])  # turned aside
    hair = random.random(4000) < 0.5 - 0.45 * np.sign(normals[:, 1])
    paint = np.where(head, np.where(hair, 0.15, 0.5), 0.25)
    colours = np.repeat((paint * np.exp(normals @ LIGHT))[:, None], 3, 1)
    parts = np.where(head, SMPL24.index("head"), SMPL24.index("spine3"))
    found = np.log(light_of(colours, normals, parts, np.ones(4000)).brightness(normals))
    assert (found - normals @ LIGHT).std() < 0.03


def test_brightness_is_bounded_and_the_same_on_tensors() -> None:
    light = PhotoLight(np.full(8, 9.0))
    normals = lit_points(200)[1]
    bright = light.brightness(normals)
    assert bright.min() > 0.44
    assert bright.max() < 2.3
    np.testing.assert_allclose(light.brightness_of(torch.from_numpy(normals).float()).numpy(), bright, rtol=1e-5)


def test_a_leg_in_shadow_has_the_other_ones_colour_and_socks_keep_theirs() -> None:
    alike = np.where(np.arange(800)[:, None] // 100 == 3, 0.9, (0.8, 0.6, 0.5))
    photo = alike * np.where(np.arange(800)[:, None] < 150, (0.5, 0.45, 0.4), 1)
    light = limb_light(photo, np.repeat(SMPL24.indices(("left_knee", "right_knee")), 400), np.ones(800))
    np.testing.assert_allclose(photo / light, alike)
