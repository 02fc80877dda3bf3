"""Hollows and folds of made-up surfaces."""

import numpy as np

from humanpose_cli.avatar.relief import fold_depths, fold_patterns, light_in_hollows


def plate(z: float, up: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of 2 cm squared, 1 mm apart."""
    x, y = np.meshgrid(np.arange(20) * 1e-3, np.arange(20) * 1e-3)
    points = np.stack((x.ravel(), y.ravel(), np.full(x.size, z)), 1)
    return points, np.tile((0.0, 0.0, up), (x.size, 1))


def test_surfaces_keep_light_from_each_other_where_they_face_and_are_near() -> None:
    def middle(gap: float, up: float) -> float:
        (a, m), (b, n) = plate(0.0, 1.0), plate(gap, up)
        light = light_in_hollows(np.concatenate((a, b)), np.concatenate((m, n)), np.full(800, 1e-6))
        return float(light[:400].reshape(20, 20)[10, 10])

    near, far, away, beyond = middle(0.015, -1.0), middle(0.03, -1.0), middle(0.004, 1.0), middle(0.05, -1.0)
    assert near < far - 0.1 < 1
    assert away == beyond == 1


def test_folds_are_the_same_at_the_same_points_and_even_over_many() -> None:
    points = np.random.default_rng(1).uniform(-1, 1, (20000, 3))
    folds = fold_patterns(points)
    np.testing.assert_allclose(folds.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(folds.std(0), 1, atol=1e-3)
    assert np.abs(np.corrcoef(folds.T) - np.eye(3)).max() < 0.1
    np.testing.assert_array_equal(fold_patterns(points), folds)


def test_folds_are_longer_than_wide() -> None:
    points = np.random.default_rng(1).uniform(-1, 1, (5000, 3))
    folds = fold_patterns(points)
    down, across = (np.abs(fold_patterns(points + step) - folds).mean() for step in ((0, 0.01, 0), (0.01, 0, 0)))
    assert down < 0.6 * across


def test_deep_folds_are_found_deep_and_little_tells_nothing() -> None:
    shown = np.zeros((128, 128), bool)
    shown[20:110, 20:110] = True
    noise = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    flat, shallow, deep = (
        fold_depths(np.repeat(0.5 * np.exp(d * noise)[..., None], 3, 2), shown, 250.0) for d in (0, 0.01, 0.02)
    )
    np.testing.assert_allclose(flat, 0, atol=1e-6)
    np.testing.assert_allclose(deep, 2 * shallow, rtol=0.05)
    assert shallow[0] > 0.002
    assert fold_depths(np.full((128, 128, 3), 0.5, np.float32), shown & (np.arange(128) < 21), 250.0) is None
