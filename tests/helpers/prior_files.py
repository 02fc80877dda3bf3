"""Small files in the layout of SMPLify's mixture."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

ANGLES = 69


def mixture(components: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights, means and covariances, as in `gmm_08.pkl`."""
    random = np.random.default_rng(seed)
    roots = random.normal(size=(components, ANGLES, ANGLES)) / ANGLES**0.5
    weights = random.uniform(0.5, 1.5, components)
    return {
        "weights": weights / weights.sum(),
        "means": random.normal(size=(components, ANGLES)) * 0.3,
        "covars": roots @ roots.swapaxes(1, 2) + 0.05 * np.eye(ANGLES),
    }


def write_mixture(path: Path, values: dict[str, np.ndarray] | None = None) -> Path:
    """A `.pkl` of Python 2's kind, or an `.npz`."""
    values = mixture() if values is None else values
    if path.suffix == ".npz":
        np.savez(path, **values)
    else:
        path.write_bytes(pickle.dumps(values, protocol=2))
    return path
