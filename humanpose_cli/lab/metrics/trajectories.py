"""Errors of people who move: accelerations, jitter, and paths in the world.

Joints are those of one person in consecutive frames, (T, J, 3) metres; the world's errors are of joints in world axes.
After the public evaluators of VIBE (accelerations), of SLAHMR and WHAM (world) and of TRAM (root velocity), whose
figures EMDB 2 is compared by, and of EMDB (its own jitter).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.similarity import fit_similarity

Floats = NDArray[np.float64]
SEGMENT = 100
"""Frames that world-aligned errors align at a time."""
Cut = Literal["short last", "joined last"]
"""What becomes of the frames behind the last full segment, see `segments`."""
STANDING = 0.01
"""Metres a frame below which a true foot stands (WHAM, GVHMR)."""
_EMDB_STILL = (0, 7, 8, 10, 11, 20, 21, 22, 23)


def _pair(predictions: ArrayLike, true: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(predictions, np.float64), np.asarray(true, np.float64)


def acceleration_error(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Average the difference of the joints' second differences, of each frame between two others: (T, J, 3) twice → (T
    − 2,).

    Metres a frame², as published figures have it (in millimetres, often labelled mm/s²).
    """
    a, b = _pair(predictions, true)
    return np.linalg.norm(np.diff(a - b, 2, axis=0), axis=-1).mean(-1)


def jitter(joints: ArrayLike, frame_rate: float) -> Floats:
    """Average the size of the joints' third derivative: (T, J, 3) metres, world axes → (T − 3,) m/s³.

    Published figures of WHAM and GVHMR have the unit 10 m/s³.
    """
    return np.linalg.norm(np.diff(np.asarray(joints, np.float64), 3, axis=0), axis=-1).mean(-1) * frame_rate**3


def jitter_emdb(joints: ArrayLike, frame_rate: float) -> Floats:
    """Measure the jitter (T − 3,) m/s³ of SMPL's joints (T, 24, 3) as EMDB's evaluator has it.

    Pelvis, ankles, feet, wrists and hands count as still: their zeros are in the mean over all 24.
    """
    moving = np.array(joints, np.float64)
    moving[:, _EMDB_STILL] = 0
    return jitter(moving, frame_rate)


def foot_sliding(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Measure how far predicted feet move from one frame to the next while the true ones stand: (C,) metres.

    Args:
        predictions, true: (T, F, 3) metres, world axes: points of the feet in one order. A true point stands where
            it moves less than `STANDING`; C counts points and pairs of frames.
    """
    a, b = _pair(predictions, true)
    steps, truly = (np.linalg.norm(np.diff(points, axis=0), axis=-1) for points in (a, b))
    return steps[truly < STANDING]


def root_velocity_error(
    predictions: ArrayLike, true: ArrayLike, predicted_rotation: ArrayLike, true_rotation: ArrayLike
) -> Floats:
    """Measure the egocentric root velocity error (TRAM): roots (T, 3) metres and root to world (T, 3, 3) → (T − 1,)
    metres a frame.

    Velocities are compared in the frame of each root, so that neither the start nor the heading of the path counts.
    """
    a, b = _pair(predictions, true)
    source, target = _pair(predicted_rotation, true_rotation)
    velocity = np.einsum("tij,tkj,tk->ti", target[:-1], source[:-1], np.diff(a, axis=0))
    return np.linalg.norm(velocity - np.diff(b, axis=0), axis=-1)


def _aligned(predictions: Floats, true: Floats, first: int | None = None, *, scale: bool = True) -> Floats:
    """Move `predictions` by the transform that fits them to `true` over the first frames; None: all of them."""
    a, b = (torch.from_numpy(x[:first].reshape(-1, 3).copy()) for x in (predictions, true))
    points = torch.from_numpy(predictions.reshape(-1, 3).copy())
    moved = fit_similarity(a, b, with_scale=scale).apply(points)
    return np.asarray(moved.numpy().reshape(predictions.shape))


def segments(frames: int, cut: Cut = "short last") -> list[slice]:
    """List segments of `SEGMENT` frames of a sequence.

    Args:
        cut: "short last": a shorter last segment counts (WHAM, GVHMR). "joined last": it is joined to the one
            before, the last frame is left out, and sequences of `SEGMENT` frames or fewer have no segment (TRAM).
    """
    starts = range(0, frames, SEGMENT)
    if cut == "short last":
        return [slice(start, min(start + SEGMENT, frames)) for start in starts]
    full = [start for start in starts if start < frames - SEGMENT]
    return [slice(start, start + SEGMENT if start + 2 * SEGMENT <= frames else frames - 1) for start in full]


def _of_segments(predictions: ArrayLike, true: ArrayLike, first: int | None, cut: Cut) -> Floats:
    a, b = _pair(predictions, true)
    parts = [np.linalg.norm(_aligned(a[s], b[s], first) - b[s], axis=-1) for s in segments(len(a), cut)]
    return np.concatenate(parts).mean(-1) if parts else np.zeros(0)


def wa_mpjpe(predictions: ArrayLike, true: ArrayLike, cut: Cut = "short last") -> Floats:
    """Measure the world-aligned joint error: each of `segments` is aligned as a whole by a similarity, (T, J, 3) twice
    → (≤ T,) metres.
    """
    return _of_segments(predictions, true, None, cut)


def w_mpjpe(predictions: ArrayLike, true: ArrayLike, cut: Cut = "short last") -> Floats:
    """Measure the world joint error: each of `segments` is aligned by a similarity of its first two frames, → (≤ T,)
    metres.
    """
    return _of_segments(predictions, true, 2, cut)


def root_translation_error(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Compare roots (T, 3) after the best rigid alignment of the whole path, as a share of the true path's length:
    (T,).
    """
    a, b = _pair(predictions, true)
    length = float(np.linalg.norm(np.diff(b, axis=0), axis=-1).sum())
    if not length > 0:
        raise UsageError("trajectories", "stand still", expected="a path of some length")
    return np.linalg.norm(_aligned(a, b, scale=False) - b, axis=-1) / length
