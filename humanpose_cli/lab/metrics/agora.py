"""AGORA's metrics: predicted people are matched with true ones in the image, and errors divided by the F1 of that.

After pixelite1201/agora_evaluation@8c9dece5: matching.py, compute_average_error.py and calculate_v2v_error.py
(Patel et al. 2021). A true person counts if 0 to 90 % of the body is hidden.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.errors import UsageError

MAX_OCCLUSION = 90.0
"""Percent of the body: people with a larger hidden part do not count."""
MIN_OVERLAP = 0.1
"""Of the boxes round the joints of a predicted and a true person, intersection over union."""
HIPS = (1, 2)
"""Rows of smpl24 whose middle is put on the truth's, which the evaluator calls pelvis."""
Floats = NDArray[np.float64]


def match_people(
    predictions: ArrayLike, true: ArrayLike, true_boxes: ArrayLike, valid_people: ArrayLike
) -> list[tuple[int, int]]:
    """Match people who are the same as pairs (predicted, true), each once.

    predictions (P, J, 2), true (T, J, 2)  joints in pixels; true_boxes (T, 4) x0 y0 x1 y1 round all joints that the
    data set has; valid_people (T,) whether a true person counts

    Greedily by the spectral norm of the joints' differences (J, 2). As the evaluator, which stops when the matched
    predictions and the pairs with too little overlap are as many as the predictions, also if these pairs are of other
    people; and if the nearest true person does not count, the prediction remains free and can become a false positive.
    """
    a, b, boxes = (np.asarray(values, np.float64) for values in (predictions, true, true_boxes))
    valid = np.asarray(valid_people, bool)
    if not len(a) or not len(b):
        return []
    if a.ndim != 3 or a.shape[1:] != b.shape[1:] or boxes.shape != (len(b), 4) or valid.shape != (len(b),):
        got = f"{a.shape}, {b.shape}, {boxes.shape} and {valid.shape}"
        raise UsageError("people", "do not match", expected="(P, J, 2), (T, J, 2), (T, 4) and (T,)", got=got)
    apart_by = a[:, None] - b  # (P, T, J, 2)
    finite = np.asarray(np.isfinite(apart_by).all((2, 3)))
    # numpy's norm of order 2 of a matrix, as the evaluator has it: the largest singular value.
    distances = np.where(finite, np.linalg.norm(np.where(finite[..., None, None], apart_by, 0), 2, (2, 3)), np.inf)
    overlaps = _overlaps(np.concatenate((a.min(1), a.max(1)), 1)[:, None], boxes)
    pairs: list[tuple[int, int]] = []
    of_predicted, of_true, apart = set[int](), set[int](), 0
    for flat in np.argsort(distances, axis=None, kind="stable").tolist():
        if len(of_true) == len(b) or len(of_predicted) + apart >= len(a):
            break
        i, j = divmod(flat, len(b))
        if not overlaps[i, j] >= MIN_OVERLAP:
            apart += 1
            if not valid[j]:
                of_true.add(j)
        elif i not in of_predicted and j not in of_true:
            of_true.add(j)
            if valid[j]:
                of_predicted.add(i)
                pairs.append((i, j))
    return pairs


def _overlaps(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union of boxes (..., 4), counted in whole pixels: sides are a pixel longer."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    intersection = np.clip(high - low + 1, 0, None).prod(-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(-1) for box in (a, b)]
    return np.asarray(intersection / (areas[0] + areas[1] - intersection))


class Detection(NamedTuple):
    """Shares 0…1, rounded to hundredths as the evaluator does, which divides errors by the rounded F1."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of_counts(cls, true: int, missed: int, false: int) -> Detection:
        """Count the true people who count, those of them who were missed, and predictions without a true person."""
        hits = true - missed
        if not hits:
            return cls(0.0, 0.0, 0.0)
        f1 = hits / (hits + 0.5 * (false + missed))
        return cls(round(hits / (hits + false), 2), round(hits / true, 2), round(f1, 2))

    def normalised(self, error: float) -> float:
        """Return NMVE of the MVE, or NMJE of the MPJPE, in millimetres: the error, in tenths, over F1; NaN if F1
        is 0.
        """
        return round(round(error, 1) / self.f1, 1) if self.f1 > 0 and math.isfinite(error) else math.nan
