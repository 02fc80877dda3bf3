"""Figures of annotation files are those of public evaluators, from the file over the cache to the metric."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.keypoint_people import SIZE, coco_document
from helpers.paper_datasets import image, write

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import COCO17, CROWDPOSE14, MPII16, POSETRACK15, Skeleton
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.datasets.coco import CocoSource
from humanpose_cli.lab.evaluate.keypoints import (
    EvaluatedKeypoints,
    LabelledImage,
    PredictedImage,
    joints_of_detections,
    joints_of_fits,
    labelled_image,
    measure_keypoints,
)
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS
from humanpose_cli.lab.metrics.keypoints import average_precision, joint_average_precision, matched_joints, sigmas_of
from humanpose_cli.lab.recipes.people import people_of_images

FILES = {
    COCO17: "annotations/person_keypoints_val2017.json",
    CROWDPOSE14: "json/crowdpose_val.json",
    POSETRACK15: "annotations/posetrack18_val.json",
}


def evaluated(root: Path, seed: int, skeleton: Skeleton) -> tuple[Cache, EvaluatedKeypoints]:
    """A cache of `coco_document`, and its results against it."""
    document, results = coco_document(seed, skeleton)
    path = write(root / FILES[skeleton], json.dumps(document))
    pixels = image(SIZE, 9)
    for record in document["images"]:
        write(root / ("val2017" if skeleton == COCO17 else "images") / record["file_name"], pixels)
    assert not build_cache(CocoSource(root), root / "cache").failures
    cache = open_cache(root / "cache")
    rows = [cache.find(f"{path.stem}/{Path(record['file_name']).stem}") for record in document["images"]]
    labels = [labelled_image(cache, row, skeleton) for row in rows]
    predicted = []
    for record in document["images"]:
        found = [result for result in results if result["image_id"] == record["id"]]
        points = [np.reshape(result["keypoints"], (-1, 3))[:, :2] + 0.5 for result in found]
        scores = np.array([result["score"] for result in found])
        predicted.append(PredictedImage(np.array(points).reshape(-1, len(skeleton), 2), scores))
    index = np.asarray(cache.images["crowd_index"][rows]) if "crowd_index" in cache.images else None
    return cache, measure_keypoints(labels, predicted, None, skeleton, index)


# pycocotools 2.0.11: COCO(file).loadRes(results), COCOeval(…, "keypoints") with params.kpt_oks_sigmas of the data set,
# evaluate, accumulate; CrowdPose's areas replaced by 0.53 of the box before, as its own evaluator does;
# precision[:, :, 0, 0, 0].mean(1) and recall[:, 0, 0, 0].
GOLDEN: list[tuple[Skeleton, list[float], list[float]]] = [
    (
        COCO17,
        [0.59550072, *[0.55312736] * 2, *[0.51693314] * 2, 0.51101589, 0.49764262, 0.43127357, 0.38682844, 0.2701847],
        [*[0.85] * 7, 0.8, 0.75, 0.6],
    ),
    (
        CROWDPOSE14,
        [0.44162043, *[0.42362093] * 6, 0.40658755, 0.3672552, 0.34515477],
        [0.52173913] * 10,
    ),
    (
        POSETRACK15,
        [*[0.44849748] * 5, *[0.42296627] * 4, 0.24657625],
        [*[0.63636364] * 9, 0.40909091],
    ),
]
# The same of the images with a crowdIndex below 0.2, below 0.8 and others, as CrowdPose's get_type_result cuts them.
EASY_MEDIUM_HARD = 0.4257779349363508, 0.341991078228702, 0.7326732673267327


@pytest.mark.slow
@pytest.mark.parametrize(("skeleton", "precision", "recall"), GOLDEN)
def test_average_precision_is_that_of_pycocotools(
    tmp_path: Path, skeleton: Skeleton, precision: list[float], recall: list[float]
) -> None:
    """Of a file with images without people, crowds, people without joints, and equal scores."""
    cache, keypoints = evaluated(tmp_path, 3, skeleton)
    found = average_precision(keypoints.matches)
    np.testing.assert_allclose(found[0], precision, atol=1e-7)
    np.testing.assert_allclose(found[1], recall, atol=1e-7)
    assert sum(not len(cache.people_of(row)) for row in range(len(cache))) >= 6


@pytest.mark.slow
def test_crowdpose_is_split_by_its_index(tmp_path: Path) -> None:
    _, keypoints = evaluated(tmp_path, 3, CROWDPOSE14)
    metrics = keypoints.metrics()
    found = [metrics[f"oks_ap_{name}"] for name in ("easy", "medium", "hard")]
    np.testing.assert_allclose([summary.value for summary in found], EASY_MEDIUM_HARD, atol=1e-6)
    assert [summary.n for summary in found] == [5, 16, 3]
    assert metrics["oks_ap"].value == pytest.approx(0.4102343547244983, abs=1e-6)


@pytest.mark.slow
def test_crowds_are_not_learned_from(tmp_path: Path) -> None:
    cache, _ = evaluated(tmp_path, 3, COCO17)
    crowds = np.flatnonzero(np.asarray(cache.people["crowd"][:]) == 1)
    assert len(crowds) == 11
    assert cache.person(int(crowds[0])).crowd
    people = people_of_images(cache, np.arange(len(cache)))
    assert len(people) == cache.people.row_count - 11
    assert not set(people.rows.tolist()) & set(crowds.tolist())


def test_sigmas_go_by_the_names_of_joints() -> None:
    assert sigmas_of(CROWDPOSE14).tolist() == [
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079)
    ]
    assert sigmas_of(POSETRACK15).tolist()[:5] == [0.026, 0.025, 0.025, 0.079, 0.079]


def posetrack_images() -> tuple[list[LabelledImage], list[PredictedImage]]:
    """People with boxes of heads and some unlabelled joints, several predictions of each and some of nobody, joints
    that are not predicted, and images without people.
    """
    random = np.random.default_rng(0)
    labels, predicted = [], []
    for _ in range(24):
        count = int(random.integers(0, 4))
        true = np.concatenate((random.uniform(0, 100, (count, 15, 2)), random.random((count, 15, 1)) < 0.8), -1)
        true[..., :2] += random.uniform(0, 150, (count, 1, 2))
        low = true[..., :2].min(1) if count else np.zeros((0, 2))
        heads = np.concatenate((low, low + random.uniform(20, 50, (count, 2))), 1)
        parts = []
        for person in range(count):
            for spread in (4.0, 9.0, 25.0)[: int(random.integers(0, 4))]:
                parts.append(true[person, :, :2] + random.normal(0, spread, (15, 2)))
        if random.random() < 0.4:
            parts.append(random.uniform(0, 250, (15, 2)))
        found = np.array(parts).reshape(-1, 15, 2)
        found[random.random(found.shape[:2]) < 0.1] = np.nan
        boxes = np.concatenate((low, low + 100), 1)
        labels.append(LabelledImage(true, np.full(count, 1e4), boxes, None, heads))
        predicted.append(PredictedImage(found, np.ones(len(found)), random.random(found.shape[:2])))
    return labels, predicted


# poseval at 4258a15: assignGTmulti(…, distThresh=0.5), computeMetrics and getCum of the same joints; frames without
# people are not given to it, as its cleanupData leaves them out.
POSEVAL = {
    "pckh_ap": 0.33436647381377334,
    "pckh_ap_head": 0.30560331889019633,
    "pckh_ap_shoulder": 0.31839882957353055,
    "pckh_ap_elbow": 0.28959371884346965,
    "pckh_ap_wrist": 0.3345039875794501,
    "pckh_ap_hip": 0.41390316313177095,
    "pckh_ap_knee": 0.29764473401276845,
    "pckh_ap_ankle": 0.3952991421270159,
}


def test_posetracks_average_precision_is_that_of_poseval() -> None:
    labels, predicted = posetrack_images()
    metrics = measure_keypoints(labels, predicted, None, POSETRACK15).metrics()
    assert {name: metrics[name].value for name in POSEVAL} == pytest.approx(POSEVAL, abs=1e-6)
    assert PROTOCOLS["posetrack18-ap"].metrics == tuple(POSEVAL)
    summary = metrics["pckh_ap"]
    assert (summary.n, summary.unit) == (24, "images")
    assert summary.low < summary.value < summary.high
    plain = [replace(image, joint_scores=None) for image in predicted]  # of one score for the person
    assert measure_keypoints(labels, plain, None, POSETRACK15).metrics()["pckh_ap"].value != summary.value


def test_joints_in_regions_that_are_not_evaluated_are_taken_out() -> None:
    """One person who is found and one who is not, somebody else found in the region; a frame with a region alone."""
    true = np.zeros((3, 15, 3))  # the last one is the region, a crowd
    true[:2, :, 2] = 1
    true[0, :, :2], true[1, :, :2] = 20.5, 70.5
    heads = np.array([[0, 0, 30, 40.0], [60, 60, 63, 64], [np.nan] * 4])
    crowds, boxes = np.array([False, False, True]), np.array([[0, 0, 30, 40.0], [60, 60, 90, 100], [60, 60, 80, 80]])
    region = np.zeros((100, 100), bool)
    region[60:80, 60:80] = True
    image_of = LabelledImage(true, np.ones(3), boxes, crowds, heads)
    found = PredictedImage(np.stack((true[0, :, :2], true[1, :, :2] - 4)), np.array([0.5, 0.9]))
    alone = LabelledImage(true[2:], np.ones(1), boxes[2:], crowds[2:], heads[2:])

    def precision(labelled: LabelledImage) -> float:
        return measure_keypoints([labelled, alone], [found, found], None, POSETRACK15).metrics()["pckh_ap"].value

    assert precision(image_of) == 0.25  # half of the people, behind a surer one who is wrong
    assert precision(replace(image_of, ignored=region)) == 1.0


def test_the_prediction_with_the_majority_of_a_persons_joints_is_taken_for_that_person() -> None:
    """Two people, three predictions, heads of 10 pixels' diagonal: joints are right within 3."""
    true = np.zeros((2, 15, 3))
    true[..., 2] = 1
    true[1, :, 0] = 1000
    half = true[0, :, :2].copy()
    half[:8] += 50
    predictions = np.stack((half, true[0, :, :2] + [2.9, 0], true[1, :, :2] + [3.1, 0]))
    heads = np.array([[0, 0, 6, 8], [1000, 0, 1006, 8]])
    found = matched_joints(predictions, np.ones((3, 15)), true, heads)
    assert found.right.sum(1).tolist() == [0, 15, 0]
    assert found.labels.tolist() == [2] * 15
    surest = found._replace(scores=np.repeat([[0.1], [0.9], [0.5]], 15, 1))
    np.testing.assert_allclose(joint_average_precision([surest]), 0.5)  # half of the people, before all that is wrong
    unmatched = found._replace(labels=np.zeros(15, np.int64))
    assert np.isnan(joint_average_precision([unmatched])).all()


