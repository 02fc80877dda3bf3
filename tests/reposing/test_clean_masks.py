"""The guided filter against its definition, and against what it is for."""

import numpy as np

from humanpose_cli.reposing.clean_masks import guided_filter


def test_the_guided_filter_is_the_mean_of_ridge_regressions():
    """In each window, values are fitted by the colours; a pixel takes the mean of its windows' predictions."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (9, 11, 3), np.uint8)
    values = random.random((9, 11), np.float32)
    radius, epsilon = 1, 1e-3
    padded = np.pad(image / 255.0, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    wanted = np.pad(values, radius, mode="reflect").astype(float)
    slopes, offsets = np.empty((9, 11, 3)), np.empty((9, 11))
    for y in range(9):
        for x in range(11):
            part = slice(y, y + 3), slice(x, x + 3)
            colours, targets = padded[part].reshape(-1, 3), wanted[part].ravel()
            covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
            slopes[y, x] = np.linalg.solve(covariance, ((colours - colours.mean(0)) * targets[:, None]).mean(0))
            offsets[y, x] = targets.mean() - slopes[y, x] @ colours.mean(0)
    inner = slice(1, -1), slice(1, -1)
    expected = np.empty((9, 11))
    for y in range(1, 8):
        for x in range(1, 10):
            part = slice(y - 1, y + 2), slice(x - 1, x + 2)
            expected[y, x] = slopes[part].mean((0, 1)) @ (image[y, x] / 255.0) + offsets[part].mean()
    result = guided_filter(image, radius, epsilon)(values)
    np.testing.assert_allclose(result[inner], expected[inner], atol=1e-4)
