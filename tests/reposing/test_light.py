"""The light of a photograph, recovered from surfaces of known colour and light."""

import numpy as np
import pytest
import torch

from humanpose_cli.avatar.light import PhotoLight, light_of

LIGHT = np.array([0.3, -0.2, -0.25])


def lit_points(count: int, seed: int = 0, light: np.ndarray = LIGHT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, normals towards the camera and regions of points under a light that is linear in the normal."""
    random = np.random.default_rng(seed)
    normals = random.normal(size=(count, 3))
    normals[:, 2] = -np.abs(normals[:, 2]) - 0.3
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    paints = np.array([(0.6, 0.2, 0.2), (0.25, 0.3, 0.7), (0.5, 0.5, 0.5)])
    regions = random.integers(0, 3, count)
    colours = paints[regions] * np.exp(normals @ light)[:, None]
    return colours, normals, regions


def test_light_is_recovered_up_to_its_mean() -> None:
    colours, normals, regions = lit_points(3000)
    found = light_of(colours, normals, regions, np.ones(len(colours)))
    _, fresh, _ = lit_points(500, seed=1)
    apart = np.log(found.brightness(fresh)) - fresh @ LIGHT
    assert apart.std() < 0.03
    assert (fresh @ LIGHT).std() > 0.15


def test_a_pattern_is_no_light() -> None:
    colours, normals, regions = lit_points(3000, light=np.zeros(3))
    colours = colours * np.random.default_rng(2).choice([0.5, 1.0], (len(colours), 1), p=[0.3, 0.7])
    found = light_of(colours, normals, regions, np.ones(len(colours)))
    np.testing.assert_allclose(found.brightness(normals) / found.brightness(normals).mean(), 1, atol=0.04)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_too_few_points_tell_no_light(weight: float) -> None:
    count = 3000 if weight == 0 else 50
    colours, normals, regions = lit_points(count)
    found = light_of(colours, normals, regions, np.full(count, weight))
    np.testing.assert_array_equal(found.brightness(normals), 1)


def test_a_region_of_one_point_tells_no_light() -> None:
    colours, normals, regions = lit_points(3000)
    alone = np.append(regions[:-1], 9)
    bright, without = (
        light_of(colours[rows], normals[rows], alone[rows], np.ones(3000)[rows]).brightness(normals)
        for rows in (slice(None), slice(-1))
    )
    np.testing.assert_allclose(bright, without, atol=0.002)


def test_brightness_is_bounded_and_the_same_on_tensors() -> None:
    light = PhotoLight(np.full(8, 9.0))
    normals = lit_points(200)[1]
    bright = light.brightness(normals)
    assert bright.min() > 0.44
    assert bright.max() < 2.3
    np.testing.assert_allclose(light.on(torch.from_numpy(normals).float()).numpy(), bright, rtol=1e-5)
