"""Calibration of confidences, and how well they separate wrong from right predictions.

`confidence` (N,), 0 to 1, is the predicted probability of being right, `right` (N,) bool the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

BINS = 10


class Reliability(NamedTuple):
    """A reliability diagram of B bins of equal width.

    Attributes:
        confidence: (B,) float64. Mean confidence of each bin, NaN if it is empty.
        right: (B,) float64. Share of right predictions, NaN if the bin is empty.
        number: (B,) int64. Number of predictions.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    number: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3); NaN without predictions.

        It is the mean distance of `confidence` and `right`, weighted by the number of predictions.
        """
        if not self.number.sum():
            return float("nan")
        return float(np.nansum(self.number * np.abs(self.confidence - self.right)) / self.number.sum())


def reliability(confidence: ArrayLike, right: ArrayLike) -> Reliability:
    """Compute the reliability diagram of predictions with `BINS` bins; a confidence of 1 is in the last bin.

    Args:
        confidence: (N,) float, 0 to 1. The confidences.
        right: (N,) bool. Whether the predictions are right.
    """
    values, true = _pair(confidence, right)
    member = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    number = np.bincount(member, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(member, weights=each, minlength=BINS) / number for each in (values, true.astype(float))]
    return Reliability(means[0], means[1], number)


def wrong_auc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Return the area under the ROC curve of detecting wrong predictions by low confidence.

    This is the probability that a wrong prediction has a lower confidence than a right one; ties count half.

    Args:
        confidence: (N,) float, 0 to 1. The confidences.
        right: (N,) bool. Whether the predictions are right.

    Returns:
        The area, NaN if all predictions are right, or none.
    """
    values, true = _pair(confidence, right)
    wrong = int((~true).sum())
    if not 0 < wrong < len(true):
        return float("nan")
    ranks = rankdata(-values)
    return float((ranks[~true].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(true) - wrong)))


def false_alarms(confidence: ArrayLike, right: ArrayLike, recall: float = 0.9) -> tuple[float, float]:
    """Return the share of right predictions that a threshold rejects, and the threshold.

    The threshold is the lowest confidence that at least `recall` of the wrong predictions do not exceed.

    Args:
        confidence: (N,) float, 0 to 1. The confidences.
        right: (N,) bool. Whether the predictions are right.
        recall: The share of wrong predictions to reject.

    Returns:
        The share and the threshold; NaN if all predictions are right, or none.
    """
    values, true = _pair(confidence, right)
    if true.all() or not true.any():
        return float("nan"), float("nan")
    wrong = np.sort(values[~true])
    threshold = wrong[int(np.ceil(recall * len(wrong))) - 1]
    return float((values[true] <= threshold).mean()), float(threshold)


def _pair(confidence: ArrayLike, right: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.asarray(confidence, np.float64), np.asarray(right, bool)
