"""How well label maps agree: IoU and F1 of each class, over a data set or for each picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.errors import UsageError

__all__ = ["class_f1", "class_iou", "confusion", "mean_of_seen"]

Floats = NDArray[np.float64]


def confusion(predicted: ArrayLike, true: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Pixels by true and predicted class: labels (..., H, W) twice, integers from 0 → (..., classes, classes).

    Matrices of several pictures add up to that of all. UsageError for labels outside the classes.
    """
    a, b = np.asarray(predicted), np.asarray(true)
    if a.shape != b.shape or a.ndim < 2 or a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        got = f"{a.shape} {a.dtype} and {b.shape} {b.dtype}"
        raise UsageError("label maps", "do not match", expected="two of integers and one shape", got=got)
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < classes):
        raise UsageError("label maps", "hold other classes", expected=f"0 to {classes - 1}")
    pictures = a.shape[:-2]
    flat = (b.astype(np.int64) * classes + a).reshape(-1, a.shape[-2] * a.shape[-1])
    counts = [np.bincount(row, minlength=classes**2) for row in flat]
    return np.asarray(counts, np.int64).reshape(*pictures, classes, classes)


def class_iou(matrix: ArrayLike) -> Floats:
    """Intersection over union of each class: confusion (..., C, C) → (..., C); NaN for a class in neither map."""
    hit, predicted, true = _sums(matrix)
    return _ratio(hit, predicted + true - hit)


def class_f1(matrix: ArrayLike) -> Floats:
    """Harmonic mean of precision and recall of each class (..., C); NaN for a class in neither map."""
    hit, predicted, true = _sums(matrix)
    return _ratio(2 * hit, predicted + true)


def mean_of_seen(values: ArrayLike, *, background: bool = False) -> Floats:
    """Mean over the classes (..., C) that are there → (...); without class 0 unless `background`; NaN if none is."""
    chosen = np.asarray(values, np.float64)[..., 0 if background else 1 :]
    seen = np.isfinite(chosen)
    return _ratio(np.where(seen, chosen, 0.0).sum(-1), seen.sum(-1).astype(np.float64))


def _sums(matrix: ArrayLike) -> tuple[Floats, Floats, Floats]:
    counts = np.asarray(matrix, np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise UsageError("confusion", "is not square", expected="(..., C, C)", got=str(counts.shape))
    return np.diagonal(counts, axis1=-2, axis2=-1).copy(), counts.sum(-2), counts.sum(-1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
