"""Keypoints of people in images: COCO's object keypoint similarity, average precision and recall, PCK and PCKh.

After COCO's keypoint evaluation (Lin et al. 2014; pycocotools 2.0.11, cocoeval.py). The similarity of a prediction to a
labelled person of area s²,

    OKS = mean over labelled joints of exp(−d² / (2 s² (2 σ)²))

with the distance d in pixels and σ how much annotators disagree about a joint. In every image predictions take, the
surest first, the most similar person that is still free; one counts as correct where its similarity reaches a
threshold. People without labelled joints and crowds are no errors: who is predicted near them counts as nothing, in a
crowd any number of times. Precision is read off at 101 recalls, and its mean is averaged over
thresholds .50, .55 … .95.

PoseTrack's own average precision is of single joints (`JointMatches`), after the benchmark's evaluator (Andriluka et
al. 2018; leonid-pishchulin/poseval at 4258a15, eval_helpers.py and evaluateAP.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.core.conventions import COCO17, CROWDPOSE14, MPII16, POSETRACK15, Skeleton
from humanpose_cli.core.errors import UsageError

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_PREDICTIONS = 20
"""Of one image; the surest count."""
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
_OTHER_SIGMAS = {
    # Jeff-sjtu/CrowdPose at 08cb339, cocoeval.py.
    CROWDPOSE14.name: {"head_top": 0.079, "neck": 0.079},
    # open-mmlab/mmpose at ba8cf33, configs/_base_/datasets/posetrack18.py.
    POSETRACK15.name: {"head_bottom": 0.025, "head_top": 0.025},
    # MPII has none: those of CrowdPose's head, and of COCO's hips for what lies as deep.
    MPII16.name: {"head_top": 0.079, "upper_neck": 0.079, "thorax": 0.079, "pelvis": 0.107},
}


def sigmas_of(skeleton: Skeleton) -> Floats:
    """Return (J,) how much annotators disagree about each joint of coco17, crowdpose14, posetrack15 or mpii16."""
    others = _OTHER_SIGMAS.get(skeleton.name, {})
    return np.array([others.get(name) or _SIGMAS[name.rpartition("_")[2]] for name in skeleton.joint_names])


SIGMAS = sigmas_of(COCO17)
"""COCO's, in the order of coco17."""
_RECALLS = np.linspace(0, 1, 101)
_TORSO = ("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")
_HEAD_SHARE = 0.6  # of the diagonal of the head's box
_PCKH_SHARE = 0.5  # of a head's length, within which a joint is right
_NOT_COUNTED = ("pelvis", "thorax")  # by MPII's evaluator


class ImageMatches(NamedTuple):
    """The predictions of one image, the surest first, against its people.

    scores   (P,); correct and ignored (10, P): found somebody, or somebody who does not count, at each of THRESHOLDS
    people   how many have labelled joints
    """

    scores: Floats
    correct: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    people: int


def oks(
    predictions: ArrayLike, true: ArrayLike, areas: ArrayLike, boxes: ArrayLike, skeleton: Skeleton = COCO17
) -> Floats:
    """Measure similarities (P, T) of joints (P, J, 2 or 3) to those of people (T, J, 3): x, y, and 0 where not
    labelled.

    areas  (T,) square pixels; boxes (T, 4) x0 y0 x1 y1, which stand in for people without labelled joints: all joints
           are then compared with a box three times as large, and are right inside of it
    Raises UsageError for other shapes.
    """
    points, people = np.asarray(predictions, np.float64), np.asarray(true, np.float64)
    shape = len(skeleton)
    if points.ndim != 3 or people.ndim != 3 or points.shape[1] != shape or people.shape[1:] != (shape, 3):
        got = f"{points.shape} and {people.shape}"
        raise UsageError("keypoints", "have other shapes", expected=f"(P, {shape}, 2) and (T, {shape}, 3)", got=got)
    box, scale = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(areas, np.float64)
    apart = points[:, None, :, :2] - people[None, :, :, :2]  # [P, T, 17, 2]
    # Of people without labelled joints: distances from a box three times as large.
    extent = box[:, 2:] - box[:, :2]
    low, high = (box[:, :2] - extent)[None, :, None], (box[:, 2:] + extent)[None, :, None]
    outside = np.maximum(low - points[:, None, :, :2], 0) + np.maximum(points[:, None, :, :2] - high, 0)
    label_mask = np.asarray(people[..., 2] > 0)
    people_without_labels = np.asarray(~label_mask.any(1)).reshape(-1)
    distances = np.square(np.where(people_without_labels[None, :, None, None], outside, apart)).sum(-1)
    joint_mask = (label_mask | people_without_labels[:, None])[None]
    with np.errstate(over="ignore", invalid="ignore"):
        exponent = distances / (2 * np.square(2 * sigmas_of(skeleton))) / (scale[None, :, None] + np.spacing(1))
        similar = np.where(joint_mask, np.exp(-exponent), 0.0)
    return np.asarray(np.nan_to_num(similar).sum(-1) / joint_mask.sum(-1), np.float64)


