"""Images of coloured blocks, by which shots of a video differ."""

from __future__ import annotations

import numpy as np


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """(120, 160, 3) uint8: the blocks of a seed, moved to the right by so many pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = np.kron(blocks, np.ones((20, 20, 1), np.uint8))
    return np.roll(image, shift, axis=1)
