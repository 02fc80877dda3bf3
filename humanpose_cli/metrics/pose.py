"""Errors of 3-D and 2-D poses as the literature defines them. Inputs are arrays or tensors, results float64 numpy.

Positions are in metres and errors too (tables multiply by 1000); `joints` picks what is averaged, by row, so that
callers choose joints by name through a Skeleton. Per-sample results keep the batch: callers average, or take medians
and confidence intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.geometry.similarity import procrustes_align

__all__ = [
    "joint_errors",
    "mpjpe",
    "pa_joint_errors",
    "pa_mpjpe",
    "pck",
    "pckh",
    "pose_auc",
    "pve",
    "rotation_error",
]

Floats = NDArray[np.float64]


def _pair(predicted: ArrayLike, true: ArrayLike, width: int) -> tuple[Floats, Floats]:
    a, b = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or a.ndim != 3 or a.shape[-1] != width:
        raise UsageError("poses", "do not match", expected=f"(N, J, {width}) twice", got=f"{a.shape} and {b.shape}")
    return a, b


def _chosen(values: Floats, joints: Sequence[int] | None) -> Floats:
    return values if joints is None else values[:, list(joints)]


def joint_errors(predicted: ArrayLike, true: ArrayLike, root: Sequence[int] | int | None = 0) -> Floats:
    """Distance of every joint after the roots are put on each other: (N, J, 3) metres twice → (N, J) metres.

    root  row of the root joint; several rows: their mean (mid-hip); None compares absolute positions
    """
    a, b = _pair(predicted, true, 3)
    if root is not None:
        rows = [root] if isinstance(root, int) else list(root)
        a = a - a[:, rows].mean(1, keepdims=True)
        b = b - b[:, rows].mean(1, keepdims=True)
    return np.linalg.norm(a - b, axis=-1)


def mpjpe(
    predicted: ArrayLike,
    true: ArrayLike,
    joints: Sequence[int] | None = None,
    root: Sequence[int] | int | None = 0,
) -> Floats:
    """Mean per-joint position error per sample, (N, J, 3) metres twice → (N,) metres; see `joint_errors`."""
    return _chosen(joint_errors(predicted, true, root), joints).mean(1)


def pa_joint_errors(predicted: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None) -> Floats:
    """Distance of every joint after the best similarity transform: (N, J, 3) metres twice → (N, J or K) metres.

    joints  K rows that both the alignment and the result are restricted to
    """
    a, b = _pair(predicted, true, 3)
    a, b = _chosen(a, joints), _chosen(b, joints)
    aligned = procrustes_align(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())).numpy()
    return np.linalg.norm(aligned - b, axis=-1)


def pa_mpjpe(predicted: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None) -> Floats:
    """Procrustes-aligned mean per-joint position error per sample, → (N,) metres; see `pa_joint_errors`."""
    return pa_joint_errors(predicted, true, joints).mean(1)


def pve(
    predicted_vertices: ArrayLike, true_vertices: ArrayLike, predicted_root: ArrayLike, true_root: ArrayLike
) -> Floats:
    """Per-vertex error per sample after the root joints (N, 3) are put on each other: (N, V, 3) twice → (N,) metres."""
    a, b = _pair(predicted_vertices, true_vertices, 3)
    a = a - np.asarray(predicted_root, np.float64)[:, None]
    b = b - np.asarray(true_root, np.float64)[:, None]
    return np.linalg.norm(a - b, axis=-1).mean(1)


def pck(predicted: ArrayLike, true: ArrayLike, threshold: ArrayLike, visible: ArrayLike | None = None) -> Floats:
    """Share of correct keypoints per sample, of those visible: (N, J, 2) pixels twice → (N,) 0..1.

    threshold  pixels, one number or (N,); a keypoint at exactly the threshold is correct
    visible    (N, J) bool; a sample without a visible keypoint gives NaN
    """
    a, b = _pair(predicted, true, 2)
    limit = np.broadcast_to(np.asarray(threshold, np.float64), (len(a),))
    right = np.linalg.norm(a - b, axis=-1) <= limit[:, None]
    seen = np.ones(right.shape, bool) if visible is None else np.asarray(visible, bool)
    count = seen.sum(1)
    return np.where(count > 0, (right & seen).sum(1) / np.maximum(count, 1), np.nan)


def pckh(
    predicted: ArrayLike,
    true: ArrayLike,
    head_length: ArrayLike,
    visible: ArrayLike | None = None,
    share: float = 0.5,
) -> Floats:
    """PCKh: `pck` at a share of each sample's head length (N,) pixels (Andriluka et al. 2014: one half)."""
    return pck(predicted, true, share * np.asarray(head_length, np.float64), visible)


def pose_auc(
    predicted: ArrayLike,
    true: ArrayLike,
    highest_threshold: float,
    visible: ArrayLike | None = None,
    steps: int = 100,
) -> Floats:
    """Area under the curve of `pck` over thresholds from 0 to `highest_threshold` pixels, 0..1 → (N,).

    Trapezoids over `steps` equal intervals.
    """
    thresholds = np.linspace(0, highest_threshold, steps + 1)
    curve = np.stack([pck(predicted, true, t, visible) for t in thresholds], -1)
    return (curve[:, 1:] + curve[:, :-1]).sum(1) / (2 * steps)


def rotation_error(predicted: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None) -> Floats:
    """Mean geodesic angle between rotations per sample, (N, J, 3, 3) twice → (N,) radians in [0, π]."""
    a, b = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or a.ndim != 4 or a.shape[-2:] != (3, 3):
        raise UsageError("rotations", "do not match", expected="(N, J, 3, 3) twice", got=f"{a.shape} and {b.shape}")
    angles = geodesic_angle(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())).numpy()
    return _chosen(angles, joints).mean(1)