def matched_predictions(
    predictions: ArrayLike,
    scores: ArrayLike,
    true: ArrayLike,
    areas: ArrayLike,
    boxes: ArrayLike,
    crowds: ArrayLike | None = None,
    skeleton: Skeleton = COCO17,
) -> ImageMatches:
    """Match one image's predictions (P, J, 2) with scores (P,) with its people, as for `oks`.

    crowds  (T,) which of them are regions of several people; None: none is
    """
    confidence, people = np.asarray(scores, np.float64), np.asarray(true, np.float64).reshape(-1, len(skeleton), 3)
    order = np.argsort(-confidence, kind="stable")[:MAX_PREDICTIONS]
    points = np.asarray(predictions, np.float64).reshape(len(confidence), len(skeleton), 2)[order]
    crowd = np.zeros(len(people), bool) if crowds is None else np.asarray(crowds, bool)
    counts = np.asarray((people[..., 2] > 0).any(1)).reshape(-1) & ~crowd
    rows = np.argsort(~counts, kind="stable")  # those who count come first
    similarity = oks(points, people[rows], np.asarray(areas)[rows], np.asarray(boxes).reshape(-1, 4)[rows], skeleton)
    who, crowd = counts[rows], crowd[rows]
    correct, neutral = (np.zeros((len(THRESHOLDS), len(order)), bool) for _ in range(2))
    # Greedy, as COCO's evaluator: the most confident prediction chooses first, among people who count before others.
    for level, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(rows), bool)
        for prediction in range(len(order)):
            best, row = min(threshold, 1 - 1e-10), -1
            for person in range(len(rows)):
                if row >= 0 and who[row] and not who[person]:
                    break
                if free[person] and similarity[prediction, person] >= best:
                    best, row = similarity[prediction, person], person
            if row >= 0:
                free[row] = crowd[row]
                correct[level, prediction], neutral[level, prediction] = who[row], not who[row]
    return ImageMatches(confidence[order], correct, neutral, int(counts.sum()))


def average_precision(images: Sequence[ImageMatches]) -> tuple[Floats, Floats]:
    """Return AP and recall (10,) at each of THRESHOLDS over all images; NaN without labelled people."""
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
        at = np.searchsorted(recalls, _RECALLS, side="left")
        precision[level] = np.where(at < len(share), share[np.minimum(at, len(share) - 1)], 0).mean()
        recall[level] = recalls[-1]
    return precision, recall


def torso_length(true: ArrayLike, skeleton: Skeleton = COCO17) -> Floats:
    """Return the longer diagonal (T,) of shoulders and hips of people (T, J, 3), pixels; NaN if none is labelled."""
    people = np.asarray(true, np.float64)
    points = np.where(people[..., 2:] > 0, people[..., :2], np.nan)
    diagonals = [np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in map(skeleton.indices, _TORSO)]
    return np.fmax(*diagonals)


def pck(predictions: ArrayLike, true: ArrayLike, length: ArrayLike, share: float) -> Floats:
    """Test whether each joint (T, J) lies within `share` of a length (T,) from its label: 1, 0, or NaN where not
    labelled.

    predictions  (T, J, 2 or 3), NaN for people who were missed: none of their joints is right
    """
    points, people = np.asarray(predictions, np.float64), np.asarray(true, np.float64)
    apart = np.linalg.norm(points[..., :2] - people[..., :2], axis=-1)
    near = apart <= share * np.asarray(length, np.float64)[:, None]
    label_mask = (people[..., 2] > 0) & np.isfinite(np.asarray(length, np.float64))[:, None]
    return np.where(label_mask, near.astype(np.float64), np.nan)


def box_length(boxes: ArrayLike) -> Floats:
    """Return the longer side (T,) of boxes (T, 4), pixels."""
    box = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.max(box[:, 2:] - box[:, :2], axis=1)