def mpii_people(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, LabelledImage]:
    """Predictions of six people (6, 16, 2), their labels (6, 16, 3), and the people as one image."""
    labels = np.concatenate((random.uniform(0, 200, (6, 16, 2)), random.integers(0, 2, (6, 16, 1))), -1)
    labels[..., :2] += 1000 * np.arange(6)[:, None, None]
    predicted = labels[..., :2] + random.normal(0, 15, (6, 16, 2))
    low = labels[..., :2].min(1)
    heads = np.concatenate((low, low + random.uniform(30, 60, (6, 2))), 1)
    boxes = np.concatenate((low, low + random.uniform(200, 400, (6, 2))), 1)
    return predicted, labels, LabelledImage(labels, np.full(6, 4e4), boxes, None, heads)


def test_pckh_is_mpiis() -> None:
    """By the formula of MMPose's MpiiPCKAccuracy: each joint's share, weighted by how often it is labelled, without
    rows 6 and 7, pelvis and thorax; distances relative to 0.6 of the head box's diagonal.
    """
    predicted, labels, image_of = mpii_people(np.random.default_rng(0))
    heads = image_of.heads
    assert heads is not None
    size = 0.6 * np.linalg.norm(heads[:, 2:] - heads[:, :2], axis=1)
    visible = labels[..., 2] > 0
    near = (np.linalg.norm(predicted - labels[..., :2], axis=-1) / size[:, None] <= 0.5) & visible
    share, count = near.sum(0) / visible.sum(0), visible.sum(0).astype(float)
    kept = np.delete(np.arange(16), (6, 7))
    expected = (share[kept] * count[kept] / count[kept].sum()).sum()
    assert 0.2 < expected < 0.9
    metrics = measure_keypoints([image_of], [PredictedImage(predicted, np.ones(6))], None, MPII16).metrics()
    assert metrics["pckh_50"].value == pytest.approx(expected, abs=1e-12)
    assert not any(name.startswith("oks") for name in metrics)  # others in the image are not labelled


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_pck_of_the_box_is_that_of_4d_humans(share: float) -> None:
    """Distances relative to the longer side of the box, the share of each joint, and their mean over the joints."""
    predicted, labels, image_of = mpii_people(np.random.default_rng(1))
    side = (image_of.boxes[:, 2:] - image_of.boxes[:, :2]).max(1)
    distances = np.where(
        labels[..., 2] > 0, np.linalg.norm(predicted - labels[..., :2], axis=-1) / side[:, None], np.nan
    )
    shares = [(column[np.isfinite(column)] < share).mean() for column in distances.T]
    metrics = measure_keypoints([image_of], [PredictedImage(predicted, np.ones(6))], None, MPII16).metrics()
    assert metrics[f"pck_box_{round(100 * share):02}"].value == pytest.approx(np.mean(shares), abs=1e-12)


