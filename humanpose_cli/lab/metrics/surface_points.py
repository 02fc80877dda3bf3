"""Points of the surface: DensePose's geodesic point similarity, and average precision by it.

After DensePose's evaluator (Güler et al. 2018; facebookresearch/DensePose at 51fb9f1, densepose_cocoeval.py). The
similarity of a prediction to a person with M annotated points is

    GPS = mean over the points of exp(−g² / (2 κ²))

with the geodesic distance g on the surface between the predicted and the annotated point, and κ of the body part that
is annotated: the mean distance of annotators there. Its average precision is COCO's (`keypoints.average_precision`),
of the matches that `matched_surfaces` makes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.keypoints import MAX_PREDICTIONS, THRESHOLDS, ImageMatches

Floats = NDArray[np.float64]
_MEAN_DISTANCES = np.array((0.351, 0.107, 0.126, 0.237, 0.173, 0.142, 0.128, 0.150))  # metres, of eight coarse parts
_COARSE = np.array((0, 0, 1, 1, 2, 2, *[3] * 4, *[4] * 4, *[5] * 4, *[6] * 4, 7, 7))  # of DensePose's 24 charts
_MIN_OVERLAP = 0.8  # of boxes, from which on a prediction without a match is taken for a person's without points


def point_similarity(distances: ArrayLike, charts: ArrayLike) -> float:
    """Return the GPS of one prediction to one person's points, 0 without any.

    distances  (M,) metres on the surface, inf where no surface is predicted at the point
    charts     (M,) of the annotated points, 1 to 24

    Raises UsageError for other charts or another number of them.
    """
    apart, of = np.asarray(distances, np.float64), np.asarray(charts)
    if apart.shape != of.shape or apart.ndim != 1 or not np.isin(of, np.arange(1, len(_COARSE) + 1)).all():
        raise UsageError("charts", "do not match the distances", expected="(M,) twice, charts 1 to 24")
    if not len(apart):
        return 0.0
    kappa = _MEAN_DISTANCES[_COARSE[of.astype(np.int64) - 1]]
    return float(np.exp(-np.square(apart) / (2 * np.square(kappa))).mean())


def matched_surfaces(
    similarity: ArrayLike,
    overlaps: ArrayLike,
    scores: ArrayLike,
    annotations: ArrayLike,
    crowds: ArrayLike | None = None,
    in_range: tuple[ArrayLike, ArrayLike] | None = None,
) -> ImageMatches:
    """Match one image's predictions (P,) with its people (T,).

    similarity (P, T) GPS; overlaps (P, T) of the boxes, intersection over union; scores (P,)
    annotations  (T,) who has points; crowds (T,) regions of several people, None: none is
    in_range   whose area is in the range that counts, of the predictions (P,) and of the people (T,); None: all

    People out of range do not count, like those without points. Predictions without a match do not count where their
    box is that of a person who does not count or their area is out of range, and none does in an image where no person
    counts. As the evaluator does, whose box a prediction without a match has is decided at the highest threshold
    and holds at all of them.
    """
    confidence = np.asarray(scores, np.float64)
    order = np.argsort(-confidence, kind="stable")[:MAX_PREDICTIONS]
    points = np.asarray(annotations, bool)
    in_size, inside = (
        (np.ones(len(x), bool) for x in (confidence, points)) if in_range is None else map(_bools, in_range)
    )
    rows = np.argsort(~(points & inside), kind="stable")  # those who count come first
    counts, crowd = (points & inside)[rows], np.zeros(len(rows), bool) if crowds is None else _bools(crowds)[rows]
    shape = len(confidence), len(points)
    close, boxes = (np.asarray(x, np.float64).reshape(shape)[order][:, rows] for x in (similarity, overlaps))
    close = np.where(points[rows], close, 0.0)
    matches = np.full((len(THRESHOLDS), len(order)), -1)
    free = np.ones((len(THRESHOLDS), len(rows)), bool)
    for level, threshold in enumerate(THRESHOLDS):
        for prediction in range(len(order)):
            candidates = free[level] & (close[prediction] >= threshold)
            if candidates.any():
                if (candidates & counts).any():
                    candidates &= counts
                # Of equal ones the last, as the evaluator.
                best = len(rows) - 1 - int(np.where(candidates, close[prediction], -1.0)[::-1].argmax())
                matches[level, prediction], free[level, best] = best, False
    neutral = np.where(matches >= 0, ~counts[matches], False) if counts.any() else np.ones(matches.shape, bool)
    for prediction in np.flatnonzero(matches[-1] < 0).tolist():
        candidates = (free[-1] | crowd) & (boxes[prediction] >= _MIN_OVERLAP)
        if candidates.any():
            nearest = len(rows) - 1 - int(np.where(candidates, boxes[prediction], -1.0)[::-1].argmax())
            neutral[:, prediction] = not counts[nearest]
            free[-1, nearest] &= counts[nearest]
    neutral |= (matches < 0) & ~in_size[order]
    return ImageMatches(confidence[order], (matches >= 0) & ~neutral, neutral, int(counts.sum()))


def _bools(values: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(values, bool)
