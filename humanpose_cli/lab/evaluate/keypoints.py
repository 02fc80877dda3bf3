"""Evaluation of fits in the image: COCO's average precision by keypoint similarity, PCK and PCKh.

The bodies' joints, projected by the camera of the fit, against people whose joints were labelled by hand: no 3-D truth
is needed, so that COCO is enough for it. Beside them stand the detector's own landmarks, to which the bodies were
fitted. Joints are those of the data set: CrowdPose's 14, PoseTrack's 15 or MPII's 16 where it has them, else COCO's 17.

Of all images of a split, those without people included, figures are those of pycocotools. Areas that a data set does
not give are 53 % of the box, COCO's mean; CrowdPose's evaluator takes that for all people. MPII labels some of an
image's people, so that it has no average precision. PoseTrack's own average precision is of single joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import (
    BLAZEPOSE33,
    COCO17,
    CROWDPOSE14,
    H36M17,
    MPII16,
    POSETRACK15,
    SMPL24,
    Skeleton,
)
from humanpose_cli.core.crop import best_pairs
from humanpose_cli.core.errors import InputError, InterruptedRun
from humanpose_cli.core.progress import Progress
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.bodies import Detections
from humanpose_cli.lab.evaluate.image_fits import ImageFits, fits_of_images, image_column, image_report, posed_rows
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise, summarise_figures
from humanpose_cli.lab.evaluate.people import EvaluationRun, image_clusters
from humanpose_cli.lab.evaluate.protocols import KeypointProtocol, beside_published, under_protocol
from humanpose_cli.lab.evaluate.report import Report
from humanpose_cli.lab.metrics.keypoints import (
    THRESHOLDS,
    ImageMatches,
    JointMatches,
    average_precision,
    box_length,
    head_length,
    joint_average_precision,
    matched_joints,
    matched_predictions,
    mean_over_joints,
    mpii_mean,
    oks,
    pck,
    torso_length,
)

Floats = NDArray[np.float64]
PCK_SHARES = (0.1, 0.2)
BOX_SHARES = (0.05, 0.1)
_PCKH_SHARE = 0.5
_MIN_OKS = 0.1  # to be taken for a person's, where PCK is counted
_AREA_OF_BOX = 0.53
_RESAMPLES = 200
_LABELLED = (MPII16, CROWDPOSE14, POSETRACK15, COCO17)  # the first that a cache has is evaluated
_EASY, _HARD = 0.2, 0.8  # of CrowdPose's index: easy below the first, hard from the second on


@dataclass(frozen=True)
class LabelledImage:
    """The people of one image: keypoints (T, J, 3) with 0 where not labelled, areas (T,), boxes (T, 4).

    crowds (T,) which of them are regions of several people, heads (T, 4) boxes of heads, NaN where not known; None: no
    crowd, no head
    ignored (H, W) pixels in which PoseTrack's evaluator takes out all joints; None: nowhere
    """

    keypoints: Floats
    areas: Floats
    boxes: Floats
    crowds: NDArray[np.bool_] | None = None
    heads: Floats | None = None
    ignored: NDArray[np.bool_] | None = None

    @property
    def has_people(self) -> bool:
        """Whether anyone is labelled singly."""
        return len(self.boxes) > 0 and (self.crowds is None or not bool(self.crowds.all()))


@dataclass(frozen=True)
class PredictedImage:
    """Found people: joints (P, J, 2) pixels, NaN for joints that cannot be predicted, scores (P,).

    joint_scores  (P, J) of each joint; None: those of the person
    """

    joints: Floats
    scores: Floats
    joint_scores: Floats | None = None


@dataclass(frozen=True)
class EvaluatedKeypoints:
    """Predictions of all images.

    matches   of each image
    right     for each share of PCK_SHARES, (T, J) of all people with labelled joints: 1, 0, or NaN; right_box likewise
              of BOX_SHARES and right_head (T, J) of half a head, NaN where the head is not known
    clusters  of the images; of_people (T,) the image of each person
    skeleton  of the joints
    crowd_index  (N,) CrowdPose's, of the images, or None
    joints    PoseTrack's matches of the images, None for one without people, which its evaluator leaves out; or empty
    """

    matches: Sequence[ImageMatches]
    right: Mapping[float, Floats]
    clusters: Clusters
    of_people: NDArray[np.int64]
    right_box: Mapping[float, Floats] = field(default_factory=dict)
    right_head: Floats | None = None
    skeleton: Skeleton = COCO17
    crowd_index: Floats | None = None
    joints: Sequence[JointMatches | None] = ()

    def metrics(self) -> dict[str, Summary]:
        """Return the figures of _AP, _BY_CROWD, _JOINT_AP and _PCK, as far as the labels allow."""
        figures = {} if self.skeleton == MPII16 else self._average_precisions()
        for name, rows in self._by_crowd_index().items():
            figures[name] = self._resampled(rows, self._precisions)["oks_ap"]
        if any(one is not None for one in self.joints):
            figures |= self._resampled(np.arange(len(self.joints)), self._joint_precisions)
        for share, right in self.right.items():
            with np.errstate(invalid="ignore"):
                counts = np.isfinite(right).sum(1)
                shares = np.nansum(right, 1) / counts
            figures[f"pck_{round(100 * share)}"] = summarise(shares, self.clusters.taken(self.of_people))
        for share, right in self.right_box.items():
            figures[f"pck_box_{round(100 * share):02}"] = self._over_people(right, mean_over_joints)
        if self.right_head is not None and np.isfinite(self.right_head).any():
            figures["pckh_50"] = self._over_people(self.right_head, mpii_mean)
        return figures

    def _average_precisions(self) -> dict[str, Summary]:
        return self._resampled(np.arange(len(self.matches)), self._precisions)

    def _by_crowd_index(self) -> dict[str, NDArray[np.int64]]:
        """Group rows into CrowdPose's easy, medium and hard images, as far as there are any."""
        if self.crowd_index is None:
            return {}
        level = np.digitize(self.crowd_index, (_EASY, _HARD))
        finite = np.isfinite(self.crowd_index)
        rows = {name: np.flatnonzero(finite & (level == number)) for number, name in enumerate(_BY_CROWD)}
        return {name: numbers for name, numbers in rows.items() if len(numbers)}

    def _precisions(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Return AP and AR of some images."""
        curves = average_precision([self.matches[row] for row in rows])
        return {name: _of_thresholds(name, *curves) for name in _AP}

    def _joint_precisions(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Return PoseTrack's precisions of some images, of all joints and by limb."""
        of_images = [one for row in rows if (one := self.joints[row]) is not None]
        precisions = joint_average_precision(of_images) if of_images else np.full(len(self.skeleton), np.nan)
        finite = np.isfinite(precisions)
        figures = {"pckh_ap": float(precisions[finite].mean()) if finite.any() else np.nan}
        return figures | {f"pckh_ap_{limb}": float(precisions[joints].mean()) for limb, joints in _LIMBS.items()}

    def _resampled(
        self, rows: NDArray[np.int64], figures: Callable[[NDArray[np.int64]], Mapping[str, float]]
    ) -> dict[str, Summary]:
        """Summarize figures of the images in some rows, with intervals over images drawn with replacement."""
        clusters = self.clusters.taken(rows)
        return summarise_figures(lambda indices: figures(rows[indices]), clusters, _RESAMPLES)

    def _over_people(self, right: Floats, figure: Callable[[Floats], float]) -> Summary:
        """Summarize a figure of people's joints (T, J), with an interval over people drawn with replacement."""
        labelled_rows = np.flatnonzero(np.isfinite(right).any(1))
        if not len(labelled_rows):
            return summarise(np.array([]))
        values, clusters = right[labelled_rows], self.clusters.taken(self.of_people[labelled_rows])
        return summarise_figures(lambda rows: {"": figure(values[rows])}, clusters, _RESAMPLES)[""]


_AP = {
    "oks_ap": "average precision, OKS of .50 to .95",
    "oks_ap_50": "average precision at OKS .50",
    "oks_ap_75": "average precision at OKS .75",
    "oks_ar": "average recall, OKS of .50 to .95",
}
_BY_CROWD = {
    "oks_ap_easy": f"average precision, images of a crowd index below {_EASY}",
    "oks_ap_medium": f"average precision, {_EASY} to {_HARD}",
    "oks_ap_hard": f"average precision, {_HARD} and more",
}
_LIMBS = {
    "head": POSETRACK15.indices(("head_top", "head_bottom", "nose")),
    **{
        name: POSETRACK15.indices((f"right_{name}", f"left_{name}"))
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}
_JOINT_AP = {"pckh_ap": "average precision of joints within half a head, mean over joints (PoseTrack)"}
_JOINT_AP |= {f"pckh_ap_{limb}": f"the same of {limb}" for limb in _LIMBS}
_PCK = {f"pck_{round(100 * s)}": f"share of joints within {100 * s:.0f} % of the torso" for s in PCK_SHARES}
_PCK |= {f"pck_box_{round(100 * s):02}": f"share of joints within {100 * s:.0f} % of the box" for s in BOX_SHARES}
_PCK |= {"pckh_50": "PCKh, share of joints within half a head"}


def _of_thresholds(name: str, precision: Floats, recall: Floats) -> float:
    if name == "oks_ar":
        return float(recall.mean())
    threshold = {"oks_ap_50": 0.5, "oks_ap_75": 0.75}.get(name)
    return float(precision.mean() if threshold is None else precision[np.argmin(np.abs(THRESHOLDS - threshold))])


def labelled_image(cache: Cache, row: int, skeleton: Skeleton = COCO17) -> LabelledImage:
    """Read the people and crowds of an image that have a box; areas that are not known are estimated.

    Boxes are in the pixels of keypoints, whose centres are half a pixel further than those of owners, who do not add
    that half to boxes.
    """
    span, column = cache.people_of(row), partial(image_column, cache, row)
    boxes = column("box", 4)
    keypoints = np.nan_to_num(column(f"keypoints/{skeleton.name}", len(skeleton), 3))
    usual = _AREA_OF_BOX * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    areas = np.full(len(span), np.nan) if skeleton == CROWDPOSE14 else column("area")
    areas, crowds, heads = np.where(np.isfinite(areas), areas, usual), column("crowd") > 0, column("head_box", 4)
    has_box = np.isfinite(boxes).all(1)
    ignored_pixels = None
    if skeleton == POSETRACK15:
        masks = [cache.mask(person) for person, crowd in zip(span, crowds, strict=True) if crowd]
        regions = [mask > 0 for mask in masks if mask is not None]
        ignored_pixels = np.any(regions, axis=0) if regions else None
    return LabelledImage(
        keypoints[has_box], areas[has_box], boxes[has_box] + 0.5, crowds[has_box], heads[has_box], ignored_pixels
    )


def measure_keypoints(
    labels: Sequence[LabelledImage],
    predictions: Sequence[PredictedImage],
    clusters: Clusters | None = None,
    skeleton: Skeleton = COCO17,
    crowd_index: Floats | None = None,
) -> EvaluatedKeypoints:
    """Compare predictions of images with their people, in one order.

    clusters     of the images; None: each is independent
    skeleton     of the joints; crowd_index (N,) CrowdPose's, of the images
    """
    matches: list[ImageMatches] = []
    joints: list[Floats] = []
    people: list[Floats] = []
    boxes: list[Floats] = []
    heads: list[Floats] = []
    of_joints: list[JointMatches | None] = []
    people_of = []
    for number, (truth, prediction) in enumerate(zip(labels, predictions, strict=True)):
        crowds = np.zeros(len(truth.boxes), bool) if truth.crowds is None else truth.crowds
        matches.append(
            matched_predictions(
                prediction.joints,
                prediction.scores,
                truth.keypoints,
                truth.areas,
                truth.boxes,
                crowds=crowds,
                skeleton=skeleton,
            )
        )
        if skeleton == POSETRACK15:
            of_joints.append(_joint_matches(prediction, truth) if truth.has_people else None)
        counts = (truth.keypoints[..., 2] > 0).any(1) & ~crowds
        people_of += [number] * int(counts.sum())
        people.append(truth.keypoints[counts])
        boxes.append(truth.boxes[counts])
        heads.append(np.full((int(counts.sum()), 4), np.nan) if truth.heads is None else truth.heads[counts])
        joints.append(_nearest(prediction, people[-1], truth.areas[counts], boxes[-1], skeleton))
    points, of_labels, lengths = np.concatenate(joints), np.concatenate(people), box_length(np.concatenate(boxes))
    torso = torso_length(of_labels, skeleton)
    return EvaluatedKeypoints(
        matches,
        {share: pck(points, of_labels, torso, share) for share in PCK_SHARES},
        clusters or Clusters.single("images", len(matches)),
        np.array(people_of, np.int64),
        {share: pck(points, of_labels, lengths, share) for share in BOX_SHARES},
        pck(points, of_labels, head_length(np.concatenate(heads)), _PCKH_SHARE) if skeleton == MPII16 else None,
        skeleton,
        crowd_index,
        of_joints,
    )


def _joint_matches(prediction: PredictedImage, truth: LabelledImage) -> JointMatches:
    scores = np.broadcast_to(prediction.scores[:, None], prediction.joints.shape[:2])
    scores = scores if prediction.joint_scores is None else prediction.joint_scores
    heads = np.full((len(truth.boxes), 4), np.nan) if truth.heads is None else truth.heads
    joints, people = prediction.joints, truth.keypoints
    if truth.ignored is not None:
        joints = np.where(_inside(truth.ignored, joints)[..., None], np.nan, joints)
        people = np.where(_inside(truth.ignored, people)[..., None], 0.0, people)
    return matched_joints(joints, scores, people, heads)


def _inside(mask: NDArray[np.bool_], points: Floats) -> NDArray[np.bool_]:
    """Return which of points (N, J, 2 or 3) lie in a pixel of the mask (H, W)."""
    x, y = np.floor(np.nan_to_num(points[..., :2], nan=-1.0)).astype(np.int64).transpose(2, 0, 1)
    within = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    inside: NDArray[np.bool_] = within & mask[np.where(within, y, 0), np.where(within, x, 0)]
    return inside


def _nearest(predictions: PredictedImage, people: Floats, areas: Floats, boxes: Floats, skeleton: Skeleton) -> Floats:
    """Assign predictions (T, J, 2) to people, each once, the most similar pairs first; NaN for people without one."""
    joints = np.full((len(people), len(skeleton), 2), np.nan)
    if not len(people) or not len(predictions.scores):
        return joints
    for prediction, person in best_pairs(oks(predictions.joints, people, areas, boxes, skeleton), _MIN_OKS):
        joints[person] = predictions.joints[prediction]
    return joints


# Joints of bodies that are no landmarks of coco17: MPII's upper neck is where SMPL's head turns.
_OF_BODY: Mapping[str, tuple[Skeleton, str]] = {
    "head_top": (H36M17, "head_top"),
    "thorax": (H36M17, "thorax"),
    "pelvis": (H36M17, "pelvis"),
    "neck": (SMPL24, "neck"),
    "upper_neck": (SMPL24, "head"),
    "head_bottom": (SMPL24, "head"),
}


@torch.no_grad()
def joints_of_fits(
    record: FitRecord, rows: NDArray[np.integer], body: Body, skeleton: Skeleton = COCO17
) -> PredictedImage:
    """Project the bodies' joints by the fit's camera; scores are how sure the fit is of each person."""
    if not len(rows):
        return PredictedImage(np.zeros((0, len(skeleton), 2)), np.zeros(0))
    bodies, betas, cameras = posed_rows(record, rows, body, vertices=False)
    sets = {COCO17: body.pose_landmarks(COCO17.name, bodies, betas), SMPL24: bodies.joints}
    if skeleton != COCO17:
        sets[H36M17] = body.pose_landmarks(H36M17.name, bodies, betas)
    sources = [(COCO17, name) if name in COCO17 else _OF_BODY[name] for name in skeleton.joint_names]
    points = torch.stack([sets[of][:, of.index(name)] for of, name in sources], 1).double().numpy()
    pixels = [camera.project(joints) for joints, camera in zip(points, cameras, strict=True)]
    return PredictedImage(np.stack(pixels), np.asarray(record.confidence[rows], np.float64))


def joints_of_detections(record: FitRecord, rows: NDArray[np.integer], skeleton: Skeleton = COCO17) -> PredictedImage:
    """Return the detector's landmarks; those that it lacks are NaN."""
    landmarks = np.asarray(record.keypoints2d[rows], np.float64)
    points = np.full((len(landmarks), len(skeleton), 2), np.nan)
    names = [name for name in skeleton.joint_names if name in BLAZEPOSE33]
    scores = np.full(points.shape[:2], np.nan)
    columns, rows_of = skeleton.indices(names), BLAZEPOSE33.indices(names)
    points[:, columns], scores[:, columns] = landmarks[:, rows_of, :2], landmarks[:, rows_of, 2]
    return PredictedImage(points, np.asarray(record.confidence[rows], np.float64), scores)


def evaluate_keypoints(
    run: EvaluationRun,
    options: FitOptions,
    *,
    detections: Detections = "auto",
    predictions: Path | None = None,
    threads: int | None = None,
) -> Report:
    """Compare fits that `hpc fit` makes of the images, or that are there already, with labelled keypoints."""
    selection, protocol = under_protocol(run.selection, KeypointProtocol)
    cache = open_cache(selection.data)
    if protocol is None:
        skeleton = next((one for one in _LABELLED if cache.labels.get(f"people/keypoints/{one.name}", 0)), COCO17)
    else:
        skeleton = protocol.skeleton
    for column in (f"keypoints/{skeleton.name}", "box"):
        if not cache.labels.get(f"people/{column}", 0):
            remedy = "make it of labelled images, such as hpc preprocess coco"
            expected = f"labelled joints of {skeleton.name}"
            raise InputError(cache.path, f"lacks people/{column}", expected=expected, remedy=remedy)
    rows = selection.images(cache)
    facts: dict[str, Any] = {**selection.facts(), "joints": f"{skeleton.name}, in the image", "images": len(rows)}
    with fits_of_images(
        cache, rows, options, run.device, detections=detections, predictions=predictions, threads=threads
    ) as fits:
        facts |= fits.facts
        figures = _evaluated(cache, rows, fits, skeleton, run.progress, run.stop)
    metrics = {name: keypoints.metrics() for name, keypoints in figures.items()}
    facts["people"] = sum(image.people for image in figures["fits"].matches)
    texts = {**_AP, **_BY_CROWD, **_JOINT_AP, **_PCK}
    table = "keypoints", "Joints in the image", "A person who is missed has no right joint."
    report = image_report("Fitted bodies in the image", facts, metrics, texts, table)
    prefix = "" if protocol is None else protocol.names
    complete = all(str(name).startswith(prefix) for name in cache.images["name"][rows])
    return beside_published(report, protocol, metrics, cache.header, selection.full_split() if complete else "")


def _evaluated(
    cache: Cache,
    rows: NDArray[np.int64],
    fits: ImageFits,
    skeleton: Skeleton,
    progress: Progress,
    stop: Callable[[], bool],
) -> dict[str, EvaluatedKeypoints]:
    """Measure the fits and the detections that they were made from, in the images of some rows."""
    labels: list[LabelledImage] = []
    predictions: dict[str, list[PredictedImage]] = {"fits": [], "detections": []}
    empty = PredictedImage(np.zeros((0, len(skeleton), 2)), np.zeros(0))
    for number, row in enumerate(rows.tolist()):
        if stop():
            raise InterruptedRun()
        labels.append(labelled_image(cache, row, skeleton))
        fit = fits.of(row)
        if fit is None:
            images = empty, empty
        else:
            images = joints_of_fits(fit[0], fit[1], fits.body, skeleton), joints_of_detections(fit[0], fit[1], skeleton)
        for parts, image in zip(predictions.values(), images, strict=True):
            parts.append(image)
        progress(number + 1, len(rows), "images")
    clusters = image_clusters(cache, rows)
    index = np.asarray(cache.images["crowd_index"][rows]) if "crowd_index" in cache.images else None
    return {name: measure_keypoints(labels, images, clusters, skeleton, index) for name, images in predictions.items()}