@pytest.mark.parametrize("skeleton", [CROWDPOSE14, POSETRACK15, MPII16])
def test_bodies_have_the_joints_of_every_data_set(skeleton: Skeleton) -> None:
    record = standing()
    joints = joints_of_fits(record, np.array([0]), default_body(), skeleton).joints[0]
    of = {name: joints[row] for row, name in enumerate(skeleton.joint_names)}
    coco = joints_of_fits(record, np.array([0]), default_body()).joints[0]
    for name in set(skeleton.joint_names) & set(COCO17.joint_names):
        np.testing.assert_array_equal(of[name], coco[COCO17.index(name)])
    neck = next(of[name] for name in ("neck", "head_bottom", "upper_neck") if name in of)
    assert of["head_top"][1] < neck[1] < of["left_shoulder"][1] + 5  # y is down
    detected = joints_of_detections(record, np.array([0]), skeleton).joints[0]
    assert np.isnan(detected[skeleton.index("head_top")]).all()
    assert np.isfinite(detected[skeleton.index("left_knee")]).all()


def standing() -> Any:
    """A stand-in for a fit of one person upright before the camera."""
    poses = np.zeros((1, 72), np.float32)
    poses[:, 0] = np.pi
    return SimpleNamespace(
        poses=poses,
        betas=np.zeros((1, 10), np.float32),
        trans=np.array([[0, 0, 4]], np.float32),
        segment_scales=np.ones((1, 24), np.float32),
        frame_index=np.zeros(1, np.int64),
        focal=np.array([500.0]),
        principal_point=np.array([[320.0, 240.0]]),
        confidence=np.ones(1),
        keypoints2d=np.ones((1, 33, 3), np.float32),
    )
