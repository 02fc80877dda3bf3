"""Hollows and strands of made-up surfaces."""

import numpy as np
import pytest

from humanpose_cli.avatar.relief import light_in_hollows, strand_depths, strand_patterns


def plate(z: float, up: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of 2 cm squared, 1 mm apart."""
    x, y = np.meshgrid(np.arange(20) * 1e-3, np.arange(20) * 1e-3)
    points = np.stack((x.ravel(), y.ravel(), np.full(x.size, z)), 1)
    return points, np.tile((0.0, 0.0, up), (x.size, 1))


@pytest.mark.slow
def test_surfaces_keep_light_from_each_other_where_they_face_and_are_near() -> None:
    def middle(gap: float, up: float) -> float:
        (a, m), (b, n) = plate(0.0, 1.0), plate(gap, up)
        light = light_in_hollows(np.concatenate((a, b)), np.concatenate((m, n)), np.full(800, 1e-6))
        return float(light[:400].reshape(20, 20)[10, 10])

    near, far, away, beyond = middle(0.015, -1.0), middle(0.03, -1.0), middle(0.004, 1.0), middle(0.05, -1.0)
    assert near < far - 0.1 < 1
    assert away == beyond == 1


def test_strands_are_the_same_at_the_same_points_and_even_over_many() -> None:
    points = np.random.default_rng(1).normal(0, 0.1, (20000, 3))
    strands = strand_patterns(points)
    np.testing.assert_allclose(strands.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(strands.std(0), 1, atol=1e-3)
    assert np.abs(np.corrcoef(strands.T) - np.eye(3)).max() < 0.1
    np.testing.assert_array_equal(strand_patterns(points), strands)


def test_strands_of_hair_fall_from_the_crown_without_a_seam() -> None:
    random = np.random.default_rng(1)
    away, longitude = np.arccos(random.uniform(-0.6, 0.6, 6000)), random.uniform(-np.pi, np.pi, 6000)
    longitude[:2000] = np.pi - 0.01  # the strands that a seam would cut
    pole, side = np.array((0, 0.84, -0.54)), np.array((1.0, 0, 0))
    pole /= np.linalg.norm(pole)

    def on_head(away: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        across = np.cos(longitude)[:, None] * side + np.sin(longitude)[:, None] * np.cross(pole, side)
        return 0.1 * (np.cos(away)[:, None] * pole + np.sin(away)[:, None] * across)

    step = 0.02  # radians, 2 mm
    here, down, round_ = on_head(away, longitude), on_head(away + step, longitude), on_head(away, longitude + step)
    values, lower, beside = np.split(strand_patterns(np.concatenate((here, down, round_))), 3)
    for part in (slice(0, 2000), slice(2000, None)):
        assert np.abs(lower - values)[part].mean() < 0.6 * np.abs(beside - values)[part].mean()
    jump = np.abs(beside - values).mean(1)
    assert jump[:2000].mean() < 1.3 * jump[2000:].mean()
    np.testing.assert_allclose(values.std(0), 1, atol=0.1)


def test_deep_strands_are_found_deep_and_few_texels_say_nothing() -> None:
    shown = np.zeros((128, 128), bool)
    shown[20:110, 20:110] = True
    noise = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)

    def depths(colours: np.ndarray, where: np.ndarray = shown) -> np.ndarray | None:
        return strand_depths(np.repeat(colours[..., None], 3, 2), where, 600.0)

    flat, shallow, deep = (depths(0.5 * np.exp(d * noise)) for d in (0, 0.01, 0.02))
    np.testing.assert_allclose(flat, 0, atol=1e-6)
    np.testing.assert_allclose(deep, 2 * shallow, rtol=0.05)
    assert shallow[0] > 0.002
    assert depths(np.full((128, 128), 0.5, np.float32), shown & (np.arange(128) < 21)) is None
    assert depths(np.exp(noise)).max() == np.float32(0.12)
