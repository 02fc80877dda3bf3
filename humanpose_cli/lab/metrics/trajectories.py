"""Errors of people who move: accelerations, jitter, and paths in the world.

Joints are those of one person in consecutive frames, (T, J, 3) metres; the world's errors are of joints in world axes.
After the public evaluators of VIBE (accelerations) and of SLAHMR and WHAM (world), whose figures EMDB 2 is compared by.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.similarity import fit_similarity

Floats = NDArray[np.float64]
SEGMENT = 100
"""Frames that world-aligned errors align at a time."""


def _pair(predicted: ArrayLike, true: ArrayLike, width: int = 3) -> tuple[Floats, Floats]:
    a, b = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or a.ndim != width or a.shape[-1] != 3:
        expected = "(T, J, 3) twice" if width == 3 else "(T, 3) twice"
        raise UsageError("trajectories", "do not match", expected=expected, got=f"{a.shape} and {b.shape}")
    return a, b


def acceleration_error(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Mean difference of the joints' second differences, of each frame between two others: (T, J, 3) twice → (T − 2,).

    Metres a frame², as published figures have it (in millimetres, often labelled mm/s²).
    """
    a, b = _pair(predicted, true)
    return np.linalg.norm(np.diff(a - b, 2, axis=0), axis=-1).mean(-1)


def _aligned(predicted: Floats, true: Floats, first: int | None = None, *, scale: bool = True) -> Floats:
    """`predicted` moved onto `true` by the transform that fits the first frames best; None: all of them."""
    a, b = (torch.from_numpy(x[:first].reshape(-1, 3).copy()) for x in (predicted, true))
    transform = fit_similarity(a, b, with_scale=scale)
    moved = transform.apply(torch.from_numpy(predicted.reshape(-1, 3).copy()))
    return np.asarray(moved.numpy().reshape(predicted.shape))


def _segments(predicted: ArrayLike, true: ArrayLike, first: int | None) -> Floats:
    a, b = _pair(predicted, true)
    parts = [
        np.linalg.norm(_aligned(a[i : i + SEGMENT], b[i : i + SEGMENT], first) - b[i : i + SEGMENT], axis=-1)
        for i in range(0, len(a), SEGMENT)
    ]
    return np.concatenate(parts).mean(-1) if parts else np.zeros(0)


def wa_mpjpe(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """World-aligned joint error: segments of 100 frames, each aligned as a whole by a similarity, → (T,) metres."""
    return _segments(predicted, true, None)


def w_mpjpe(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """World joint error: segments of 100 frames, each aligned by a similarity of its first two, → (T,) metres."""
    return _segments(predicted, true, 2)


def root_translation_error(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Roots (T, 3) after the best rigid alignment of the whole path, as a share of the true path's length: (T,)."""
    a, b = _pair(predicted, true, 2)
    length = float(np.linalg.norm(np.diff(b, axis=0), axis=-1).sum())
    if not length > 0:
        raise UsageError("trajectories", "stand still", expected="a path of some length")
    return np.linalg.norm(_aligned(a, b, scale=False) - b, axis=-1) / length
