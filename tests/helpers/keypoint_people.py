"""Keypoints of people, and such as are off by a known similarity."""

from __future__ import annotations

import numpy as np

from humanpose_cli.lab.metrics.keypoints import SIGMAS

AREA = 6400.0


def people(count: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (T, 17, 3) of people 400 pixels apart, areas and boxes."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, 100, (count, 17, 2)) + 400 * np.arange(count)[:, None, None]
    boxes = np.concatenate((points.min(1), points.max(1)), 1)
    return np.concatenate((points, np.ones((count, 17, 1))), -1), np.full(count, AREA), boxes


def shifted(true: np.ndarray, similarity: float) -> np.ndarray:
    """Joints to the right of the true ones, each by as much as makes its similarity that."""
    distance = np.sqrt(-np.log(similarity) * 2 * AREA) * 2 * SIGMAS
    return true[..., :2] + np.stack((distance, np.zeros(17)), -1)
