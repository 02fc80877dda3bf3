"""Errors of people who move: accelerations, jitter, and paths in the world.

Joints are those of one person in consecutive frames, (T, J, 3) metres; world errors need joints in world axes.
After the public evaluators of VIBE (accelerations), SLAHMR and WHAM (world), TRAM (root velocity), and EMDB (its
jitter).
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
"""The treatment of frames after the last full segment, see `segments`."""
STANDING = 0.01
"""Metres per frame. A true foot that moves less stands (WHAM, GVHMR)."""
_EMDB_STILL = (0, 7, 8, 10, 11, 20, 21, 22, 23)


def _pair(predictions: ArrayLike, true: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(predictions, np.float64), np.asarray(true, np.float64)


def acceleration_error(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Return the mean difference of the joints' accelerations, for each frame between two others.

    Metres per frame², as in published figures (in millimetres, often labelled mm/s²).

    Args:
        predictions: (T, J, 3) float, metres. The predicted joints.
        true: (T, J, 3) float, metres. The true joints.

    Returns:
        (T − 2,) float64, metres per frame².
    """
    a, b = _pair(predictions, true)
    return np.linalg.norm(np.diff(a - b, 2, axis=0), axis=-1).mean(-1)


def jitter(joints: ArrayLike, frame_rate: float) -> Floats:
    """Return the mean size of the joints' third derivative.

    Published figures of WHAM and GVHMR have the unit 10 m/s³.

    Args:
        joints: (T, J, 3) float, metres in world axes. The joints.
        frame_rate: Frames per second.

    Returns:
        (T − 3,) float64, m/s³.
    """
    return np.linalg.norm(np.diff(np.asarray(joints, np.float64), 3, axis=0), axis=-1).mean(-1) * frame_rate**3


def jitter_emdb(joints: ArrayLike, frame_rate: float) -> Floats:
    """Return the jitter of SMPL's joints as EMDB's evaluator computes it.

    Pelvis, ankles, feet, wrists and hands count as still; their zeros are included in the mean over all 24.

    Args:
        joints: (T, 24, 3) float, metres in world axes. The joints.
        frame_rate: Frames per second.

    Returns:
        (T − 3,) float64, m/s³.
    """
    moving = np.array(joints, np.float64)
    moving[:, _EMDB_STILL] = 0
    return jitter(moving, frame_rate)


def foot_sliding(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Return how far predicted feet move between frames while the true feet stand.

    A true point stands if it moves less than `STANDING`.

    Args:
        predictions: (T, F, 3) float, metres in world axes. Predicted points of the feet.
        true: (T, F, 3) float, metres in world axes. The true points.

    Returns:
        (C,) float64, metres. One number for each standing point and pair of frames.
    """
    a, b = _pair(predictions, true)
    steps, true_steps = (np.linalg.norm(np.diff(points, axis=0), axis=-1) for points in (a, b))
    return steps[true_steps < STANDING]


def root_velocity_error(
    predictions: ArrayLike, true: ArrayLike, predicted_rotation: ArrayLike, true_rotation: ArrayLike
) -> Floats:
    """Return the egocentric root velocity error (TRAM).

    Velocities are compared in the frame of each root, so that start and heading of the path do not matter.

    Args:
        predictions: (T, 3) float, metres in world axes. The predicted roots.
        true: (T, 3) float, metres in world axes. The true roots.
        predicted_rotation: (T, 3, 3) float. The predicted rotations from root to world axes.
        true_rotation: (T, 3, 3) float. The true rotations.

    Returns:
        (T − 1,) float64, metres per frame.
    """
    a, b = _pair(predictions, true)
    source, target = _pair(predicted_rotation, true_rotation)
    velocity = np.einsum("tij,tkj,tk->ti", target[:-1], source[:-1], np.diff(a, axis=0))
    return np.linalg.norm(velocity - np.diff(b, axis=0), axis=-1)


def _aligned(predictions: Floats, true: Floats, first: int | None = None, *, scale: bool = True) -> Floats:
    """Apply the transform that fits predictions to the truth over the first frames; None means all frames."""
    a, b = (torch.from_numpy(x[:first].reshape(-1, 3).copy()) for x in (predictions, true))
    points = torch.from_numpy(predictions.reshape(-1, 3).copy())
    aligned = fit_similarity(a, b, with_scale=scale).apply(points)
    return np.asarray(aligned.numpy().reshape(predictions.shape))


def segments(frames: int, cut: Cut = "short last") -> list[slice]:
    """Return segments of `SEGMENT` frames of a sequence.

    Args:
        frames: The number of frames.
        cut: "short last" includes a shorter last segment (WHAM, GVHMR). "joined last" joins it to the previous
            one, leaves out the last frame, and gives no segment for sequences of `SEGMENT` frames or fewer (TRAM).
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
    """Return the world-aligned joint error: each segment is aligned by a similarity.

    Args:
        predictions: (T, J, 3) float, metres in world axes. The predicted joints.
        true: (T, J, 3) float, metres in world axes. The true joints.
        cut: See `segments`.

    Returns:
        (≤ T,) float64, metres.
    """
    return _of_segments(predictions, true, None, cut)


def w_mpjpe(predictions: ArrayLike, true: ArrayLike, cut: Cut = "short last") -> Floats:
    """Return the world joint error: each segment is aligned by a similarity of its first two frames.

    Args:
        predictions: (T, J, 3) float, metres in world axes. The predicted joints.
        true: (T, J, 3) float, metres in world axes. The true joints.
        cut: See `segments`.

    Returns:
        (≤ T,) float64, metres.
    """
    return _of_segments(predictions, true, 2, cut)


def root_translation_error(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Return the error of roots after the best rigid alignment of the complete path, relative to its length.

    Args:
        predictions: (T, 3) float, metres in world axes. The predicted roots.
        true: (T, 3) float, metres in world axes. The true roots.

    Returns:
        (T,) float64. The error as a share of the true path's length.

    Raises:
        UsageError: If the true path has no length.
    """
    a, b = _pair(predictions, true)
    length = float(np.linalg.norm(np.diff(b, axis=0), axis=-1).sum())
    if not length > 0:
        raise UsageError("trajectories", "stand still", expected="a path of some length")
    return np.linalg.norm(_aligned(a, b, scale=False) - b, axis=-1) / length
