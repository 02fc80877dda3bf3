"""Keypoints of people in images: COCO's object keypoint similarity, average precision and recall.

After COCO's keypoint evaluation (Lin et al. 2014; pycocotools 2.0.11, cocoeval.py). The similarity of a prediction to a
labelled person of area s² is

    OKS = mean over labelled joints of exp(−d² / (2 s² (2 σ)²))

with the distance d in pixels and σ the disagreement of annotators about a joint. In every image, predictions choose in
order of confidence the most similar person that is free, and are correct if the similarity reaches a
threshold. People without labelled joints and crowds are ignored: predictions that match them do not count, in a
crowd any number of them. Precision is evaluated at 101 recalls, and its mean is averaged over
thresholds .50, .55 … .95.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.conventions import COCO17

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_PREDICTIONS = 20
"""The number of predictions per image that count, the most confident ones."""
_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
SIGMAS = np.array([_SIGMAS[name.rpartition("_")[2]] for name in COCO17.joint_names])
"""(17,) The disagreement of annotators about each joint of coco17."""
_RECALLS = np.linspace(0, 1, 101)


class ImageMatches(NamedTuple):
    """The predictions of one image, in order of confidence, matched with its people.

    Attributes:
        scores: (P,) float64. The confidences.
        correct: (10, P) bool. Whether a prediction matches a person, at each of THRESHOLDS.
        ignored: (10, P) bool. Whether it matches someone who does not count.
        people: The number of people with labelled joints.
    """

    scores: Floats
    correct: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    people: int


def oks(predictions: ArrayLike, true: ArrayLike, areas: ArrayLike, boxes: ArrayLike) -> Floats:
    """Return the similarities of predictions to people.

    Args:
        predictions: (P, 17, 2 or 3) float, pixels. Predicted joints x, y.
        true: (T, 17, 3) float, pixels. True joints x, y, and 0 if not labelled.
        areas: (T,) float, square pixels. The areas of the people.
        boxes: (T, 4) float, pixels. x0, y0, x1, y1. They replace people without labelled joints: all joints are then
            compared with a box three times as large, and are right inside it.

    Returns:
        (P, T) float64, 0 to 1. The similarities.
    """
    points, people = np.asarray(predictions, np.float64), np.asarray(true, np.float64)
    box, scale = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(areas, np.float64)
    offsets = points[:, None, :, :2] - people[None, :, :, :2]  # [P, T, 17, 2]
    # For people without labelled joints: distances from a box three times as large.
    extent = box[:, 2:] - box[:, :2]
    low, high = (box[:, :2] - extent)[None, :, None], (box[:, 2:] + extent)[None, :, None]
    outside = np.maximum(low - points[:, None, :, :2], 0) + np.maximum(points[:, None, :, :2] - high, 0)
    label_mask = np.asarray(people[..., 2] > 0)
    people_without_labels = np.asarray(~label_mask.any(1)).reshape(-1)
    distances = np.square(np.where(people_without_labels[None, :, None, None], outside, offsets)).sum(-1)
    joint_mask = (label_mask | people_without_labels[:, None])[None]
    with np.errstate(over="ignore", invalid="ignore"):
        exponent = distances / (2 * np.square(2 * SIGMAS)) / (scale[None, :, None] + np.spacing(1))
        similar = np.where(joint_mask, np.exp(-exponent), 0.0)
    return np.asarray(np.nan_to_num(similar).sum(-1) / joint_mask.sum(-1), np.float64)


def matched_predictions(
    predictions: ArrayLike,
    scores: ArrayLike,
    true: ArrayLike,
    areas: ArrayLike,
    boxes: ArrayLike,
    crowds: ArrayLike | None = None,
) -> ImageMatches:
    """Match one image's predictions with its people.

    Args:
        predictions: (P, 17, 2) float, pixels. Predicted joints x, y.
        scores: (P,) float. Their confidences.
        true: (T, 17, 3) float, pixels. True joints x, y, and 0 if not labelled.
        areas: (T,) float, square pixels. The areas of the people.
        boxes: (T, 4) float, pixels. x0, y0, x1, y1.
        crowds: (T,) bool. Whether it is a region of several people. None means that none is.
    """
    confidence, people = np.asarray(scores, np.float64), np.asarray(true, np.float64).reshape(-1, len(COCO17), 3)
    order = np.argsort(-confidence, kind="stable")[:MAX_PREDICTIONS]
    points = np.asarray(predictions, np.float64).reshape(len(confidence), len(COCO17), 2)[order]
    crowd = np.zeros(len(people), bool) if crowds is None else np.asarray(crowds, bool)
    counts = np.asarray((people[..., 2] > 0).any(1)).reshape(-1) & ~crowd
    rows = np.argsort(~counts, kind="stable")  # those who count come first
    similarity = oks(points, people[rows], np.asarray(areas)[rows], np.asarray(boxes).reshape(-1, 4)[rows])
    valid = counts[rows]
    crowd = crowd[rows]
    correct, neutral = (np.zeros((len(THRESHOLDS), len(order)), bool) for _ in range(2))
    # Greedy, as COCO's evaluator: the most confident prediction chooses first, among people who count before others.
    for level, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(rows), bool)
        for prediction in range(len(order)):
            best, row = min(threshold, 1 - 1e-10), -1
            for person in range(len(rows)):
                if row >= 0 and valid[row] and not valid[person]:
                    break
                if free[person] and similarity[prediction, person] >= best:
                    best, row = similarity[prediction, person], person
            if row >= 0:
                free[row] = crowd[row]
                (correct if valid[row] else neutral)[level, prediction] = True
    return ImageMatches(confidence[order], correct, neutral, int(counts.sum()))


def average_precision(images: Sequence[ImageMatches]) -> tuple[Floats, Floats]:
    """Return AP and recall at each of THRESHOLDS over all images.

    Args:
        images: The matches of each image.

    Returns:
        (10,) and (10,) float64. NaN without labelled people.
    """
    people = sum(image.people for image in images)
    if not people:
        return np.full(len(THRESHOLDS), np.nan), np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    correct = np.concatenate([image.correct for image in images], 1)[:, order]
    wrong = ~correct & ~np.concatenate([image.ignored for image in images], 1)[:, order]
    precision, recall = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    for level in range(len(THRESHOLDS)):
        right, false = np.cumsum(correct[level]), np.cumsum(wrong[level])
        if not len(right):
            continue
        recalls, share = right / people, right / (right + false + np.spacing(1))
        share = np.maximum.accumulate(share[::-1])[::-1]  # no precision below that of a higher recall
        index = np.searchsorted(recalls, _RECALLS, side="left")
        precision[level] = np.where(index < len(share), share[np.minimum(index, len(share) - 1)], 0).mean()
        recall[level] = recalls[-1]
    return precision, recall