def head_length(head_boxes: ArrayLike) -> Floats:
    """Return what MPII and PoseTrack call the size of a head (T,): 0.6 of the diagonal of its box (T, 4), pixels."""
    box = np.asarray(head_boxes, np.float64).reshape(-1, 4)
    return np.asarray(_HEAD_SHARE * np.linalg.norm(box[:, 2:] - box[:, :2], axis=1), np.float64)


class JointMatches(NamedTuple):
    """The predicted joints of one image against its people's, as poseval assigns them.

    scores   (P, J), NaN for joints that are not predicted; right (P, J) within half a head of the person's joint
    labels   (J,) how many people have each joint labelled
    """

    scores: Floats
    right: NDArray[np.bool_]
    labels: NDArray[np.int64]


def matched_joints(predictions: ArrayLike, scores: ArrayLike, true: ArrayLike, heads: ArrayLike) -> JointMatches:
    """Match one image's predictions (P, J, 2), NaN where there is no joint, with scores (P, J), with people (T, J, 3).

    heads  (T, 4) boxes: a joint is right within half of `head_length`; of people without one none is

    Each prediction belongs to the person of whose labelled joints it has most, and each person to the prediction that
    has the largest share of them. The joints of the other predictions are wrong.
    """
    points, people = np.asarray(predictions, np.float64), np.asarray(true, np.float64)
    label_mask = people[..., 2] > 0
    finite = np.isfinite(points[..., :2]).all(-1)
    apart = np.linalg.norm(points[:, None, :, :2] - people[None, :, :, :2], axis=-1)  # [P, T, J]
    with np.errstate(invalid="ignore"):
        near = (apart / head_length(heads)[None, :, None] <= _PCKH_SHARE) & label_mask
    right = np.zeros(finite.shape, bool)
    if near.size:
        shares = near.sum(-1) / np.maximum(label_mask.sum(-1), 1)
        best = shares.argmax(1)
        best_shares = np.where(np.arange(len(people)) == best[:, None], shares, 0.0)
        for person, prediction in enumerate(best_shares.argmax(0)):
            if best_shares[prediction, person] > 0:
                right[prediction] = near[prediction, person]
    values = np.where(finite, np.asarray(scores, np.float64), np.nan)
    return JointMatches(values, right & finite, label_mask.sum(0))


def joint_average_precision(images: Sequence[JointMatches]) -> Floats:
    """Average precision (J,) of each joint: the area below the monotone curve of precision over recall.

    NaN for joints that no person has labelled, 0 for those that are not predicted.
    """
    labels = np.sum([image.labels for image in images], axis=0)
    scores, right = (np.concatenate([getattr(image, name) for image in images]) for name in ("scores", "right"))
    precisions = np.full(len(labels), np.nan)
    for joint in np.flatnonzero(labels):
        finite = np.isfinite(scores[:, joint])
        order = np.argsort(scores[finite, joint], kind="stable")[::-1]
        correct = np.cumsum(right[finite, joint][order])
        precision = correct / np.arange(1, len(correct) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]  # no precision below that of a higher recall
        steps = np.diff(correct, prepend=0) / labels[joint]
        precisions[joint] = float((steps * precision).sum())
    return precisions


def mean_over_joints(right: ArrayLike) -> float:
    """Average over the joints that a person has the share of each joint over people; right (T, J), NaN: not labelled.

    As 4D-Humans averages PCK (shubham-goel/4D-Humans at 6ec7965, hmr2/utils/pck_accuracy.py).
    """
    values = np.asarray(right, np.float64)
    finite = np.isfinite(values)
    counts = finite.sum(0)
    shares = np.where(finite, values, 0).sum(0)[counts > 0] / counts[counts > 0]
    return float(shares.mean()) if len(shares) else float("nan")


def mpii_mean(right: ArrayLike) -> float:
    """Return the share of all labelled joints of mpii16 that are right, pelvis and thorax left out; right (T, 16).

    As MPII's evaluator and MMPose's (open-mmlab/mmpose at 016ee42, MpiiPCKAccuracy): joints weigh by the
    number of their labels.
    """
    columns = [row for row, name in enumerate(MPII16.joint_names) if name not in _NOT_COUNTED]
    values = np.asarray(right, np.float64)[:, columns]
    finite = np.isfinite(values)
    return float(values[finite].mean()) if finite.any() else float("nan")
