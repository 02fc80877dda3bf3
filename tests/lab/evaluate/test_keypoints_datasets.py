"""Figures of an annotation file are those of pycocotools, from the file over the cache to the metric."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.keypoint_people import SIZE, coco_document
from helpers.paper_datasets import image, write

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.datasets.coco import CocoSource
from humanpose_cli.lab.evaluate.keypoints import PredictedImage, labelled_image, match_keypoints
from humanpose_cli.lab.metrics.keypoints import ImageMatches, average_precision
from humanpose_cli.lab.recipes.people import people_of_images


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, list[ImageMatches]]:
    """A cache of `coco_document`, and its results against it."""
    root = tmp_path_factory.mktemp("coco")
    document, results = coco_document(3)
    path = write(root / "annotations/person_keypoints_val2017.json", json.dumps(document))
    pixels = image(SIZE, 9)
    for record in document["images"]:
        write(root / "val2017" / record["file_name"], pixels)
    assert not build_cache(CocoSource(root), root / "cache").failures
    cache = open_cache(root / "cache")
    rows = [cache.find(f"{path.stem}/{Path(record['file_name']).stem}") for record in document["images"]]
    labels = [labelled_image(cache, row) for row in rows]
    predicted = []
    for record in document["images"]:
        found = [result for result in results if result["image_id"] == record["id"]]
        points = [np.reshape(result["keypoints"], (-1, 3))[:, :2] + 0.5 for result in found]
        scores = np.array([result["score"] for result in found])
        predicted.append(PredictedImage(np.array(points).reshape(-1, 17, 2), scores))
    return cache, match_keypoints(labels, predicted)


# pycocotools 2.0.11: COCO(file).loadRes(results), COCOeval(…, "keypoints"), evaluate, accumulate;
# precision[:, :, 0, 0, 0].mean(1) and recall[:, 0, 0, 0].
PRECISION = [
    0.59550072,
    *[0.55312736] * 2,
    *[0.51693314] * 2,
    0.51101589,
    0.49764262,
    0.43127357,
    0.38682844,
    0.2701847,
]
RECALL = [*[0.85] * 7, 0.8, 0.75, 0.6]


@pytest.mark.slow
def test_average_precision_is_that_of_pycocotools(evaluated: tuple[Cache, list[ImageMatches]]) -> None:
    """Of a file with images without people, crowds, people without joints, and equal scores."""
    cache, keypoints = evaluated
    precision, recall = average_precision(keypoints)
    np.testing.assert_allclose(precision, PRECISION, atol=1e-7)
    np.testing.assert_allclose(recall, RECALL, atol=1e-7)
    assert sum(not len(cache.people_of(row)) for row in range(len(cache))) >= 6


@pytest.mark.slow
def test_crowds_are_not_learned_from(evaluated: tuple[Cache, list[ImageMatches]]) -> None:
    cache, _ = evaluated
    crowds = np.flatnonzero(np.asarray(cache.people["crowd"][:]) == 1)
    assert len(crowds) == 11
    assert cache.person(int(crowds[0])).crowd
    people = people_of_images(cache, np.arange(len(cache)))
    assert len(people) == cache.people.row_count - 11
    assert not set(people.rows.tolist()) & set(crowds.tolist())
