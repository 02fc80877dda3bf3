"""Whether confidences can be believed: calibration, and how well they separate right from wrong predictions.

`confidence` (N,) 0..1 is the predicted probability of being right, `right` (N,) bool what came true.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

BINS = 10


class Reliability(NamedTuple):
    """A reliability diagram of B bins of equal width: mean confidence, share that is right and number of each; NaN in
    empty bins.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    number: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance of the two, weighted by the bins' numbers (Guo et al. 2017, eq. 3);
        NaN without predictions.
        """
        if not self.number.sum():
            return float("nan")
        return float(np.nansum(self.number * np.abs(self.confidence - self.right)) / self.number.sum())


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> Reliability:
    """Draw the reliability diagram of predictions; a confidence of 1 is in the last bin."""
    values, true = _pair(confidence, right)
    member = np.minimum((values * bins).astype(np.int64), bins - 1)
    number = np.bincount(member, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(member, weights=each, minlength=bins) / number for each in (values, true.astype(float))]
    return Reliability(means[0], means[1], number)


def wrong_auc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Measure the area under the ROC curve of finding the wrong ones by low confidence: the probability that a wrong
    prediction has a lower confidence than a right one, ties half. NaN if all are right, or none.
    """
    values, true = _pair(confidence, right)
    wrong = int((~true).sum())
    if not 0 < wrong < len(true):
        return float("nan")
    ranks = rankdata(-values)
    return float((ranks[~true].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(true) - wrong)))


def false_alarms(confidence: ArrayLike, right: ArrayLike, recall: float = 0.9) -> tuple[float, float]:
    """Return (share, threshold): of the right ones, the share whose confidence is not above the lowest threshold that
    has at least `recall` of the wrong ones at or below it; NaN if all are right, or none.
    """
    values, true = _pair(confidence, right)
    if true.all() or not true.any():
        return float("nan"), float("nan")
    wrong = np.sort(values[~true])
    threshold = wrong[int(np.ceil(recall * len(wrong))) - 1]
    return float((values[true] <= threshold).mean()), float(threshold)


def _pair(confidence: ArrayLike, right: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.asarray(confidence, np.float64), np.asarray(right, bool)
