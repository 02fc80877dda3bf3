"""Numbers as a table wants them: means with intervals, medians, quartiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Summary", "paired_difference", "quartiles", "summarise"]

_RESAMPLES, _SEED, _TAIL = 2000, 0, 2.5  # percent on either side: an interval of 95 %


@dataclass(frozen=True)
class Summary:
    """A mean over n values with its 95 % interval (bootstrap, percentiles) and the median; NaN where n is 0."""

    value: float
    n: int
    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Summary:
        """In another unit."""
        return Summary(self.value * factor, self.n, self.median * factor, self.low * factor, self.high * factor)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"value": self.value, "n": self.n, "median": self.median, "ci95": [self.low, self.high]}


def summarise(values: ArrayLike) -> Summary:
    """Of the finite ones among the values."""
    known = np.asarray(values, np.float64).ravel()
    known = known[np.isfinite(known)]
    if not len(known):
        return Summary(np.nan, 0, np.nan, np.nan, np.nan)
    low, high = np.percentile(_means(known), (_TAIL, 100 - _TAIL))
    return Summary(float(known.mean()), len(known), float(np.median(known)), float(low), float(high))


def paired_difference(values: ArrayLike, others: ArrayLike) -> Summary:
    """Of `values` − `others`, people by people: an interval without zero says that they differ."""
    return summarise(np.asarray(values, np.float64) - np.asarray(others, np.float64))


def quartiles(errors: ArrayLike) -> list[NDArray[np.int64]]:
    """Numbers of the finite errors in four groups, the smallest errors first, each in ascending order."""
    values = np.asarray(errors, np.float64)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    return [np.asarray(part, np.int64) for part in np.array_split(order, 4)]


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of samples drawn with replacement, always the same ones for the same number of values."""
    random = np.random.default_rng((_SEED, len(values)))
    return np.concatenate(
        [values[random.integers(len(values), size=(100, len(values)))].mean(1) for _ in range(_RESAMPLES // 100)]
    )
